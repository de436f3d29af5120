"""What a CA may answer that is not what it was asked for, the same for every CA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate, Sans
from agent.core.identity import KeyAlgorithm, Usage
from agent.keystores.private_key import to_pem
from tests.conformance.asking import key_of
from tests.material import Ca, make_key

if TYPE_CHECKING:
    from agent.core.generation import Pending
    from agent.keystores.material import PrivateKey

HOUR = timedelta(hours=1)
YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Pki:
    """Who signs, and those above, the root last: the answer's chain when the CA is honest."""

    issuer: Ca
    above: tuple[Certificate, ...]

    @property
    def anchors(self) -> tuple[Certificate, ...]:
        """What the peers trust."""
        return self.above[-1:]

    @classmethod
    def make(cls, *, root: str = "CN=Test Root,O=MyOrg", issuer: str = "CN=Test Intermediate,O=MyOrg") -> Pki:
        """Make a root and an intermediate that are valid now."""
        now = datetime.now(UTC)
        top = Ca.root(root, not_before=now - YEAR, not_after=now + 10 * YEAR)
        below = top.intermediate(issuer, not_before=now - YEAR, not_after=now + 5 * YEAR)
        return cls(below, (top.certificate,))

    def leaf(
        self,
        pending: Pending,
        *,
        key: PrivateKey | None = None,
        starts: timedelta = timedelta(minutes=-1),
        lasts: timedelta | None = None,
        ca: bool = False,
        **changes: Any,
    ) -> Certificate:
        """Sign what is pending, changed as told; `starts` and `lasts` count from now."""
        request = replace(pending.request, **changes)
        now = datetime.now(UTC)
        return self.issuer.leaf(
            request,
            key or key_of(pending.request.key),
            not_before=now + starts,
            not_after=now + (request.lifetime if lasts is None else lasts),
            ca=ca,
        )

    def chain(self, leaf: Certificate) -> tuple[Certificate, ...]:
        """Return the leaf with the chain that belongs to it."""
        return (leaf, self.issuer.certificate, *self.above)


Certificates: TypeAlias = tuple[Certificate, ...]
Lie: TypeAlias = Callable[[Pki, "Pending"], Certificates]


def honest(pki: Pki, pending: Pending) -> Certificates:
    """Return what was asked for."""
    return pki.chain(pki.leaf(pending))


def _changed(**changes: Any) -> Lie:
    return lambda pki, pending: pki.chain(pki.leaf(pending, **changes))


def _with_names(**changes: Any) -> Lie:
    """Return a lie about the names: each of `dns`, `ip`, `uri` that is told instead of what was asked for."""

    def lie(pki: Pki, pending: Pending) -> Certificates:
        sans = pending.request.sans
        names = Sans.of(**({"dns": sans.dns, "ip": sans.ip, "uri": sans.uri} | changes))
        return pki.chain(pki.leaf(pending, sans=names))

    return lie


def _of_strangers(_pki: Pki, pending: Pending) -> Certificates:
    return honest(Pki.make(root="CN=Strange Root", issuer="CN=Strange Intermediate"), pending)


def _of_impostors(pki: Pki, pending: Pending) -> Certificates:
    """Sign by CAs that bear the names of the true ones."""
    names = [one.subject.rfc4514_string() for one in (pki.above[-1], pki.issuer.certificate)]
    return honest(Pki.make(root=names[0], issuer=names[1]), pending)


def _of_impostors_below_the_true_chain(pki: Pki, pending: Pending) -> Certificates:
    return (_of_impostors(pki, pending)[0], *honest(pki, pending)[1:])


def _signed_by_itself(pki: Pki, pending: Pending) -> Certificates:
    key = key_of(pending.request.key)
    itself = replace(pki, issuer=Ca(pki.leaf(pending), key))
    leaf = itself.leaf(pending)
    return (leaf, *honest(pki, pending)[1:])


def _without_link(pki: Pki, pending: Pending) -> Certificates:
    leaf, _, *above = honest(pki, pending)
    return (leaf, *above)


def _below_a_host(pki: Pki, pending: Pending) -> Certificates:
    """Sign by the key of another host's leaf, which is no CA."""
    key = make_key()
    host = Ca(pki.leaf(pending, key=key, subject=x509.Name.from_rfc4514_string("CN=kafka2.example.com")), key)
    return (replace(pki, issuer=host).leaf(pending), host.certificate, *honest(pki, pending)[1:])


