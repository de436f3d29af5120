"""The AWS test server issues what AWS Private CA would: asked by a real client, judged by OpenSSL."""

from __future__ import annotations

import asyncio
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.servers.pca_desk import (
    BOTH,
    SUBJECT,
    Desk,
    about,
    dns_names,
    make_csr,
    open_desk,
    refused,
    usages,
)
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


pytestmark = pytest.mark.slow


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A CA on P-256 below a root, asked by the long-lived user."""
    async with open_desk() as opened:
        yield opened


async def test_a_leaf_has_the_csrs_names_and_the_templates_usages(desk: Desk) -> None:
    """The default template takes subject and SANs from the CSR and sets usages itself."""
    csr = make_csr(extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),))
    leaf = await desk.leaf(Csr=csr)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert leaf.subject.rfc4514_string() == SUBJECT
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.com/kafka1"]
    assert dns_names(leaf) == ["kafka1.example.com", "localhost"]
    assert usages(leaf) == BOTH
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment
    assert (basic.value.ca, basic.critical) == (False, False)


async def test_a_leaf_begins_an_hour_ago_and_ends_after_its_days(desk: Desk) -> None:
    """NotBefore is an hour before the order, and days count from the order."""
    leaf, now = await desk.leaf(), datetime.now(UTC)
    assert about(leaf.not_valid_before_utc, now - timedelta(hours=1))
    assert about(leaf.not_valid_after_utc, now + timedelta(days=3))


@pytest.mark.parametrize("kind", ["MONTHS", "YEARS", "ABSOLUTE", "END_DATE", "UTCTime"])
async def test_a_validity_of_any_kind_is_kept(desk: Desk, kind: str) -> None:
    """Each kind of validity means its instant."""
    now = datetime.now(UTC).replace(microsecond=0)
    end = now + timedelta(minutes=10)
    value, earliest, latest = {
        "MONTHS": (2, now + timedelta(days=58), now + timedelta(days=63)),
        "YEARS": (1, now + timedelta(days=364), now + timedelta(days=367)),
        "ABSOLUTE": (int(end.timestamp()), end, end),
        "END_DATE": (int(f"{end:%Y%m%d%H%M%S}"), end, end),
        "UTCTime": (int(f"{end:%y%m%d%H%M%S}"), end, end),
    }[kind]
    leaf = await desk.leaf(Validity={"Type": "END_DATE" if kind == "UTCTime" else kind, "Value": value})
    assert earliest <= leaf.not_valid_after_utc <= latest


async def test_a_validity_that_no_ca_gives_is_refused(desk: Desk) -> None:
    """A leaf lasts a day at least when days are told, has not ended, and ends before its CA."""
    async with desk.server.client(parameter_validation=False) as client:
        with refused("ValidationException", "greater than or equal to 1"):
            await Desk(desk.server, desk.arn, client).issue(Validity={"Type": "DAYS", "Value": 0})
    with refused("ValidationException"):
        await desk.issue(Validity={"Type": "ABSOLUTE", "Value": int(time.time()) - 5})
    with refused("ValidationException"):
        await desk.issue(Validity={"Type": "YEARS", "Value": 6})
    with refused("ValidationException", "enum"):
        await desk.issue(Validity={"Type": "HOURS", "Value": 6})
    with refused("InvalidArgsException"):
        await desk.issue(Validity={"Type": "END_DATE", "Value": 17})
    assert desk.server.issued == []


async def test_the_begin_is_told(desk: Desk) -> None:
    """ValidityNotBefore takes the place of the hour."""
    begin = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    told = {"Type": "ABSOLUTE", "Value": int(begin.timestamp())}
    assert (await desk.leaf(ValidityNotBefore=told)).not_valid_before_utc == begin
    with refused("InvalidArgsException"):
        await desk.issue(ValidityNotBefore={"Type": "DAYS", "Value": 1})


async def test_a_csr_that_nobody_can_sign_is_refused(desk: Desk) -> None:
    """Junk, a signature that is wrong, no names at all and Ed25519 are malformed CSRs."""
    good = make_csr()
    tampered = x509.load_pem_x509_csr(good).public_bytes(Encoding.DER)
    tampered = tampered.replace(b"kafka1.example.com", b"kafka2.example.com")
    broken = x509.load_der_x509_csr(tampered).public_bytes(Encoding.PEM)
    for csr in (b"no CSR", broken, make_csr("", sans=False), make_csr(key=ed25519.Ed25519PrivateKey.generate())):
        with refused("MalformedCSRException"):
            await desk.issue(Csr=csr)
    assert dns_names(await desk.leaf(Csr=make_csr(""))) == ["kafka1.example.com", "localhost"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EndEntityCertificate", BOTH),
        ("EndEntityServerAuthCertificate", BOTH[:1]),
        ("EndEntityClientAuthCertificate", BOTH[1:]),
        ("EndEntityClientAuthCertificate_APIPassthrough", BOTH[1:]),
        ("EndEntityServerAuthCertificate_CSRPassthrough", BOTH[:1]),
        ("EndEntityCertificate_APICSRPassthrough", BOTH),
        ("BlankEndEntityCertificate_APIPassthrough", [ExtendedKeyUsageOID.EMAIL_PROTECTION]),
        ("BlankEndEntityCertificate_CSRPassthrough", [ExtendedKeyUsageOID.CODE_SIGNING]),
        ("BlankEndEntityCertificate_APICSRPassthrough", [ExtendedKeyUsageOID.EMAIL_PROTECTION]),
        ("CodeSigningCertificate", [ExtendedKeyUsageOID.CODE_SIGNING]),
    ],
)
async def test_a_template_decides_the_usages(desk: Desk, name: str, expected: list[Any]) -> None:
    """What the template says goes before the API, and that before the CSR."""
    csr = make_csr(extensions=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),))
    told = {"Extensions": {"ExtendedKeyUsage": [{"ExtendedKeyUsageType": "EMAIL_PROTECTION"}]}}
    assert usages(await desk.leaf(template=name, Csr=csr, ApiPassthrough=told)) == expected


async def test_api_passthrough_gives_subject_and_names(desk: Desk) -> None:
    """The call's subject and SANs take the place of the CSR's, with an API passthrough template alone."""
    told = {
        "Subject": {"CommonName": "other.example.com", "Organization": "Org", "Country": "DE"},
        "Extensions": {
            "SubjectAlternativeNames": [
                {"DnsName": "other.example.com"},
                {"IpAddress": "::1"},
                {"UniformResourceIdentifier": "spiffe://example.com/other"},
            ],
            "KeyUsage": {"DigitalSignature": True, "KeyAgreement": False},
        },
    }
    leaf = await desk.leaf(template="BlankEndEntityCertificate_APIPassthrough", ApiPassthrough=told)
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert leaf.subject.rfc4514_string() == "CN=other.example.com,O=Org,C=DE"
    assert dns_names(leaf) == ["other.example.com"]
    assert (usage.digital_signature, usage.key_agreement) == (True, False)
    for name in ("EndEntityCertificate", "EndEntityCertificate_CSRPassthrough"):
        assert dns_names(await desk.leaf(template=name, ApiPassthrough=told)) == ["kafka1.example.com", "localhost"]


async def test_custom_attributes_keep_their_order_and_exclude_fields(desk: Desk) -> None:
    """Attribute by attribute a subject is taken as it is."""
    attributes = [(NameOID.COMMON_NAME, "a"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "b"), (NameOID.USER_ID, "c")]
    custom = [{"ObjectIdentifier": oid.dotted_string, "Value": value} for oid, value in attributes]
    told: dict[str, Any] = {"Subject": {"CustomAttributes": custom}}
    leaf = await desk.leaf(template="EndEntityCertificate_APIPassthrough", ApiPassthrough=told)
    assert [(one.oid, one.value) for one in leaf.subject] == attributes
    told["Subject"]["CommonName"] = "d"
    with refused("InvalidArgsException"):
        await desk.issue(template="EndEntityCertificate_APIPassthrough", ApiPassthrough=told)


async def test_extensions_that_make_no_sense_are_refused(desk: Desk) -> None:
    """A name of two kinds, no address and no OID are arguments that are not valid."""
    for told in (
        {"SubjectAlternativeNames": [{"DnsName": "a", "IpAddress": "::1"}]},
        {"SubjectAlternativeNames": [{"IpAddress": "nowhere"}]},
        {"CustomExtensions": [{"ObjectIdentifier": "1", "Value": "AAAA"}]},
    ):
        with refused("InvalidArgsException"):
            await desk.issue(template="EndEntityCertificate_APIPassthrough", ApiPassthrough={"Extensions": told})


async def test_custom_extensions_and_policies_are_put_in(desk: Desk) -> None:
    """The rest of `Extensions` is taken too."""
    told = {
        "CustomExtensions": [{"ObjectIdentifier": "1.2.3.4", "Value": "BQA=", "Critical": False}],
        "CertificatePolicies": [{"CertPolicyId": "2.23.140.1.2.1"}],
        "ExtendedKeyUsage": [{"ExtendedKeyUsageObjectIdentifier": "1.2.3.5"}],
    }
    leaf = await desk.leaf(template="BlankEndEntityCertificate_APIPassthrough", ApiPassthrough={"Extensions": told})
    custom = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.3.4")).value
    assert isinstance(custom, x509.UnrecognizedExtension)
    assert custom.value == b"\x05\x00"
    assert len(leaf.extensions.get_extension_for_class(x509.CertificatePolicies).value) == 1
    assert [one.dotted_string for one in usages(leaf)] == ["1.2.3.5"]


async def test_unknown_templates_are_refused(desk: Desk) -> None:
    """There is no blank template without passthrough, nor any of another name."""
    for name in ("Nonsense", "BlankEndEntityCertificate", "RootCACertificate_CSRPassthrough"):
        with refused("InvalidArgsException"):
            await desk.issue(template=name)
    with refused("InvalidArnException"):
        await desk.issue(TemplateArn="EndEntityCertificate/V1")


async def test_a_subordinate_template_makes_a_ca(desk: Desk) -> None:
    """A root gives real CA certificates, and one without room for more refuses them."""
    root = await desk.server.make_ca(subordinate=False)
    arn = await desk.issue(CertificateAuthorityArn=root, template="SubordinateCACertificate_PathLen0")
    told = await desk.client.get_certificate(CertificateAuthorityArn=root, CertificateArn=arn)
    leaf = x509.load_pem_x509_certificate(told["Certificate"].encode())
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    with refused("ValidationException"):
        await desk.issue(template="SubordinateCACertificate_PathLen0")
    with refused("InvalidArgsException"):
        await desk.issue(template="RootCACertificate")


@pytest.mark.parametrize(
    ("key", "algorithm", "other"),
    [
        ("EC_prime256v1", "SHA256WITHECDSA", "SHA256WITHRSA"),
        ("EC_secp384r1", "SHA384WITHECDSA", "SHA384WITHRSA"),
        ("EC_secp521r1", "SHA512WITHECDSA", "SHA512WITHRSA_PSS"),
        ("RSA_2048", "SHA256WITHRSA", "SHA256WITHECDSA"),
        ("RSA_2048", "SHA384WITHRSA_PSS", "SHA384WITHECDSA"),
    ],
)
async def test_the_algorithm_is_of_the_cas_family(desk: Desk, key: str, algorithm: str, other: str) -> None:
    """A CA signs with an algorithm of its own key, whatever the host's is."""
    desk.arn = await desk.server.make_ca(key)
    leaf, issuer, root = await desk.get(await desk.issue(SigningAlgorithm=algorithm))
    leaf.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(root)
    about_ca = (await desk.describe())["CertificateAuthorityConfiguration"]
    assert about_ca["KeyAlgorithm"] == key
    with refused("InvalidArgsException"):
        await desk.issue(SigningAlgorithm=other)
    with refused("ValidationException"):
        await desk.issue(SigningAlgorithm="MD5WITHRSA")


