"""The `application.yml` of Spring Boot, which passes what stands below `spring.kafka` to Kafka's Java client."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.clientconfig import java_stores
from agent.clientconfig.wording import head, protocol
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    from agent.clientconfig.java_stores import JavaStore
    from agent.clientconfig.passwords import Passwords
    from agent.core.files import ReaderConfiguration

LEFT_TO_USER = "The SASL half is left to you: sasl.mechanism and sasl.jaas.config in spring.kafka.properties."


def client(wanted: ReaderConfiguration, directory: PurePath, passwords: Passwords) -> str:
    """Return the file, for `spring.config.import`; raise `MaterialError` for a password that Spring would expand."""
    lines = head(wanted, LEFT_TO_USER)
    lines += [
        "spring:",
        "  kafka:",
        "    security:",
        _line(6, "protocol", protocol(wanted)),
        "    ssl:",
    ]
    if wanted.keystore is not None:
        lines += _store("key-store", java_stores.keystore(wanted.keystore, directory, passwords))
    if wanted.truststore is not None:
        lines += _store("trust-store", java_stores.truststore(wanted.truststore, directory, passwords))
    lines += ["    properties:", _line(6, "ssl.endpoint.identification.algorithm", "https")]
    return "".join(line + "\n" for line in lines)


def _store(name: str, store: JavaStore) -> Iterator[str]:
    yield _line(6, f"{name}-type", store.type)
    # A location is a URL, whose reader takes %, # and ? for syntax.
    yield _line(6, f"{name}-location", "file:" + quote(str(store.location)))
    if store.password is not None:
        yield _line(6, f"{name}-password", store.password)
    if store.key_password is not None:
        yield _line(6, "key-password", store.key_password)


def _line(indent: int, key: str, value: str) -> str:
    if "${" in value:
        raise MaterialError(
            f"{key} cannot be written into Spring's application.yml: Spring would expand the ${{ in it",
            advice="choose a password without ${",
        )
    return f"{' ' * indent}{key}: {_quoted(value)}"


def _quoted(text: str) -> str:
    """Return a scalar in double quotes, which YAML 1.1 and 1.2 read alike; all but printable ASCII is escaped."""
    return '"' + "".join(map(_sign, text)) + '"'


def _sign(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    if " " <= sign <= "~":
        return sign
    return f"\\u{ord(sign):04x}" if ord(sign) <= 0xFFFF else f"\\U{ord(sign):08x}"