LIES: dict[str, tuple[Lie, str]] = {
    "another key": (lambda pki, pending: pki.chain(pki.leaf(pending, key=make_key())), "key"),
    "another kind of key": (_changed(key=make_key(KeyAlgorithm.EC_P384)), "request"),
    "the CA in the leaf's place": (lambda pki, pending: honest(pki, pending)[1:], "key"),
    "the chain upside down": (lambda pki, pending: honest(pki, pending)[::-1], "key"),
    "other names": (_with_names(dns=("kafka9.example.com",)), "request"),
    "a name more": (_with_names(dns=("kafka1.example.com", "localhost", "kafka2.example.com")), "request"),
    "a name less": (_with_names(dns=("kafka1.example.com",)), "request"),
    "a wildcard more": (_with_names(dns=("kafka1.example.com", "localhost", "*.example.com")), "request"),
    "another address": (_with_names(ip=("192.0.2.1",)), "request"),
    "no names": (_changed(sans=Sans()), "request"),
    "another subject": (_changed(subject=x509.Name.from_rfc4514_string("CN=admin,OU=Brokers,O=MyOrg")), "request"),
    "a subject turned round": (
        _changed(subject=x509.Name.from_rfc4514_string("O=MyOrg,OU=Brokers,CN=kafka1.example.com")),
        "request",
    ),
    "for clients alone": (_changed(usages=frozenset({Usage.CLIENT})), "request"),
    "CA:TRUE": (_changed(ca=True), "no CA"),
    "expired": (_changed(starts=-2 * HOUR, lasts=-HOUR), "dates"),
    "expired a moment ago": (_changed(starts=-2 * HOUR, lasts=timedelta(seconds=-1)), "dates"),
    "valid in ten minutes": (_changed(starts=timedelta(minutes=10)), "dates"),
    "valid in a day": (_changed(starts=24 * HOUR), "dates"),
    "without the intermediate": (_without_link, "peer trust"),
    "without any chain": (lambda pki, pending: honest(pki, pending)[:1], "peer trust"),
    "of strangers": (_of_strangers, "peer trust"),
    "of impostors": (_of_impostors, "peer trust"),
    "of impostors, with the true chain": (_of_impostors_below_the_true_chain, "peer trust"),
    "signed by itself": (_signed_by_itself, "peer trust"),
    "below another host": (_below_a_host, "peer trust"),
}
"""Answers that are certificates; each is found by the check that stands beside it."""

Texts: TypeAlias = tuple[object, object]
"""The leaf and the chain of an answer, which should be PEM."""

GARBAGE = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
MALFORMED = "malformed answer"


def texts_of(certificates: Certificates) -> tuple[str, str]:
    """Return leaf and chain as PEM."""
    leaf, *chain = (one.x509.public_bytes(Encoding.PEM).decode() for one in certificates)
    return leaf, "".join(chain)


def _many_names(pki: Pki, pending: Pending) -> str:
    """Return a leaf that is larger than any that a host has use for."""
    now, names = datetime.now(UTC), [x509.DNSName(f"kafka{number}.example.com") for number in range(3000)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(pending.request.subject)
        .issuer_name(pki.issuer.certificate.subject)
        .public_key(key_of(pending.request.key).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + HOUR)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(pki.issuer.key, SHA256()).public_bytes(Encoding.PEM).decode()


TEXTS: dict[str, tuple[Callable[[Pki, Pending, str, str], Texts], str]] = {
    "garbage": (lambda _p, _o, _leaf, chain: (GARBAGE, chain), MALFORMED),
    "garbage in the chain": (lambda _p, _o, leaf, chain: (leaf, chain + GARBAGE), MALFORMED),
    "words": (lambda _p, _o, _leaf, chain: ("come back tomorrow", chain), MALFORMED),
    "words in the chain": (lambda _p, _o, leaf, _chain: (leaf, "\0\ud83d\ude42"), MALFORMED),
    "cut short": (lambda _p, _o, leaf, chain: (leaf[: len(leaf) // 2], chain), MALFORMED),
    "a chain cut short": (lambda _p, _o, leaf, chain: (leaf, chain[:300]), MALFORMED),
    "nothing at all": (lambda _p, _o, _leaf, _chain: ("", ""), MALFORMED),
    "a key": (lambda _p, _o, _leaf, chain: (to_pem(make_key()).decode(), chain), MALFORMED),
    "a number": (lambda _p, _o, _leaf, chain: (5, chain), MALFORMED),
    "a list": (lambda _p, _o, leaf, chain: ([leaf], chain), MALFORMED),
    "a number for a chain": (lambda _p, _o, leaf, _chain: (leaf, 5), MALFORMED),
    "a chain without end": (lambda _p, _o, leaf, chain: (leaf, chain * 20), MALFORMED),
    "a leaf of 3000 names": (lambda pki, order, _leaf, chain: (_many_names(pki, order), chain), MALFORMED),
    "no leaf": (lambda _p, _o, _leaf, chain: ("", chain), "key"),
}
"""Answers that are none: what is made of the good ones, and the reason of the error, or the check that finds it."""
