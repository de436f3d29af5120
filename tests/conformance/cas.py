"""The CAs that one suite judges: the embedded one, a real OpenBao, and AWS Private CA's test server."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from unittest.mock import patch

from agent.core.identity import KeyAlgorithm
from agent.core.issuer_spec import AwsAccess, AwsPcaSpec, LocalCaSpec
from agent.issuers.aws.issuer import AwsPca
from agent.issuers.local.signer import Signer
from agent.issuers.local_ca import LocalCa
from agent.issuers.vault import Vault
from tests.servers.openbao import OpenBao, openbao
from tests.servers.pca import Pca, pca

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from agent.core.generation import Issued, Order, Pending
    from agent.ports import CertificateIssuer, Note

NAMES = ("local_ca", "vault", "aws_pca")
NETWORKED = ("vault", "aws_pca")
"""Those that are asked over a network."""

WITHIN = timedelta(seconds=20)
ALL_KEYS = frozenset(KeyAlgorithm)


@dataclass
class Clock:
    """The time of this host, moved by what a test says."""

    offset: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC) + self.offset


@dataclass
class Tested:
    """A CA that runs, and the issuer that asks it.

    `keys` are those that it certifies. `secrets` are what no message may name.
    """

    name: str
    issuer: CertificateIssuer
    keys: frozenset[KeyAlgorithm]
    counting: Callable[[], Awaitable[int]] = field(repr=False)
    making: Callable[[str], CertificateIssuer] | None = field(default=None, repr=False)
    address: str = ""
    """Where the CA is; empty for one that is not over a network."""
    authority: str = ""
    """What AWS calls the CA; empty for others."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    orders: dict[str, Order] = field(default_factory=dict)
    """What stands on disk of each order, by its token."""
    server: OpenBao | Pca | None = field(default=None, repr=False)
    clock: Clock = field(default_factory=Clock)
    """That of the issuers."""

    def later(self, span: timedelta) -> None:
        """Have time pass for issuer and CA, where the CA goes by a clock that can be moved: AWS's test server."""
        if isinstance(self.server, Pca):
            self.server.advance(span)
            self.clock.offset += span

    async def issue(
        self,
        pending: Pending,
        *,
        by: CertificateIssuer | None = None,
        within: timedelta = WITHIN,
        first: Note | None = None,
        then: Note | None = None,
    ) -> Issued:
        """Have it issued, as the daemon does: with the order that stands on disk.

        `first` is told of each order before it does, `then` once it does.
        """

        async def note(order: Order) -> None:
            if first is not None:
                await first(order)
            self.orders[pending.token] = order
            if then is not None:
                await then(order)

        kept = replace(pending, order=self.orders.get(pending.token, pending.order))
        return await (by or self.issuer).issue(kept, note=note, within=within)

    async def count(self) -> int:
        """Return how many certificates the CA has given; only differences mean something."""
        return await self.counting()

    @asynccontextmanager
    async def at(self, url: str) -> AsyncIterator[CertificateIssuer]:
        """Open another issuer of the same CA behind another address."""
        assert self.making is not None, f"{self.name} is asked over no network"
        issuer = self.making(url)
        try:
            yield issuer
        finally:
            await issuer.close()


@asynccontextmanager
async def tested(name: str, folder: Path) -> AsyncIterator[Tested]:
    """Have one of `NAMES` run, with its files below a folder."""
    async with {"local_ca": _local, "vault": _vault, "aws_pca": _aws}[name](folder) as ca:
        try:
            yield ca
        finally:
            await ca.issuer.close()


@asynccontextmanager
async def _local(folder: Path) -> AsyncIterator[Tested]:
    """Make an embedded CA, and count what its keys sign: it keeps no book of its own."""
    signatures = []
    sign = Signer.sign

    def counted(*args: object, **kwargs: object) -> object:
        signatures.append(1)
        return sign(*args, **kwargs)  # type: ignore[arg-type]  # they are those of `sign`

    async def count() -> int:
        return len(signatures)

    issuer = LocalCa(LocalCaSpec("local_ca", folder / "ca"), Clock())
    with patch.object(Signer, "sign", counted):
        await issuer.anchors()
        yield Tested("local_ca", issuer, ALL_KEYS, count)


@asynccontextmanager
async def _vault(folder: Path) -> AsyncIterator[Tested]:
    """Run OpenBao with a role that stores what it signs."""
    async with openbao(folder) as bao:
        await bao.set_role(no_store=False, allow_wildcard_certificates=True)
        await bao.write("pki/issue/kafka", common_name="first.example.com", key_type="ec")  # or the list were a 404

        async def count() -> int:
            return len((await bao.call("LIST", "pki/certs"))["data"]["keys"])

        def make(url: str) -> Vault:
            return Vault(bao.spec(addresses=(url,)), Clock())

        token = (await asyncio.to_thread(bao.token_file.read_text)).strip()
        secrets = (token, bao.root_token)
        yield Tested("vault", make(bao.address), ALL_KEYS, count, make, bao.address, secrets=secrets, server=bao)


@asynccontextmanager
async def _aws(folder: Path) -> AsyncIterator[Tested]:
    """Run AWS Private CA's test server with a subordinate CA; the credentials are this process's."""
    async with pca() as server:
        authority, clock = await server.make_ca(), Clock()

        async def count() -> int:
            return len(server.issued)

        def make(url: str) -> AwsPca:
            access = AwsAccess(endpoint=url, sts_endpoint=url)
            return AwsPca(AwsPcaSpec("aws_pca", authority, access, calls_per_second=100.0), clock)

        with credentials_of(server, folder):
            yield Tested(
                "aws_pca",
                make(server.endpoint),
                ALL_KEYS - {KeyAlgorithm.ED25519},
                count,
                make,
                server.endpoint,
                authority,
                (server.credentials.secret_key,),
                server=server,
                clock=clock,
            )


@contextmanager
def credentials_of(server: Pca, folder: Path) -> Iterator[None]:
    """Have this process's variables of AWS be those of the server's user alone, and put them back."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    files = {
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
    }
    with patch.dict(os.environ, own | files | server.environment(), clear=True):
        yield
