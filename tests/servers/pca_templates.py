"""Certificate templates of AWS Private CA: what of a certificate comes from template, API and CSR.

Made from the service's guide: the template says what it says; what it leaves open comes from
`ApiPassthrough` with an API passthrough template, and then from the CSR with a CSR passthrough one.
Subject and SANs of the CSR are taken by all of them.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from tests.servers.pca_faults import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEFAULT = "arn:aws:acm-pca:::template/EndEntityCertificate/V1"
ARN = re.compile(r"arn:aws[a-z-]*:acm-pca:::template/(?P<name>[\w/.-]+)")
NAME = re.compile(r"(?P<base>\w+?)(?:_(?P<source>API|CSR|APICSR)Passthrough)?/V1")

FLAGS = {
    "DigitalSignature": "digital_signature",
    "NonRepudiation": "content_commitment",
    "KeyEncipherment": "key_encipherment",
    "DataEncipherment": "data_encipherment",
    "KeyAgreement": "key_agreement",
    "KeyCertSign": "key_cert_sign",
    "CRLSign": "crl_sign",
    "EncipherOnly": "encipher_only",
    "DecipherOnly": "decipher_only",
}
PURPOSES = {
    "SERVER_AUTH": ExtendedKeyUsageOID.SERVER_AUTH,
    "CLIENT_AUTH": ExtendedKeyUsageOID.CLIENT_AUTH,
    "CODE_SIGNING": ExtendedKeyUsageOID.CODE_SIGNING,
    "EMAIL_PROTECTION": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "TIME_STAMPING": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSP_SIGNING": ExtendedKeyUsageOID.OCSP_SIGNING,
    "SMART_CARD_LOGIN": ExtendedKeyUsageOID.SMARTCARD_LOGON,
    "DOCUMENT_SIGNING": ObjectIdentifier("1.3.6.1.4.1.311.10.3.12"),
    "CERTIFICATE_TRANSPARENCY": ExtendedKeyUsageOID.CERTIFICATE_TRANSPARENCY,
}
SUBJECT = {
    "Country": NameOID.COUNTRY_NAME,
    "State": NameOID.STATE_OR_PROVINCE_NAME,
    "Locality": NameOID.LOCALITY_NAME,
    "Organization": NameOID.ORGANIZATION_NAME,
    "OrganizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CommonName": NameOID.COMMON_NAME,
    "SerialNumber": NameOID.SERIAL_NUMBER,
    "Title": NameOID.TITLE,
    "Surname": NameOID.SURNAME,
    "GivenName": NameOID.GIVEN_NAME,
    "Initials": NameOID.INITIALS,
    "Pseudonym": NameOID.PSEUDONYM,
    "GenerationQualifier": NameOID.GENERATION_QUALIFIER,
    "DistinguishedNameQualifier": NameOID.DN_QUALIFIER,
}
"""In which order the service puts them is not known; this one is a guess."""


@dataclass(frozen=True)
class Template:
    """What a template sets by itself; `usage` are flags of `x509.KeyUsage`."""

    usage: tuple[str, ...] = ()
    purposes: tuple[ObjectIdentifier, ...] = ()
    ca: bool = False
    path_length: int | None = None
    critical: bool = False
    """Whether basicConstraints are."""
    blank: bool = False
    root: bool = False
    from_api: bool = False
    from_csr: bool = False


CA = Template(("digital_signature", "key_cert_sign", "crl_sign"), ca=True, critical=True)
BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
TLS = ("digital_signature", "key_encipherment")
BASES = {
    "EndEntityCertificate": Template(TLS, BOTH),
    "EndEntityServerAuthCertificate": Template(TLS, (ExtendedKeyUsageOID.SERVER_AUTH,)),
    "EndEntityClientAuthCertificate": Template(TLS, (ExtendedKeyUsageOID.CLIENT_AUTH,)),
    "CodeSigningCertificate": Template(("digital_signature",), (ExtendedKeyUsageOID.CODE_SIGNING,)),
    "OCSPSigningCertificate": Template(("digital_signature",), (ExtendedKeyUsageOID.OCSP_SIGNING,)),
    "BlankEndEntityCertificate": Template(blank=True),
    "BlankEndEntityCertificate_CriticalBasicConstraints": Template(blank=True, critical=True),
    "RootCACertificate": replace(CA, root=True),
    **{f"SubordinateCACertificate_PathLen{length}": replace(CA, path_length=length) for length in range(4)},
    **{
        f"BlankSubordinateCACertificate_PathLen{length}": Template(
            ca=True, critical=True, path_length=length, blank=True
        )
        for length in range(4)
    },
}


def find_template(arn: str | None) -> Template:
    """Return the template of an ARN, `EndEntityCertificate/V1` without one; raise `RefusedError`."""
    arn = arn or DEFAULT
    written = ARN.fullmatch(arn)
    if written is None:
        raise RefusedError("InvalidArnException", f"{arn} is not the ARN of a template")
    name = NAME.fullmatch(written["name"])
    base = BASES.get(name["base"]) if name else None
    source = (name["source"] or "") if name else ""
    if base is None or (base.blank and not source) or (base.root and "CSR" in source):
        raise RefusedError("InvalidArgsException", f"there is no template {arn}")
    return replace(base, from_api=source.startswith("API"), from_csr=source.endswith("CSR"))


def subject(template: Template, csr: x509.CertificateSigningRequest, passed: dict[str, Any]) -> x509.Name:
    """Return the subject: the API's where it is taken and given, else the CSR's."""
    told = passed.get("Subject") if template.from_api else None
    return asn1_subject(told) if told else csr.subject


def asn1_subject(told: dict[str, Any]) -> x509.Name:
    """Return an `ASN1Subject`: its fields, or its custom attributes in their order."""
    custom = told.get("CustomAttributes")
    if custom and len(told) > 1:
        raise RefusedError("InvalidArgsException", "custom attributes exclude all other fields of the subject")
    try:
        if custom:
            return x509.Name([_attribute(ObjectIdentifier(one["ObjectIdentifier"]), one["Value"]) for one in custom])
        return x509.Name([_attribute(oid, told[name]) for name, oid in SUBJECT.items() if name in told])
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError("InvalidArgsException", f"the subject is malformed: {error}") from error


def extensions(
    template: Template, csr: x509.CertificateSigningRequest, passed: dict[str, Any]
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """Yield the extensions, each with whether it is critical; identifiers of keys are not among them."""
    found: dict[ObjectIdentifier, tuple[x509.ExtensionType, bool]] = {}
    identifiers = (ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    for one in csr.extensions:
        if template.from_csr or one.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
            found[one.oid] = (one.value, one.critical)
    if template.from_api:
        found |= {value.oid: (value, critical) for value, critical in _of_api(passed.get("Extensions") or {})}
    found |= {value.oid: (value, critical) for value, critical in _of_template(template)}
    return (one for oid, one in found.items() if oid not in identifiers)


def _of_template(template: Template) -> Iterator[tuple[x509.ExtensionType, bool]]:
    yield x509.BasicConstraints(ca=template.ca, path_length=template.path_length), template.critical
    if template.usage:
        yield key_usage(template.usage), True
    if template.purposes:
        yield x509.ExtendedKeyUsage(template.purposes), ExtendedKeyUsageOID.OCSP_SIGNING in template.purposes


def _of_api(told: dict[str, Any]) -> Iterator[tuple[x509.ExtensionType, bool]]:
    try:
        if told.get("SubjectAlternativeNames"):
            names = [_general_name(one) for one in told["SubjectAlternativeNames"]]
            yield x509.SubjectAlternativeName(names), False
        if told.get("KeyUsage"):
            yield key_usage([FLAGS[name] for name, wanted in told["KeyUsage"].items() if wanted]), True
        if told.get("ExtendedKeyUsage"):
            yield x509.ExtendedKeyUsage([_purpose(one) for one in told["ExtendedKeyUsage"]]), False
        if told.get("CertificatePolicies"):
            policies = [
                x509.PolicyInformation(ObjectIdentifier(one["CertPolicyId"]), None)
                for one in told["CertificatePolicies"]
            ]
            yield x509.CertificatePolicies(policies), False
        for one in told.get("CustomExtensions") or ():
            value = base64.b64decode(one["Value"], validate=True)
            yield (
                x509.UnrecognizedExtension(ObjectIdentifier(one["ObjectIdentifier"]), value),
                bool(one.get("Critical")),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError("InvalidArgsException", f"the extensions are malformed: {error}") from error


def key_usage(flags: Iterable[str]) -> x509.KeyUsage:
    """Return the extension with these flags set."""
    wanted = set(flags)
    return x509.KeyUsage(**{flag: flag in wanted for flag in FLAGS.values()})


def _purpose(told: dict[str, str]) -> ObjectIdentifier:
    if "ExtendedKeyUsageObjectIdentifier" in told:
        return ObjectIdentifier(told["ExtendedKeyUsageObjectIdentifier"])
    return PURPOSES[told["ExtendedKeyUsageType"]]


def _general_name(told: dict[str, Any]) -> x509.GeneralName:
    if len(told) != 1:
        raise ValueError(f"a name is of one kind, and this one of {len(told)}")
    ((kind, value),) = told.items()
    match kind:
        case "DnsName":
            return x509.DNSName(value)
        case "IpAddress":
            return x509.IPAddress(ipaddress.ip_address(value))
        case "UniformResourceIdentifier":
            return x509.UniformResourceIdentifier(value)
        case "Rfc822Name":
            return x509.RFC822Name(value)
        case "DirectoryName":
            return x509.DirectoryName(asn1_subject(value))
        case "RegisteredId":
            return x509.RegisteredID(ObjectIdentifier(value))
        case _:
            raise ValueError(f"names of the kind {kind} are not made here")


def _attribute(oid: ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(oid, value)
