"""CAs whose certificates a test chooses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from tests.conformance.lies import Pki, texts_of
from tests.material import Ca
from tests.servers.hostile import answers, hostile
from tests.servers.pca import Pca

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from agent.ports import CertificateIssuer
    from tests.conformance.cas import Tested
    from tests.servers.hostile import Heard


@dataclass(frozen=True)
class Liar:
    """A CA that answers as it is told, and the issuer that asks it."""

    issuer: CertificateIssuer
    pki: Pki
    say: Callable[[object, object], None] = field(repr=False)
    """Have every certificate answered so: leaf and chain, which should be PEM."""


@asynccontextmanager
async def liar(ca: Tested) -> AsyncIterator[Liar]:
    """Have a CA lie: Vault by a server in its place, AWS by what it sends of its good answers."""
    async with (_aws if isinstance(ca.server, Pca) else _vault)(ca) as lying:
        yield lying


@asynccontextmanager
async def _aws(ca: Tested) -> AsyncIterator[Liar]:
    server = ca.server
    assert isinstance(server, Pca)
    authority = server.authority(ca.authority)
    chain = [Certificate.from_der(one.public_bytes(Encoding.DER)) for one in authority.chain]
    assert isinstance(authority.signing_key, ec.EllipticCurvePrivateKey)

    def say(leaf: object, above: object) -> None:
        server.faults.lies["GetCertificate"] = lambda _good: {"Certificate": leaf, "CertificateChain": above}

    try:
        yield Liar(ca.issuer, Pki(Ca(chain[0], authority.signing_key), tuple(chain[1:])), say)
    finally:
        server.faults.clear()


@asynccontextmanager
async def _vault(ca: Tested) -> AsyncIterator[Liar]:
    pki = Pki.make()
    chain = texts_of((pki.issuer.certificate, pki.issuer.certificate, *pki.above))[1]
    said: dict[str, Any] = {}

    async def behave(request: Heard, writer: asyncio.StreamWriter) -> None:
        if request.method == "GET":
            sends_chain = answers(200, chain.encode(), content_type="application/pem-certificate-chain")
            await sends_chain(request, writer)
        else:
            await answers(200, {"data": said, "warnings": None})(request, writer)

    def say(leaf: object, above: object) -> None:
        said.update({"certificate": leaf, "issuing_ca": above, "ca_chain": [above], "serial_number": "01"})

    async with hostile(behave) as server, ca.at(server.address) as issuer:
        yield Liar(issuer, pki, say)
