"""A close look at listeners: the leaf of every thread, the CAs that are named, and whether our own leaf is taken."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from agent.core.certificate import LARGEST_CERTIFICATE, Certificate
from agent.core.evidence import Verdict
from agent.core.identity import KeyAlgorithm
from agent.keystores import pem
from agent.wire.visit import Visitor
from tests.material import make_key
from tests.tools import need
from tests.wire.listeners import NOW, TLS12, TLS13, Identity, combined, kafka, listening, make_ca, read_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.core.credentials import Credentials
    from agent.core.evidence import Served
    from tests.wire.listeners import Call

pytestmark = pytest.mark.slow

SOON = timedelta(seconds=20)
SHORTLY = timedelta(milliseconds=900)
BOTH = pytest.mark.parametrize("version", [TLS12, TLS13])


async def _visit(  # noqa: PLR0917 - as short as can be where it is called
    address: str,
    wanted: Identity,
    times: int = 3,
    within: timedelta = SOON,
    shown: Credentials | None = None,
    proven: Callable[[Served], bool] | None = None,
) -> Served:
    return await Visitor(lambda: NOW).visit(
        "CLIENTS",
        address,
        proven=proven or (lambda served: served.fingerprint == wanted.fingerprint),
        times=times,
        within=within,
        shown=shown,
    )


OUR_CA, OTHER_CA = make_ca(), make_ca("CN=Another Root")
SERVED, OLD = Identity.of(OUR_CA), Identity.of(OUR_CA)
OURS, STRANGER = Identity.of(OUR_CA), Identity.of(OTHER_CA)


@BOTH
@pytest.mark.parametrize(
    ("mode", "shown", "took"),
    [
        (ssl.CERT_NONE, OURS, Verdict.UNKNOWN),
        (ssl.CERT_NONE, None, Verdict.UNKNOWN),
        (ssl.CERT_OPTIONAL, OURS, Verdict.PROVEN),
        (ssl.CERT_OPTIONAL, STRANGER, Verdict.REFUTED),
        (ssl.CERT_OPTIONAL, None, Verdict.UNKNOWN),
        (ssl.CERT_REQUIRED, OURS, Verdict.PROVEN),
        (ssl.CERT_REQUIRED, STRANGER, Verdict.REFUTED),
        (ssl.CERT_REQUIRED, None, Verdict.UNKNOWN),
    ],
)
async def test_visit_tells_whether_the_listener_took_the_leaf(
    version: ssl.TLSVersion, mode: ssl.VerifyMode, shown: Identity | None, took: Verdict
) -> None:
    """The leaf is seen of any listener; ours is taken, refused or not asked for, and an empty list is no silence."""
    context = SERVED.context(version, trusted=OUR_CA, mode=mode)
    with listening(kafka(context)) as listener:
        served = await _visit(listener.address, SERVED, shown=shown.credentials if shown else None)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, took)
    assert served.acceptable == (None if mode is ssl.CERT_NONE else frozenset())
    assert (served.listener, served.address) == ("CLIENTS", listener.address)
    assert (served.at, served.not_after, served.trouble) == (NOW, SERVED.leaf.not_after, "")
    assert served.leaf == SERVED.leaf
    assert (listener.calls, listener.resumed) == (3, 0)


async def test_visit_asks_what_any_broker_answers() -> None:
    """Each handshake in which our leaf was offered is followed by one request: ApiVersions, version 0, our name."""
    with listening(kafka(SERVED.context(trusted=OUR_CA))) as listener:
        await _visit(listener.address, SERVED, shown=OURS.credentials)
    assert len(listener.requests) == 3
    assert {request[:4] + request[8:] for request in listener.requests} == {b"\x00\x12\x00\x00\x00\x0acert-agent"}


@BOTH
async def test_visit_shows_the_whole_chain(version: ssl.TLSVersion) -> None:
    """A listener that knows only the root takes a leaf of a CA below it."""
    below = OUR_CA.intermediate(not_before=NOW - timedelta(hours=2), not_after=NOW + timedelta(days=9))
    with listening(kafka(SERVED.context(version, trusted=OUR_CA))) as listener:
        served = await _visit(listener.address, SERVED, shown=Identity.of(OUR_CA, below).credentials)
    assert served.took_leaf is Verdict.PROVEN


def _large() -> x509.Certificate:
    """Make a certificate that TLS carries and that is too large to be read."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "large")])
    many = x509.SubjectAlternativeName([x509.DNSName(f"{number:060}.example.com") for number in range(600)])
    end = NOW + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), NOW, end)
    made = builder.add_extension(many, critical=False).sign(key, SHA256())
    assert len(made.public_bytes(Encoding.DER)) > LARGEST_CERTIFICATE
    return made


