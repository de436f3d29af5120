"""The shape of the settings; the JSON Schema for editors is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from agent.core.anchors import Acceptance
from agent.core.configuration import LogFormat
from agent.core.identity import KeyAlgorithm, Usage
from agent.settings.files_parts import FilesPart
from agent.settings.issuer_parts import IssuerPart
from agent.settings.kafka_parts import ClusterPart, KafkaBrokerPart, PrincipalPart
from agent.settings.part import Part
from agent.settings.rotation_parts import RotationPart, WindowPart
from agent.settings.scalars import (
    DnsName,
    Endpoint,
    IpAddress,
    KeyName,
    PathName,
    Span,
    Uri,
)

BRANCHED = {"files": 2, "subject": 1, "auth": 1, "reload": 2}
"""The keys of a part that hold a union, and where in the location of a mistake its branch is named."""


class HttpPart(Part):
    """The local HTTP endpoint and the admin socket."""

    listen: Endpoint = Field("127.0.0.1:9847", description="Address of /livez, /readyz, /healthz, /metrics, /status.")
    allowed_hosts: list[str] = Field([], description="Host headers that are answered beside those of loopback.")
    admin_socket: PathName | None = Field(Path("/run/cert-agent/admin.sock"), description="Socket of the acting verbs.")
    admin_group: str | None = Field(None, description="Group whose members may use the admin socket.")


class LogPart(Part):
    """How the log is written."""

    format: LogFormat = Field(LogFormat.AUTO, description="text for people, json for machines, auto: by the terminal.")


class SubjectPart(Part):
    """The subject as attributes; encoded C, ST, L, O, OU, CN."""

    common_name: str | None = None
    organizational_unit: list[str] = Field([])
    organization: str | None = None
    locality: str | None = None
    state: str | None = None
    country: str | None = Field(None, pattern="^[A-Z]{2}$")


SubjectUnion = Annotated[
    Annotated[str, Tag("text")] | Annotated[SubjectPart, Tag("mapping")],
    Discriminator(lambda value: "mapping" if isinstance(value, dict | SubjectPart) else "text"),
]


class SansPart(Part):
    """Subject alternative names."""

    dns: list[DnsName] = Field([])
    ip: list[IpAddress] = Field([])
    uri: list[Uri] = Field([])


class KeyPart(Part):
    """The private key."""

    algorithm: KeyName = Field("ec-p256", json_schema_extra={"enum": [*KeyAlgorithm]})
    reuse: bool = Field(False, description="Keep the key at a renewal; by default each leaf has a new one.")


class PeerTrustPart(Part):
    """A source of trust anchors: `issuer`, `files` or `system`."""

    issuer: str | None = Field(None, description="The anchors of a named issuer.")
    files: PathName | None = Field(None, description="A file in PEM, PKCS12 or JKS, or a folder of such.")
    password_file: PathName | None = Field(None, description="With `files`: the password of their PKCS12 and JKS.")
    password_environment: str | None = Field(None, description="The variable that holds it, in place of a file.")
    system: Literal[True] | None = Field(None, description="The CA bundle of the operating system.")


class TrustPart(PeerTrustPart):
    """A source of what this host trusts, and whether what it shows enters truststores at once."""

    accept: Acceptance | None = Field(
        None, description="ask: a person approves each anchor. By default only those that a CA merely lists."
    )


class CommandPart(Part):
    """A command that tells a reader to read its files again."""

    type: Literal["command"]
    argv: list[str] = Field(min_length=1, description="Program and arguments; no shell.")
    timeout: Span = Field("30s", validate_default=True)


ReloadPart = Annotated[CommandPart | KafkaBrokerPart, Field(discriminator="type")]


class ProvePart(Part):
    """A listener that must serve the new leaf."""

    address: Endpoint
    within: Span = Field("10s", validate_default=True, description="How long it may take to serve a new leaf.")


class IdentityPart(Part):
    """One identity of this host."""

    directory: PathName
    issuer: str
    subject: SubjectUnion = Field("", description="As Kafka prints it (CN=kafka1,OU=Brokers,O=MyOrg), or a mapping.")
    sans: SansPart = SansPart()
    usages: list[Usage] = Field([Usage.SERVER, Usage.CLIENT], min_length=1)
    key: KeyPart = KeyPart.model_construct(algorithm="ec-p256", reuse=False)
    lifetime: Span
    template: str | None = Field(
        None,
        pattern=r"^(arn:[a-z-]+:acm-pca:::template/)?[A-Za-z0-9_]+/V[0-9]+$",
        description="Template of AWS Private CA, if not the issuer's.",
    )
    renew_at: float | None = Field(None, gt=0, lt=1, description="Share of the lifetime at which it is renewed.")
    renew_before: Span | None = Field(None, description="Span before the end at which it is renewed.")
    files: list[FilesPart] = Field(min_length=1)
    trust: list[TrustPart] | None = Field(None, description="What this host trusts; by default its issuer's CA.")
    peer_trust: list[PeerTrustPart] | None = Field(
        None, description="What its peers trust; by default its issuer's CA."
    )
    principal: PrincipalPart = PrincipalPart.model_construct()
    reload: list[ReloadPart] = Field([])
    prove: list[ProvePart] = Field([])
    rotation: RotationPart = Field(default_factory=lambda: RotationPart.model_validate({}))
    windows: list[WindowPart] = Field([], description="When what readers use may change; by default at any time.")
    failover: str | None = Field(
        None, description="Issuer that is asked while the first is down and the leaf is near its end."
    )


class Settings(Part):
    """The configuration of kafka-cert-agent."""

    http: HttpPart = HttpPart()
    log: LogPart = LogPart()
    host: str | None = Field(
        None, description="The host's name, where it has none that lasts: slots are drawn from it."
    )
    issuers: dict[str, IssuerPart] = Field(min_length=1)
    clusters: dict[str, ClusterPart] = Field({}, description="The Kafka clusters that the agent itself talks to.")
    identities: dict[str, IdentityPart] = Field(min_length=1)


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the YAML file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}
