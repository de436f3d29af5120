"""Which template is named, and what is told beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from agent.core.identity import KeyAlgorithm, Usage
from agent.core.issuer_spec import is_of_a_host
from agent.issuers.aws.template import passthrough, template_arn
from tests.material import make_request

SERVER, CLIENT = Usage.SERVER, Usage.CLIENT
PREFIX = "arn:aws:acm-pca:::template/"


@pytest.mark.parametrize(
    ("usages", "name"),
    [
        ({SERVER, CLIENT}, "EndEntityCertificate/V1"),
        ({SERVER}, "EndEntityServerAuthCertificate/V1"),
        ({CLIENT}, "EndEntityClientAuthCertificate/V1"),
    ],
)
def test_the_default_template_fits_the_usages(usages: set[Usage], name: str) -> None:
    """The extended key usage of a leaf comes from its template."""
    request = replace(make_request(), usages=frozenset(usages))
    assert template_arn(request, "", "aws") == PREFIX + name


def test_an_identity_s_template_goes_before_the_issuer_s() -> None:
    """And a whole ARN is taken as it is, in whichever partition."""
    request = make_request()
    assert template_arn(request, "EndEntityCertificate_CSRPassthrough/V1", "aws-cn") == (
        "arn:aws-cn:acm-pca:::template/EndEntityCertificate_CSRPassthrough/V1"
    )
    own = replace(request, template=PREFIX + "EndEntityClientAuthCertificate/V1")
    assert template_arn(own, "EndEntityCertificate/V1", "aws") == own.template


@pytest.mark.parametrize(
    "name", ["SubordinateCACertificate_PathLen0/V1", "RootCACertificate/V1", "CodeSigningCertificate/V1"]
)
def test_a_template_that_makes_no_leaf_for_tls_is_told(name: str) -> None:
    """A host with a CA's would sign for others, and one for code is refuted after it was paid for."""
    assert not is_of_a_host(PREFIX + name)
    assert is_of_a_host("BlankEndEntityCertificate_CSRPassthrough/V1")


@pytest.mark.parametrize("name", ["EndEntityCertificate/V1", "EndEntityCertificate_CSRPassthrough/V1"])
def test_base_and_csr_templates_take_nothing_from_the_call(name: str) -> None:
    """What they read stands in the CSR."""
    assert passthrough(make_request(), PREFIX + name) is None


def test_an_api_template_is_told_subject_and_names() -> None:
    """The usages of a template that sets them are not told again."""
    request = make_request(subject="CN=kafka1.example.com,OU=Brokers,O=MyOrg", uri=("spiffe://example.com/a",))
    told = passthrough(request, PREFIX + "EndEntityCertificate_APIPassthrough/V1")
    assert told is not None
    assert told["Subject"] == {
        "CustomAttributes": [
            {"ObjectIdentifier": attribute.oid.dotted_string, "Value": attribute.value} for attribute in request.subject
        ]
    } or told["Subject"] == {
        "Organization": "MyOrg",
        "OrganizationalUnit": "Brokers",
        "CommonName": "kafka1.example.com",
    }
    assert told["Extensions"] == {
        "SubjectAlternativeNames": [
            {"DnsName": "kafka1.example.com"},
            {"DnsName": "localhost"},
            {"IpAddress": "127.0.0.1"},
            {"UniformResourceIdentifier": "spiffe://example.com/a"},
        ]
    }


def test_a_second_unit_and_another_order_are_kept_attribute_by_attribute() -> None:
    """The fields of `ASN1Subject` know neither, and the principal of Kafka hangs on both."""
    name = x509.Name.from_rfc4514_string("CN=a,OU=One,OU=Two,O=MyOrg")
    told = passthrough(replace(make_request(), subject=name), PREFIX + "EndEntityCertificate_APICSRPassthrough/V1")
    assert told is not None
    assert [one["Value"] for one in told["Subject"]["CustomAttributes"]] == [one.value for one in name]


@pytest.mark.parametrize(("key", "enciphers"), [(KeyAlgorithm.RSA_2048, True), (KeyAlgorithm.EC_P256, False)])
def test_a_blank_template_is_told_the_usages(key: KeyAlgorithm, enciphers: bool) -> None:
    """It sets none itself."""
    request = replace(make_request(), key=key)
    told = passthrough(request, PREFIX + "BlankEndEntityCertificate_APIPassthrough/V1")
    assert told is not None
    assert told["Extensions"]["ExtendedKeyUsage"] == [
        {"ExtendedKeyUsageType": "CLIENT_AUTH"},
        {"ExtendedKeyUsageType": "SERVER_AUTH"},
    ]
    assert told["Extensions"]["KeyUsage"] == {"DigitalSignature": True, "KeyEncipherment": enciphers}
