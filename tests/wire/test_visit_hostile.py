"""A close look at listeners that are no good ones: rude, endless, silent, boastful; bounded in time and memory."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.core.certificate import LARGEST_CERTIFICATE
from agent.core.credentials import Credentials
from agent.core.evidence import Verdict
from agent.core.identity import KeyAlgorithm
from agent.keystores import pem, private_key
from agent.wire.dialogue import LARGEST_DIALOGUE
from agent.wire.visit import Visitor
from tests.material import make_key, make_request
from tests.wire.listeners import NOW, TLS12, TLS13, Identity, kafka, listening, make_ca, read_to_end, say

if TYPE_CHECKING:
    from agent.core.evidence import Served
    from tests.wire.listeners import Call, Way

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=20)
SHORTLY = timedelta(milliseconds=600)
BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])

OUR_CA = make_ca()
SERVED, OURS = Identity.of(OUR_CA), Identity.of(OUR_CA)


async def _visit(
    address: str, wanted: Identity = SERVED, *, times: int = 3, within: timedelta = SOON, shown: Identity | None = OURS
) -> Served:
    return await Visitor(lambda: NOW).visit(
        "CLIENTS",
        address,
        proven=lambda served: served.fingerprint == wanted.fingerprint,
        times=times,
        within=within,
        shown=_credentials(shown),
    )


def _credentials(shown: Identity | None) -> Credentials | None:
    return shown.credentials if shown else None


# --- before the handshake is over


def _nothing(call: Call) -> None:
    read_to_end(call.plain)


def _hang_up(_call: Call) -> None:
    pass


def _reset(call: Call) -> None:
    call.plain.recv(1)
    call.reset(call.plain)


def _http(call: Call) -> None:
    call.plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    read_to_end(call.plain)


def _noise(call: Call) -> None:
    while True:
        call.plain.sendall(os.urandom(65_536))


def _endless_hello(call: Call) -> None:
    """Begin a message of 16 MB, in records as TLS has them."""
    call.plain.sendall(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(16_380))
    while True:
        call.plain.sendall(b"\x16\x03\x03\x40\x00" + bytes(16_384))


def _drip(call: Call) -> None:
    """Send a record byte by byte."""
    for byte in b"\x16\x03\x03\x40\x00\x02" + bytes(1000):
        call.plain.sendall(bytes([byte]))
        call.plain.settimeout(0.05)
        try:
            if not call.plain.recv(65_536):
                return
        except TimeoutError:
            pass


_HUGE = Identity(SERVED.credentials, SERVED.pem + pem.encode([OUR_CA.certificate]) * 500).context()
"""A chain of more than 100,000 bytes, which is what OpenSSL reads of one."""


def _huge_chain(call: Call) -> None:
    with call.tls(_HUGE) as tls:
        read_to_end(tls)


@pytest.mark.parametrize(
    ("way", "trouble"),
    [
        (_nothing, "no TLS handshake within"),
        (_drip, "no TLS handshake within"),
        (_hang_up, "the TLS handshake failed: "),
        (_reset, "the TLS handshake failed: [Errno 104] "),
        (_http, "the TLS handshake failed: wrong version number"),
        (_noise, "the TLS handshake failed: "),
        (_endless_hello, "the TLS handshake failed: "),
        (_huge_chain, "the TLS handshake failed: "),
    ],
)
async def test_visit_is_unknown_where_no_handshake_comes(way: Way, trouble: str) -> None:
    """Silence, noise, floods, another protocol and a closed door leave the proof unknown and say why."""
    with listening(way) as listener:
        served = await _visit(listener.address, within=SHORTLY)
    assert served.verdict(SERVED.fingerprint) is Verdict.UNKNOWN
    assert served.trouble.startswith(trouble)
    assert served.took_leaf is Verdict.UNKNOWN


# --- after it


@pytest.mark.slow
@BOTH
async def test_visit_proves_the_leaf_of_a_listener_that_does_not_answer(version: ssl.TLSVersion) -> None:
    """Silence leaves open whether our leaf was taken, is waited for once, and takes nothing from the served leaf."""
    with listening(say(SERVED.context(version, trusted=OUR_CA), b"")) as listener:
        served = await _visit(listener.address, times=6, within=timedelta(seconds=2))
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, Verdict.UNKNOWN)
    assert listener.calls == 6
    assert len(listener.requests) == 1


@pytest.mark.slow
async def test_visit_asks_again_where_only_an_answer_proves() -> None:
    """A broker that is slow for once is asked anew when it is the answer that counts."""
    silent, answering = say(SERVED.context(trusted=OUR_CA), b""), kafka(SERVED.context(trusted=OUR_CA))
    with listening(lambda call: (silent if call.number == 1 else answering)(call)) as listener:
        served = await Visitor(lambda: NOW).visit(
            "CLIENTS",
            listener.address,
            proven=lambda served: served.took_leaf is Verdict.PROVEN,
            times=2,
            within=SOON,
            shown=OURS.credentials,
        )
    assert (served.took_leaf, listener.calls) == (Verdict.PROVEN, 3)


@BOTH
@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x06\x00\x00\x00\x01\x00\x23", bytes(16_000_000)]
)
async def test_visit_takes_no_other_answer_for_one_of_kafka(version: ssl.TLSVersion, answer: bytes) -> None:
    """Another protocol, another request's answer and a flood say nothing of our leaf."""
    with listening(say(SERVED.context(version, trusted=OUR_CA), answer)) as listener:
        served = await _visit(listener.address)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, Verdict.UNKNOWN)


