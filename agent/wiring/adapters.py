"""Make the concrete adapters that a configuration asks for, each once, and keep what a new one still wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from agent.core.configuration import FileAnchors, IssuerAnchors, SystemAnchors
from agent.core.issuer_spec import AwsPcaSpec, LocalCaSpec, ManualSpec, VaultSpec
from agent.daemon.edges import Edges
from agent.daemon.keeper import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta
    from pathlib import Path

    from agent.core.configuration import Configuration, TrustSpec, Wanted
    from agent.core.issuer_spec import IssuerSpec
    from agent.ports import AnchorSource, CertificateIssuer


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
        names = {wanted.issuer}
        names |= {trust.issuer for trust in (*wanted.trust, *wanted.peer_trust) if isinstance(trust, IssuerAnchors)}
        return {name: self.configuration.issuers[name] for name in names}

    def keeper(self, wanted: Wanted) -> Keeper:
        """Make the keeper of an identity, with all that it needs of the world."""
        from agent.stores.directory import DirectoryStore
        from agent.wire.handshake import Handshaker

        reloaders = []
        if wanted.reload:
            from agent.reload.command import CommandReloader

            reloaders = [CommandReloader(wanted.name, wanted.directory, spec) for spec in wanted.reload]
        edges = Edges(
            store=DirectoryStore(wanted, read_only=self._read_only),
            issuer=self.issuer(wanted.issuer),
            trust=[self.source(spec) for spec in wanted.trust],
            peer_trust=[self.source(spec) for spec in wanted.peer_trust],
            reloaders=reloaders,
            prober=Handshaker(self._clock),
            clock=self._clock,
        )
        return Keeper(wanted, edges)

    def issuer(self, name: str) -> CertificateIssuer:
        """Return the issuer of that name."""
        if name not in self._issuers:
            self._issuers[name] = self._make_issuer(self.configuration.issuers[name])
        return self._issuers[name]

    def source(self, spec: TrustSpec) -> AnchorSource:
        """Return the source of trust anchors that the settings name."""
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
        return file or spec

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


def _file_of(issuer: ManualSpec) -> FileAnchors | None:
    return None if issuer.anchors is None else FileAnchors(issuer.anchors, issuer.password)


async def close(issuers: Iterable[CertificateIssuer]) -> None:
    """Close issuers side by side."""
    async with asyncio.TaskGroup() as group:
        for issuer in issuers:
            group.create_task(issuer.close())
