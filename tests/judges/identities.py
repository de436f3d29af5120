"""Identities that are valid now, in the files of every format, for programs that go by the clock of the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.clientconfig.render import Passwords, render
from agent.core.files import (
    Encryption,
    JksFiles,
    PemFiles,
    Pkcs12Files,
    ReaderConfiguration,
    ReaderKind,
    StoreFiles,
    StorePassword,
)
from agent.core.identity import KeyAlgorithm
from agent.core.secret import Secret
from agent.keystores import pem, private_key
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from agent.core.certificate import Certificate
    from agent.keystores.material import PrivateKey

PASSWORD = r"correct horse = battery: #1!"  # noqa: S105 - made up for the tests, with what syntaxes take for theirs
_SOMEWHERE = StorePassword(Secret(environment="STORE_PASSWORD"))

PEM = PemFiles("tls.crt", "tls.key", "combined.pem", "ca.pem")
PEM_ENCRYPTED = PemFiles("locked.crt", "locked.key", "locked.pem", "locked-ca.pem", _SOMEWHERE, Encryption.COMPATIBLE)
PEM_STRONG = PemFiles("strong.crt", "strong.key", "strong.pem", "strong-ca.pem", _SOMEWHERE)
PKCS12 = Pkcs12Files(_SOMEWHERE, "keystore.p12", "truststore.p12")
PKCS12_OLD = Pkcs12Files(_SOMEWHERE, "old.p12", "old-truststore.p12", encryption=Encryption.COMPATIBLE)
JKS = JksFiles(_SOMEWHERE, "keystore.jks", "truststore.jks")


@dataclass(frozen=True)
class Identity:
    """A key with leaf, intermediate and anchor, and the directory that its files are written to."""

    directory: Path
    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]

    def put(self, group: StoreFiles) -> None:
        """Write the files of a group."""
        for name, content in self._contents(group):
            (self.directory / name).write_bytes(content)

    def put_configuration(
        self,
        kind: ReaderKind,
        keystore: StoreFiles | None,
        truststore: StoreFiles | None,
        /,
        password: str = PASSWORD,
        **changes: Any,
    ) -> Path:
        """Render a configuration that points at them and return its path."""
        name = f"{kind}.{'yml' if kind is ReaderKind.SPRING else 'properties'}"
        wanted = ReaderConfiguration(kind, name, keystore, truststore, **changes)
        path = self.directory / name
        path.write_bytes(render(wanted, self.directory, Passwords(password, password)))
        return path

    def _contents(self, group: StoreFiles) -> list[tuple[str, bytes]]:
        match group:
            case PemFiles():
                password = PASSWORD if group.password else None
                key = private_key.to_pem(self.key, password, group.encryption)
                chain = pem.encode(self.chain)
                wanted = {
                    group.certificate: chain,
                    group.key: key,
                    group.combined: key + chain,
                    group.truststore: pem.encode(self.anchors),
                }
            case Pkcs12Files():
                from agent.keystores import pkcs12

                wanted = {
                    group.keystore: pkcs12.keystore(
                        self.key, self.chain, group.alias, PASSWORD, encryption=group.encryption
                    ),
                    group.truststore: pkcs12.truststore(self.anchors, PASSWORD, encryption=group.encryption),
                }
            case JksFiles():
                from agent.keystores import jks

                now = datetime.now(UTC)
                wanted = {
                    group.keystore: jks.keystore(self.key, self.chain, group.alias, PASSWORD, now=now),
                    group.truststore: jks.truststore(self.anchors, PASSWORD, now=now),
                }
        return [(name, content) for name, content in wanted.items() if name]


def make_identity(
    directory: Path, algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256, *, root: Ca | None = None, **request: Any
) -> Identity:
    """Make an identity below an intermediate of `root`, with the directory that its files go to."""
    directory.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    yesterday = now - timedelta(days=1)
    root = root or make_root()
    intermediate = root.intermediate(not_before=yesterday, not_after=now + timedelta(days=100))
    key = make_key(algorithm)
    leaf = intermediate.leaf(make_request(key=algorithm, **request), key, not_before=yesterday)
    return Identity(directory, key, (leaf, intermediate.certificate), (root.certificate,))


def make_root(name: str = "CN=Test Root,O=MyOrg") -> Ca:
    """Make an anchor that is valid now."""
    return Ca.root(name, not_before=datetime.now(UTC) - timedelta(days=1))
