"""The paths of a PKI mount, below `/v1/`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.core.issuer_spec import Signing

if TYPE_CHECKING:
    from agent.core.issuer_spec import VaultSpec


def sign(spec: VaultSpec) -> str:
    """Return where a host's CSR goes: never to `sign-intermediate`, which makes every host a CA."""
    what = "sign" if spec.signing is Signing.ROLE else "sign-verbatim"
    return f"{_issuer(spec)}/{what}" + (f"/{_segment(spec.role)}" if spec.role else "")


def sign_ca(spec: VaultSpec) -> str:
    """Return where the CSR of a subordinate CA goes."""
    return f"{_issuer(spec) if spec.issuer_ref else f'{mount(spec.mount)}/root'}/sign-intermediate"


def role(spec: VaultSpec) -> str:
    """Return where the role's fields are read."""
    return f"{mount(spec.mount)}/roles/{_segment(spec.role)}"


def chain(spec: VaultSpec) -> str:
    """Return where the CA's chain is read, without a token: PEM, or with an issuer of the mount's own JSON."""
    return f"{_issuer(spec)}/json" if spec.issuer_ref else f"{mount(spec.mount)}/ca_chain"


def issuers(spec: VaultSpec) -> str:
    """Return where the mount's issuers are listed, without a token; `GET` passes where `LIST` is no known method."""
    return f"{mount(spec.mount)}/issuers?list=true"


def issuer(spec: VaultSpec, ref: str) -> str:
    """Return where the certificate of an issuer of the mount is read, without a token."""
    return f"{mount(spec.mount)}/issuer/{_segment(ref)}/json"


def revoke(spec: VaultSpec) -> str:
    """Return where a leaf is revoked, whichever of the mount's issuers gave it."""
    return f"{mount(spec.mount)}/revoke"


def login(at: str, *rest: str) -> str:
    """Return where an auth method that is mounted at `at` takes logins."""
    return "/".join((f"auth/{mount(at)}/login", *map(_segment, rest)))


def mount(path: str) -> str:
    """Return the path of a mount, which may have several segments."""
    return quote(path.strip("/"))


def _issuer(spec: VaultSpec) -> str:
    return mount(spec.mount) + (f"/issuer/{_segment(spec.issuer_ref)}" if spec.issuer_ref else "")


def _segment(name: str) -> str:
    return quote(name, safe="")
