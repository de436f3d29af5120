"""The settings of CAs: what comes out of each, and what is a mistake."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.core.identity import KeyAlgorithm
from agent.core.issuer_spec import (
    AppRoleLogin,
    AssumeRole,
    AwsAccess,
    AwsLogin,
    AwsPcaSpec,
    CertificateLogin,
    InDoubt,
    JwtLogin,
    KeyPair,
    LocalCaSpec,
    ManualSpec,
    NearEnd,
    Signing,
    TokenLogin,
    UserpassLogin,
    VaultSpec,
    WebIdentity,
)
from agent.core.secret import Secret
from agent.errors import ConfigurationError
from agent.settings import advise, load
from tests.settings.host import Host, changed

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.issuer_spec import IssuerSpec

ARN = "arn:aws:acm-pca:eu-west-1:222222222222:certificate-authority/1a2b-3c"
NEXT_ARN = "arn:aws:acm-pca:eu-west-1:333333333333:certificate-authority/4d5e-6f"
"""In another account, which may share it."""
ROLE = "arn:aws:iam::222222222222:role/kafka-certificates"
PCA = {"type": "aws_pca", "certificate_authority_arn": ARN}
BROKER = "identities.broker"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a folder with a configuration."""
    return Host(tmp_path)


def issuer(host: Host, name: str, *changes: tuple[str, Any]) -> IssuerSpec:
    """Return an issuer of a changed configuration."""
    return host.load(changed(*changes)).issuers[name]


def logins(folder: Path) -> list[tuple[dict[str, Any], object]]:
    """Return each way to log in, as it is written and as it comes out."""
    token, password = Secret(file=folder / "token"), Secret(file=folder / "password")
    return [
        ({"method": "token", "token_environment": "PATH"}, TokenLogin(Secret(environment="PATH"))),
        (
            {"method": "token", "token_file": "token", "wrapped": True, "creation_path": "/auth/token/create/"},
            TokenLogin(token, wrapped=True, creation_path="auth/token/create"),
        ),
        ({"method": "approle", "role_id_file": "token"}, AppRoleLogin(token)),
        (
            {
                "method": "approle",
                "role_id_file": "token",
                "secret_id_file": "password",
                "wrapped": True,
                "mount": "/team/approle/",
            },
            AppRoleLogin(token, password, wrapped=True, mount="team/approle"),
        ),
        ({"method": "kubernetes", "role": "k", "token_file": "token"}, JwtLogin("k", token, "kubernetes")),
        ({"method": "jwt", "role": "k", "token_file": "token", "mount": "oidc"}, JwtLogin("k", token, "oidc")),
        (
            {"method": "userpass", "username": "kafka1", "password_file": "password"},
            UserpassLogin("kafka1", password),
        ),
        (
            {"method": "aws", "role": "k", "server_id": "v", "assume_role": {"role_arn": ROLE}},
            AwsLogin("k", AwsAccess(assume_role=AssumeRole(ROLE)), "v"),
        ),
    ]


@pytest.mark.parametrize("which", range(8))
def test_each_login_comes_out_as_it_is_written(host: Host, which: int) -> None:
    """Files count from the configuration's folder, mounts lose their slashes."""
    written, login = logins(host.folder)[which]
    spec = issuer(host, "vault", ("issuers.vault.auth", written))
    assert isinstance(spec, VaultSpec)
    assert spec.login == login


def test_a_certificate_login_shows_the_identity_s_own_leaf_first(host: Host) -> None:
    """Leaf and key are read below the one link that a switch renames; the files are for the time before."""
    spec = issuer(
        host,
        "vault",
        ("issuers.vault.auth", {"method": "cert", "role": "kafka"}),
        (
            "issuers.vault.client_certificate",
            {"identity": "broker", "certificate_file": "token", "key_file": "password"},
        ),
    )
    assert isinstance(spec, VaultSpec)
    assert spec.login == CertificateLogin("kafka")
    current = host.folder / "ssl" / ".current"
    assert spec.client_certificates == (
        KeyPair(current / "tls.crt", current / "tls.key"),
        KeyPair(host.folder / "token", host.folder / "password"),
    )


