"""The shape of the settings of Kafka: clusters, brokers that are told, and whom a certificate stands for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from agent.core.kafka_spec import NodeRole, SecurityProtocol
from agent.settings.part import Part
from agent.settings.scalars import LISTENER_NAME, Endpoint, PathName, Span

LARGEST_NODE_ID = 2**31 - 1

_PROTOCOLS = [str(one).lower() for one in SecurityProtocol]


def _protocol(value: Any) -> Any:
    """Take the name in either case; what is none is left for its field to refuse."""
    if isinstance(value, str) and value.upper() not in {*SecurityProtocol}:
        raise ValueError(f"{value[:40]!r} is not known: write one of {', '.join(_PROTOCOLS)}")
    return value.upper() if isinstance(value, str) else value


ProtocolName = Annotated[
    SecurityProtocol,
    BeforeValidator(_protocol),
    WithJsonSchema({"type": "string", "enum": [*_PROTOCOLS, *SecurityProtocol]}),
]


class SaslPart(Part):
    """A login by name and password."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: str = Field(min_length=1)
    password_file: PathName | None = None
    password_environment: str | None = None


class ClusterPart(Part):
    """How the agent itself talks to a Kafka cluster."""

    bootstrap: list[Endpoint] = Field(min_length=1, description="Addresses of brokers, tried in turn.")
    security_protocol: ProtocolName | None = Field(None, description="By default ssl; sasl_ssl where `sasl` is given.")
    identity: str | None = Field(
        None, description="The identity whose certificate is shown; by default the one whose broker is told."
    )
    certificate: PathName | None = Field(None, description="A certificate to show in its place: leaf and chain in PEM.")
    key: PathName | None = Field(None, description="Its private key in PEM, not encrypted.")
    ca_file: PathName | None = Field(
        None, description="CA certificates that brokers are verified with; by default those of its truststore."
    )
    sasl: SaslPart | None = None
    verify_host_name: bool = Field(True, description="Compare the name that is connected to with the certificate.")
    timeout: Span = Field("30s", validate_default=True, description="Longest time for one request.")


class PrincipalPart(Part):
    """What keeps a renewal from changing the principal that ACLs name."""

    rules: str | None = Field(
        None, min_length=1, description="`ssl.principal.mapping.rules`; by default those of the broker that is told."
    )
    allow_change: bool = Field(False, description="Renew although Kafka would see another principal.")


class BrokerListenerPart(Part):
    """The files that a listener reads, by the paths that the broker sees."""

    keystore: PathName | None = Field(None, description="A name among `files`, or the broker's path of that file.")
    truststore: PathName | None = Field(None, description="A name among `files`, or the broker's path of that file.")
    address: Endpoint | None = Field(None, description="Where it is looked at; by default as it is advertised.")


class RestartPart(Part):
    """A command that restarts the broker."""

    argv: list[str] = Field(min_length=1, description="Program and arguments; no shell.")
    timeout: Span = Field("2m", validate_default=True)


class KafkaBrokerPart(Part):
    """A Kafka broker that is told of new files without a restart, and asked before."""

    type: Literal["kafka_broker"]
    cluster: str | None = Field(None, description="One of `clusters`; a controller needs none.")
    node_id: int | None = Field(
        None, ge=0, le=LARGEST_NODE_ID, description="`node.id`; by default found by the listeners' addresses."
    )
    role: NodeRole = Field(NodeRole.BROKER, description="controller: for a node that is no broker.")
    listeners: dict[str, BrokerListenerPart] = Field(
        min_length=1, description="By their names.", json_schema_extra={"propertyNames": {"pattern": LISTENER_NAME}}
    )
    within: Span = Field("30s", validate_default=True, description="How long they may take to serve a new leaf.")
    preflight: bool = Field(True, description="Have the broker judge new files before they are switched.")
    restart: RestartPart | None = Field(None, description="Run where Kafka cannot reload, and only if it is set.")
    pid_file: PathName | None = Field(None, description="File with the broker's process number.")
