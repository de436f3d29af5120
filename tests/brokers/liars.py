"""A CA in memory that signs what it is asked for, or lies about it as a test says; and what people do to a broker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from agent.core.certificate import Certificate
from agent.core.generation import Issued
from agent.core.identity import EXTENDED_KEY_USAGE
from agent.core.issuer_status import IssuerStatus
from agent.errors import IssuerRefusedError
from agent.keystores import pem, private_key
from tests.material import BOTH, Ca, make_key, make_request, san_extension

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from agent.core.generation import Pending
    from agent.core.identity import Request, Usage
    from agent.core.issuer_status import Examined
    from agent.ports import Note
    from tests.brokers.host import BrokerHost

    Lie: TypeAlias = Callable[["MemoryCa", "Pending"], tuple[Certificate, ...]]

DAY = timedelta(days=1)


class MemoryCa:
    """A root with an intermediate; `lie` answers in its place, and `calls` counts what it was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        yesterday = datetime.now(UTC) - DAY
        self.root = Ca.root(f"CN={name} root,O=MyOrg", not_before=yesterday)
        self.intermediate = self.root.intermediate(f"CN={name} intermediate,O=MyOrg", not_before=yesterday)
        self.lie: Lie | None = None
        self.calls = 0

    def sign(self, asked: Asked) -> tuple[Certificate, ...]:
        """Return a leaf for what is asked, with the intermediate."""
        return asked.signed_by(self.intermediate), self.intermediate.certificate

    async def issue(self, pending: Pending, *, note: Note, within: timedelta) -> Issued:  # noqa: ARG002 - of the port
        """Sign, or lie."""
        self.calls += 1
        certificates = self.lie(self, pending) if self.lie else self.sign(Asked.by(pending))
        return Issued(certificates, datetime.now(UTC))

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the root."""
        return (self.root.certificate,)

    async def listed(self) -> tuple[Certificate, ...]:
        """Hold no other CA."""
        return ()

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:  # noqa: ARG002 - of the port
        """Revoke nothing."""
        raise IssuerRefusedError(f"{self.name} revokes nothing")

    async def tend(self) -> timedelta | None:
        """Hold no login."""
        return None

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:  # noqa: ARG002 - of the port
        """Find nothing."""
        return ()

    def status(self) -> IssuerStatus:
        """Return what there is to tell."""
        return IssuerStatus(self.name, "memory")

    async def close(self) -> None:
        """Hold nothing, give nothing back."""


@dataclass(frozen=True)
class Asked:
    """What a leaf is to say; `starts` and `lasts` count from now."""

    request: Request
    public: ec.EllipticCurvePublicKey = field(repr=False)
    starts: timedelta = timedelta(minutes=-1)
    lasts: timedelta = 30 * DAY
    ca: bool = False

    @classmethod
    def by(cls, pending: Pending) -> Asked:
        """Return what was asked for."""
        public = x509.load_der_x509_csr(pending.csr).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        return cls(pending.request, public)

    def signed_by(self, ca: Ca) -> Certificate:
        """Sign it with a CA, which looks at nothing."""
        now, request = datetime.now(UTC), self.request
        usages = [ObjectIdentifier(EXTENDED_KEY_USAGE[usage]) for usage in sorted(request.usages)]
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(ca.certificate.subject)
            .public_key(self.public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.starts)
            .not_valid_after(now + self.lasts)
            .add_extension(x509.BasicConstraints(ca=self.ca, path_length=None), critical=True)
            .add_extension(san_extension(request.sans), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        return Certificate.from_der(builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.DER))


def says(change: Callable[[Asked], Asked]) -> Lie:
    """Return a lie about what stands in the leaf."""
    return lambda ca, pending: ca.sign(change(Asked.by(pending)))


def another_key(ca: MemoryCa, pending: Pending) -> tuple[Certificate, ...]:
    """Certify a key that nobody asked for."""
    key = make_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return ca.sign(replace(Asked.by(pending), public=key.public_key()))


def of_a_stranger(_ca: MemoryCa, pending: Pending) -> tuple[Certificate, ...]:
    """Sign by a CA that nobody trusts."""
    return MemoryCa("stranger").sign(Asked.by(pending))


def without_chain(ca: MemoryCa, pending: Pending) -> tuple[Certificate, ...]:
    """Leave the intermediate out."""
    return ca.sign(Asked.by(pending))[:1]


def upside_down(ca: MemoryCa, pending: Pending) -> tuple[Certificate, ...]:
    """Put the CA in the leaf's place."""
    return ca.sign(Asked.by(pending))[::-1]


def a_login(ca: MemoryCa, subject: str, usages: frozenset[Usage] = BOTH) -> bytes:
    """Return a key with its leaf and chain, in PEM."""
    key = make_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return private_key.to_pem(key) + pem.encode(ca.sign(Asked(make_request(subject, usages=usages), key.public_key())))


# --- what people do to a broker -------------------------------------------------------------


async def set_values(host: BrokerHost, values: Mapping[str, str | None]) -> None:
    """Set dynamic values of the broker as `kafka-configs` does; None deletes one."""
    entries = [
        ConfigEntry(
            key,
            value or "",
            incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
        )
        for key, value in values.items()
    ]
    resource = ConfigResource(ResourceType.BROKER, str(host.node.number), incremental_configs=entries)
    client = host.client()
    for done in client.incremental_alter_configs([resource]).values():
        await asyncio.wrap_future(done)


async def allow(
    host: BrokerHost, principal: str, *operations: str, may: AclPermissionType = AclPermissionType.ALLOW
) -> None:
    """Give somebody rights on the cluster, or forbid them; `ALTER_CONFIGS` brings `DESCRIBE_CONFIGS` with it."""
    bindings = [
        AclBinding(
            ResourceType.BROKER,
            "kafka-cluster",
            ResourcePatternType.LITERAL,
            f"User:{principal}",
            "*",
            AclOperation[operation],
            may,
        )
        for operation in operations
    ]
    client = host.client()
    for made in client.create_acls(bindings).values():
        await asyncio.wrap_future(made)


async def take_rights(host: BrokerHost) -> None:
    """Take all rights that were given."""
    binding = (ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    every = AclBindingFilter(*binding)  # type: ignore[arg-type]  # None means any, and the types do not know
    client = host.client()
    for gone in client.delete_acls([every]).values():
        await asyncio.wrap_future(gone)