@BOTH
@pytest.mark.parametrize("shown", [OURS, STRANGER])
async def test_visit_sees_the_whole_chain(version: ssl.TLSVersion, shown: Identity) -> None:
    """Leaf first and the rest as it came, without what cannot be read; also where our own leaf is refused."""
    below = OUR_CA.intermediate(not_before=NOW - timedelta(hours=2), not_after=NOW + timedelta(days=9))
    chained = Identity.of(OUR_CA, below)
    behind = _large().public_bytes(Encoding.PEM) + pem.encode([OUR_CA.certificate])
    context = replace(chained, pem=chained.pem + behind).context(version, trusted=OUR_CA)
    with listening(kafka(context)) as listener:
        served = await _visit(listener.address, chained, shown=shown.credentials)
    assert served.took_leaf is (Verdict.PROVEN if shown is OURS else Verdict.REFUTED)
    assert served.chain == (chained.leaf, below.certificate, OUR_CA.certificate)


async def test_visit_needs_no_second_try_where_the_listener_wants_another_group() -> None:
    """A listener that asks for another key share (RFC 8446, 4.1.4) is seen like any other."""
    context = SERVED.context(trusted=OUR_CA)
    context.set_ecdh_curve("secp521r1")
    with listening(kafka(context)) as listener:
        served = await _visit(listener.address, SERVED, times=1, shown=OURS.credentials)
    assert (served.fingerprint, served.took_leaf, listener.calls) == (SERVED.fingerprint, Verdict.PROVEN, 1)


# --- the names of CAs, by another OpenSSL than the one that reads them


