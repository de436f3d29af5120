"""Distinguished names as Java prints them (RFC 2253), which is what a Kafka broker makes principals of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterator

_UTF8_STRING = 0x0C
_BMP_STRING = 0x1E
_CHARSETS = {
    _UTF8_STRING: "utf-8",
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # TeletexString
    0x16: "latin-1",  # IA5String
    _BMP_STRING: "utf-16-be",
}
"""The types that Java prints as text, and how; every other value is printed as its DER."""

_KEYWORDS = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
"""The attributes that have a name; the value of every other is printed as its DER, text or not."""

_ESCAPED = str.maketrans({character: f"\\{character}" for character in ',=+<>#;"\\'} | {"\0": "\\00"})
_BLANK = " \r"
"""What Java escapes at either end of a value."""

_LONG = 0x80
"""Lengths from here on are told by the bytes that follow (X.690, 8.1.3.5)."""


def java_name(name: x509.Name) -> str:
    r"""Return the name as `X500Principal.getName()` has it.

    The last attribute comes first, the attributes of one RDN stand as they are encoded, with `+`
    between them. A value is text where the attribute has a keyword and the value is a string, else
    `#` and its DER in hex. `, = + < > # ; " \` are escaped wherever they stand, blanks and carriage
    returns at the ends, and a NUL is `\00`; nothing else is, line ends and what is no ASCII included.

    Of names of which `java_releases_disagree`, this is what Java 25 prints.
    """
    rdns = ["+".join(map(_printed, rdn)) for rdn in _rdns(name)]
    return ",".join(reversed(rdns))


def java_releases_disagree(name: x509.Name) -> bool:
    """Return whether Java 17 prints the name otherwise than Java 25 does.

    The older one takes every string for UTF-8, so text that is no ASCII differs in every type but
    UTF8String, and a BMPString always.
    """
    return any(_is_ambiguous(*attribute) for rdn in _rdns(name) for attribute in rdn)


def _is_ambiguous(oid: str, value: bytes) -> bool:
    tag, content = value[0], _content(value)
    if oid not in _KEYWORDS or tag not in _CHARSETS or tag == _UTF8_STRING:
        return False
    return bool(content) if tag == _BMP_STRING else not content.isascii()


def _printed(attribute: tuple[str, bytes]) -> str:
    oid, value = attribute
    keyword, charset = _KEYWORDS.get(oid), _CHARSETS.get(value[0])
    if keyword is None or charset is None:
        return f"{keyword or oid}=#{value.hex()}"
    return f"{keyword}={_escaped(_content(value).decode(charset))}"


def _escaped(text: str) -> str:
    text = text.translate(_ESCAPED)
    without_head = text.lstrip(_BLANK)
    core = without_head.rstrip(_BLANK)
    head, tail = text[: len(text) - len(without_head)], without_head[len(core) :]
    return "".join(f"\\{blank}" for blank in head) + core + "".join(f"\\{blank}" for blank in tail)


def _rdns(name: x509.Name) -> Iterator[list[tuple[str, bytes]]]:
    """Yield the RDNs, of each attribute the OID and the DER of its value, which alone tells the string's type."""
    for rdn in name.rdns:
        # A set is encoded in the order of its elements' bytes (X.690, 11.6), and Java leaves them as they stand.
        attributes = sorted((_encoded(attribute), attribute.oid.dotted_string) for attribute in rdn)
        yield [(oid, _second(_content(der))) for der, oid in attributes]


def _encoded(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    """Return the DER of an attribute: a SEQUENCE of its OID and its value."""
    return _content(_content(x509.Name([attribute]).public_bytes()))


def _content(der: bytes) -> bytes:
    """Return what stands in an element, which is all of `der`."""
    return der[_start(der) :]


def _second(der: bytes) -> bytes:
    """Return the second of two elements; the first is an OID, of which `cryptography` has none over 63 bytes."""
    return der[_start(der) + der[1] :]


def _start(der: bytes) -> int:
    """Return how many bytes the tag and the length of the first element take."""
    return 2 + (der[1] & ~_LONG if der[1] & _LONG else 0)
