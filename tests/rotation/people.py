"""What people, sources and time do to the hosts of the model, what must never come of it, and how all of it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.rotation import Stage
from agent.core.testimony import Question
from tests.rotation.model import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.rotation.hosts import Host

LEAVING = (Question.LEFT, Question.RESTARTED_FOR_LEAF)


class Scene(World):
    """The world with people in it."""

    # --- time and luck -------------------------------------------------------------------

    def advance(self, minutes: int) -> None:
        """Let time pass; an agent that had just switched when it crashed is back by then, and tells the process."""
        for host in self.hosts.values():
            if host.pending:
                host.reload()
        self.now += timedelta(minutes=minutes)

    def restart(self, name: str) -> None:
        """Start a host's process anew."""
        self.hosts[name].start()

    def crash(self, name: str) -> None:
        """Start a host's agent anew."""
        self.hosts[name].crash()

    def cut_off(self, name: str) -> None:
        """Have the others lose sight of a host, and it of them, or see each other again."""
        self.hosts[name].reachable ^= True

    def cut_off_issuer(self, name: str) -> None:
        """Have a host lose sight of the issuer, or see it again."""
        self.hosts[name].issuer_reachable ^= True

    # --- sources and issuers -------------------------------------------------------------

    def add(self, name: str, ca: str, *, asks: bool = False) -> None:
        """A source of a host comes to hold a CA; where it `asks`, a person must approve."""
        host = self.hosts[name]
        if asks and not host.asks:
            host.asks, host.approved = True, host.approved | host.source
        host.source |= {ca}

    def approve(self, name: str, ca: str) -> None:
        """A person approves a CA on a host."""
        self.hosts[name].approved |= {ca}

    def remove(self, name: str, ca: str) -> None:
        """A source of a host lets a CA go; who vouched for the host's trust in it takes that back."""
        self.hosts[name].source -= {ca}
        self.withdraw(name, ca, (Question.TRUSTS, Question.RESTARTED_FOR_ANCHOR))

    def silence(self, name: str) -> None:
        """A source of a host cannot be read, or can again."""
        self.hosts[name].silent ^= True

    def flip(self, ca: str) -> None:
        """The issuer comes to issue under another CA; people take back what they said of leaves that had left."""
        if ca in self.dead:
            return
        self.issuer = ca
        for host in self.hosts.values():
            host.words = {key: at for key, at in host.words.items() if key[1] not in LEAVING}

    def delete(self, ca: str) -> None:
        """A CA that issues nothing now is deleted at the issuer."""
        if ca != self.issuer:
            self.dead.add(ca)

    # --- people --------------------------------------------------------------------------

    def confirm(self, name: str, peer: str, question: Question, ca: str) -> None:
        """A person who has looked at a host says so to the agent of another, if it is so."""
        if self.is_so(self.hosts[peer], question, ca):
            self.hosts[name].words[peer, question, ca] = self.now

    def is_so(self, peer: Host, question: Question, ca: str) -> bool:
        """Whether something is so of a host, and stays so for what its agent is about to do."""
        match question:
            case Question.TRUSTS:
                return ca in peer.loaded & peer.disk & peer.accepted
            case Question.LEFT:
                return ca not in self.in_use(peer) | {self.target(peer), peer.candidate}
            case Question.RESTARTED_FOR_ANCHOR:
                return ca in peer.at_start & peer.loaded & peer.disk
            case Question.RESTARTED_FOR_LEAF:
                return peer.leaf == peer.leaf_at_start and peer.leaf.ca == ca

    def withdraw(self, name: str, ca: str, questions: tuple[Question, ...]) -> None:
        """Take words on a host back, wherever they were given."""
        for host in self.hosts.values():
            for question in questions:
                host.words.pop((name, question, ca), None)

    def edit(self, name: str, *, drop: str = "", add: str = "") -> None:
        """A person edits a truststore on disk."""
        host = self.hosts[name]
        if not host.pending and host.manifest is None:
            host.manifest = host.disk
            host.disk = (host.disk - {drop}) | ({add} if add else set())

    def discard(self, name: str) -> None:
        """A person has a truststore taken back to what the agent wrote."""
        host = self.hosts[name]
        if host.manifest is not None:
            # Whoever came to be trusted by the edit alone is trusted no more.
            host.forced_away |= host.disk - host.manifest
            host.disk, host.manifest = host.manifest, None
            if host.is_broker:
                host.reload()

    def pause(self, name: str) -> None:
        """A person has a host stay as it is, or go on."""
        self.hosts[name].paused ^= True

    def abort(self, name: str) -> None:
        """A person has a host's leaf go back to the CA before; what was said of its leaf there is taken back."""
        host = self.hosts[name]
        before = max(host.away, key=lambda ca: host.away[ca], default=host.leaf.ca)
        if before == host.leaf.ca and host.candidate:
            host.abort = host.abort or (host.candidate, before, self.now)
        elif before != host.leaf.ca and before in host.disk:
            host.abort = host.abort or (host.leaf.ca, before, self.now)
        for ca in host.abort[:2] if host.abort else ():
            self.withdraw(name, ca, LEAVING)

    def resume(self, name: str) -> None:
        """A person ends the way back; what was said of the host's leaf is taken back."""
        host = self.hosts[name]
        if host.abort is not None:
            for ca in host.abort[:2]:
                self.withdraw(name, ca, LEAVING)
            host.abort = None

    def retire(self, name: str, ca: str) -> None:
        """A person lets an anchor go, once nothing needs it."""
        self.hosts[name].retire |= {ca}

    def force(self, name: str, ca: str) -> None:
        """A person has an anchor leave whatever that breaks."""
        host = self.hosts[name]
        if ca in host.disk - self.wanted(host):
            host.forced |= {ca}

    # --- several at a time ---------------------------------------------------------------

    def everywhere(self, what: str, *args: str) -> None:
        """Have the same done on every host."""
        for name in self.hosts:
            getattr(self, what)(name, *args)

    def answer(self, name: str) -> None:
        """A person says to an agent what is so of all that it asks for."""
        for one in self.outlook(self.hosts[name]).awaited:
            self.confirm(name, one.peer, one.question, one.ca)

    def tell(self) -> None:
        """Every agent reports, and every report arrives."""
        self.everywhere("report")
        for name in self.hosts:
            for number in range(len(self.mail)):
                self.deliver(number, name)

    def together(self) -> None:
        """Every agent reports, looks, and takes a step."""
        self.tell()
        self.everywhere("look")
        self.everywhere("cycle")

    # --- what must hold ------------------------------------------------------------------

    def meetings(self) -> Iterator[tuple[Host, Host, str, frozenset[str], bool]]:
        """Return whose leaf meets whom, its CA, the CAs that it is judged by, and whether an edit is among those."""
        for host in self.hosts.values():
            own = host.leaf_loaded
            if host.is_broker and self.shape.mtls and own.is_wanted and own.not_after > self.now:
                # A broker meets itself, and refuses to start where it would not trust itself.
                yield host, host, own.ca, host.loaded, host.edit_loaded
            for peer in self.peers_of(host):
                if peer is not host and self.asks_for_leaf(peer, host) and host.leaf_loaded.not_after > self.now:
                    yield host, peer, host.leaf_loaded.ca, peer.loaded, peer.edit_loaded
                if self.shape.raft and host.is_broker and peer.is_broker:
                    if host.leaf_at_start.not_after > self.now:
                        yield host, peer, host.leaf_at_start.ca, peer.loaded, peer.edit_loaded
                    if host.leaf_loaded.not_after > self.now:
                        yield host, peer, host.leaf_loaded.ca, peer.at_start, peer.edit_started

    def violation(self) -> str:
        """Return what must never be and is, or nothing."""
        failing = set()
        for host, peer, ca, judged_by, is_edited in self.meetings():
            if ca in judged_by:
                continue
            failing.add((host.name, peer.name))
            if not (is_edited or ca in peer.forced_away or peer.name in host.excused):
                return f"{peer.name} does not trust the leaf of {host.name}, which is of {ca}"
        for host in self.hosts.values():
            is_node = self.shape.raft and host.is_broker
            host.forced_away -= host.disk & host.loaded & (host.at_start if is_node else host.loaded)
            # Whoever has come to trust a leaf that was let in for want of a better one must go on doing so.
            host.excused = {name for name in host.excused if (host.name, name) in failing or host.pending}
        return self.trouble

    # --- how it ends ---------------------------------------------------------------------

    def recover(self) -> None:
        """Have everybody back, nobody hold anything up, and every source say what the issuer does."""
        self.dead.discard(self.issuer)
        for name, host in self.hosts.items():
            host.reachable = host.issuer_reachable = True
            host.paused = host.silent = False
            self.resume(name)
            self.discard(name)
            self.add(name, self.issuer)
            self.approve(name, self.issuer)

    def is_over(self) -> bool:
        """Whether every host is steady, on the issuer's CA and with no anchor of another."""
        return all(
            host.leaf.ca == self.issuer and host.disk == {self.issuer} and self.outlook(host).stage is Stage.STEADY
            for host in self.hosts.values()
        )

    def end(self, rounds: int = 40) -> bool:
        """Do what is asked for until it is over; return whether it ever is."""
        self.recover()
        for turn in range(rounds):
            if self.is_over():
                return True
            if all(host.leaf.ca == self.issuer for host in self.hosts.values()):
                for name in self.hosts:
                    for ca in "abc".replace(self.issuer, ""):
                        self.remove(name, ca)
                        self.retire(name, ca)
            self._round(is_restarting=turn % 2 == 1)
            if self.violation():
                return False
            self.advance(7 * 60)
        return self.is_over()

    def _round(self, *, is_restarting: bool) -> None:
        for name in self.hosts:
            if is_restarting:
                self.restart(name)
        self.tell()
        for name in self.hosts:
            self.look(name)
            self.answer(name)
            self.cycle(name)
