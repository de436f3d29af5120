"""Any store, opened by what its bytes are: PEM, PKCS12 or JKS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.files import StoreFormat
from agent.errors import MaterialError
from agent.keystores import magic, pem
from agent.keystores.limits import LARGEST_FILE, check_size
from agent.keystores.material import StoreEntry

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

_DER_SEQUENCE = b"\x30"
_PFX_VERSION = b"\x02\x01\x03"
_PEM = b"-----BEGIN "
_PEM_KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """What a store holds, in its order, and what is to be said about it."""

    format: StoreFormat
    entries: tuple[StoreEntry, ...]
    remarks: tuple[str, ...] = ()


def sniff(content: bytes) -> StoreFormat | None:
    """Return the format by the first bytes, or None; a certificate in bare DER and a JCEKS are none of ours."""
    if content.startswith(magic.JKS):
        return StoreFormat.JKS
    if content.startswith(_DER_SEQUENCE):
        # A PFX begins with its version, 3; a certificate with a SEQUENCE, a key with the version 0 or 1.
        is_pfx = content[_header(content) :].startswith(_PFX_VERSION)
        return StoreFormat.PKCS12 if is_pfx else None
    return StoreFormat.PEM if _PEM in content else None


def open_store(content: bytes, password: str | None) -> OpenedStore:
    """Open a store without being told its format; raise `MaterialError` when it does not open, or is none.

    A PEM file with a key is one entry without an alias, all its certificates the chain; without a
    key it cannot say what its certificates are for, and each is an entry that is not trusted. A key
    of a PEM or JKS that the password does not open is given as locked.
    """
    format_ = _sniff(content)
    match format_:
        case StoreFormat.PEM:
            return OpenedStore(format_, *_open_pem(content, password))
        case StoreFormat.PKCS12:
            from agent.keystores import pkcs12

            return OpenedStore(format_, *pkcs12.read(content, password))
        case StoreFormat.JKS:
            from agent.keystores import jks

            remarks = () if password is not None else ("without its password, nobody can tell whether it was altered",)
            return OpenedStore(format_, jks.read(content, password), remarks)


def read_anchors(content: bytes, password: str | None) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Return the certificates that a file offers as anchors, in any format, and what is to be said about them.

    These are the trusted entries of a PKCS12 or JKS, and all certificates of a PEM, which needs no
    password; of a PKCS12 without a key that marks none as trusted all of them, with a remark. Raise
    `MaterialError` when the file does not open, or offers none.
    """
    format_ = _sniff(content)
    remarks: tuple[str, ...] = ()
    match format_:
        case StoreFormat.PEM:
            anchors = pem.decode(content)
        case StoreFormat.PKCS12:
            from agent.keystores import pkcs12

            anchors, remarks = pkcs12.read_anchors(content, password)
        case StoreFormat.JKS:
            from agent.keystores import jks

            anchors = jks.read_truststore(content, password)
    if not anchors:
        what = "certificate" if format_ is StoreFormat.PEM else "trusted certificate"
        raise MaterialError(f"it holds no {what}", advice="import the CA's certificate into it")
    return anchors, remarks


def _open_pem(content: bytes, password: str | None) -> tuple[tuple[StoreEntry, ...], tuple[str, ...]]:
    certificates = pem.decode(content)
    if _PEM_KEY not in content:
        if not certificates:
            raise MaterialError("it holds neither a certificate nor a private key")
        return tuple(StoreEntry("", None, (certificate,)) for certificate in certificates), ()
    from agent.keystores import private_key

    try:
        key = private_key.from_pem(content, password)
    except MaterialError as error:
        return (StoreEntry("", None, certificates, locked=True),), (error.what,)
    return (StoreEntry("", key, certificates),), ()


def _sniff(content: bytes) -> StoreFormat:
    check_size(content, LARGEST_FILE, "a store")
    format_ = sniff(content)
    if format_ is not None:
        return format_
    if content.startswith(magic.JCEKS):
        return StoreFormat.JKS  # whose reader refuses it, and says what to do
    if content.startswith(_DER_SEQUENCE):
        raise MaterialError(
            "it is DER, not PEM, and no PKCS12 either", advice="convert it with `openssl x509 -inform der`"
        )
    raise MaterialError(
        "it holds no certificate, in PEM, PKCS12 or JKS", advice="put the CA's certificate there, in PEM"
    )


def _header(content: bytes) -> int:
    """Return how many bytes the tag and the length of the first element take."""
    length = content[1] if len(content) > 1 else 0
    return 2 + (length & 0x7F if length & 0x80 else 0)
