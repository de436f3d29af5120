"""Names as Java prints them; `tests/judges/test_principal.py` has Java print thousands."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type as StringType
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agent.core.distinguished_name import java_name, java_releases_disagree

CN, ORG, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME


def name(*rdns: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    """Make a name of RDNs, in the types that `cryptography` chooses."""
    return x509.Name(
        x509.RelativeDistinguishedName(x509.NameAttribute(oid, value) for oid, value in rdn) for rdn in rdns
    )


def typed(value: str, string_type: StringType) -> x509.Name:
    """Make a name of an O, in one type of string."""
    return x509.Name([x509.NameAttribute(ORG, value, string_type)])


def test_name_is_printed_from_its_end() -> None:
    """RFC 2253 writes the most specific first, which is encoded last."""
    assert (
        java_name(name([(ORG, "MyOrg")], [(OU, "a")], [(OU, "b")], [(CN, "kafka1")])) == "CN=kafka1,OU=b,OU=a,O=MyOrg"
    )
    assert java_name(name()) == ""


def test_attributes_of_an_rdn_stand_as_they_are_encoded() -> None:
    """That is by their bytes, the length first, whatever order they were given in."""
    assert java_name(name([(ORG, "b"), (CN, "a")])) == java_name(name([(CN, "a"), (ORG, "b")])) == "CN=a+O=b"
    assert java_name(name([(CN, "long"), (ORG, "b")], [(OU, "x")])) == "OU=x,O=b+CN=long"


@pytest.mark.parametrize(
    ("oid", "keyword"),
    [
        *(("2.5.4.3", "CN"), ("2.5.4.6", "C"), ("2.5.4.7", "L"), ("2.5.4.8", "ST"), ("2.5.4.9", "STREET")),
        *(("2.5.4.10", "O"), ("2.5.4.11", "OU")),
        *(("0.9.2342.19200300.100.1.1", "UID"), ("0.9.2342.19200300.100.1.25", "DC")),
    ],
)
def test_nine_attributes_have_a_keyword(oid: str, keyword: str) -> None:
    """Those of RFC 2253."""
    assert java_name(name([(x509.ObjectIdentifier(oid), "ab")])) == f"{keyword}=ab"


@pytest.mark.parametrize(
    ("oid", "printed"),
    [
        (NameOID.EMAIL_ADDRESS, "1.2.840.113549.1.9.1=#16026162"),
        (NameOID.SERIAL_NUMBER, "2.5.4.5=#13026162"),
        (NameOID.TITLE, "2.5.4.12=#0c026162"),
        (x509.ObjectIdentifier("2.999.3"), "2.999.3=#0c026162"),
    ],
)
def test_other_attributes_are_printed_as_der(oid: x509.ObjectIdentifier, printed: str) -> None:
    """With the type of the string, so a CA that changes it changes the principal."""
    assert java_name(name([(oid, "ab")])) == printed


def test_long_value_is_printed_whole() -> None:
    """Its length takes more than a byte."""
    title = NameOID.TITLE
    assert java_name(name([(ORG, "a" * 300)], [(title, "b" * 200)])) == f"2.5.4.12=#0c81c8{'62' * 200},O={'a' * 300}"


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("a,b+c", r"a\,b\+c"),
        ('"a"', r"\"a\""),
        ("a\\b", r"a\\b"),
        ("<a>;b", r"\<a\>\;b"),
        ("a=b#c", r"a\=b\#c"),
        ("#a", r"\#a"),
        (" a  b ", r"\ a  b\ "),
        ("  ", r"\ \ "),
        ("\r\na\n\r", "\\\r\na\n\\\r"),
        (" \r#\r ", "\\ \\\r\\#\\\r\\ "),
        ("\ta\t", "\ta\t"),
        ("a\0", r"a\00"),
        ("\x01\x7f", "\x01\x7f"),
        ("*'()/:?@_~", "*'()/:?@_~"),
        ("Zürich 中\u2028\U0001f600", "Zürich 中\u2028\U0001f600"),
        ("\xa0a\xa0", "\xa0a\xa0"),
        ("", ""),
    ],
)
def test_value_is_escaped_as_java_escapes_it(value: str, printed: str) -> None:
    """More than RFC 2253 asks for, and nothing of what is no ASCII."""
    assert java_name(typed(value, StringType.UTF8String)) == f"O={printed}"


@pytest.mark.parametrize(
    ("string_type", "printed"),
    [
        (StringType.UTF8String, "O=ab"),
        (StringType.PrintableString, "O=ab"),
        (StringType.T61String, "O=ab"),
        (StringType.IA5String, "O=ab"),
        (StringType.BMPString, "O=ab"),
        (StringType.UniversalString, "O=#1c080000006100000062"),
        (StringType.VisibleString, "O=#1a026162"),
    ],
)
def test_types_that_java_takes_for_text_are_printed_as_text(string_type: StringType, printed: str) -> None:
    """The others as their DER, the type and the length before the value."""
    assert java_name(typed("ab", string_type)) == printed
    assert java_releases_disagree(typed("ab", string_type)) is (string_type is StringType.BMPString)


def test_bits_are_printed_as_der() -> None:
    """A unique identifier (RFC 4519, 2.45) is no text at all."""
    unique = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x00\xff", StringType.BitString)
    assert java_name(x509.Name([unique])) == "2.5.4.45=#030200ff"


def test_releases_disagree_of_text_that_is_no_ascii() -> None:
    """But in a UTF8String, and where the value is printed as DER."""
    assert java_releases_disagree(typed("é", StringType.T61String))
    assert java_name(typed("é", StringType.T61String)) == "O=Ã©"
    assert not java_releases_disagree(typed("é", StringType.UTF8String))
    assert not java_releases_disagree(typed("é", StringType.UniversalString))
    assert not java_releases_disagree(typed("", StringType.BMPString))
    title = x509.NameAttribute(NameOID.TITLE, "é", StringType.BMPString)
    assert not java_releases_disagree(x509.Name([title]))
    assert java_releases_disagree(x509.Name([title, *typed("a", StringType.BMPString)]))


@given(st.lists(st.text(), max_size=3))
def test_text_can_be_read_back(values: list[str]) -> None:
    """Every value is found again in what is printed, since nothing is lost and no escape is in doubt."""
    printed = java_name(x509.Name([x509.NameAttribute(OU, value) for value in reversed(values)]))
    found: list[str] = []
    at = 0
    while at < len(printed):
        assert printed.startswith("OU=", at)
        at += 3
        value = ""
        while at < len(printed) and printed[at] != ",":
            if printed.startswith("\\00", at):
                value, at = f"{value}\0", at + 3
            else:
                at += printed[at] == "\\"
                value, at = value + printed[at], at + 1
        found.append(value)
        at += 1
    assert found == values
