"""TLS contexts for what the agent itself asks over HTTPS, and the certificate that it shows there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import AgentError, MaterialError, TrustError
from agent.keystores import pem, private_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.issuer_spec import KeyPair

LARGEST_FILE = 1024 * 1024
"""Bytes of a certificate's or a key's file."""

TRIES = 3
"""How often a pair that is being written just now is read again."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The client certificate of a context, None without one; `troubles` say why each before it was passed over."""

    certificate: Certificate | None = None
    troubles: tuple[str, ...] = ()


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that trusts the CAs of a PEM file, or the system's bundle without one; it blocks.

    It speaks TLS 1.2 and later. Raise `TrustError` when the file cannot be read or holds no CA.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except ssl.SSLError:
        raise TrustError(f"{ca_file} holds no CA certificate in PEM", advice="put the server's CA there") from None
    except OSError as error:
        raise TrustError(
            f"cannot read {ca_file}: {error.strerror or error}", advice="make it readable by the agent's user"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 changed these two for its default; the same file shall mean the same on every Python. A file that
    # names an intermediate trusts it, and a private CA may lack what RFC 5280 wants of a public one.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def showing_context(ca_file: Path | None, pairs: Sequence[KeyPair], now: datetime) -> tuple[ssl.SSLContext, Shown]:
    """Return such a context that shows the first of `pairs` that can be used: read, matching and not expired.

    It blocks. Where none can be used the context shows none. Raise `TrustError` as `client_context` does.
    """
    troubles: list[str] = []
    for pair in pairs:
        for _ in range(TRIES):
            # A fresh one each time: what OpenSSL has begun to load it keeps beside what is loaded later.
            context = client_context(ca_file)
            try:
                return context, Shown(_load(context, pair, now), tuple(troubles))
            except _TornError:
                continue
            except AgentError as error:
                troubles.append(f"{pair.certificate}: {error.what}")
                break
        else:
            troubles.append(f"{pair.certificate} and {pair.key} change while they are read")
    return client_context(ca_file), Shown(None, tuple(troubles))


class _TornError(Exception):
    """The files changed while they were read."""


@dataclass(frozen=True, slots=True)
class _Files:
    certificate: Path
    key: Path

    def content(self) -> tuple[bytes, bytes]:
        return _read(self.certificate), _read(self.key)


def _resolved(pair: KeyPair) -> _Files:
    """Return the files behind links such as `.current`, both from the one folder that it leads to now."""
    try:
        folder = pair.certificate.parent.resolve()
        same = pair.key.parent == pair.certificate.parent
        return _Files(folder / pair.certificate.name, (folder if same else pair.key.parent.resolve()) / pair.key.name)
    except OSError as error:
        raise MaterialError(f"cannot be read: {error.strerror or error}") from error


def _load(context: ssl.SSLContext, pair: KeyPair, now: datetime) -> Certificate:
    """Have the context show a pair; return its leaf, or raise `MaterialError`, `_TornError`."""
    files = _resolved(pair)
    content = files.content()
    try:
        leaf = _judged(*content, now)
        # Without an answer OpenSSL would ask the terminal for the password of a key that has one.
        context.load_cert_chain(files.certificate, files.key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError, MaterialError) as error:
        if _resolved(pair).content() != content:
            raise _TornError from error
        if isinstance(error, MaterialError):
            raise
        raise MaterialError("OpenSSL cannot use this certificate and key") from None
    # OpenSSL has read the files anew: it has loaded what was judged only if they are still the same.
    if files.content() != content:
        raise _TornError
    return leaf


def _judged(chain: bytes, key: bytes, now: datetime) -> Certificate:
    certificates = pem.decode(chain)
    if not certificates:
        raise MaterialError("holds no certificate in PEM")
    leaf = certificates[0]
    if private_key.public_der(private_key.from_pem(key)) != leaf.public_key:
        raise MaterialError("is not the certificate of the key beside it")
    if leaf.not_after <= now:
        raise MaterialError(f"expired on {leaf.not_after:%Y-%m-%d %H:%M:%SZ}")
    return leaf


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise MaterialError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if len(content) > LARGEST_FILE:
        raise MaterialError(f"{path.name} is larger than {LARGEST_FILE} bytes")
    return content
