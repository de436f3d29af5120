"""A world of brokers and clients in which CAs change: each agent asks the real rules, and takes the step they allow.

CAs are single letters. What a process has loaded is what peers meet; what lies on disk counts from its next
reload or start. Every host knows of the others only what a look, a report or a person's word once showed it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.evidence import Verdict
from agent.core.guards import LEAF_GUARDS, RETIREMENT_GUARDS, Allowed, Standing
from agent.core.rotation import Outlook, leaf_hold, notice_until, outlook
from agent.core.testimony import Peers, Question, Testimony, Word
from tests.material import NOW
from tests.rotation.hosts import Host, Leaf, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.guards import Guard
    from agent.core.testimony import Awaited

SOAK = timedelta(days=1)
LIFETIME = timedelta(days=20)
RENEWED_BEFORE = timedelta(days=7)
RESTARTS = (Question.RESTARTED_FOR_ANCHOR, Question.RESTARTED_FOR_LEAF)


class Credulous(Peers):
    """Peers of whom what is not known counts as yes."""

    def awaited(self, question: Question, ca: str, now: datetime) -> tuple[Awaited, ...]:
        """Return those alone that are shown to answer no."""
        return tuple(one for one in super().awaited(question, ca, now) if one.shown is Verdict.REFUTED)


@dataclass(frozen=True)
class Rules:
    """The rules that the agents go by: the real ones, unless a test takes one out."""

    leaf_guards: tuple[Guard, ...] = LEAF_GUARDS
    retirement_guards: tuple[Guard, ...] = RETIREMENT_GUARDS
    is_credulous: bool = False
    gives_notice: bool = True
    always_expired: bool = False
    looks_again: bool = True
    notes_own: bool = True


@dataclass(frozen=True)
class Shape:
    """How many hosts there are, and of what kind the cluster is.

    `raft`: controllers speak TLS. `mtls`: clients show a leaf. `reporting`: the agents tell each other
    how their hosts are; without that there are handshakes and people's words alone.
    """

    brokers: int = 2
    clients: int = 1
    raft: bool = False
    mtls: bool = True
    reporting: bool = False
    own_trusted: bool = False


class World:
    """All hosts, the issuer and the clock; each method is one thing that may happen."""

    def __init__(self, shape: Shape, rules: Rules) -> None:
        """Have every host steady on CA `a`."""
        self.shape, self.rules, self.now = shape, rules, NOW
        self.issuer = "a"
        self.dead: set[str] = set()
        self.mail: list[Report] = []
        self.trouble = ""
        first, end = frozenset("a"), NOW + LIFETIME
        names = [f"b{n}" for n in range(shape.brokers)] + [f"c{n}" for n in range(shape.clients)]
        self.hosts = {name: Host(name, name[0] == "b", first, Leaf("a", end), first) for name in names}

    # --- who meets whom ------------------------------------------------------------------

    def peers_of(self, host: Host) -> Iterator[Host]:
        """Return those that an agent must know of; a node's Raft client meets its own listener too."""
        for one in self.hosts.values():
            is_met = host.is_broker or one.is_broker
            if is_met and (one is not host or (self.shape.raft and host.is_broker)):
                yield one

    def asks_for_leaf(self, peer: Host, host: Host) -> bool:
        """Whether a peer looks at the leaf of a host at all."""
        return host.is_broker or (peer.is_broker and self.shape.mtls)

    def in_use(self, host: Host) -> frozenset[str]:
        """The CAs of the leaves of a host that are loaded, or that its next start would load."""
        if not host.is_broker and not self.shape.mtls:
            return frozenset()
        raft = {host.leaf_at_start.ca} if self.shape.raft and host.is_broker else set[str]()
        return frozenset({host.leaf.ca, host.leaf_loaded.ca, *raft})

    # --- what an agent knows -------------------------------------------------------------

    def look(self, name: str) -> None:
        """An agent looks at every listener that it reaches."""
        host = self.hosts[name]
        if not host.reachable:
            return
        host.knows_peers = True
        for peer in self.peers_of(host):
            if peer.is_broker and peer.reachable:
                trusts = {ca: Verdict.PROVEN if ca in peer.loaded else Verdict.REFUTED for ca in "abc"}
                uses = frozenset({peer.leaf_loaded.ca})
                host.seen[peer.name] = Testimony(peer.name, self.now, trusts=trusts, uses=uses)

    def report(self, name: str) -> None:
        """An agent writes a report, which may arrive at any time, often or never."""
        self.mail.append(self.written(self.hosts[name]))
        del self.mail[: -2 * len(self.hosts)]

    def written(self, host: Host) -> Report:
        """Return what an agent has to tell of its host."""
        coming = {self.target(host), host.candidate} - {None}
        return Report(
            host.name,
            self.now,
            # What is loaded and no longer on disk is gone with the next start.
            trusts=host.loaded & host.disk,
            uses=self.in_use(host) | {ca for ca in coming if ca is not None and self.in_use(host)},
            at_start=host.at_start,
            started_with=host.leaf_at_start.ca if host.leaf_at_start == host.leaf else None,
        )

    def restarted(self, told: Report) -> dict[tuple[Question, str], Verdict]:
        """Return what a host's process was started with, as answers."""
        return {
            (question, ca): Verdict.PROVEN if is_so else Verdict.REFUTED
            for ca in "abc"
            for question, is_so in zip(RESTARTS, (ca in told.at_start, ca == told.started_with), strict=True)
        }

    def deliver(self, number: int, name: str) -> None:
        """A report arrives at one host."""
        host = self.hosts[name]
        if self.shape.reporting and self.mail and host.reachable:
            one = self.mail[number % len(self.mail)]
            host.told[one.peer] = one

    def testimony(self, host: Host, peer: Host) -> Testimony:
        """Return what an agent knows of a peer."""
        if peer is host:
            restarted = self.restarted(self.written(host))
            return Testimony(host.name, self.now, uses=frozenset(), meets=False, is_node=True, restarted=restarted)
        seen, told = host.seen.get(peer.name), host.told.get(peer.name)
        found = seen or Testimony(peer.name, self.now, why="it cannot be asked")
        if peer.is_broker and seen is None:
            told = None
        if not peer.is_broker and not self.shape.mtls:
            found = replace(found, uses=frozenset())
        if told is not None:
            restarted = self.restarted(told)
            trusts = found.trusts or {ca: Verdict.PROVEN if ca in told.trusts else Verdict.REFUTED for ca in "abc"}
            at = min(found.at, told.at)
            found = replace(found, at=at, uses=told.uses | (found.uses or set()), trusts=trusts, restarted=restarted)
        elif peer.is_broker and self.shape.reporting:
            # Of a host whose agent could tell what it is about to do, a handshake alone is half the answer.
            found = replace(found, uses=None)
        is_node = self.shape.raft and peer.is_broker and host.is_broker
        return replace(found, is_node=is_node, meets=self.asks_for_leaf(peer, host))

    def peers(self, host: Host) -> Peers:
        """Return all that an agent knows of its peers, and what people have said to it."""
        words = tuple(Word(*key, by="operator", at=at) for key, at in host.words.items())
        kind = Credulous if self.rules.is_credulous else Peers
        # Before it has learned who is there, an agent knows nobody but those it has heard of.
        known = [one for one in self.peers_of(host) if host.knows_peers or one.name in host.told]
        testimonies = tuple(self.testimony(host, one) for one in known)
        return kind(testimonies, words=words, unknown="" if host.knows_peers else "the cluster was not asked")

    def own(self, host: Host) -> str | None:
        """Return the CA that the issuer shows a host now."""
        return self.issuer if host.issuer_reachable and self.issuer not in self.dead else None

    def target(self, host: Host) -> str | None:
        """Return the CA that the next leaf of a host is of."""
        return host.abort[1] if host.abort else self.own(host) or host.candidate

    def wanted(self, host: Host) -> frozenset[str]:
        """Return what the sources of a host want in its truststores, as far as they can be read."""
        own = self.own(host) if self.shape.own_trusted else None
        return (frozenset() if host.silent else host.accepted) | (frozenset({own}) if own else frozenset())

    def standing(self, host: Host) -> Standing:
        """Return where a host stands, by what its agent can see of it."""
        wanted = self.wanted(host)
        is_silent = host.silent or (self.shape.own_trusted and self.own(host) is None)
        until = None
        target = self.target(host)
        if self.rules.gives_notice and target is not None and (host.abort or self.shape.reporting):
            until = notice_until(host.target_noted[1], host.away.get(target), SOAK, self.now)
        return Standing(
            leaf=host.leaf.ca,
            identity=host.name,
            may_use=frozenset({host.leaf.ca, host.leaf_loaded.ca}),
            holds=host.disk,
            loaded=host.loaded,
            wanted=wanted,
            waiting=frozenset() if host.silent else host.source - wanted,
            target=self.target(host),
            unwanted=host.abort[0] if host.abort else None,
            left_since=dict(host.left),
            expired=self.rules.always_expired or host.leaf.not_after <= self.now,
            edited=("truststore",) if host.manifest is not None else (),
            silent="it is not there" if is_silent else "",
            notice_until=until,
        )

    def outlook(self, host: Host) -> Outlook:
        """Return what the rules say to a host."""
        allowed = Allowed(SOAK, host.retire, host.forced)
        leaf_guards, retirement_guards = self.rules.leaf_guards, self.rules.retirement_guards
        return outlook(
            self.standing(host),
            self.peers(host),
            allowed,
            self.now,
            leaf_guards=leaf_guards,
            retirement_guards=retirement_guards,
        )

    # --- what an agent does --------------------------------------------------------------

    def cycle(self, name: str, *, crash: int = 0) -> None:
        """An agent notes how things are and takes one step; it crashes before the notes (1) or after the step (2)."""
        host = self.hosts[name]
        self.order(host)
        view = self.outlook(host)
        if crash == 1:
            host.crash()
            return
        self.note(host, view)
        self.step(host, view)
        if crash == 2:
            host.crash()
        elif host.pending and host.is_broker and host.manifest is None:
            host.reload()

    def order(self, host: Host) -> None:
        """Have a leaf of the target at hand, if the CA gives one."""
        target = self.target(host)
        if target != host.target_noted[0]:
            host.target_noted = (target, self.now)
        if target is None or target == host.leaf.ca:
            # A leaf that was asked for before a person changed their mind stays in hand.
            host.candidate = None if target is not None and not host.abort else host.candidate
        elif host.candidate != target:
            is_given = host.issuer_reachable and target not in self.dead and (target == self.issuer or host.abort)
            host.candidate = target if is_given else host.candidate

    def note(self, host: Host, view: Outlook) -> None:
        """Note since when things are so, as the agent does."""
        standing, peers = self.standing(host), self.peers(host)
        for ca in list(host.left):
            refuted = any(one.shown is Verdict.REFUTED for one in peers.awaited(Question.LEFT, ca, self.now))
            is_own = ca == host.leaf.ca and self.rules.notes_own
            if ca not in standing.leaving or is_own or refuted:
                del host.left[ca]
        for ca in view.left:
            host.left.setdefault(ca, self.now)
        host.away = {ca: at for ca, at in host.away.items() if ca in host.disk}
        if host.leaf_noted != host.leaf.ca:
            if host.leaf_noted in host.disk:
                host.away.setdefault(host.leaf_noted, host.switched_at)
            host.leaf_noted = host.leaf.ca
        relevant = {host.leaf.ca, standing.target, *host.disk, *standing.wanted}
        host.words = {key: at for key, at in host.words.items() if key[2] in relevant}

    def step(self, host: Host, view: Outlook) -> None:
        """Take the first step that may be taken."""
        standing = self.standing(host)
        if host.pending:
            return
        if self.may_switch(host) and self.may_switch(host, again=True) and host.candidate is not None:
            self.put_leaf(host, host.candidate)
        elif host.leaf.not_after - RENEWED_BEFORE <= self.now and self.gives(host, host.leaf.ca):
            if host.manifest is None:
                self.put_leaf(host, host.leaf.ca)
        elif standing.entering and host.manifest is None:
            self.put_trust(host, host.disk | standing.entering)
        elif not host.paused and _free(view):
            self.look_again(host)
            for ca in _free(self.outlook(host))[:1]:
                self.retire_now(host, ca)

    def may_switch(self, host: Host, *, again: bool = False) -> bool:
        """Whether the leaf in hand may become current, by what is known or by a look that is taken for it."""
        if host.candidate is None or host.candidate == host.leaf.ca or host.paused:
            return False
        if again:
            self.look_again(host)
        guards = self.rules.leaf_guards
        return leaf_hold(host.candidate, self.standing(host), self.peers(host), self.now, guards=guards) is None

    def look_again(self, host: Host) -> None:
        """Have a step hang on what listeners show at its very moment: they tell nobody what comes next."""
        if self.rules.looks_again:
            host.seen = {}
            self.look(host.name)

    def gives(self, host: Host, ca: str) -> bool:
        """Whether a CA gives a host a leaf for the asking."""
        return host.issuer_reachable and ca not in self.dead and self.target(host) == ca

    def put_leaf(self, host: Host, ca: str) -> None:
        """Make a leaf current."""
        if host.abort and ca == host.abort[0]:
            self.trouble = f"the leaf of {host.name} has gone back to {ca}, which a person has it go away from"
        is_over = host.leaf.not_after <= self.now and ca != host.leaf.ca
        # A host that is set to trust another CA than it is trusted by does so whatever its leaf is of.
        host.leaf = Leaf(ca, self.now + LIFETIME, ca in host.source)
        host.switched_at, host.candidate = self.now, None
        if is_over:
            host.excused |= {one.name for one in self.peers_of(host)}
        self.changed(host)

    def put_trust(self, host: Host, cas: frozenset[str]) -> None:
        """Make a truststore current."""
        for ca in cas - host.disk:
            if ca not in self.wanted(host):
                self.trouble = f"{ca} has entered {host.name} unasked"
        host.disk = cas
        self.changed(host)

    def retire_now(self, host: Host, ca: str) -> None:
        """Let an anchor go, and see that it was let go of."""
        if ca not in host.retire | host.forced:
            self.trouble = f"{ca} has left {host.name} without leave"
        if ca == self.target(host) and ca not in host.forced:
            self.trouble = f"{ca} has left {host.name}, whose next leaf is of it"
        if ca in host.accepted and not host.forced & {ca}:
            self.trouble = f"{ca} has left {host.name} though its source holds it"
        if host.disk == {ca}:
            self.trouble = f"the last anchor has left {host.name}"
        if ca in host.forced:
            host.forced_away |= {ca}
        host.retire -= {ca}
        host.forced -= {ca}
        if host.manifest is not None:
            # The agent's own switch brings a person's edit into use.
            for foreign in host.disk - host.manifest - self.wanted(host):
                self.trouble = f"{foreign} has entered {host.name} by an edit"
            host.manifest = None
        host.disk -= {ca}
        self.changed(host)

    def changed(self, host: Host) -> None:
        """Have a new generation loaded by who reloads; an edit on disk is loaded along with it."""
        host.pending = host.is_broker
        if host.is_broker and host.manifest is not None:
            host.reload()
            host.edit_loaded = False  # no person started this


def _free(view: Outlook) -> list[str]:
    return [ca for ca, hold in view.retirements if hold is None]
