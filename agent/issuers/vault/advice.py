"""What an operator is to do about Vault's no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.issuer_spec import Signing, TokenLogin
from agent.errors import IssuerRefusedError
from agent.issuers.vault.answer import FOREIGN_LEAF, UNKNOWN_ISSUER

if TYPE_CHECKING:
    from agent.core.issuer_spec import VaultSpec
    from agent.issuers.vault.cluster import RefusedError


def refused(spec: VaultSpec, path: str, refusal: RefusedError) -> IssuerRefusedError:
    """Return Vault's no to a call of `path` as an error for a person."""
    return IssuerRefusedError(
        f"Vault at {refusal.address} refused: {refusal.said}",
        advice=advice(spec, path, refusal),
        reason="access denied" if refusal.status == 403 else "refused",
    )


def advice(spec: VaultSpec, path: str, refusal: RefusedError) -> str:
    """Return what to do about it."""
    role = f"{spec.mount}/roles/{spec.role}" if spec.role else "the call"
    if refusal.status == 403:
        if isinstance(spec.login, TokenLogin) and not spec.login.wrapped:
            return (
                f"see that the token in {spec.login.token} has not expired and that a policy of it holds {policy(path)}"
            )
        return f"see that a policy of the login's token holds {policy(path)}"
    if refusal.status == 404:
        return f"see that a PKI engine is mounted at {spec.mount!r} in {namespace(spec)}, and correct `mount`"
    for phrase, what in (
        ("unknown role", f"make {role} in Vault, or correct `role`"),
        (UNKNOWN_ISSUER, "correct `issuer_ref`: the mount has no such issuer"),
        (FOREIGN_LEAF, "import the CA that gave the leaf into the mount again, or let the leaf expire"),
        ("not allowed by this role", f"let {role} allow the name (allowed_domains and others), or ask for another"),
        ("not allowed in this role", f"let {role} allow such names (allow_ip_sans and others), or ask for none"),
        ("not valid for this role", f"let {role} allow such names (allowed_uri_sans and others), or ask for none"),
        ("role requires", f"ask for a key that {role} takes (`key: algorithm`), or change the role's key_type"),
        ("beyond the expiration of the CA", "ask for a shorter `lifetime`, and have the CA's certificate renewed"),
    ):
        if phrase in refusal.said:
            return what
    if spec.signing is Signing.VERBATIM and not spec.role:
        return "correct what the identity asks for"
    return f"correct {role} or what the identity asks for"


def policy(path: str) -> str:
    """Return the line of a policy that allows a call of `path`."""
    return f'path "{path}" {{ capabilities = ["update"] }}'


def namespace(spec: VaultSpec) -> str:
    """Return the namespace in words."""
    return f"namespace {spec.namespace!r}" if spec.namespace else "the root namespace"
