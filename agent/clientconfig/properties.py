"""The properties files of Kafka's Java side: clients, the command line tools, a broker's listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clientconfig import java_stores
from agent.clientconfig.wording import DO_NOT_EDIT, LEFT_TO_CLIENT, comments, head, protocol
from agent.core.kafka_spec import listener_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    from agent.clientconfig.java_stores import JavaStore
    from agent.clientconfig.passwords import Passwords
    from agent.core.files import ReaderConfiguration

_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r", "\f": r"\f"} | {sign: "\\" + sign for sign in "\\=:#! "}


def client(wanted: ReaderConfiguration, directory: PurePath, passwords: Passwords) -> str:
    """Return `client.properties`, for Java clients and for `--command-config` of the tools."""
    lines = head(wanted, LEFT_TO_CLIENT)
    lines.append(_line("security.protocol", protocol(wanted)))
    lines += _stores(wanted, directory, passwords, prefix="")
    return _text(lines)


def server(wanted: ReaderConfiguration, directory: PurePath, passwords: Passwords) -> str:
    """Return the lines of `server.properties` that a listener needs; they are static, and stay over renewals."""
    prefix = listener_prefix(wanted.listener) if wanted.listener else ""
    lines = comments(
        DO_NOT_EDIT,
        "",
        "Kafka reads one server.properties and has no include: put these lines into it once.",
        "They stay as they are over renewals. `listeners` and `listener.security.protocol.map` are left to you.",
    )
    if wanted.sasl:
        lines += comments(
            "The SASL half is left to you: sasl.enabled.mechanisms, and for each mechanism",
            f"{prefix or 'listener.name.NAME.'}MECHANISM.sasl.jaas.config.",
        )
    lines += _stores(wanted, directory, passwords, prefix)
    if wanted.sasl:
        lines += comments(
            "A listener with SASL_SSL asks for client certificates only when ssl.client.auth has its prefix;"
            if prefix
            else "Without a listener's prefix ssl.client.auth is for listeners with SSL alone:",
            "without the prefix Kafka ignores it there."
            if prefix
            else "those with SASL_SSL ask for no client certificate, whatever it says.",
        )
    lines.append(_line(prefix + "ssl.client.auth", wanted.client_auth))
    if wanted.protocols:
        lines.append(_line(prefix + "ssl.enabled.protocols", ",".join(wanted.protocols)))
    if wanted.ciphers:
        lines.append(_line(prefix + "ssl.cipher.suites", ",".join(wanted.ciphers)))
    return _text(lines)


def _stores(wanted: ReaderConfiguration, directory: PurePath, passwords: Passwords, prefix: str) -> Iterator[str]:
    if wanted.keystore is not None:
        store = java_stores.keystore(wanted.keystore, directory, passwords)
        yield from _store(prefix + "ssl.keystore", store)
        if store.key_password is not None:
            yield _line(prefix + "ssl.key.password", store.key_password)
    if wanted.truststore is not None:
        yield from _store(prefix + "ssl.truststore", java_stores.truststore(wanted.truststore, directory, passwords))
    # A broker is a client too, of the other brokers.
    yield _line(prefix + "ssl.endpoint.identification.algorithm", "https")


def _store(key: str, store: JavaStore) -> Iterator[str]:
    yield _line(f"{key}.type", store.type)
    yield _line(f"{key}.location", str(store.location))
    if store.password is not None:
        yield _line(f"{key}.password", store.password)


def _line(key: str, value: str) -> str:
    """Return a line that `java.util.Properties` reads back as it was."""
    return f"{_escaped(key, spaces=True)}={_escaped(value, spaces=False)}"


def _escaped(text: str, *, spaces: bool) -> str:
    """Escape what `java.util.Properties` would take for syntax; a key keeps all its `spaces` only when each is escaped.

    It reads the file as Latin-1, and a character beyond the Basic Multilingual Plane as two units of UTF-16.
    """
    written = []
    for place, sign in enumerate(text):
        if sign == " " and place and not spaces:
            written.append(sign)
        elif sign in _ESCAPES:
            written.append(_ESCAPES[sign])
        elif " " < sign <= "~":
            written.append(sign)
        else:
            units = sign.encode("utf-16-be", "surrogatepass")
            written += [f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)]
    return "".join(written)


def _text(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)
