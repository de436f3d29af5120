"""A Kafka broker: asked before a switch, told after it, and looked at (KIP-226, KIP-339).

Kafka on KRaft answers success to an alter that names the same path, and keeps the old store when the
new one is wrong; so its answer to a reload is no evidence. What counts is its verdict on a
validate-only alter that names a staged path, which it gives at once, and what its listeners serve.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core import listener_proof
from agent.core.evidence import Served, Verdict
from agent.core.files import StoreFormat
from agent.core.generation import generation_folder
from agent.core.judgement import Judgement, Look
from agent.core.proof import Finding, Remedy
from agent.core.reload_rules import (
    ANSWERED_BY_THE_BROKER,
    STORE,
    UNREADABLE,
    VERDICT,
    Stores,
    refusals,
    remedy_of,
    rules_of,
    stores_of,
    takes_nothing,
)
from agent.errors import (
    KafkaError,
    KafkaRefusedError,
    KafkaUnavailableError,
    MaterialError,
    ReloadError,
    StoreError,
)
from agent.kafka.admin import admin
from agent.kafka.failures import CERTIFICATE_REFUSED, NOT_TRUSTED, core_of
from agent.net.threads import in_thread
from agent.reload.kafka_examination import examine
from agent.reload.kafka_node import KafkaNode, Patience, paths

if TYPE_CHECKING:
    from agent.core.configuration import Wanted
    from agent.core.credentials import Credentials
    from agent.core.generation import Generation
    from agent.core.issuer_status import Examined
    from agent.core.kafka_spec import BrokerListener, Cluster, KafkaBrokerReload
    from agent.kafka.admin import Admin
    from agent.reload.kafka_node import Tools

GLANCE = Patience(1, timedelta(seconds=3))
"""How long a look at what a listener has loaded may take, before the broker is asked about another store."""

NOWHERE = generation_folder(0)
"""A folder that there never is."""

ROUNDS = 3
"""How often each network thread of a listener is met: each has a store of its own, and connections go round them."""


@dataclass(slots=True)
class _Replay:
    """What is known of a candidate, by listener.

    `findings` are what Kafka's rules say against it, `takes_nothing` why a listener takes no store at
    all. `answers` are the broker's refusals, None where it would take it; `unjudged` are the listeners
    that it knows nothing of.
    """

    findings: dict[str, tuple[Finding, ...]] = field(default_factory=dict)
    takes_nothing: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Finding | None] = field(default_factory=dict)
    unjudged: list[str] = field(default_factory=list)
    is_done: bool = False

    @property
    def against(self) -> tuple[Finding, ...]:
        """What speaks against the candidate: the broker's word outranks our replay of its rules."""
        replayed = [
            finding
            for name, found in self.findings.items()
            for finding in found
            if not (name in self.answers and self.answers[name] is None and finding.check in ANSWERED_BY_THE_BROKER)
        ]
        return (*replayed, *(refused for refused in self.answers.values() if refused is not None))


