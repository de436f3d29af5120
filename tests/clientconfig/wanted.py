"""Groups of files and a rendering of what points at them, for the tests of this folder."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from agent.clientconfig.render import Passwords, render
from agent.core.files import JksFiles, PemFiles, Pkcs12Files, ReaderConfiguration, StorePassword
from agent.core.secret import Secret

if TYPE_CHECKING:
    from agent.core.files import ReaderKind, StoreFiles

DIRECTORY = PurePosixPath("/etc/kafka/tls/kafka1")
SOMEWHERE = StorePassword(Secret(environment="STORE_PASSWORD"))

PEM = PemFiles("tls.crt", "tls.key", "combined.pem", "ca.pem")
LOCKED = PemFiles("tls.crt", "tls.key", "combined.pem", "ca.pem", SOMEWHERE)
SPLIT = PemFiles("tls.crt", "tls.key", truststore="ca.pem")
PKCS12 = Pkcs12Files(SOMEWHERE, "keystore.p12", "truststore.p12")
JKS = JksFiles(SOMEWHERE, "keystore.jks", "truststore.jks")


def rendered(
    kind: ReaderKind, keystore: StoreFiles | None, truststore: StoreFiles | None, /, **changes: Any
) -> list[str]:
    """Return the lines that are no comments, with the passwords `key word` and `trust word`."""
    return [line for line in text(kind, keystore, truststore, **changes).splitlines() if not line.startswith("#")]


def text(kind: ReaderKind, keystore: StoreFiles | None, truststore: StoreFiles | None, /, **changes: Any) -> str:
    """Return the whole file."""
    wanted = ReaderConfiguration(kind, "file", keystore, truststore, **changes)
    return render(wanted, DIRECTORY, Passwords("key word", "trust word")).decode()
