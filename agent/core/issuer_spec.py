"""The CAs as the operator names them, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from agent.core.identity import KeyAlgorithm

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.secret import Secret


@dataclass(frozen=True, slots=True)
class LocalCaSpec:
    """The embedded CA: a root and an intermediate below `directory`, made on first use with keys of type `key`."""

    name: str
    directory: Path
    key: KeyAlgorithm = KeyAlgorithm.EC_P256


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A client certificate (leaf and chain) and its private key, in PEM files that are read at each use."""

    certificate: Path
    key: Path


def is_of_a_host(template: str) -> bool:
    """Return whether a template of AWS Private CA (ARN, or name and version) makes leaves for TLS.

    All others make CAs, which a host must not be, or leaves for signing code and OCSP answers.
    """
    return template.rpartition("template/")[2].startswith(("EndEntity", "BlankEndEntity"))


# --- AWS ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AssumeRole:
    """A role to assume at STS with the credentials at hand, in another account too."""

    role_arn: str
    session_name: str = "cert-agent"
    external_id: Secret | None = None
    duration: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """A role to assume with the token of an OIDC provider (IRSA): what the token's file holds is read each time."""

    role_arn: str
    token_file: Path
    session_name: str = "cert-agent"


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """Where AWS is reached and as whom.

    Without `profile` and `web_identity` the credentials are those of AWS's default chain; with
    `assume_role` they are used to assume a role. `endpoint` and `sts_endpoint` stand for the
    public ones (a VPC endpoint, say).
    """

    region: str = ""
    profile: str = ""
    web_identity: WebIdentity | None = None
    assume_role: AssumeRole | None = None
    endpoint: str = ""
    sts_endpoint: str = ""
    ca_file: Path | None = None
    fips: bool = False


class NearEnd(StrEnum):
    """What to do when the CA's own end comes before the wanted end of a leaf."""

    SHORTEN = "shorten"
    REFUSE = "refuse"


class InDoubt(StrEnum):
    """What to do when nobody can tell any more whether a call that had no answer issued a certificate."""

    REISSUE = "reissue"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class AwsPcaSpec:
    """A CA of AWS Private CA by its ARN.

    `next_authority` is the ARN of a CA in waiting, of which the anchors alone are read; empty: there is
    none. `template` is a template's ARN, or its name and version (`EndEntityCertificate/V1`), for
    identities that name none; empty: by their usages. `signing_algorithm` is empty when it is to
    follow the CA's key. `calls_per_second` bounds what is asked of the service in one go.
    """

    name: str
    authority: str
    access: AwsAccess = AwsAccess()
    template: str = ""
    signing_algorithm: str = ""
    near_end: NearEnd = NearEnd.SHORTEN
    in_doubt: InDoubt = InDoubt.REISSUE
    revoke: bool = False
    calls_per_second: float = 10.0
    within: timedelta = timedelta(seconds=30)
    next_authority: str = ""

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`."""
        return self.authority.split(":")[1]

    @property
    def region(self) -> str:
        """The region of the CA."""
        return self.access.region or self.authority.split(":")[3]

    @property
    def account(self) -> str:
        """The account that the CA is in."""
        return self.authority.split(":")[4]


# --- Vault and OpenBao ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token that somebody else has made; `wrapped`: the token of a wrapping that holds it.

    `creation_path` is the path that a wrapping must have been made at; empty for any path below `auth/token/`.
    """

    token: Secret
    wrapped: bool = False
    creation_path: str = ""


@dataclass(frozen=True, slots=True)
class AppRoleLogin:
    """A role id and a secret id; `wrapped`: the place of the secret id holds the token of its wrapping.

    `creation_path` is the path that the wrapping must have been made at; empty for that of any role
    of this mount.
    """

    role_id: Secret
    secret_id: Secret | None = None
    wrapped: bool = False
    creation_path: str = ""
    mount: str = "approle"


@dataclass(frozen=True, slots=True)
class JwtLogin:
    """A signed token of somebody whom Vault trusts: of Kubernetes (`mount` kubernetes) or of any issuer (jwt)."""

    role: str
    token: Secret
    mount: str


@dataclass(frozen=True, slots=True)
class CertificateLogin:
    """The client certificate of the connection itself; `role` may be empty for any that fits."""

    role: str = ""
    mount: str = "cert"


@dataclass(frozen=True, slots=True)
class AwsLogin:
    """A request to STS that is signed and not sent: Vault sends it, and sees who signed it.

    `server_id` is what Vault is set to look for in `X-Vault-AWS-IAM-Server-ID`.
    """

    role: str
    access: AwsAccess = AwsAccess()
    server_id: str = ""
    mount: str = "aws"


@dataclass(frozen=True, slots=True)
class UserpassLogin:
    """A user and a password."""

    username: str
    password: Secret
    mount: str = "userpass"


VaultLogin: TypeAlias = TokenLogin | AppRoleLogin | JwtLogin | CertificateLogin | AwsLogin | UserpassLogin


class Signing(StrEnum):
    """Who has the last word on a leaf's names and usages: Vault's role, or the CSR."""

    ROLE = "role"
    VERBATIM = "verbatim"


@dataclass(frozen=True, slots=True)
class VaultSpec:
    """A PKI mount of Vault or OpenBao.

    The CSR goes to `<mount>/sign/<role>`, or to `<mount>/sign-verbatim[/<role>]`; with
    `issuer_ref` to the same below `<mount>/issuer/<ref>`. `client_certificates` are shown to the
    server: the first of them that can be read and has not expired.
    """

    name: str
    addresses: tuple[str, ...]
    mount: str
    login: VaultLogin
    role: str = ""
    signing: Signing = Signing.ROLE
    issuer_ref: str = ""
    namespace: str | None = None
    ca_file: Path | None = None
    server_name: str | None = None
    client_certificates: tuple[KeyPair, ...] = ()
    revoke: bool = False
    within: timedelta = timedelta(seconds=30)


# --- by hand --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ManualSpec:
    """A CA that only people can ask.

    `anchors` is a file with its trust anchors, in any format, if it is a source of trust; `password`
    that of a PKCS12 or JKS.
    """

    name: str
    anchors: Path | None = None
    password: Secret | None = None


IssuerSpec: TypeAlias = LocalCaSpec | AwsPcaSpec | VaultSpec | ManualSpec