def test_vault_signs_as_it_is_told(host: Host) -> None:
    """Verbatim needs no role; a named issuer and revocation are the mount's own."""
    spec = issuer(
        host,
        "vault",
        ("issuers.vault.role", ...),
        ("issuers.vault.sign", "verbatim"),
        ("issuers.vault.issuer_ref", "kafka-2026"),
        ("issuers.vault.revoke", True),
    )
    assert isinstance(spec, VaultSpec)
    assert (spec.role, spec.signing, spec.issuer_ref, spec.revoke) == ("", Signing.VERBATIM, "kafka-2026", True)


def test_aws_private_ca_needs_an_arn_alone(host: Host) -> None:
    """Region, partition and account are in it."""
    spec = issuer(host, "pca", ("issuers.pca", PCA))
    assert spec == AwsPcaSpec(name="pca", authority=ARN)
    assert isinstance(spec, AwsPcaSpec)
    assert (spec.partition, spec.region, spec.account) == ("aws", "eu-west-1", "222222222222")


def test_everything_of_aws_private_ca_arrives(host: Host) -> None:
    """Each key of the settings is a field of the spec."""
    spec = issuer(
        host,
        "pca",
        (
            "issuers.pca",
            PCA
            | {
                "region": "eu-central-1",
                "web_identity": {"role_arn": ROLE, "token_file": "token", "session_name": "web"},
                "assume_role": {
                    "role_arn": ROLE,
                    "session_name": "orders",
                    "external_id_file": "password",
                    "duration": "15m",
                },
                "endpoint": "https://vpce.example.com/",
                "sts_endpoint": "https://sts.example.com",
                "ca_file": "token",
                "fips": True,
                "template": "EndEntityCertificate_CSRPassthrough/V1",
                "signing_algorithm": "SHA256WITHRSA",
                "near_end": "refuse",
                "in_doubt": "ask",
                "revoke": True,
                "calls_per_second": 5,
                "timeout": "10s",
                "next_certificate_authority_arn": NEXT_ARN,
            },
        ),
    )
    assert spec == AwsPcaSpec(
        name="pca",
        authority=ARN,
        access=AwsAccess(
            region="eu-central-1",
            web_identity=WebIdentity(ROLE, host.folder / "token", "web"),
            assume_role=AssumeRole(ROLE, "orders", Secret(file=host.folder / "password"), timedelta(minutes=15)),
            endpoint="https://vpce.example.com",
            sts_endpoint="https://sts.example.com",
            ca_file=host.folder / "token",
            fips=True,
        ),
        template="EndEntityCertificate_CSRPassthrough/V1",
        signing_algorithm="SHA256WITHRSA",
        near_end=NearEnd.REFUSE,
        in_doubt=InDoubt.ASK,
        revoke=True,
        calls_per_second=5,
        within=timedelta(seconds=10),
        next_authority=NEXT_ARN,
    )


def test_an_identity_takes_template_and_revocation_along(host: Host) -> None:
    """The template goes with the request, and revoking is the issuer's word for all of its identities."""
    wanted = host.load(
        changed(
            ("issuers.pca", PCA | {"revoke": True}),
            (f"{BROKER}.issuer", "pca"),
            (f"{BROKER}.template", "EndEntityClientAuthCertificate/V1"),
        )
    ).identities["broker"]
    assert wanted.request.template == "EndEntityClientAuthCertificate/V1"
    assert wanted.revoke


def test_the_local_ca_may_have_another_key(host: Host) -> None:
    """EC P-256 unless told otherwise."""
    assert issuer(host, "local") == LocalCaSpec("local", host.folder / "ca")
    spec = issuer(host, "local", ("issuers.local.key", "rsa-3072"))
    assert spec == LocalCaSpec("local", host.folder / "ca", KeyAlgorithm.RSA_3072)


def test_a_ca_that_only_people_can_ask_has_anchors_or_none(host: Host) -> None:
    """It needs none where the identity names its own sources; nothing of it is ever revoked."""
    spec = issuer(host, "hand", ("issuers.hand", {"type": "manual", "anchors": "token"}))
    assert spec == ManualSpec("hand", host.folder / "token")
    stored = {"type": "manual", "anchors": "token", "password_file": "password"}
    spec = issuer(host, "hand", ("issuers.hand", stored))
    assert spec == ManualSpec("hand", host.folder / "token", Secret(host.folder / "password"))
    sources = [{"system": True}]
    configuration = host.load(
        changed(
            ("issuers.hand", {"type": "manual"}),
            (f"{BROKER}.issuer", "hand"),
            (f"{BROKER}.trust", sources),
            (f"{BROKER}.peer_trust", sources),
        )
    )
    assert configuration.issuers["hand"] == ManualSpec("hand")
    assert not configuration.identities["broker"].revoke


