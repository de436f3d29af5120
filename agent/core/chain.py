"""Order a chain, and find a path from a leaf to an anchor (RFC 5280, 6.1).

Kafka's world is wider than the web's: leaves of X.509 v1 with a CN and no SAN, CAs without a key
usage, Ed25519. Java and OpenSSL take them, so the path is walked here, link by link, on
`cryptography`'s `verify_directly_issued_by`. Name constraints, where a path carries them, are
judged by `cryptography`'s own verifier. docs/adr/0004 tells why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from agent.core.identity import ANY_EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from agent.core.certificate import Certificate
    from agent.core.identity import Usage

MOST_CERTIFICATES = 20
"""Certificates in an answer, leaf and all that comes along; more are no chain, but a bundle of anchors."""

LONGEST_PATH = 10
"""Certificates from leaf to anchor; Java allows five intermediates by default."""

MOST_SIGNATURES = 60
"""Signatures checked for one answer; a pool that needs more is built to keep a verifier busy."""

SMALLEST_RSA = 2048
"""Bits; OpenSSL's security level 2, which Debian sets, refuses less."""

SMALLEST_CURVE = 224
"""Bits; Java and OpenSSL's security level 2 refuse less."""

LONGEST_NAME = 200
"""Characters of a distinguished name in a sentence; what is longer is cut."""

HOST_NAME = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)

WEAK_HASHES = (hashes.MD5, hashes.SHA1)

PROCESSED = frozenset(
    extension.oid
    for extension in (
        x509.BasicConstraints,
        x509.KeyUsage,
        x509.ExtendedKeyUsage,
        x509.SubjectAlternativeName,
        x509.NameConstraints,
        x509.CertificatePolicies,
    )
)
"""The extensions that may be critical: those that are looked at (RFC 5280, 4.2), and policies, of which none is set."""


@dataclass(frozen=True, slots=True)
class Path:
    """A path that verifies: the leaf first, the anchor last."""

    certificates: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class NoPath:
    """There is no such path, and where the best try ended, as one sentence."""

    reason: str