@contextmanager
def _openssl(folder: Path, served: Identity, *options: str | Path, says: bytes = b"") -> Iterator[str]:
    """Serve with `openssl s_server`, which names the CAs of its `-CAfile`; `says` is what the first client gets."""
    command = [need("openssl"), "s_server", "-accept", "127.0.0.1:0", "-cert", combined(served, folder), *options]
    with subprocess.Popen(
        [*command, "-cert_chain", combined(served, folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(says)
        process.stdin.flush()
        try:
            for line in process.stdout:
                if line.startswith(b"ACCEPT 127"):
                    break
            yield line.decode().split()[1]
        finally:
            process.kill()


def _named(kind: _ASN1Type, name: str) -> Certificate:
    """Make a CA certificate whose common name is a string of one of ASN.1's types."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "MyOrg", _ASN1Type.PrintableString),
            x509.NameAttribute(NameOID.COMMON_NAME, name, kind),
        ]
    )
    return _of_subject(subject)


def _of_subject(subject: x509.Name) -> Certificate:
    key = make_key()
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), NOW, NOW + timedelta(days=1)
    )
    return Certificate.from_der(builder.sign(key, SHA256()).public_bytes(Encoding.DER))


NAMED = [
    _named(_ASN1Type.UTF8String, "Zürich €"),
    _named(_ASN1Type.PrintableString, "Printable"),
    _named(_ASN1Type.IA5String, "ia5@example"),
    _named(_ASN1Type.T61String, "Teletex"),
    _named(_ASN1Type.BMPString, "Bmp €"),
    _named(_ASN1Type.UniversalString, "Universal"),
    _of_subject(
        x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [x509.NameAttribute(NameOID.COMMON_NAME, "two"), x509.NameAttribute(NameOID.USER_ID, "in one")]
                )
            ]
        )
    ),
]
"""One of each type of string that a CA's name may be of (RFC 5280, 4.1.2.4), and a name of two parts in one."""


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_visit_reads_the_names_of_acceptable_cas_byte_for_byte(tmp_path: Path, version: str) -> None:
    """The names are those of the CAs' certificates, whatever type their strings are of."""
    cas = tmp_path / "cas.pem"
    cas.write_bytes(pem.encode(NAMED))
    with _openssl(tmp_path, SERVED, version, "-verify", "1", "-CAfile", cas) as address:
        served = await _visit(address, SERVED)
    assert served.acceptable == frozenset(certificate.subject.public_bytes() for certificate in NAMED)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_visit_reads_the_names_where_it_is_refused(tmp_path: Path, version: str) -> None:
    """A listener that turns us away has named the CAs before."""
    cas = tmp_path / "cas.pem"
    cas.write_bytes(pem.encode([OUR_CA.certificate]))
    strict = ("-Verify", "1", "-verify_return_error", "-CAfile", cas)
    with _openssl(tmp_path, SERVED, version, *strict) as address:
        served = await _visit(address, SERVED, shown=STRANGER.credentials)
    assert served.fingerprint == SERVED.fingerprint
    assert served.acceptable == frozenset({OUR_CA.certificate.subject.public_bytes()})
    assert served.took_leaf is Verdict.REFUTED


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize(
    ("algorithm", "took"), [(KeyAlgorithm.EC_P256, Verdict.PROVEN), (KeyAlgorithm.RSA_2048, Verdict.UNKNOWN)]
)
async def test_visit_does_not_take_for_taken_what_it_could_not_offer(
    tmp_path: Path, version: str, algorithm: KeyAlgorithm, took: Verdict
) -> None:
    """Where none of the listener's algorithms fits our key, it goes on without our leaf: that is no consent to it."""
    ours = Identity.of(OUR_CA, algorithm=algorithm)
    options = (version, "-verify", "1", "-client_sigalgs", "ECDSA+SHA256", "-quiet")
    with _openssl(tmp_path, SERVED, *options[:-1], says=b"\x00\x00\x00\x06cert\x00\x23") as address:
        served = await _visit(address, SERVED, times=1, shown=ours.credentials)
    assert (served.fingerprint, served.took_leaf) == (SERVED.fingerprint, took)


# --- a row of handshakes


async def test_visit_counts_anew_after_each_old_leaf() -> None:
    """Network threads change over one by one: only a row without an old leaf is a proof."""
    old, new = OLD.context(), SERVED.context()
    with listening(kafka(old, new, new, old, new, old, new)) as listener:
        served = await _visit(listener.address, SERVED)
    assert served.fingerprint == SERVED.fingerprint
    assert listener.calls == 9


@pytest.mark.parametrize("turns", [(1, 0), (0, 1)])
async def test_visit_is_unknown_at_a_listener_that_keeps_showing_both(turns: tuple[int, int]) -> None:
    """One that is seen to use the new leaf has taken it, and one that shows the old one too is not done with it."""
    contexts = OLD.context(), SERVED.context()
    with listening(kafka(*[contexts[turn] for turn in turns] * 50)) as listener:
        served = await _visit(listener.address, SERVED, times=2, within=SHORTLY)
    assert listener.calls > 3
    assert served.verdict(SERVED.fingerprint) is Verdict.UNKNOWN
    assert served.trouble


async def test_visit_returns_the_old_leaf_where_nothing_else_was_seen() -> None:
    """A listener that keeps its old leaf is asked until the time is over."""
    with listening(kafka(OLD.context(trusted=OUR_CA))) as listener:
        served = await _visit(listener.address, SERVED, within=SHORTLY, shown=OURS.credentials)
    assert listener.calls > 1
    assert (served.fingerprint, served.took_leaf) == (OLD.fingerprint, Verdict.PROVEN)


async def _visit_slow(*shown: Identity) -> Served:
    """Visit a listener that shows these leaves and then the last of them, too slowly for fifty handshakes."""
    contexts = kafka(*[identity.context() for identity in shown])

    def slowly(call: Call) -> None:
        time.sleep(0.05 if call.number > len(shown) else 0)
        contexts(call)

    with listening(slowly) as listener:
        served = await _visit(listener.address, SERVED, times=50, within=SHORTLY)
    assert listener.calls > len(shown)
    return served


@pytest.mark.parametrize("before", [SERVED, OLD])
async def test_visit_is_unknown_where_the_time_is_too_short_for_a_row(before: Identity) -> None:
    """A slow listener of which only the new leaf is seen, or that alone after the old one, is not refuted by that."""
    served = await _visit_slow(before, SERVED)
    assert served.verdict(SERVED.fingerprint) is Verdict.UNKNOWN
    assert served.trouble.startswith("only ")
    assert " of 50 handshakes came" in served.trouble
    assert (served.leaf, served.acceptable, served.took_leaf) == (None, None, Verdict.UNKNOWN)


async def test_visit_is_unknown_where_an_old_leaf_came_back() -> None:
    """A listener that went back to its old leaf is not proven by the new one that it shows in the end."""
    served = await _visit_slow(SERVED, OLD, SERVED)
    assert served.verdict(SERVED.fingerprint) is Verdict.UNKNOWN


async def test_visit_is_unknown_where_the_listener_falls_silent_in_the_middle() -> None:
    """A row that breaks off is neither a proof nor against it."""
    speak = kafka(SERVED.context())
    with listening(lambda call: speak(call) if call.number <= 4 else read_to_end(call.plain)) as listener:
        served = await _visit(listener.address, SERVED, times=9, within=SHORTLY)
    assert served.fingerprint is None
    assert served.trouble.startswith("only 4 of 9 handshakes came: no TLS handshake within")
    assert not served.is_down


async def test_visit_does_not_count_over_a_handshake_that_failed() -> None:
    """A thread that shakes no hands is one that its clients meet too: what it breaks is no row."""
    speak = kafka(SERVED.context())
    with listening(lambda call: None if call.number % 3 == 0 else speak(call)) as listener:
        served = await _visit(listener.address, SERVED, times=3, within=SHORTLY)
    assert listener.calls > 3
    assert served.fingerprint is None
    assert " of 3 handshakes came" in served.trouble


async def test_visit_knows_no_old_leaf_of_a_listener_that_is_gone() -> None:
    """Where nobody listens any more, what was served before refutes nothing: the listener may be restarting."""
    with listening(kafka(OLD.context())) as listener:
        visit = asyncio.create_task(_visit(listener.address, SERVED, within=SHORTLY))
        await listener.called(2)
    served = await visit
    assert (served.fingerprint, served.trouble, served.is_down) == (None, "nothing listens there", True)


async def test_visit_proves_a_listener_that_was_restarted_in_the_middle() -> None:
    """What was seen before the restart counts for nothing, and a whole row after it proves."""
    with listening(kafka(SERVED.context(), OLD.context())) as listener:
        visit = asyncio.create_task(_visit(listener.address, SERVED, times=4))
        await listener.called(2)
    await asyncio.sleep(0.1)
    with listening(kafka(SERVED.context()), listener.port) as restarted:
        served = await visit
    assert served.fingerprint == SERVED.fingerprint
    assert restarted.calls == 4


async def test_visit_goes_on_until_what_it_sees_is_what_is_asked_for() -> None:
    """A leaf that is served is not all: a row may have to take our own leaf too, each time."""
    stubborn, willing = SERVED.context(trusted=OTHER_CA), SERVED.context(trusted=OUR_CA)
    with listening(kafka(stubborn, willing, stubborn, willing)) as listener:
        served = await _visit(
            listener.address,
            SERVED,
            shown=OURS.credentials,
            proven=lambda served: served.took_leaf is Verdict.PROVEN,
        )
    assert served.took_leaf is Verdict.PROVEN
    assert listener.calls == 6


# --- what is shown, and to whom


@pytest.mark.parametrize(("host", "sent"), [("localhost", "localhost"), ("127.0.0.1", None)])
async def test_visit_names_the_host_and_no_address(host: str, sent: str | None) -> None:
    """A name is sent as SNI, an IP address is not."""
    context = SERVED.context()
    names: list[str | None] = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    with listening(kafka(context)) as listener:
        served = await _visit(f"{host}:{listener.port}", SERVED, times=1)
    assert served.fingerprint == SERVED.fingerprint
    assert names == [sent]


@pytest.mark.parametrize(
    ("address", "trouble"),
    [
        ("broker.invalid:9093", "the name is not found: "),
        ("localhost", "the TLS handshake failed: localhost is no host:port"),
        ("localhost:65536", "the TLS handshake failed: localhost:65536 is no host:port"),
        (f"{'x' * 70}.example:9093", "the TLS handshake failed: "),
    ],
)
async def test_visit_is_unknown_for_an_address_that_leads_nowhere(address: str, trouble: str) -> None:
    """A name that is not found and an address that is none are said, not raised."""
    served = await _visit(address, SERVED, within=SHORTLY)
    assert served.fingerprint is None
    assert served.trouble.startswith(trouble)
    assert (served.listener, served.address) == ("CLIENTS", address)


@pytest.mark.parametrize(
    "shown",
    [
        replace(OURS.credentials, key=STRANGER.credentials.key),
        replace(OURS.credentials, key=b"no key at all"),
    ],
)
async def test_visit_says_that_our_own_leaf_cannot_be_shown(shown: Credentials) -> None:
    """A key that is none or another leaf's is our own trouble: it is said, and nobody is bothered with it."""
    with listening(kafka(SERVED.context(trusted=OUR_CA))) as listener:
        served = await _visit(listener.address, SERVED, shown=shown)
    assert served.fingerprint is None
    assert served.trouble.startswith("the agent cannot show its own certificate: ")
    assert listener.calls == 0


def test_what_is_shown_tells_no_key() -> None:
    """The key stands in no picture of the credentials."""
    assert OURS.credentials.key.hex() not in repr(OURS.credentials)
    assert str(OURS.credentials.key) not in repr(OURS.credentials)