@BOTH
@pytest.mark.parametrize("answer", [b"\x00\x00", b"\x00\x00\x00\x06cer"])
async def test_visit_takes_the_end_of_the_connection_for_a_refusal(version: ssl.TLSVersion, answer: bytes) -> None:
    """A listener that says goodbye in place of an answer does not take our leaf: so Kafka treats a bad principal."""
    with listening(say(SERVED.context(version, trusted=OUR_CA), answer, then_hang_up=True)) as listener:
        served = await _visit(listener.address)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, Verdict.REFUTED)


@BOTH
async def test_visit_takes_a_polite_goodbye_for_a_refusal(version: ssl.TLSVersion) -> None:
    """So too where the listener closes TLS as it should be closed (RFC 8446, 6.1)."""

    def close(call: Call) -> None:
        with call.tls(SERVED.context(version, trusted=OUR_CA)) as tls:
            tls.recv(1024)
            tls.unwrap()

    with listening(close) as listener:
        served = await _visit(listener.address)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, Verdict.REFUTED)


@BOTH
async def test_visit_takes_a_reset_for_a_refusal(version: ssl.TLSVersion) -> None:
    """So too where the connection is broken off without a word."""

    def break_off(call: Call) -> None:
        with call.tls(SERVED.context(version, trusted=OUR_CA)) as tls:
            tls.recv(1024)
            call.reset(tls)

    with listening(break_off) as listener:
        served = await _visit(listener.address)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, Verdict.REFUTED)


@pytest.mark.parametrize("is_reset", [False, True])
async def test_visit_takes_the_end_of_a_handshake_after_our_leaf_for_a_refusal(is_reset: bool) -> None:
    """In TLS 1.2 a listener has signed, and has got our leaf, before it refuses: it may do so without an alert."""

    def break_off(call: Call) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = SERVED.context(TLS12, trusted=OUR_CA).wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(call.plain.recv(65_536))
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        call.plain.sendall(outgoing.read())
        call.plain.recv(65_536)
        if is_reset:
            call.reset(call.plain)

    with listening(break_off) as listener:
        served = await _visit(listener.address)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, Verdict.REFUTED)
    assert served.acceptable == frozenset()


@pytest.mark.parametrize(("tickets", "took"), [(8, Verdict.PROVEN), (100, Verdict.UNKNOWN)])
async def test_visit_reads_no_more_than_a_handshake_can_be(tickets: int, took: Verdict) -> None:
    """A listener that keeps sending what belongs to TLS is left, though an answer would stand at the end of it."""
    request = make_request(dns=tuple(f"{number}.{'x' * 60}.example.com" for number in range(300)))
    key = make_key()
    leaf = OUR_CA.leaf(request, key, not_after=NOW + timedelta(days=1))
    context = SERVED.context(trusted=OUR_CA)
    context.num_tickets = tickets  # each holds the leaf that it is for
    assert 8 * len(leaf.der) < LARGEST_DIALOGUE < 100 * len(leaf.der)
    with listening(kafka(context)) as listener:
        shown = Identity(Credentials(private_key.to_der(key), (leaf,)), b"")
        served = await _visit(listener.address, times=1, shown=shown)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, took)


async def test_visit_tells_of_a_leaf_that_cannot_be_read() -> None:
    """A certificate that is larger than any is compared by its fingerprint, and not opened."""
    key = make_key()
    builder = x509.CertificateBuilder(
        OUR_CA.certificate.subject,
        x509.Name([]),
        key.public_key(),
        x509.random_serial_number(),
        NOW - timedelta(days=1),
        NOW + timedelta(days=1),
    ).add_extension(
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), bytes(LARGEST_CERTIFICATE)),
        critical=False,
    )
    certificate = builder.sign(OUR_CA.key, SHA256())
    large = Identity(
        SERVED.credentials,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM),
    )
    with listening(kafka(large.context())) as listener:
        served = await _visit(listener.address, within=SHORTLY)
    assert served.fingerprint == certificate.fingerprint(SHA256()).hex()
    assert served.trouble.startswith("what it serves is a certificate of ")
    assert (served.leaf, served.not_after) == (None, None)


@pytest.mark.parametrize(("ciphers", "is_seen"), [("ECDHE-RSA-AES128-GCM-SHA256", True), ("AES128-GCM-SHA256", False)])
@pytest.mark.parametrize("is_strict", [True, False])
async def test_visit_believes_no_leaf_whose_key_was_not_shown(ciphers: str, is_seen: bool, is_strict: bool) -> None:
    """Who breaks off before signing anything may present any leaf: an RSA key exchange proves the key at its end."""
    rsa = Identity.of(OUR_CA, algorithm=KeyAlgorithm.RSA_2048)
    context = rsa.context(TLS12, trusted=OUR_CA if is_strict else None)
    context.set_ciphers(ciphers)
    with listening(kafka(context)) as listener:
        served = await _visit(listener.address, rsa, within=SHORTLY, shown=None)
    assert served.fingerprint == (rsa.fingerprint if is_seen or not is_strict else None)


# --- broken off


@pytest.mark.parametrize("way", [_nothing, say(SERVED.context(trusted=OUR_CA), b"")])
async def test_visit_leaves_nothing_open_when_cancelled(way: Way) -> None:
    """A visit that is cancelled in the midst of a handshake, or of its question, closes its connection."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note_the_end(call: Call) -> None:
        try:
            way(call)
        finally:
            loop.call_soon_threadsafe(ended.set)

    with listening(note_the_end) as listener:
        before = asyncio.all_tasks()
        visit = asyncio.create_task(_visit(listener.address))
        await listener.called(1)
        await asyncio.sleep(0.1)
        visit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit
        async with asyncio.timeout(5):
            await ended.wait()
        assert asyncio.all_tasks() == before
    gc.collect()
