"""The shape of the settings of CAs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from agent.core.identity import KeyAlgorithm
from agent.core.issuer_spec import InDoubt, NearEnd, Signing
from agent.settings.part import Part
from agent.settings.scalars import (
    AuthorityArn,
    HostName,
    KeyName,
    MountPath,
    Namespace,
    PathName,
    RoleArn,
    SessionName,
    Span,
    Url,
)

KUBERNETES_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class LocalCaPart(Part):
    """The embedded CA: a root and an intermediate, made on first use."""

    type: Literal["local_ca"]
    directory: PathName = Field(description="Where its keys are; nobody but the agent should read them.")
    key: KeyName = Field("ec-p256", json_schema_extra={"enum": [*KeyAlgorithm]}, description="Keys of the CA itself.")


# --- AWS ------------------------------------------------------------------------------------


class AssumeRolePart(Part):
    """A role to assume, in another account too."""

    role_arn: RoleArn
    session_name: SessionName = Field("cert-agent", description="How the session is named in CloudTrail.")
    external_id_file: PathName | None = Field(None, description="File with the external id that the role asks for.")
    external_id_environment: str | None = Field(None, description="Name of the environment variable with it.")
    duration: Span = Field("1h", validate_default=True, description="Life of the credentials; they are refreshed.")


class WebIdentityPart(Part):
    """A role to assume with a token of an OIDC provider (IRSA)."""

    role_arn: RoleArn
    token_file: PathName = Field(description="File with the token; it is read at each refresh.")
    session_name: SessionName = "cert-agent"


class AwsAccessPart(Part):
    """Where AWS is reached and as whom; by default by its own default chain."""

    region: str | None = Field(None, pattern="^[a-z0-9-]+$", description="By default that of the CA's ARN.")
    profile: str | None = Field(None, min_length=1, description="A profile of ~/.aws/config.")
    web_identity: WebIdentityPart | None = None
    assume_role: AssumeRolePart | None = None
    endpoint: Url | None = Field(None, description="Endpoint of the service, if not the public one (VPC endpoint).")
    sts_endpoint: Url | None = Field(None, description="Endpoint of STS, if not the public one.")
    ca_file: PathName | None = Field(None, description="CA certificates that the endpoints are verified with.")
    fips: bool = Field(False, description="Use the FIPS endpoints.")


class AwsPcaPart(AwsAccessPart):
    """A CA of AWS Private CA."""

    type: Literal["aws_pca"]
    certificate_authority_arn: AuthorityArn
    next_certificate_authority_arn: AuthorityArn | None = Field(
        None, description="A CA in waiting, of the same region: its root is shown before anything is issued under it."
    )
    template: str | None = Field(
        None,
        pattern=r"^(arn:[a-z-]+:acm-pca:::template/)?[A-Za-z0-9_]+/V[0-9]+$",
        description="Template for identities that name none; by default the one that fits their usages.",
    )
    signing_algorithm: (
        Literal[
            "SHA256WITHECDSA", "SHA384WITHECDSA", "SHA512WITHECDSA", "SHA256WITHRSA", "SHA384WITHRSA", "SHA512WITHRSA"
        ]
        | None
    ) = Field(None, description="By default the one that fits the CA's key.")
    near_end: NearEnd = Field(NearEnd.SHORTEN, description="When the CA ends before the leaf would: shorten or refuse.")
    in_doubt: InDoubt = Field(
        InDoubt.REISSUE, description="When nobody can tell whether a call issued: reissue, and say so, or ask."
    )
    revoke: bool = Field(False, description="Revoke what a proven renewal replaced, once no roll-back reaches it.")
    calls_per_second: float = Field(10.0, ge=0.2, le=100, description="The most that AWS is asked; throttles slow it.")
    timeout: Span = Field("30s", validate_default=True, description="Longest time for one order, waiting included.")


# --- Vault and OpenBao ----------------------------------------------------------------------


class TokenAuth(Part):
    """Login with a token that is read each time that it is needed."""

    method: Literal["token"]
    token_file: PathName | None = Field(None, description="File with the token.")
    token_environment: str | None = Field(None, description="Name of the environment variable with the token.")
    wrapped: bool = Field(False, description="What stands there is the token of a wrapping, which can be used once.")
    creation_path: str | None = Field(None, description="Path at which the wrapping must have been made.")


class AppRoleAuth(Part):
    """Login with a role id and a secret id."""

    method: Literal["approle"]
    role_id_file: PathName | None = Field(None, description="File with the role id.")
    role_id_environment: str | None = Field(None, description="Name of the environment variable with the role id.")
    secret_id_file: PathName | None = Field(None, description="File with the secret id, if the role wants one.")
    secret_id_environment: str | None = Field(None, description="Name of the environment variable with it.")
    wrapped: bool = Field(False, description="The place of the secret id holds the token of its wrapping.")
    creation_path: str | None = Field(None, description="Path at which the wrapping must have been made.")
    mount: MountPath = "approle"


class KubernetesAuth(Part):
    """Login with the pod's service account token."""

    method: Literal["kubernetes"]
    role: str = Field(min_length=1)
    token_file: PathName = Field(KUBERNETES_TOKEN, description="File with the service account's token.")
    mount: MountPath = "kubernetes"


