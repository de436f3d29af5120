"""Keys and certificates made for one test: a small CA whose every statement can be chosen."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from agent.core.anchors import Anchors, Origin, Sighting
from agent.core.certificate import Certificate, Sans
from agent.core.identity import EXTENDED_KEY_USAGE, KeyAlgorithm, Request, Usage

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from agent.core.generation import Pending
    from agent.keystores.material import PrivateKey

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
"""The moment at which the tests of pure rules take place."""

BOTH = frozenset({Usage.SERVER, Usage.CLIENT})


def make_key(algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> PrivateKey:
    """Make a private key."""
    match algorithm:
        case KeyAlgorithm.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.EC_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-")))


def make_request(
    subject: str = "CN=kafka1.example.com,OU=Brokers,O=MyOrg",
    *,
    dns: tuple[str, ...] = ("kafka1.example.com", "localhost"),
    ip: tuple[str, ...] = ("127.0.0.1",),
    uri: tuple[str, ...] = (),
    usages: frozenset[Usage] = BOTH,
    key: KeyAlgorithm = KeyAlgorithm.EC_P256,
    lifetime: timedelta = timedelta(days=30),
) -> Request:
    """Make a request as the settings would."""
    return Request(
        subject=x509.Name.from_rfc4514_string(subject),
        sans=Sans.of(dns=dns, ip=ip, uri=uri),
        usages=usages,
        key=key,
        lifetime=lifetime,
    )


def san_extension(sans: Sans) -> x509.SubjectAlternativeName:
    """Return the extension that carries the names."""
    return x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in sans.dns),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in sans.ip),
            *(x509.UniformResourceIdentifier(uri) for uri in sans.uri),
        ]
    )


@dataclass(frozen=True)
class Ca:
    """A CA certificate with its key; `Ca.root()` and `.intermediate()` make them."""

    certificate: Certificate
    key: PrivateKey = field(repr=False)

    @classmethod
    def root(
        cls,
        name: str = "CN=Test Root,O=MyOrg",
        *,
        not_before: datetime = NOW - timedelta(days=365),
        not_after: datetime = NOW + timedelta(days=3650),
        key: PrivateKey | None = None,
    ) -> Ca:
        """Make a self-signed trust anchor."""
        key = key or make_key()
        subject = x509.Name.from_rfc4514_string(name)
        builder = _builder(subject, subject, key, not_before, not_after)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_ca_usage(), critical=True)
        return cls(Certificate.from_der(_sign(builder, key)), key)

    def intermediate(
        self,
        name: str = "CN=Test Intermediate,O=MyOrg",
        *,
        not_before: datetime = NOW - timedelta(days=300),
        not_after: datetime = NOW + timedelta(days=1000),
        path_length: int | None = None,
        key: PrivateKey | None = None,
    ) -> Ca:
        """Make a CA below this one."""
        key = key or make_key()
        subject = x509.Name.from_rfc4514_string(name)
        builder = _builder(subject, self.certificate.subject, key, not_before, not_after)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        builder = builder.add_extension(_ca_usage(), critical=True)
        return Ca(Certificate.from_der(_sign(builder, self.key)), key)

    def leaf(
        self,
        request: Request,
        key: PrivateKey,
        *,
        not_before: datetime = NOW - timedelta(minutes=1),
        not_after: datetime | None = None,
        ca: bool = False,
    ) -> Certificate:
        """Sign a leaf for what is asked; `ca` makes it the CA that no host should be."""
        end = not_after or not_before + request.lifetime
        builder = _builder(request.subject, self.certificate.subject, key, not_before, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if request.sans:
            builder = builder.add_extension(san_extension(request.sans), critical=not request.subject.rdns)
        if request.usages:
            oids = [ObjectIdentifier(EXTENDED_KEY_USAGE[usage]) for usage in sorted(request.usages)]
            builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
        return Certificate.from_der(_sign(builder, self.key))

    def leaf_for(self, pending: Pending) -> Certificate:
        """Sign a pending CSR as a good CA does."""
        csr = x509.load_der_x509_csr(pending.csr)
        public = csr.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey)
        start = NOW - timedelta(minutes=1)
        end = start + pending.request.lifetime
        builder = _builder_for(pending.request.subject, self.certificate.subject, public, start, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(san_extension(pending.request.sans), critical=False)
        oids = [ObjectIdentifier(EXTENDED_KEY_USAGE[usage]) for usage in sorted(pending.request.usages)]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
        return Certificate.from_der(_sign(builder, self.key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return _builder_for(subject, issuer, key.public_key(), not_before, not_after)


def _builder_for(
    subject: x509.Name,
    issuer: x509.Name,
    public: CertificatePublicKeyTypes,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def shown(*anchors: Certificate, origin: Origin = Origin.OWN, source: str = "issuer ca", trouble: str = "") -> Anchors:
    """Return what sources of trust show together: these anchors, those of the issuer's own CA by default."""
    return Anchors(tuple(Sighting(anchor, source, origin) for anchor in anchors), trouble)