@pytest.mark.parametrize(
    "trusting",
    [
        ("issuer", "hand"),
        ("trust", [{"issuer": "hand"}]),
        ("trust", [{"issuer": "hand", "accept": "ask"}]),
        ("peer_trust", [{"issuer": "hand"}]),
    ],
)
def test_anchors_are_missed_where_somebody_trusts_them(host: Host, trusting: tuple[str, Any]) -> None:
    """Before the agent starts, and by the name of who does."""
    key, value = trusting
    (mistake,) = host.mistakes(changed(("issuers.hand", {"type": "manual"}), (f"{BROKER}.{key}", value)))
    assert mistake.key == "issuers.hand.anchors"
    assert "'broker' trusts it" in mistake.what


MISTAKES: list[tuple[str, Any, str, str]] = [
    ("issuers.hand", {"type": "manual", "anchors": "absent"}, "issuers.hand.anchors", "no file that can be read"),
    ("issuers.hand", {"type": "manual", "anchors": ["token"]}, "issuers.hand.anchors", "is no path"),
    ("issuers.hand", {"type": "manual", "revoke": True}, "issuers.hand.revoke", "is no key"),
    (
        "issuers.hand",
        {"type": "manual", "anchors": "token", "password_file": "absent"},
        "issuers.hand.password_file",
        "cannot read",
    ),
    (
        "issuers.hand",
        {"type": "manual", "anchors": "token", "password_file": "password", "password_environment": "PASSWORD"},
        "issuers.hand",
        "write `password_file` or `password_environment`",
    ),
    (
        "issuers.hand",
        {"type": "manual", "password_file": "password"},
        "issuers.hand.password_file",
        "is for `anchors` alone",
    ),
    (
        "issuers.hand",
        {"type": "manual", "password_environment": "PASSWORD"},
        "issuers.hand.password_environment",
        "is for `anchors` alone",
    ),
    ("issuers.vault.role", ..., "issuers.vault.role", "is missing"),
    ("issuers.vault.sign", "intermediate", "issuers.vault.sign", "write one of role, verbatim"),
    ("issuers.vault.auth", {"method": "approle"}, "issuers.vault.auth", "write `role_id_file`"),
    (
        "issuers.vault.auth",
        {"method": "approle", "role_id_file": "token", "wrapped": True},
        "issuers.vault.auth.wrapped",
        "write `secret_id_file`",
    ),
    (
        "issuers.vault.auth",
        {"method": "token", "token_file": "token", "creation_path": "auth/token/create"},
        "issuers.vault.auth.creation_path",
        "without `wrapped: true`",
    ),
    (
        "issuers.vault.auth",
        {"method": "jwt", "role": "k", "token_file": "token", "mount": "../sys"},
        "issuers.vault.auth.mount",
        "is no path of a mount",
    ),
    ("issuers.vault.auth", {"method": "cert"}, "issuers.vault.client_certificate", "is missing"),
    ("issuers.vault.auth", {"method": "userpass", "password_file": "token"}, "issuers.vault.auth.username", "missing"),
    ("issuers.vault.client_certificate", {"identity": "brokr"}, "issuers.vault.client_certificate.identity", "mean"),
    ("issuers.vault.client_certificate", {}, "issuers.vault.client_certificate", "names no certificate"),
    (
        "issuers.vault.client_certificate",
        {"certificate_file": "token"},
        "issuers.vault.client_certificate.key_file",
        "come together",
    ),
    ("issuers.pca", {"type": "aws_pca"}, "issuers.pca.certificate_authority_arn", "is missing"),
    (
        "issuers.pca",
        {"type": "aws_pca", "certificate_authority_arn": "arn:aws:acm:eu-west-1:1:x"},
        "issuers.pca.certificate_authority_arn",
        "is no ARN of a CA",
    ),
    (
        "issuers.pca",
        PCA | {"next_certificate_authority_arn": "arn:aws:acm:eu-west-1:1:x"},
        "issuers.pca.next_certificate_authority_arn",
        "is no ARN of a CA",
    ),
    (
        "issuers.pca",
        PCA | {"next_certificate_authority_arn": ARN},
        "issuers.pca.next_certificate_authority_arn",
        "is the CA that issues already",
    ),
    (
        "issuers.pca",
        PCA | {"next_certificate_authority_arn": ARN.replace("eu-west-1", "eu-west-2")},
        "issuers.pca.next_certificate_authority_arn",
        "is in another region",
    ),
    ("issuers.pca", PCA | {"assume_role": {"role_arn": "kafka"}}, "issuers.pca.assume_role.role_arn", "no ARN of a"),
    (
        "issuers.pca",
        PCA | {"assume_role": {"role_arn": ROLE, "duration": "1m"}},
        "issuers.pca.assume_role.duration",
        "write 15m to 12h",
    ),
    ("issuers.pca", PCA | {"template": "RootCACertificate/V1"}, "issuers.pca.template", "makes no leaves for TLS"),
    ("issuers.pca", PCA | {"template": "nonsense"}, "issuers.pca.template", ""),
    ("issuers.pca", PCA | {"signing_algorithm": "MD5"}, "issuers.pca.signing_algorithm", "write one of"),
    ("issuers.pca", PCA | {"endpoint": "http://vpce.example.com"}, "issuers.pca.endpoint", "in the clear"),
    ("issuers.pca", PCA | {"endpoint": "https://a:b@example.com"}, "issuers.pca.endpoint", "holds a user"),
    ("issuers.pca", PCA | {"calls_per_second": 0}, "issuers.pca.calls_per_second", ""),
    (
        "issuers.pca",
        PCA | {"profile": "p", "web_identity": {"role_arn": ROLE, "token_file": "token"}},
        "issuers.pca.profile",
        "write one of them",
    ),
    (
        "issuers.pca",
        PCA | {"web_identity": {"role_arn": ROLE, "token_file": "absent"}},
        "issuers.pca.web_identity.token_file",
        "no file that can be read",
    ),
    (f"{BROKER}.template", "EndEntityCertificate/V1", f"{BROKER}.template", "is none: leave it out"),
    ("issuers.local.key", "rsa-1024", "issuers.local.key", "is refused by Java and OpenSSL"),
]


