"""Certificate templates of AWS Private CA: what a leaf may be used for comes from them, not from the CSR.

The service's guide, "Using AWS Private CA certificate templates", is what these rules are made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.x509.oid import NameOID

from agent.core.identity import Usage

if TYPE_CHECKING:
    from cryptography import x509

    from agent.core.identity import Request

BY_USAGES = {
    frozenset({Usage.SERVER, Usage.CLIENT}): "EndEntityCertificate/V1",
    frozenset({Usage.SERVER}): "EndEntityServerAuthCertificate/V1",
    frozenset({Usage.CLIENT}): "EndEntityClientAuthCertificate/V1",
}
"""The base template of each set of usages: it takes subject and SANs from the CSR, and sets the usages itself."""

SUBJECT = {
    NameOID.COUNTRY_NAME: "Country",
    NameOID.STATE_OR_PROVINCE_NAME: "State",
    NameOID.LOCALITY_NAME: "Locality",
    NameOID.ORGANIZATION_NAME: "Organization",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OrganizationalUnit",
    NameOID.COMMON_NAME: "CommonName",
    NameOID.SERIAL_NUMBER: "SerialNumber",
    NameOID.TITLE: "Title",
    NameOID.SURNAME: "Surname",
    NameOID.GIVEN_NAME: "GivenName",
    NameOID.DN_QUALIFIER: "DistinguishedNameQualifier",
}
"""The attributes that `ASN1Subject` has a field for, each once and in the service's own order."""

PURPOSES = {Usage.SERVER: "SERVER_AUTH", Usage.CLIENT: "CLIENT_AUTH"}


def template_arn(request: Request, configured: str, partition: str) -> str:
    """Return the ARN of the identity's template, else of the issuer's, else of the one that fits the usages."""
    template = request.template or configured or BY_USAGES[request.usages]
    return template if template.startswith("arn:") else f"arn:{partition}:acm-pca:::template/{template}"


def passthrough(request: Request, arn: str) -> dict[str, Any] | None:
    """Return `ApiPassthrough` for a template that takes subject and extensions from the call; None for all others.

    Only a blank template leaves the usages open; any other sets them, and would refuse the same told twice.
    """
    name = arn.rpartition("template/")[2]
    if "_APIPassthrough" not in name and "_APICSRPassthrough" not in name:
        return None
    extensions: dict[str, Any] = {}
    if request.sans:
        extensions["SubjectAlternativeNames"] = [
            *({"DnsName": dns} for dns in request.sans.dns),
            *({"IpAddress": ip} for ip in request.sans.ip),
            *({"UniformResourceIdentifier": uri} for uri in request.sans.uri),
        ]
    if name.startswith("Blank"):
        extensions["ExtendedKeyUsage"] = [{"ExtendedKeyUsageType": PURPOSES[usage]} for usage in sorted(request.usages)]
        extensions["KeyUsage"] = {"DigitalSignature": True, "KeyEncipherment": request.key.startswith("rsa")}
    answer: dict[str, Any] = {}
    if request.subject.rdns:
        answer["Subject"] = _subject(request.subject)
    if extensions:
        answer["Extensions"] = extensions
    return answer or None


def _subject(name: x509.Name) -> dict[str, Any]:
    """Return a subject as `ASN1Subject`: by its fields where they say it whole, else attribute by attribute.

    The fields know neither order nor a second OU; `CustomAttributes` keep both, and exclude the fields.
    """
    attributes = list(name)
    known = [SUBJECT.get(attribute.oid) for attribute in attributes]
    order = list(SUBJECT.values())
    places = [order.index(field) for field in known if field is not None]
    if None not in known and places == sorted(set(places)):
        return {str(field): attribute.value for field, attribute in zip(known, attributes, strict=True)}
    return {
        "CustomAttributes": [
            {"ObjectIdentifier": attribute.oid.dotted_string, "Value": attribute.value} for attribute in attributes
        ]
    }