def order(leaf: Certificate, pool: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return the leaf and the intermediates of `pool` that lead on from it, each once, in their order.

    Anchors (self-signed certificates) and strangers are left out. A CA's new key that its old key
    has signed under the same name is no anchor but a link (RFC 4210, 4.4). Where two would do, the
    one that is valid longer is taken; the order of the pool does not matter.
    """
    if is_self_signed(leaf):
        return (leaf,)
    candidates = sorted(set(pool) - {leaf}, key=lambda one: (-one.not_after.timestamp(), one.fingerprint))
    chain = [leaf]
    while len(chain) < LONGEST_PATH:
        last = chain[-1]
        issuer = next(
            (
                one
                for one in candidates
                if one not in chain
                and one.subject == last.issuer
                and not is_self_signed(one)
                and is_signed_by(last, one)
            ),
            None,
        )
        if issuer is None:
            break
        chain.append(issuer)
    return tuple(chain)


def find_path(
    leaf: Certificate,
    intermediates: Sequence[Certificate],
    anchors: Sequence[Certificate],
    at: datetime,
    usages: frozenset[Usage],
) -> Path | NoPath:
    """Return a path from `leaf` over `intermediates` to one of `anchors` that holds at `at` for all `usages`.

    An anchor may be any certificate that peers are configured to trust: a root, a cross-signed or
    intermediate CA, or the leaf itself. Nothing is raised, whatever the certificates say.
    """
    return _Walk(intermediates, anchors, at, usages).run(leaf)


class _Walk:
    """One search, depth first, with a bound on its work."""

    def __init__(
        self,
        intermediates: Sequence[Certificate],
        anchors: Sequence[Certificate],
        at: datetime,
        usages: frozenset[Usage],
    ) -> None:
        self._intermediates = tuple(dict.fromkeys(intermediates))
        self._anchors = tuple(dict.fromkeys(anchors))
        self._at = at
        self._usages = usages
        self._signatures = 0
        self._deepest = (0, "")

    def run(self, leaf: Certificate) -> Path | NoPath:
        trouble = self._of_any(leaf) or self._of_subject(leaf) or flaw_of_leaf(leaf)
        if trouble:
            return NoPath(trouble)
        if leaf in self._anchors:
            return Path((leaf,))
        path = self._from((leaf,))
        if path is None and self._signatures > MOST_SIGNATURES:
            return NoPath(
                f"no path from {name_of(leaf)} to an anchor was found within {MOST_SIGNATURES} signatures: "
                "too many of the CAs at hand bear one name"
            )
        return path or NoPath(self._deepest[1])

    def _from(self, path: tuple[Certificate, ...]) -> Path | None:
        last = path[-1]
        found = False
        for issuer, is_anchor in self._issuers(path):
            found = True
            trouble = self._of_any(issuer) or self._of_issuer(issuer, path, is_anchor=is_anchor)
            if not trouble and not is_anchor:
                trouble = self._of_subject(issuer)
            if not trouble and not self._verifies(last, issuer):
                trouble = f"the signature of {name_of(last)} is not one of {name_of(issuer)}"
            if trouble:
                self._note(path, trouble)
                continue
            longer = (*path, issuer)
            if not is_anchor:
                whole = self._from(longer)
                if whole is not None:
                    return whole
                continue
            trouble = self._of_constraints(longer)
            if not trouble:
                return Path(longer)
            self._note(longer, trouble)
        if not found:
            self._note(path, f"{name_of(last)} was issued by {issuer_of(last)}, which is no trusted anchor")
        return None

    def _issuers(self, path: tuple[Certificate, ...]) -> Iterator[tuple[Certificate, bool]]:
        """Yield whoever may have issued the last of the path, anchors first."""
        name = path[-1].issuer
        for anchor in self._anchors:
            if anchor.subject == name and anchor not in path:
                yield anchor, True
        if len(path) < LONGEST_PATH:
            for one in self._intermediates:
                if one.subject == name and one not in path and one not in self._anchors:
                    yield one, False

    # --- rules; each returns what is wrong, or nothing ------------------------------------

    def _of_any(self, certificate: Certificate) -> str:
        """Dates, key and critical extensions."""
        return out_of_date(certificate, self._at) or flaw(certificate)

    def _of_subject(self, certificate: Certificate) -> str:
        """What holds for a leaf and for intermediates: their signature's hash, and what they may be used for."""
        trouble = flaw_of_signature(certificate)
        if trouble:
            return trouble
        allowed = certificate.extended_key_usage
        if allowed is None or ANY_EXTENDED_KEY_USAGE in allowed:
            return ""
        missing = sorted(usage for usage in self._usages if EXTENDED_KEY_USAGE[usage] not in allowed)
        return f"{name_of(certificate)} may not be used as {' and '.join(missing)}" if missing else ""

    @staticmethod
    def _of_issuer(issuer: Certificate, path: tuple[Certificate, ...], *, is_anchor: bool) -> str:
        """Whether it may issue at all, and so far down."""
        # An anchor from before X.509 v3 carries no constraints and is a CA because it is trusted.
        is_old_root = is_anchor and issuer.version == 1
        if not issuer.is_ca and not is_old_root:
            return f"{name_of(issuer)} is no CA (basic constraints), and has issued {name_of(path[-1])}"
        if issuer.key_usage is not None and "key_cert_sign" not in issuer.key_usage:
            return f"the key usage of {name_of(issuer)} does not let it sign certificates"
        below = sum(1 for certificate in path[1:] if not certificate.self_issued)
        if issuer.path_length is not None and below > issuer.path_length:
            return f"{name_of(issuer)} allows {issuer.path_length} CAs below it, and there are {below}"
        return ""

    def _of_constraints(self, path: tuple[Certificate, ...]) -> str:
        """Name constraints, by `cryptography`'s verifier: a path that carries any needs its yes."""
        parsed = [certificate.x509 for certificate in path]
        constraints = [found for certificate in parsed for found in _constraints(certificate)]
        if not constraints:
            return ""
        outside = [name for name in _names_in_subject(path[0]) if not all(_allows(one, name) for one in constraints)]
        if outside:
            return f"{name_of(path[0])} is not allowed by the name constraints of its CAs: its CN stands for a DNS name"
        anything = ExtensionPolicy.permit_all()
        of_a_ca = anything.require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
        verifier = (
            PolicyBuilder()
            .store(Store([parsed[-1]]))
            .time(self._at)
            .extension_policies(ca_policy=of_a_ca, ee_policy=anything)
            .build_client_verifier()
        )
        try:
            verifier.verify(parsed[0], parsed[1:-1])
        except VerificationError as error:
            return f"{name_of(path[0])} is not allowed by the name constraints of its CAs: {str(error)[:200]}"
        return ""

    def _verifies(self, subject: Certificate, issuer: Certificate) -> bool:
        self._signatures += 1
        return self._signatures <= MOST_SIGNATURES and is_signed_by(subject, issuer)

    def _note(self, path: tuple[Certificate, ...], trouble: str) -> None:
        if len(path) > self._deepest[0]:
            self._deepest = (len(path), trouble)


@lru_cache(maxsize=1024)
def is_signed_by(subject: Certificate, issuer: Certificate) -> bool:
    """Return whether `issuer` has issued `subject`: the names meet, and its key has signed."""
    try:
        subject.x509.verify_directly_issued_by(issuer.x509)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def is_self_signed(certificate: Certificate) -> bool:
    """Return whether its own key has signed it: one that another CA cross-signed has an anchor's name and is none."""
    return certificate.self_issued and (
        is_signed_by(certificate, certificate) or _has_signed_itself_of_old(certificate)
    )


def _has_signed_itself_of_old(certificate: Certificate) -> bool:
    """Return it for RSA with SHA-1, which the library refuses to verify; many a trusted root is so old."""
    parsed, old = certificate.x509, _signature_hash(certificate)
    key = parsed.public_key()
    if not isinstance(old, hashes.SHA1) or not isinstance(key, rsa.RSAPublicKey):
        return False
    try:
        key.verify(parsed.signature, parsed.tbs_certificate_bytes, padding.PKCS1v15(), old)
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def out_of_date(certificate: Certificate, at: datetime) -> str:
    """Return why a certificate is not valid at an instant; nothing: it is."""
    if certificate.not_after < at.replace(microsecond=0):  # valid through the whole of its last second
        return f"{name_of(certificate)} expired at {certificate.not_after.isoformat()}"
    if certificate.not_before > at:
        return f"{name_of(certificate)} is valid from {certificate.not_before.isoformat()} only"
    return ""


def flaw(certificate: Certificate) -> str:
    """Return why Java or OpenSSL takes the certificate at no time: its key, or an extension; nothing: they do."""
    if _is_weak(certificate.x509.public_key()):
        return f"{name_of(certificate)} has a key of type {certificate.key_type}, which Java or OpenSSL refuses"
    if certificate.key_type.startswith("ec-") and certificate.public_key not in certificate.der:
        return f"{name_of(certificate)} does not name its curve and point as Java reads them"
    for extension in certificate.x509.extensions:
        if extension.critical and extension.oid not in PROCESSED:
            return f"{name_of(certificate)} has a critical extension {extension.oid.dotted_string} that nobody knows"
    return ""


def flaw_of_signature(certificate: Certificate) -> str:
    """Return what is wrong with how it is signed; nobody looks at how an anchor is."""
    if isinstance(_signature_hash(certificate), WEAK_HASHES):
        return f"{name_of(certificate)} is signed with a hash that is broken"
    return ""


def flaw_of_leaf(leaf: Certificate) -> str:
    """Return what a leaf must not say, whoever has signed it."""
    if leaf.key_usage is not None and "digital_signature" not in leaf.key_usage:
        # Every handshake of TLS 1.3 and of ECDHE signs; Java refuses the certificate before it.
        return f"the key usage of {name_of(leaf)} does not let it sign a handshake (digital signature)"
    if _has(leaf.x509, x509.NameConstraints):
        return f"{name_of(leaf)} carries name constraints, which only a CA may (RFC 5280, 4.2.1.10)"
    return ""


def _signature_hash(certificate: Certificate) -> hashes.HashAlgorithm | None:
    try:
        return certificate.x509.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return hashes.MD5()  # noqa: S303 - an algorithm that nobody knows counts as the weakest


def _is_weak(key: CertificatePublicKeyTypes) -> bool:
    match key:
        case rsa.RSAPublicKey():
            return key.key_size < SMALLEST_RSA
        case ec.EllipticCurvePublicKey():
            return key.curve.key_size < SMALLEST_CURVE
        case _:
            return not isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)


