"""`cert-agent sign-ca`: Vault signs the CSR of a subordinate CA, one of AWS Private CA say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.issuer_spec import VaultSpec
from agent.errors import AgentError
from agent.net.bounded import read_at_most
from agent.net.threads import in_thread
from agent.wiring.clock import utc_now

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from agent.core.configuration import Configuration

LARGEST_CSR = 64 * 1024
"""Bytes; a CSR is one or two thousand."""


async def sign_ca(
    configuration: Configuration, csr: Path, issuer: str | None, *, lifetime: timedelta, path_length: int
) -> tuple[str, ...]:
    """Return the CA's certificate and then its chain, in PEM.

    Raise `AgentError` when no issuer of Vault is meant, the file is no CSR of a CA, or Vault refuses.
    """
    spec = _spec(configuration, issuer)
    text = await in_thread(_read, csr)
    from agent.issuers.vault import Vault

    vault = Vault(spec, utc_now)
    try:
        certificate, chain = await vault.sign_ca(text, lifetime=lifetime, path_length=path_length)
    finally:
        await vault.close()
    return tuple(one.x509.public_bytes(Encoding.PEM).decode().rstrip() for one in (certificate, *chain))


def _spec(configuration: Configuration, issuer: str | None) -> VaultSpec:
    known = {name: spec for name, spec in configuration.issuers.items() if isinstance(spec, VaultSpec)}
    names = ", ".join(sorted(known))
    if not known:
        raise AgentError("no issuer of Vault is configured", advice=f"see `issuers` in {configuration.file}")
    if issuer is None and len(known) == 1:
        return next(iter(known.values()))
    if issuer is None:
        raise AgentError("several issuers of Vault are configured", advice=f"name one with --issuer: {names}")
    if issuer not in known:
        raise AgentError(f"{issuer} is no issuer of Vault", advice=f"name one with --issuer: {names}")
    return known[issuer]


def _read(path: Path) -> str:
    advice = "name the file with the CSR"
    content = read_at_most(path, LARGEST_CSR, unreadable=advice, too_large=advice)
    # Keytool and older tools write NEW before the words, as AWS's guide for MSK warns of.
    return content.decode("ascii", errors="replace").replace(" NEW CERTIFICATE REQUEST", " CERTIFICATE REQUEST")