class KafkaBroker:
    """One node of a cluster; the agent's client is made anew each time, since librdkafka reads a certificate once."""

    def __init__(self, wanted: Wanted, spec: KafkaBrokerReload, tools: Tools) -> None:
        self._wanted = wanted
        self._spec = spec
        self._tools = tools
        self._node = KafkaNode(wanted, spec, tools)

    # --- before the switch -----------------------------------------------------------------

    async def judge(self, candidate: Generation, current: Generation | None) -> Judgement:
        """Replay Kafka's rules on what the listeners have loaded, and have the broker validate the staged files."""
        cluster = self._node.cluster
        if cluster is None:
            return Judgement(asked=False)
        replay, unknown = _Replay(), ""
        credentials: Credentials | None = None
        try:
            credentials = await self._node.credentials(cluster, current, candidate)
            async with admin(cluster, credentials) as client:
                await self._node.learn(client)
                replay = await self._replay(candidate, current, credentials)
                if self._spec.preflight:
                    await self._ask(client, candidate, current, replay)
        except (KafkaError, MaterialError) as error:
            unknown = error.diagnosis()
            if not replay.is_done:  # whoever cannot be asked may serve all the same
                replay = await self._replay(candidate, current, credentials)
        for listener in self._spec.listeners:
            # Nobody has validated it, and a broker does not start with a store of another password or type.
            if listener.name not in replay.answers and await self._opens_otherwise(listener, candidate, current):
                what = (
                    f"listener {listener.name}: its store has another password or type, which Kafka has not validated"
                )
                replay.answers[listener.name] = Finding(STORE, what, Remedy.RECONFIGURE)
        if replay.unjudged and not unknown:
            unknown = f"the broker has no TLS listener {', '.join(replay.unjudged)}, and so no verdict on its stores"
        return Judgement(
            replay.against,
            unknown=unknown,
            remarks=self._node.remarks(candidate),
            facts=self._node.facts,
            asked=self._spec.preflight,
            restart="; ".join(replay.takes_nothing.values()),
        )

    async def _replay(
        self, candidate: Generation, current: Generation | None, credentials: Credentials | None
    ) -> _Replay:
        """Return what Kafka's rules say of the candidate, by listener."""
        listeners = [one for one in self._spec.listeners if one.keystore is not None]
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(self._glance(listener, credentials)) for listener in listeners]
        replay, now = _Replay(is_done=True), self._tools.clock()
        for listener, look in zip(listeners, looks, strict=True):
            leaf = look.result().leaf or (current.leaf if current else None)
            if leaf is None or look.result().is_down:
                continue  # there is nothing in use that a new store could differ from
            loaded = await self._stores(listener, current if current and current.leaf == leaf else None)
            loaded = loaded or Stores((leaf,), None)
            new = await self._stores(listener, candidate)
            rules = rules_of(listener.name, self._node.facts)
            why = takes_nothing(rules, loaded, now) if look.result().leaf else ""
            if why:
                replay.takes_nothing[listener.name] = why
            elif new is not None:
                replay.findings[listener.name] = refusals(rules, loaded, new, now)
        return replay

    async def _stores(self, listener: BrokerListener, generation: Generation | None) -> Stores | None:
        if generation is None or listener.keystore is None:
            return None
        try:
            entries = (await self._tools.store.opened(generation.number, listener.keystore.name)).entries
        except StoreError:
            entries = None  # the file was read back when it was written; whoever reads it next tells
        return replace(stores_of(generation, listener), entries=entries)

    async def _glance(self, listener: BrokerListener, credentials: Credentials | None) -> Served:
        return await self._node.visit(listener, lambda _: True, GLANCE, credentials)

    async def _ask(self, client: Admin, candidate: Generation, current: Generation | None, replay: _Replay) -> None:
        """Note the broker's refusal, or None, by listener; each is asked about alone, so that none hides another.

        One that takes nothing would refuse whatever it is asked about, and so say nothing of it.
        """
        number = await self._node.number(client)
        for listener in self._spec.listeners:
            if listener.name in replay.takes_nothing:
                continue
            if not await self._is_judged(client, number, listener):
                replay.unjudged.append(listener.name)
                continue
            try:
                await client.alter(number, paths(listener, generation_folder(candidate.number)), validate_only=True)
            except KafkaRefusedError as error:
                remedy = remedy_of(error.words)
                if UNREADABLE in error.words and await self._opens_otherwise(listener, candidate, current):
                    remedy = Remedy.RECONFIGURE
                what = f"listener {listener.name}: {core_of(error.words)}"
                replay.answers[listener.name] = Finding(VERDICT, what, remedy)
            else:
                replay.answers[listener.name] = None

    async def _is_judged(self, client: Admin, number: int, listener: BrokerListener) -> bool:
        """Return whether the broker looks at the stores of a listener: it takes anything of one that it does not have.

        Where it does not show which it has, it is asked about files that are not there.
        """
        if self._node.facts is not None:
            known = self._node.known(listener)
            return known is not None and known.protocol.is_tls
        try:
            await client.alter(number, paths(listener, NOWHERE), validate_only=True)
        except KafkaRefusedError:
            return True
        return False

    async def _opens_otherwise(
        self, listener: BrokerListener, candidate: Generation, current: Generation | None
    ) -> bool:
        """Return whether a store is made with another password or in another format than the one before it.

        Kafka would have to be told of either, and takes no password and no type as it runs.
        """
        if current is None:
            return False
        opened = self._tools.store.opened
        for store in (listener.keystore, listener.truststore):
            if store is not None:
                try:
                    before = await opened(current.number, store.name)
                except StoreError:
                    return True
                after = await opened(candidate.number, store.name)
                # Java opens PKCS12 as JKS and JKS as PKCS12; PEM is another matter.
                is_pem = [one.format is StoreFormat.PEM for one in (before, after)]
                if is_pem[0] != is_pem[1] or before.encrypted != after.encrypted:
                    return True
        return False

    # --- after the switch ------------------------------------------------------------------

    async def reload(self, generation: Generation) -> None:
        """Set the stable paths again, which has the broker read every file that has changed; raise `ReloadError`.

        Its success says that the broker was told, and nothing of what it thinks of the files.
        """
        cluster = self._node.cluster
        if cluster is None:
            return
        values: dict[str, str] = {}
        for listener in self._spec.listeners:
            values |= paths(listener, None)
        try:
            try:
                await self._tell(cluster, generation, values)
            except KafkaUnavailableError as error:
                before = await self._before(generation) if error.reason in {CERTIFICATE_REFUSED, NOT_TRUSTED} else None
                if before is None:
                    raise
                # A broker that does not take the new leaf must be told of the files all the same: what its
                # listeners serve then refutes them.
                await self._tell(cluster, before, values)
        except KafkaError as error:
            raise ReloadError(
                f"the broker of {self._wanted.name} was not told: {error.what}", advice=error.advice
            ) from error
        except MaterialError as error:
            raise ReloadError(f"no login at {cluster.name}: {error.what}", advice=error.advice) from error

    async def _tell(self, cluster: Cluster, shown_as: Generation, values: dict[str, str]) -> None:
        shown = await self._node.credentials(cluster, shown_as, shown_as)
        async with admin(cluster, shown) as client:
            await client.alter(await self._node.number(client), values)

    async def _before(self, generation: Generation) -> Generation | None:
        """Return the newest older generation with another leaf or other anchors, whose leaf has not ended."""
        disk, now = await self._tools.store.read(), self._tools.clock()
        older = (one for one in disk.kept if one.number < generation.number and one.leaf.not_after > now)
        return next((one for one in older if (one.leaf, one.anchors) != (generation.leaf, generation.anchors)), None)

    async def look(self, current: Generation, before: Generation | None, *, closely: bool) -> Look:
        """Read how the broker is configured, and shake hands with each listener until it uses the generation."""
        shown = None
        with contextlib.suppress(StoreError):  # without its key a leaf cannot be shown, and the listeners serve theirs
            shown = await self._tools.store.credentials(current.number)
        # A broker that was told a moment ago has more to do than to answer questions: its listeners come first.
        is_known = self._node.facts is not None
        trouble = "" if is_known else await self._asked(current)
        async with asyncio.TaskGroup() as group:
            looks = [
                group.create_task(self._closely(listener, current, before, shown, closely=closely, trouble=trouble))
                for listener in self._spec.listeners
            ]
        served = tuple(look.result() for look in looks)
        trouble = await self._asked(current) if is_known else trouble
        remarks = self._node.remarks(current)
        if trouble:
            remarks += (f"the broker cannot be asked: {trouble}",)
        return Look(served, self._node.facts, await in_thread(self._node.started_at), remarks)

    async def _asked(self, current: Generation) -> str:
        """Read how the broker is configured; return why that was not possible."""
        cluster = self._node.cluster
        if cluster is None:
            return ""
        try:
            shown = await self._node.credentials(cluster, current, current)
            async with admin(cluster, shown) as client:
                await self._node.learn(client)
        except (KafkaError, MaterialError) as error:
            return error.diagnosis()
        return ""

    async def _closely(  # noqa: PLR0913 - what a proof is made of
        self,
        listener: BrokerListener,
        current: Generation,
        before: Generation | None,
        shown: Credentials | None,
        *,
        closely: bool,
        trouble: str,
    ) -> Served:
        known = self._node.known(listener)
        asks = known.asks if known else None

        def is_proven(served: Served) -> bool:
            return listener_proof.verdict(served, listener, current, before, asks=asks)[0] is Verdict.PROVEN

        threads = known.network_threads if known else 1
        patience = Patience(ROUNDS * threads if closely else threads, self._spec.within)
        return await self._node.visit(listener, is_proven, patience, shown, trouble)

    async def restart(self, generation: Generation) -> None:
        """Run the restart command; raise `ReloadError` when it fails."""
        if self._tools.restart is not None:
            await self._tools.restart.reload(generation)

    async def examine(self, current: Generation | None) -> tuple[Examined, ...]:
        """Ask whether login, rights and files will do, with nothing changed."""
        cluster = self._node.cluster
        if cluster is None:
            return ()
        return await examine(self._node, cluster, self._spec, current)