@pytest.mark.parametrize(("at", "value", "key", "what"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_told_once_where_it_stands(host: Host, at: str, value: object, key: str, what: str) -> None:
    """The key's path, and what to write instead; nothing else is blamed."""
    (mistake,) = host.mistakes(changed((at, value)))
    assert mistake.key == key
    assert what in mistake.what


def test_a_template_of_a_ca_is_refused_for_an_identity_too(host: Host) -> None:
    """A host with such a leaf would sign for others."""
    (mistake,) = host.mistakes(
        changed(
            ("issuers.pca", PCA),
            (f"{BROKER}.issuer", "pca"),
            (f"{BROKER}.template", "SubordinateCACertificate_PathLen0/V1"),
        )
    )
    assert mistake.key == f"{BROKER}.template"


def test_an_identity_without_pem_has_no_leaf_to_show(host: Host) -> None:
    """A client certificate is read from PEM."""
    (mistake,) = host.mistakes(
        changed(
            (f"{BROKER}.files", [{"format": "pkcs12", "keystore": "k.p12", "password_file": "password"}]),
            ("issuers.vault.client_certificate", {"identity": "broker"}),
        )
    )
    assert "write `combined`" in mistake.what


def test_revoking_without_a_proof_is_advised_against(host: Host) -> None:
    """Nothing is revoked that no handshake has replaced."""
    configuration = host.load(changed(("issuers.vault.revoke", True), (f"{BROKER}.issuer", "vault")))
    assert any("nothing is ever revoked" in sentence for sentence in advise(configuration))


def test_a_verb_about_cas_needs_no_identity(host: Host) -> None:
    """`sign-ca` runs where no host is kept; what is wrong with an identity that is there is told all the same."""
    values = changed()
    del values["identities"]
    host.file.write_text(yaml.safe_dump(values))
    assert load(host.file, {}, "host", needs_identities=False).identities == {}
    assert "identities" in str(host.mistakes(values)[0])
    host.file.write_text(yaml.safe_dump(changed((f"{BROKER}.lifetime", "soon"))))
    with pytest.raises(ConfigurationError):
        load(host.file, {}, "host", needs_identities=False)
