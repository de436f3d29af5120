"""How the agent logs in at a Kafka cluster, as librdkafka's configuration; keys are handed over in memory alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.distinguished_name import java_name
from agent.core.identity import ANY_EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE, Usage
from agent.core.kafka_spec import SecurityProtocol
from agent.errors import MaterialError
from agent.keystores import pem, private_key
from agent.net.bounded import read_at_most
from agent.net.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import TypeAlias

    from agent.core.certificate import Certificate
    from agent.core.credentials import Credentials
    from agent.core.kafka_spec import Cluster, LoginFiles

    Settings: TypeAlias = Mapping[str, str | int | float | bool]

LARGEST_FILE = 1024 * 1024
"""Bytes of a file of the login."""

TRIES = 3
"""How often a pair that is being written just now is read again."""

FIRST_PAUSE, LONGEST_PAUSE = 200, 2000
"""Milliseconds between two connections to a broker that takes none; librdkafka doubles them."""

LONGEST_CONNECTING = 5000
"""Milliseconds for a TCP connection with its handshakes, so that a host that drops packets leaves time for others."""

_CERTIFICATE, _KEY, _CAS = "ssl.certificate.pem", "ssl.key.pem", "ssl.ca.pem"
_PASSWORD = "sasl.password"  # noqa: S105 - the name of a key


def settings(cluster: Cluster, credentials: Credentials | None) -> dict[str, str | int | float | bool]:
    """Return librdkafka's configuration for one login; it blocks on the disk.

    It holds the key and the password, so it is neither logged nor kept. Raise `MaterialError`
    when a file or the password cannot be read, or does not hold what it should, or where no CA is
    known that could vouch for the brokers.
    """
    within = max(round(cluster.within.total_seconds() * 1000), 1000)
    found: dict[str, str | int | float | bool] = {
        "bootstrap.servers": ",".join(cluster.bootstrap),
        "client.id": "cert-agent",
        "security.protocol": cluster.protocol.value,
        "socket.timeout.ms": within,
        "socket.connection.setup.timeout.ms": min(within, LONGEST_CONNECTING),
        "api.version.request.timeout.ms": within,
        "reconnect.backoff.ms": FIRST_PAUSE,
        "reconnect.backoff.max.ms": LONGEST_PAUSE,
        "enable.metrics.push": False,
    }
    if cluster.protocol.is_tls:
        found |= _trusted(cluster, credentials) | _shown(cluster, credentials)
        # Kafka's clients verify the name by default (KIP-294), and librdkafka does as it is told.
        found["ssl.endpoint.identification.algorithm"] = "https" if cluster.verify_host_name else "none"
    if cluster.sasl is not None:
        found["sasl.mechanism"] = cluster.sasl.mechanism
        found["sasl.username"] = cluster.sasl.username
        found[_PASSWORD] = read_secret(cluster.sasl.password)
    return found


def secrets_of(found: Settings) -> tuple[str, ...]:
    """Return what of such a configuration no message may repeat."""
    return tuple(str(found[key]) for key in (_PASSWORD, _KEY) if key in found)


def anchors_of(found: Settings) -> str:
    """Return the CAs that the brokers are verified with, in PEM; empty where no TLS is spoken."""
    return str(found.get(_CAS, ""))


def principal_of(cluster: Cluster, found: Settings) -> str:
    """Return who the cluster takes the login for: the user name, else the DN of the certificate as Java prints it.

    `ssl.principal.mapping.rules` may make another of a DN.
    """
    if cluster.sasl is not None:
        return cluster.sasl.username
    shown = pem.decode(str(found.get(_CERTIFICATE, "")).encode())
    return java_name(shown[0].subject) if shown else "ANONYMOUS"


def _trusted(cluster: Cluster, credentials: Credentials | None) -> dict[str, str]:
    if cluster.ca_file is not None:
        anchors = _certificates(cluster.ca_file, _read(cluster.ca_file))
    else:
        anchors = credentials.anchors if credentials else ()
    if not anchors:
        # Without any, librdkafka would take the CAs of the system, and so half the world, for the cluster's.
        raise MaterialError(
            f"no CA is known that could vouch for the brokers of {cluster.name}",
            advice="set `ca_file` of the cluster, or give the identity a truststore",
        )
    return {_CAS: pem.encode(anchors).decode()}


def _shown(cluster: Cluster, credentials: Credentials | None) -> dict[str, str]:
    if cluster.files is not None:
        return _pair(cluster.files)
    if credentials is None:
        return {}
    # A password is login enough, and a server's certificate shown as a client's would be refused.
    if cluster.protocol is SecurityProtocol.SASL_SSL and not _is_client(credentials.leaf):
        return {}
    return {
        _CERTIFICATE: pem.encode(credentials.chain).decode(),
        _KEY: pem.block("PRIVATE KEY", credentials.key).decode(),
    }


def _is_client(leaf: Certificate) -> bool:
    allowed = leaf.extended_key_usage
    return allowed is None or bool(allowed & {ANY_EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE[Usage.CLIENT]})


def _pair(files: LoginFiles) -> dict[str, str]:
    """Return certificate and key of files that another may be renewing just now, one after the other."""
    for _ in range(TRIES):
        chain = _certificates(files.certificate, _read(files.certificate))
        content = _read(files.key)
        try:
            key = private_key.from_pem(content)
        except MaterialError as error:
            raise MaterialError(
                f"{files.key}: {error.what}", advice="write the key there in PEM, not encrypted, for the agent alone"
            ) from error
        if private_key.public_der(key) == chain[0].public_key:
            return {_CERTIFICATE: pem.encode(chain).decode(), _KEY: private_key.to_pem(key).decode()}
    raise MaterialError(
        f"{files.key} is not the key of the first certificate in {files.certificate}",
        advice="write the pair that belongs together",
    )


def _certificates(path: Path, content: bytes) -> tuple[Certificate, ...]:
    try:
        found = pem.decode(content)
    except MaterialError as error:
        raise MaterialError(f"{path}: {error.what}", advice=error.advice) from error
    if not found:
        raise MaterialError(f"{path} holds no certificate in PEM", advice="write the certificates there in PEM")
    return found


def _read(path: Path) -> bytes:
    return read_at_most(
        path, LARGEST_FILE, unreadable="make it readable by the agent's user", too_large="name the right file"
    )
