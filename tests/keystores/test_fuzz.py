"""Bytes of every sort, sound stores with a little wrong among them: our readers refuse or read, and nothing else.

What they raise is a `MaterialError`, and what they read is bounded, so a minute's limit on a test is
never met. The longer runs are slow tests.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.core.files import Encryption
from agent.errors import MaterialError
from agent.keystores import jks, magic, opened, pem, pfx, pkcs12, private_key
from tests.keystores import parts
from tests.keystores.identities import PASSWORD, make_identity
from tests.material import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

_IDENTITY = make_identity()
_KEY, _CHAIN, _ANCHORS = _IDENTITY.key, _IDENTITY.chain, _IDENTITY.anchors
_PKCS8 = private_key.to_der(_KEY)
_BAGS = (
    parts.certificate_bag(_CHAIN[0].der, parts.key_id(b"1"), parts.alias("kafka")),
    parts.certificate_bag(_ANCHORS[0].der, parts.trusted(), parts.alias("root")),
)
_PARTS = (parts.plain(*_BAGS), parts.plain(parts.bag(pfx.PLAIN_KEY, _PKCS8, parts.key_id(b"1"))))


def reseal(content: bytes) -> bytes:
    """Return a JKS whose sum is right again, so that what is wrong is met further in."""
    return content[:-20] + jks._seal(content[:-20], PASSWORD)


STORES = {
    "pem": private_key.to_pem(_KEY) + pem.encode(_CHAIN),
    "encrypted pem": private_key.to_pem(_KEY, PASSWORD) + pem.encode(_CHAIN),
    "compatible pem": private_key.to_pem(_KEY, PASSWORD, Encryption.COMPATIBLE),
    "pkcs12": pkcs12.keystore(_KEY, _CHAIN, "kafka", PASSWORD),
    "compatible pkcs12": pkcs12.keystore(_KEY, _CHAIN, "kafka", PASSWORD, Encryption.COMPATIBLE),
    "pkcs12 truststore": pkcs12.truststore(_ANCHORS, PASSWORD, Encryption.COMPATIBLE),
    "pkcs12 in the clear": parts.store(*_PARTS, sealed=False),
    "pkcs12 of parts": parts.store(
        parts.encrypted(*_BAGS), parts.plain(parts.nested(parts.key_bag(_PKCS8, parts.key_id(b"1")))), sealed=False
    ),
    "jks": jks.keystore(_KEY, _CHAIN, "kafka", PASSWORD, now=NOW),
    "jks truststore": jks.truststore(_ANCHORS, PASSWORD, now=NOW),
}
READERS: tuple[Callable[[bytes], object], ...] = (
    lambda content: opened.open_store(content, PASSWORD),
    lambda content: opened.open_store(content, None),
    lambda content: opened.read_anchors(content, PASSWORD),
    lambda content: opened.read_anchors(content, None),
    pem.decode,
    lambda content: private_key.from_pem(content, PASSWORD),
    private_key.from_pem,
    private_key.from_der,
    lambda content: pkcs12.read_keystore(content, PASSWORD),
    lambda content: pkcs12.read_truststore(content, None),
    lambda content: jks.read_keystore(content, PASSWORD),
    lambda content: jks.read_truststore(content, None),
)
HEADS = st.sampled_from(
    [
        b"",
        magic.JKS + b"\0\0\0\2",
        magic.JCEKS,
        b"\x30\x80\2\1\3",
        b"\x30\x82\1\0\2\1\3",
        b"-----BEGIN PRIVATE KEY-----\n",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Draw a sound store of which some bytes were changed, doubled, left out or made lengths of gigabytes."""
    name = draw(st.sampled_from(sorted(STORES)))
    content = STORES[name]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        count = draw(st.sampled_from([1, 1, 2, 4, 30]))
        change = draw(st.sampled_from(["flip", "cut", "leave out", "double", "large", "other"]))
        piece = content[at : at + count]
        match change:
            case "flip":
                piece = bytes(byte ^ (1 << draw(st.integers(0, 7))) for byte in piece)
            case "cut":
                content, piece = content[:at], b""
            case "leave out":
                piece = b""
            case "double":
                piece *= draw(st.sampled_from([2, 50]))
            case "large":
                piece = draw(
                    st.sampled_from([b"\x84\xff\xff\xff\xff", b"\xff\xff\xff\xff", b"\x84\x7f\xff\xff\xff", b"\x80"])
                )
            case _:
                piece = draw(st.binary(max_size=8))
        content = content[:at] + piece + content[at + count :]
    return reseal(content) if name.startswith("jks") and draw(st.booleans()) else content


def all_read(content: bytes) -> None:
    """Have every reader read it."""
    for reader in READERS:
        with contextlib.suppress(MaterialError):
            reader(content)


QUICK = settings(deadline=None, max_examples=50, phases=[Phase.explicit, Phase.generate, Phase.shrink])
LONG = settings(deadline=None, max_examples=1_500, suppress_health_check=[HealthCheck.too_slow])


@QUICK
@given(content=mutated())
def test_readers_take_altered_stores_or_refuse_them(content: bytes) -> None:
    """A store with a few wrong bytes, lengths or pieces is read or refused by every reader."""
    all_read(content)


@QUICK
@given(head=HEADS, content=st.binary(max_size=300))
def test_readers_take_any_bytes_or_refuse_them(head: bytes, content: bytes) -> None:
    """So it is with bytes that never were a store, behind the first ones of each format."""
    all_read(head + content)
    all_read(reseal(head + content + bytes(20)))


@pytest.mark.slow
@pytest.mark.timeout(300)
@LONG
@given(content=mutated())
def test_readers_take_altered_stores_or_refuse_them_for_long(content: bytes) -> None:
    """The same many times more."""
    all_read(content)


@pytest.mark.slow
@LONG
@given(head=HEADS, content=st.binary(max_size=2_000))
def test_readers_take_any_bytes_or_refuse_them_for_long(head: bytes, content: bytes) -> None:
    """The same many times more."""
    all_read(head + content)
    all_read(reseal(head + content + bytes(20)))


@pytest.mark.parametrize(
    "piece",
    [
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN ",
        b"A",
        b"\x30\x80",
        b"\x30\x84\0\0\0\0",
        b"\xfe\xed\xfe\xed",
    ],
)
def test_readers_do_not_lose_themselves_in_megabytes(piece: bytes) -> None:
    """A file of one piece over and over is gone through once, and not from each of its places again."""
    all_read(piece * (3_000_000 // len(piece)))
