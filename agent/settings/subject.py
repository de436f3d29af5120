"""The subject of an identity, as Kafka prints it or as a mapping, to a distinguished name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from agent.settings.model import SubjectPart

LONGEST_ATTRIBUTE = 64
"""Characters of a common name, organization or unit (RFC 5280, appendix A)."""


def read_subject(subject: str | SubjectPart) -> x509.Name:
    """Return the name; raise `ValueError` that says what to write instead.

    Text is read as RFC 2253 has it and Kafka prints it: the last attribute is encoded first. A
    mapping is encoded C, ST, L, O, OU, CN.
    """
    if isinstance(subject, str):
        return _of_text(subject)
    attributes = [
        (NameOID.COUNTRY_NAME, subject.country),
        (NameOID.STATE_OR_PROVINCE_NAME, subject.state),
        (NameOID.LOCALITY_NAME, subject.locality),
        (NameOID.ORGANIZATION_NAME, subject.organization),
        *((NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in subject.organizational_unit),
        (NameOID.COMMON_NAME, subject.common_name),
    ]
    return x509.Name([x509.NameAttribute(oid, _short(value)) for oid, value in attributes if value])


def _of_text(text: str) -> x509.Name:
    if not text.strip():
        return x509.Name([])
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no name ({error}): write CN=kafka1.example.com,OU=Brokers,O=MyOrg") from None
    for attribute in name:
        _short(str(attribute.value))
    return name


def _short(value: str) -> str:
    if len(value) > LONGEST_ATTRIBUTE:
        raise ValueError(
            f"{value!r} is longer than {LONGEST_ATTRIBUTE} characters: write a shorter one, names go to `sans`"
        )
    return value
