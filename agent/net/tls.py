"""TLS contexts for what the agent itself asks over HTTPS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from agent.errors import TrustError

if TYPE_CHECKING:
    from pathlib import Path


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