class JwtAuth(Part):
    """Login with a signed token of any issuer that Vault trusts."""

    method: Literal["jwt"]
    role: str = Field(min_length=1)
    token_file: PathName | None = None
    token_environment: str | None = None
    mount: MountPath = "jwt"


class CertAuth(Part):
    """Login with the client certificate of the connection, `client_certificate`."""

    method: Literal["cert"]
    role: str = Field("", description="Name of the certificate role; by default any that fits.")
    mount: MountPath = "cert"


class AwsAuth(AwsAccessPart):
    """Login with an AWS identity (Vault only): a signed request to STS that Vault sends on."""

    method: Literal["aws"]
    role: str = Field(min_length=1)
    server_id: str = Field("", description="What Vault wants in X-Vault-AWS-IAM-Server-ID.")
    mount: MountPath = "aws"


class UserpassAuth(Part):
    """Login with a user and a password."""

    method: Literal["userpass"]
    username: str = Field(min_length=1)
    password_file: PathName | None = None
    password_environment: str | None = None
    mount: MountPath = "userpass"


AuthPart = Annotated[
    TokenAuth | AppRoleAuth | KubernetesAuth | JwtAuth | CertAuth | AwsAuth | UserpassAuth,
    Field(discriminator="method"),
]


class ClientCertificatePart(Part):
    """The certificate that the agent shows to the server: an identity's own leaf, and files for before it has one."""

    identity: str | None = Field(None, description="An identity whose current leaf is shown, once it has one.")
    certificate_file: PathName | None = Field(None, description="Leaf and chain in PEM.")
    key_file: PathName | None = Field(None, description="Its private key in PEM.")


class VaultPart(Part):
    """A PKI mount of Vault or OpenBao."""

    type: Literal["vault"]
    addresses: list[str] = Field(min_length=1, description="Base addresses, tried in turn.")
    mount: str = Field("pki", min_length=1, description="Path of the PKI mount.")
    role: str | None = Field(None, min_length=1, description="Role of `sign/<role>`.")
    sign: Signing = Field(Signing.ROLE, description="role: the role decides on names; verbatim: the CSR does.")
    issuer_ref: str | None = Field(None, min_length=1, description="An issuer of the mount, if not its default.")
    auth: AuthPart
    namespace: Namespace | None = None
    ca_file: PathName | None = Field(None, description="CA certificates that the server is verified with.")
    server_name: HostName | None = Field(
        None, description="Name in the server's certificate, if not that of the address."
    )
    client_certificate: ClientCertificatePart | None = None
    revoke: bool = Field(False, description="Revoke what a proven renewal replaced, once no roll-back reaches it.")
    timeout: Span = Field("30s", validate_default=True, description="Longest time for one call, addresses included.")


# --- by hand --------------------------------------------------------------------------------


class ManualPart(Part):
    """A CA that only people can ask: `cert-agent csr` prints what it is to sign, `import` takes its answer in."""

    type: Literal["manual"]
    anchors: PathName | None = Field(None, description="A file in PEM, PKCS12 or JKS with the CA's root, or several.")
    password_file: PathName | None = Field(None, description="With `anchors`: the password of their PKCS12 or JKS.")
    password_environment: str | None = Field(None, description="The variable that holds it, in place of a file.")


AnyIssuerPart: TypeAlias = LocalCaPart | AwsPcaPart | VaultPart | ManualPart

IssuerPart = Annotated[AnyIssuerPart, Field(discriminator="type")]
