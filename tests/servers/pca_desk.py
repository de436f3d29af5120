"""A CA at the AWS test server and a client that asks it, for the tests of the server itself."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.material import make_request, san_extension
from tests.servers.pca import Pca, pca
from tests.servers.sigv4 import Credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
SUBJECT = "CN=kafka1.example.com,OU=Brokers,O=MyOrg"
TEMPLATES = "arn:aws:acm-pca:::template"


@dataclass
class Desk:
    """A server with one CA and a client of it."""

    server: Pca
    arn: str
    client: Any

    async def issue(self, **changes: Any) -> str:
        """Order a certificate for three days by the default template, changed as told; return its ARN."""
        if "template" in changes:
            changes["TemplateArn"] = f"{TEMPLATES}/{changes.pop('template')}/V1"
        values = {
            "CertificateAuthorityArn": self.arn,
            "Csr": make_csr(),
            "SigningAlgorithm": "SHA256WITHECDSA",
            "Validity": {"Type": "DAYS", "Value": 3},
        }
        arn: str = (await self.client.issue_certificate(**(values | changes)))["CertificateArn"]
        return arn

    async def get(self, arn: str) -> list[x509.Certificate]:
        """Fetch a certificate with its chain."""
        told = await self.client.get_certificate(CertificateAuthorityArn=self.arn, CertificateArn=arn)
        return x509.load_pem_x509_certificates("\n".join((told["Certificate"], told["CertificateChain"])).encode())

    async def leaf(self, **changes: Any) -> x509.Certificate:
        """Order a certificate and fetch it."""
        return (await self.get(await self.issue(**changes)))[0]

    async def describe(self) -> dict[str, Any]:
        """Return what the service says of the CA."""
        told = await self.client.describe_certificate_authority(CertificateAuthorityArn=self.arn)
        about: dict[str, Any] = told["CertificateAuthority"]
        return about


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """Serve with a CA on P-256 below a root, asked by the long-lived user."""
    async with pca() as server, server.client() as client:
        yield Desk(server, await server.make_ca(), client)


def make_csr(
    subject: str = SUBJECT,
    *,
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
    sans: bool = True,
) -> bytes:
    """Return a CSR in PEM, of a host that wants three kinds of names."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string(subject))
    if sans:
        names = make_request(uri=("spiffe://example.com/kafka1",)).sans
        builder = builder.add_extension(san_extension(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


@contextmanager
def refused(code: str, words: str = "", status: int = 400) -> Iterator[None]:
    """Expect the service to answer with this error."""
    with pytest.raises(ClientError) as raised:
        yield
    answer = raised.value.response
    assert answer["Error"]["Code"] == code, answer
    assert words in answer["Error"]["Message"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status


def usages(certificate: x509.Certificate) -> list[Any]:
    """Return the extended key usages, none where there is no such extension."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def dns_names(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names of the SAN."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def about(one: datetime, other: datetime) -> bool:
    """Whether two instants are as near as a test is fast."""
    return abs(one - other) < timedelta(seconds=20)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the server's thread does."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the server has no event for this loop
            await asyncio.sleep(0.01)


def session_of(answer: dict[str, Any]) -> Credentials:
    """Return the credentials of an answer of STS."""
    told = answer["Credentials"]
    return Credentials(told["AccessKeyId"], told["SecretAccessKey"], told["SessionToken"])