async def test_a_short_lived_ca_gives_a_week(desk: Desk) -> None:
    """The mode of the CA limits its leaves."""
    desk.arn = await desk.server.make_ca(usage_mode="SHORT_LIVED_CERTIFICATE")
    assert (await desk.describe())["UsageMode"] == "SHORT_LIVED_CERTIFICATE"
    await desk.issue(Validity={"Type": "DAYS", "Value": 7})
    with refused("ValidationException"):
        await desk.issue(Validity={"Type": "DAYS", "Value": 8})


@pytest.mark.parametrize("key", ["EC_secp384r1", "RSA_2048"])
async def test_openssl_believes_the_chain(desk: Desk, tmp_path: Path, key: str) -> None:
    """Root, intermediate and leaf pass OpenSSL's strict check, as server and as client."""
    desk.arn = await desk.server.make_ca(key)
    algorithm = "SHA256WITHRSA" if key.startswith("RSA") else "SHA384WITHECDSA"
    leaf, issuer, root = await desk.get(await desk.issue(SigningAlgorithm=algorithm))
    for name, one in (("leaf", leaf), ("issuer", issuer), ("root", root)):
        (tmp_path / f"{name}.pem").write_bytes(one.public_bytes(Encoding.PEM))
    for purpose in ("sslserver", "sslclient"):
        command = f"verify -x509_strict -purpose {purpose} -CAfile root.pem -untrusted issuer.pem leaf.pem"
        told = await asyncio.to_thread(
            subprocess.run, [need("openssl"), *command.split()], cwd=tmp_path, capture_output=True, check=False
        )
        assert told.returncode == 0, told.stderr
