"""The subject of an identity, as Kafka prints it or as a mapping, to a distinguished name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from agent.settings.model import SubjectPart

_LONGEST_SHOWN = 200
LONGEST = {
    NameOID.COMMON_NAME: 64,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.LOCALITY_NAME: 128,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
}
"""Characters of an attribute (RFC 5280, appendix A)."""


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
    return x509.Name([x509.NameAttribute(oid, _short(oid, value)) for oid, value in attributes if value])


def _of_text(text: str) -> x509.Name:
    if not text.strip():
        return x509.Name([])
    try:
        name = x509.Name.from_rfc4514_string(text)
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        short = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
        raise ValueError(f"{short!r} is no name{reason}: write CN=kafka1.example.com,OU=Brokers,O=MyOrg") from None
    for attribute in name:
        _short(attribute.oid, str(attribute.value))
    return name


def _short(oid: x509.ObjectIdentifier, value: str) -> str:
    most = LONGEST.get(oid, len(value))
    if len(value) > most:
        raise ValueError(
            f"{value[:most] + '…'!r} is longer than {most} characters: write a shorter one, names go to `sans`"
        )
    return value
