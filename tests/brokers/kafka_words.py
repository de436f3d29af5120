"""Bad keystores, and what Kafka says of each on a listener that brokers meet at and on one that clients do.

Measured with 4.3.1 and 3.9.2 on Java 17, which say the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from agent.core.certificate import Sans
from agent.core.identity import Usage
from agent.core.kafka_spec import Cluster, LoginFiles
from agent.core.proof import Remedy
from agent.core.reload_rules import remedy_of
from agent.errors import KafkaRefusedError
from agent.kafka.admin import admin
from agent.keystores import pem, private_key
from tests.brokers.host import LISTENERS
from tests.brokers.liars import DAY, Asked, MemoryCa
from tests.material import make_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.kafka.admin import Admin
    from agent.keystores.material import PrivateKey
    from tests.brokers.scene import Scene

AROUND = (
    "Invalid value org.apache.kafka.common.config.ConfigException: Validation of dynamic config update of SSLFactory "
    "failed: {} for configuration Invalid dynamic configuration"
)
"""What stands around the reason in an answer."""

_CONFIGURATION = "org.apache.kafka.common.config.ConfigException: Keystore "
_HANDSHAKE = "javax.net.ssl.SSLHandshakeException: "
_NOT_VALID_NOW = (
    _HANDSHAKE + "PKIX path validation failed: java.security.cert.CertPathValidatorException: validity check failed"
)
_UNTRUSTED = _HANDSHAKE + "Empty client certificate chain"
_NO_USE = _HANDSHAKE + "Extended key usage does not permit use for TLS {} authentication"
UNREADABLE = {
    "PKCS12": "org.apache.kafka.common.KafkaException: Failed to load SSL keystore {} of type PKCS12",
    "PEM": "org.apache.kafka.common.errors.InvalidConfigurationException: Failed to load PEM SSL keystore {}",
}
"""Of a file that is missing, not a store, or not opened by the password of server.properties."""
_UNREADABLE = "(unreadable)"


class Maker:
    """Makes keystores of the kind that a broker reads, for the subject and the SANs that are in use."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.key = _key()
        self.asked = Asked(scene.request, self.key.public_key())

    def good(self, **changes: object) -> bytes:
        """Make one of the CA in use; changes are those of what stands in the leaf."""
        return self.store(self._scene.local.sign(replace(self.asked, **changes)))  # type: ignore[arg-type]  # its fields

    def other(self, **changes: object) -> bytes:
        """Make one for another request."""
        return self.good(request=replace(self.asked.request, **changes))  # type: ignore[arg-type]  # its fields

    def of_a_stranger(self) -> bytes:
        """Make one of a CA that nobody trusts."""
        return self.store(MemoryCa("stranger").sign(self.asked))

    def without_chain(self) -> bytes:
        """Make one that lacks the intermediate."""
        return self.store(self._scene.local.sign(self.asked)[:1])

    def store(self, chain: tuple[Certificate, ...], password: str | None = None) -> bytes:
        """Make one of a chain."""
        if self._scene.host.kind == "PEM":
            return private_key.to_pem(self.key) + pem.encode(chain)
        return _pkcs12(self.key, chain, password or self._scene.host.password)

    def locked(self) -> bytes:
        """Make one with another password."""
        return self.store(self._scene.local.sign(self.asked), "another one")


def _key() -> ec.EllipticCurvePrivateKey:
    key = make_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _pkcs12(key: PrivateKey, chain: tuple[Certificate, ...], password: str) -> bytes:
    """Make a store that opens quickly."""
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(1000)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(hashes.SHA256())
        .build(password.encode())
    )
    leaf, *others = (one.x509 for one in chain)
    return pkcs12.serialize_key_and_certificates(b"kafka", key, leaf, others, encryption)


@dataclass(frozen=True)
class Verdicts:
    """A keystore (None: no file) and Kafka's reasons, a regular expression each; empty where it takes it."""

    make: Callable[[Maker], bytes | None] = field(repr=False)
    between_brokers: str = ""
    for_clients: str = ""
    remedy: Remedy | None = None
    kinds: tuple[str, ...] = ("PKCS12", "PEM")


def _both(make: Callable[[Maker], bytes | None], words: str, remedy: Remedy, *kinds: str) -> Verdicts:
    return Verdicts(make, words, words, remedy, kinds or ("PKCS12", "PEM"))


def _strange_key(maker: Maker) -> bytes:
    chain = maker.good()
    return private_key.to_pem(_key()) + chain[chain.index(b"-----BEGIN CERTIFICATE") :]


_SANS_IN_USE = r"(\[(2, localhost|2, kafka1\.example\.com|7, 127\.0\.0\.1)\](, )?){3}"

