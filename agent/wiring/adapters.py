"""Make the concrete adapters that a configuration asks for, each once, and keep what a new one still wants."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from agent.core.command import CommandReload
from agent.core.configuration import FileAnchors, IssuerAnchors, SystemAnchors
from agent.core.issuer_spec import AwsPcaSpec, LocalCaSpec, ManualSpec, VaultSpec
from agent.daemon.edges import Edges
from agent.daemon.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta
    from pathlib import Path

    from agent.core.configuration import Configuration, ReloadSpec, TrustSpec, Wanted
    from agent.core.issuer_spec import IssuerSpec
    from agent.core.issuer_status import Examined
    from agent.core.kafka_spec import Cluster, KafkaBrokerReload
    from agent.ports import AnchorSource, CertificateIssuer, Reloader, Store, Visitor, Witness
    from agent.reload.kafka_broker import KafkaBroker


class Adapters:
    """The adapters of one configuration; issuers and sources of trust are shared by its identities."""

    def __init__(self, configuration: Configuration, clock: Callable[[], datetime], *, read_only: bool = False) -> None:
        self.configuration = configuration
        self._clock = clock
        self._read_only = read_only
        self._issuers: dict[str, CertificateIssuer] = {}
        self._sources: dict[TrustSpec, AnchorSource] = {}

    def succeed(self, before: Adapters) -> list[CertificateIssuer]:
        """Take over what an earlier configuration has in common with this one; return the issuers left behind."""
        left = []
        for name, issuer in before._issuers.items():
            if before.configuration.issuers[name] == self.configuration.issuers.get(name):
                self._issuers[name] = issuer
            else:
                left.append(issuer)
        for spec, source in before._sources.items():
            if not isinstance(spec, IssuerAnchors) or spec.issuer in self._issuers:
                self._sources[spec] = source
        return left

    def specs(self, wanted: Wanted) -> dict[str, IssuerSpec]:
        """Return the settings of every issuer that an identity refers to."""
        names = {wanted.issuer, *([wanted.failover] if wanted.failover is not None else [])}
        names |= {trust.issuer for trust in (*wanted.trust, *wanted.peer_trust) if isinstance(trust, IssuerAnchors)}
        return {name: self.configuration.issuers[name] for name in names}

    def keeper(self, wanted: Wanted) -> Keeper:
        """Make the keeper of an identity, with all that it needs of the world."""
        from agent.stores.directory import DirectoryStore
        from agent.wire.handshake import Handshaker

        store = DirectoryStore(wanted, read_only=self._read_only)
        broker = self._broker(wanted, wanted.broker, store) if wanted.broker else None
        edges = Edges(
            store=store,
            issuer=self.issuer(wanted.issuer),
            trust=[self.source(spec) for spec in wanted.trust],
            peer_trust=[self.source(spec) for spec in wanted.peer_trust],
            reloaders=[
                broker if broker is not None and spec is wanted.broker else _command(wanted, spec)
                for spec in wanted.reload
            ],
            prober=Handshaker(self._clock),
            clock=self._clock,
            broker=broker,
            witness=self._witness(wanted, store),
            failover=None if wanted.failover is None else self.issuer(wanted.failover),
        )
        return Keeper(wanted, edges)

    async def examine_broker(self, wanted: Wanted, spec: KafkaBrokerReload) -> tuple[Examined, ...]:
        """Ask a broker whether it will take renewals of an identity."""
        from agent.stores.directory import DirectoryStore

        store = DirectoryStore(wanted, read_only=True)
        disk = await store.read()
        return await self._broker(wanted, spec, store).examine(disk.current)

    def _broker(self, wanted: Wanted, spec: KafkaBrokerReload, store: Store) -> KafkaBroker:
        from agent.reload.kafka_broker import KafkaBroker
        from agent.reload.kafka_node import Tools
        from agent.wire.visit import Visitor

        login_store = self._login_store(wanted, spec.cluster, store)
        restart = None if spec.restart is None else _command(wanted, spec.restart)
        return KafkaBroker(wanted, spec, Tools(store, login_store, Visitor(self._clock), self._clock, restart))

    def _witness(self, wanted: Wanted, store: Store) -> Witness:
        from agent.peers.witness import PeerWitness, Tools

        rotation = wanted.rotation
        cluster = rotation.cluster or (wanted.broker.cluster if wanted.broker else None)
        is_looking = cluster is not None or wanted.broker is not None or bool(rotation.listeners)
        login_store = self._login_store(wanted, cluster, store)
        return PeerWitness(wanted, Tools(login_store, self._visitor() if is_looking else None, self._clock))

    def _visitor(self) -> Visitor | None:
        """Return what looks at listeners; None where pyOpenSSL is not installed."""
        try:
            from agent.wire.visit import Visitor
        except ImportError:
            return None
        return Visitor(self._clock)

    def _login_store(self, wanted: Wanted, cluster: Cluster | None, store: Store) -> Store:
        """Return the store of the identity whose certificate the agent shows a cluster, `store` where it is its own."""
        from agent.stores.directory import DirectoryStore

        shown = cluster.identity if cluster else None
        if shown is None or shown == wanted.name:
            return store
        return DirectoryStore(self.configuration.identities[shown], read_only=True)

    def issuer(self, name: str) -> CertificateIssuer:
        """Return the issuer of that name."""
        if name not in self._issuers:
            self._issuers[name] = self._make_issuer(self.configuration.issuers[name])
        return self._issuers[name]

    def source(self, spec: TrustSpec) -> AnchorSource:
        """Return the source of trust anchors that the settings name; what differs in `accept` alone asks as one."""
        spec = self._meant(spec)
        if spec not in self._sources:
            self._sources[spec] = self._make_source(spec)
        return self._sources[spec]

    def watched(self, identities: Iterable[Wanted]) -> frozenset[Path]:
        """Return the files and folders whose change means other anchors, or that they open now."""
        named = (self._meant(spec) for wanted in identities for spec in (*wanted.trust, *wanted.peer_trust))
        specs = [spec for spec in named if isinstance(spec, FileAnchors)]
        passwords = (spec.password.file for spec in specs if spec.password is not None)
        return frozenset(path for path in (*(spec.path for spec in specs), *passwords) if path is not None)

    async def tend(self) -> timedelta | None:
        """Do what is due to keep the logins at the CAs alive; return when to come again, None for not at all."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(issuer.tend()) for issuer in tuple(self._issuers.values())]
        return min((wish for task in tasks if (wish := task.result()) is not None), default=None)

    async def close(self) -> None:
        """Give back every connection and login."""
        await close(self._issuers.values())

    def _meant(self, spec: TrustSpec) -> TrustSpec:
        """Return the file that holds the anchors of a CA which only people can ask: it is read and watched as any."""
        issuer = self.configuration.issuers.get(spec.issuer) if isinstance(spec, IssuerAnchors) else None
        file = _file_of(issuer) if isinstance(issuer, ManualSpec) else None
        return spec if file is None else replace(file, accept=spec.accept)

    def _make_issuer(self, spec: IssuerSpec) -> CertificateIssuer:
        match spec:
            case LocalCaSpec():
                from agent.issuers.local_ca import LocalCa

                return LocalCa(spec, self._clock, read_only=self._read_only)
            case AwsPcaSpec():
                from agent.issuers.aws.issuer import AwsPca

                return AwsPca(spec, self._clock)
            case VaultSpec():
                from agent.issuers.vault import Vault

                return Vault(spec, self._clock)
            case ManualSpec():
                from agent.issuers.manual import Manual

                file = _file_of(spec)
                return Manual(spec.name, self._clock, None if file is None else self.source(file))
            case _:
                assert_never(spec)

    def _make_source(self, spec: TrustSpec) -> AnchorSource:
        if spec.accept is not None:
            from agent.trust.accepting import AcceptingSource

            return AcceptingSource(self.source(replace(spec, accept=None)), spec.accept)
        match spec:
            case IssuerAnchors(issuer=name):
                from agent.trust.issuer import IssuerAnchorSource

                return IssuerAnchorSource(self.issuer(name))
            case FileAnchors(path=path, password=password):
                from agent.trust.files import FileAnchorSource

                return FileAnchorSource(path, password)
            case SystemAnchors():
                from agent.trust.system import SystemAnchorSource

                return SystemAnchorSource()
            case _:
                assert_never(spec)


def _command(wanted: Wanted, spec: ReloadSpec) -> Reloader:
    from agent.reload.command import CommandReloader

    if not isinstance(spec, CommandReload):
        raise TypeError("an identity has one broker to be told")
    return CommandReloader(wanted.name, wanted.directory, spec)


def _file_of(issuer: ManualSpec) -> FileAnchors | None:
    return None if issuer.anchors is None else FileAnchors(issuer.anchors, issuer.password)


async def close(issuers: Iterable[CertificateIssuer]) -> None:
    """Close issuers side by side."""
    async with asyncio.TaskGroup() as group:
        for issuer in issuers:
            group.create_task(issuer.close())