def _has(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    return any(isinstance(extension.value, kind) for extension in certificate.extensions)


def _constraints(certificate: x509.Certificate) -> Iterator[x509.NameConstraints]:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.NameConstraints):
            yield extension.value


def _names_in_subject(leaf: Certificate) -> Iterator[str]:
    """Yield the CNs that Java and OpenSSL hold to DNS constraints: those that look like a name, for want of a SAN."""
    if leaf.sans.dns:
        return
    for attribute in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        if isinstance(attribute.value, str) and HOST_NAME.fullmatch(attribute.value):
            yield attribute.value


def _allows(constraints: x509.NameConstraints, name: str) -> bool:
    """Whether a DNS name is in a permitted subtree, if there is any, and in no excluded one."""
    permitted = [one.value for one in constraints.permitted_subtrees or () if isinstance(one, x509.DNSName)]
    excluded = [one.value for one in constraints.excluded_subtrees or () if isinstance(one, x509.DNSName)]
    return (not permitted or any(_within(name, tree) for tree in permitted)) and not any(
        _within(name, tree) for tree in excluded
    )


def _within(name: str, tree: str) -> bool:
    """RFC 5280, 4.2.1.10: the tree's own name, or labels added on its left; the empty tree holds all."""
    tree = tree.lower().removeprefix(".")
    return not tree or f".{name.lower()}".endswith(f".{tree}")


def name_of(certificate: Certificate) -> str:
    """Return the subject for a sentence, or the start of the fingerprint where it is empty."""
    return harmless(certificate.subject.rfc4514_string()) or f"the certificate {certificate.fingerprint[:16]}"


def issuer_of(certificate: Certificate) -> str:
    """Return the issuer's name for a sentence."""
    return harmless(certificate.issuer.rfc4514_string()) or "a CA without a name"


def harmless(text: str) -> str:
    """Return a stranger's name for a sentence: in one line, without what commands a terminal, and not endless."""
    shown = "".join(one if one.isprintable() else "\ufffd" for one in text)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"