VERDICTS: dict[str, Verdicts] = {
    "the same again": Verdicts(lambda maker: maker.good()),
    "a SAN more": Verdicts(
        lambda maker: maker.other(
            sans=Sans.of(dns=("localhost", "kafka1.example.com", "kafka.example.com"), ip=("127.0.0.1",))
        )
    ),
    "fewer SANs": _both(
        lambda maker: maker.other(sans=Sans.of(dns=("localhost",))),
        _CONFIGURATION + r"SubjectAltNames do not match:  existing=\{alias=kafka, SAN=\[" + _SANS_IN_USE + r"\]\}, "
        r"new=\{alias=kafka, SAN=\[\[2, localhost\]\]\}",
        Remedy.RESTART,
    ),
    "another subject": _both(
        lambda maker: maker.other(subject=x509.Name.from_rfc4514_string("CN=kafka9,O=MyOrg")),
        _CONFIGURATION + r"DistinguishedName does not match:  "
        r"existing=\{alias=kafka, DN=CN=kafka1, OU=Brokers, O=MyOrg\}, new=\{alias=kafka, DN=CN=kafka9, O=MyOrg\}",
        Remedy.RESTART,
    ),
    "a subject in other letters": Verdicts(
        lambda maker: maker.other(subject=x509.Name.from_rfc4514_string("CN=KAFKA1,OU=Brokers,O=MyOrg"))
    ),
    "of a stranger": Verdicts(lambda maker: maker.of_a_stranger(), _UNTRUSTED, remedy=Remedy.TRUST),
    "without its chain": Verdicts(lambda maker: maker.without_chain(), _UNTRUSTED, remedy=Remedy.TRUST),
    "expired": Verdicts(lambda maker: maker.good(starts=-2 * DAY, lasts=-DAY), _NOT_VALID_NOW, remedy=Remedy.NEW_LEAF),
    "not valid yet": Verdicts(lambda maker: maker.good(starts=DAY), _NOT_VALID_NOW, remedy=Remedy.NEW_LEAF),
    "for clients alone": Verdicts(
        lambda maker: maker.other(usages=frozenset({Usage.CLIENT})), _NO_USE.format("server"), remedy=Remedy.NEW_LEAF
    ),
    "for servers alone": Verdicts(
        lambda maker: maker.other(usages=frozenset({Usage.SERVER})), _NO_USE.format("client"), remedy=Remedy.NEW_LEAF
    ),
    "a CA": Verdicts(lambda maker: maker.good(ca=True)),
    "another key": Verdicts(
        _strange_key, _HANDSHAKE + "Invalid CertificateVerify signature", remedy=Remedy.NEW_LEAF, kinds=("PEM",)
    ),
    "another password": _both(lambda maker: maker.locked(), _UNREADABLE, Remedy.READABLE, "PKCS12"),
    "no store": _both(lambda _: b"come back tomorrow", _UNREADABLE, Remedy.READABLE),
    "an empty file": _both(lambda _: b"", _UNREADABLE, Remedy.READABLE),
    "no file": _both(lambda _: None, _UNREADABLE, Remedy.READABLE),
}
"""A key that is not the leaf's is nothing to the library that makes PKCS12; so it is tried in PEM."""


async def expect_verdicts(scene: Scene) -> None:
    """Have the broker of a scene validate each keystore on both listeners, and compare its words."""
    host, maker = scene.host, Maker(scene)
    folder = host.folder / "words"
    folder.mkdir()
    async with admin(_cluster(scene), None) as client:
        for number, (name, wanted) in enumerate(VERDICTS.items()):
            if host.kind not in wanted.kinds:
                continue
            path, content = folder / f"keystore{number}", wanted.make(maker)
            if content is not None:
                path.write_bytes(content)
            for listener, words in zip(LISTENERS, (wanted.between_brokers, wanted.for_clients), strict=True):
                told = await _told(client, host.node.number, listener, path)
                reason = re.escape(UNREADABLE[host.kind].format(path)) if words == _UNREADABLE else words
                expected = re.escape(AROUND).replace(r"\{\}", f"({reason})") if words else ""
                assert re.fullmatch(expected, told), f"{name}, {listener}: {told!r} and not {expected!r}"
                assert not told or remedy_of(told) is wanted.remedy, f"{name}: {remedy_of(told)}"


def _cluster(scene: Scene) -> Cluster:
    host = scene.host
    pair, anchors = (
        host.directory / name for name in (("keystore", "truststore") if host.kind == "PEM" else ("tls.pem", "ca.pem"))
    )
    return Cluster(
        "test",
        (host.node.address("MTLS"),),
        files=LoginFiles(pair, pair),
        ca_file=anchors,
        within=timedelta(minutes=1),
    )


async def _told(client: Admin, node: int, listener: str, path: Path) -> str:
    try:
        key = f"listener.name.{listener.lower()}.ssl.keystore.location"
        await client.alter(node, {key: str(path)}, validate_only=True)
    except KafkaRefusedError as error:
        return error.words
    return ""
