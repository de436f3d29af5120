"""Auth methods of a running OpenBao: each is enabled and given one role (or user) of least policy.

`Tokens` says what a login gives; other fields of the role may be changed by name (`secret_id_num_uses=1`).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.material import make_key
from tests.servers.csr import csr_pem
from tests.servers.jwt import Signer
from tests.servers.openbao import POLICY
from tests.servers.token_review import AUDIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from agent.keystores.material import PrivateKey
    from tests.servers.openbao import OpenBao
    from tests.servers.token_review import TokenReview

ROLE = "kafka"

LOGIN_POLICY = f"""{POLICY}
path "auth/token/lookup-self" {{ capabilities = ["read"] }}
path "auth/token/renew-self" {{ capabilities = ["update"] }}
path "auth/token/revoke-self" {{ capabilities = ["update"] }}
"""
"""What a client that logs in needs: to sign, and to look at, renew and give back its own token."""


@dataclass(frozen=True)
class Tokens:
    """What the tokens of a login may and how long they live (`90s`, `1h`)."""

    ttl: str = "1h"
    max_ttl: str = "24h"
    policy: str = LOGIN_POLICY

    async def fields(self, bao: OpenBao) -> dict[str, Any]:
        """Write the policy and return the role's fields."""
        name = f"login-{os.urandom(4).hex()}"
        await bao.write(f"sys/policies/acl/{name}", policy=self.policy)
        return {
            "token_policies": [name],
            "token_no_default_policy": True,
            "token_ttl": self.ttl,
            "token_max_ttl": self.max_ttl,
        }


USUAL = Tokens()


async def _enable(bao: OpenBao, method: str, mount: str) -> None:
    await bao.write(f"sys/auth/{mount}", type=method)


# --- AppRole --------------------------------------------------------------------------------


@dataclass(frozen=True)
class AppRole:
    """An AppRole; secret ids are made when asked for."""

    bao: OpenBao = field(repr=False)
    mount: str
    role_id: str

    @property
    def creation_path(self) -> str:
        """The path that secret ids are made at, which `sys/wrapping/lookup` tells of a wrapped one."""
        return f"auth/{self.mount}/role/{ROLE}/secret-id"

    async def secret_id(self, **fields: Any) -> str:
        """Make a secret id; `num_uses`, `ttl` and others as the API has them."""
        secret: str = (await self.bao.write(self.creation_path, **fields))["secret_id"]
        return secret

    async def wrapped_secret_id(self, within: str = "60s", **fields: Any) -> str:
        """Make a secret id and return the token that it is wrapped in for so long."""
        return await self.bao.wrap("POST", self.creation_path, within, **fields)


async def enable_approle(bao: OpenBao, tokens: Tokens = USUAL, *, mount: str = "approle", **fields: Any) -> AppRole:
    """Enable AppRole with one role."""
    await _enable(bao, "approle", mount)
    await bao.write(f"auth/{mount}/role/{ROLE}", **(await tokens.fields(bao) | fields))
    role_id = (await bao.call("GET", f"auth/{mount}/role/{ROLE}/role-id"))["data"]["role_id"]
    return AppRole(bao, mount, role_id)


# --- Users ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class User:
    """A user and the password made for it."""

    mount: str
    name: str
    password: str = field(repr=False)


async def enable_userpass(bao: OpenBao, tokens: Tokens = USUAL, *, mount: str = "userpass", **fields: Any) -> User:
    """Enable userpass with one user."""
    user = User(mount, ROLE, os.urandom(12).hex())
    await _enable(bao, "userpass", mount)
    await bao.write(
        f"auth/{mount}/users/{user.name}", **(await tokens.fields(bao) | {"password": user.password} | fields)
    )
    return user


# --- JWT ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JwtIssuer:
    """The issuer whose tokens the role `kafka` believes."""

    mount: str
    signer: Signer
    issuer: str = "https://tokens.example.com"
    audience: str = "vault"
    subject: str = "kafka1"

    def token(self, **claims: Any) -> str:
        """Return a token that may log in; `lasts`, `starts` and claims as `Signer.token` has them."""
        return self.signer.token(**({"iss": self.issuer, "aud": self.audience, "sub": self.subject} | claims))


async def enable_jwt(
    bao: OpenBao,
    tokens: Tokens = USUAL,
    *,
    signer: Signer | None = None,
    mount: str = "jwt",
    **fields: Any,
) -> JwtIssuer:
    """Enable JWT with one role, for tokens by a key of our own."""
    issuer = JwtIssuer(mount, signer or Signer.make())
    await _enable(bao, "jwt", mount)
    await bao.write(
        f"auth/{mount}/config", jwt_validation_pubkeys=[issuer.signer.public_pem], bound_issuer=issuer.issuer
    )
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [issuer.audience],
        "bound_subject": issuer.subject,
    }
    await bao.write(f"auth/{mount}/role/{ROLE}", **(await tokens.fields(bao) | role | fields))
    return issuer


# --- Kubernetes -----------------------------------------------------------------------------


async def enable_kubernetes(
    bao: OpenBao,
    api: TokenReview,
    tokens: Tokens = USUAL,
    *,
    mount: str = "kubernetes",
    host: str = "",
    **fields: Any,
) -> None:
    """Enable Kubernetes with the role `kafka` for the account `streaming/kafka`; `host` stands for a proxy to `api`."""
    await _enable(bao, "kubernetes", mount)
    await bao.write(
        f"auth/{mount}/config",
        kubernetes_host=host or api.address,
        kubernetes_ca_cert=api.ca_pem,
        disable_local_ca_jwt=True,
    )
    role = {
        "bound_service_account_names": ["kafka"],
        "bound_service_account_namespaces": ["streaming"],
        "audience": AUDIENCE,
    }
    await bao.write(f"auth/{mount}/role/{ROLE}", **(await tokens.fields(bao) | role | fields))


# --- Certificates ---------------------------------------------------------------------------


async def enable_cert(bao: OpenBao, tokens: Tokens = USUAL, *, mount: str = "cert", **fields: Any) -> None:
    """Enable login by certificates of the mount `pki`, below `example.com`; the server must be one with `tls=True`."""
    await _enable(bao, "cert", mount)
    role = {"certificate": await pki_root(bao), "allowed_dns_sans": ["*.example.com"]}
    await bao.write(f"auth/{mount}/certs/{ROLE}", **(await tokens.fields(bao) | role | fields))


async def pki_root(bao: OpenBao) -> str:
    """Return the root above the mount `pki` in PEM."""
    root: str = (await bao.call("GET", "pki-root/cert/ca"))["data"]["certificate"]
    return root


async def host_certificate(
    bao: OpenBao, directory: Path, name: str = "kafka1.example.com", *, key: PrivateKey | None = None
) -> tuple[Path, Path]:
    """Have the mount `pki` sign for a name; return the files of the chain (leaf first) and of the key."""
    key = key or make_key()
    signed = await bao.write("pki/sign/kafka", csr=csr_pem(name, key), remove_roots_from_chain=True)
    chain, secret = directory / f"{name}.crt", directory / f"{name}.key"

    def write() -> None:
        directory.mkdir(parents=True, exist_ok=True)
        chain.write_text("\n".join((signed["certificate"], *signed["ca_chain"])) + "\n")
        secret.touch(mode=0o600)
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    await asyncio.to_thread(write)
    return chain, secret
