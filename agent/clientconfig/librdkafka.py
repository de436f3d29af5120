"""The `key=value` file of librdkafka's clients: confluent-kafka for Python and Go, `kcat -F`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent.clientconfig.passwords import keystore_password
from agent.clientconfig.wording import head, protocol
from agent.core.files import JksFiles, PemFiles, Pkcs12Files
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    from agent.clientconfig.passwords import Passwords
    from agent.core.files import ReaderConfiguration, StoreFiles

LEFT_TO_USER = "The SASL half is left to you: sasl.mechanism, sasl.username, sasl.password or what it takes."

_MANGLED = re.compile(r"\A\s|\s\Z|\\[=:]|[^ -~\u00a0-\U0010ffff]")
"""kcat takes the backslash before `=` and `:` away, and all readers the white space around; nothing can be escaped."""


def client(wanted: ReaderConfiguration, directory: PurePath, passwords: Passwords) -> str:
    """Return the file; raise `MaterialError` for a password that such a file cannot hold."""
    lines = head(wanted, LEFT_TO_USER)
    lines.append(_line("security.protocol", protocol(wanted)))
    if wanted.keystore is not None:
        lines += _keystore(wanted.keystore, directory, passwords)
    if wanted.truststore is not None:
        anchors = wanted.truststore.truststore if isinstance(wanted.truststore, PemFiles) else None
        lines.append(_location("ssl.ca.location", directory, anchors))
    lines.append(_line("enable.ssl.certificate.verification", "true"))
    # The default since librdkafka 2.0; those before it compare no names unless they are told to.
    lines.append(_line("ssl.endpoint.identification.algorithm", "https"))
    return "".join(line + "\n" for line in lines)


def _keystore(group: StoreFiles, directory: PurePath, passwords: Passwords) -> Iterator[str]:
    password = keystore_password(group, passwords)
    match group:
        case Pkcs12Files():
            yield _location("ssl.keystore.location", directory, group.keystore)
            yield _line("ssl.keystore.password", password or "")
        case PemFiles():
            # One file read twice cannot be torn by a renewal as two files can.
            yield _location("ssl.certificate.location", directory, group.combined or group.certificate)
            yield _location("ssl.key.location", directory, group.combined or group.key)
            if password is not None:
                yield _line("ssl.key.password", password)
        case JksFiles():
            raise ValueError("librdkafka reads no JKS")


def _location(key: str, directory: PurePath, name: str | None) -> str:
    if name is None:
        raise ValueError("there is no such file for librdkafka to be pointed at")
    return _line(key, str(directory / name))


def _line(key: str, value: str) -> str:
    if _MANGLED.search(value):
        raise MaterialError(
            f"{key} cannot be written into a configuration of librdkafka: its readers would read another value",
            advice=r"choose one that neither begins nor ends with a space and holds no line end, no \= and no \:",
        )
    return f"{key}={value}"
