"""The small values of the settings: laws that hold for all of them, beside the table of mistakes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.settings.scalars import FileName, HostName, IpAddress, Mode, Namespace, Span, dns_name, host_and_port

if TYPE_CHECKING:
    import ipaddress

SPAN: TypeAdapter[timedelta] = TypeAdapter(Span)
FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)
IP_ADDRESS: TypeAdapter[str] = TypeAdapter(IpAddress)
MODE: TypeAdapter[int] = TypeAdapter(Mode)
HOST_NAME: TypeAdapter[str] = TypeAdapter(HostName)
NAMESPACE: TypeAdapter[str] = TypeAdapter(Namespace)

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
DNS_NAME = st.tuples(st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True), st.lists(LABEL, max_size=4)).map(
    lambda parts: ".".join((parts[0], *parts[1]))
)


def refusal(adapter: TypeAdapter[str] | TypeAdapter[int] | TypeAdapter[timedelta], value: object) -> str:
    """Return what is told of a value that is refused."""
    with pytest.raises(ValidationError) as caught:
        adapter.validate_python(value)
    (error,) = caught.value.errors()
    return error["msg"]


@given(
    st.integers(0, 36_000),
    st.integers(0, 200),
    st.integers(0, 2000),
    st.integers(0, 100_000),
    st.sampled_from(["", " "]),
)
def test_span_is_the_sum_of_its_parts(days: int, hours: int, minutes: int, seconds: int, blank: str) -> None:
    """However a span is divided, it is read as long as it is; a part that is zero may be left out."""
    wanted = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s"))
    whole = "".join(f"{number}{unit}" for number, unit in parts)
    short = "".join(f"{number}{unit}" for number, unit in parts if number)
    for text in (whole, short):
        if wanted:
            assert SPAN.validate_python(f"{blank}{text}{blank}") == wanted
        else:
            assert "write a span" in refusal(SPAN, text)


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.integers(0).map(str)))
def test_span_without_a_unit_is_refused(value: object) -> None:
    """Nobody has to guess whether 90 is seconds or days."""
    assert "write a span as 30d, 12h, 90s or 1h30m" in refusal(SPAN, value)


@given(st.one_of(st.text(max_size=12), st.text("0123456789dhms ", max_size=12)))
def test_span_is_read_or_refused_with_the_remedy(text: str) -> None:
    """Whatever is written, it is a positive span of ASCII digits with units, or told; nothing else is raised."""
    try:
        span = SPAN.validate_python(text)
    except ValidationError:
        assert "write a span" in refusal(SPAN, text)
        return
    assert re.fullmatch(r"([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?", text.strip())
    assert timedelta(0) < span <= timedelta(days=36_500)


@pytest.mark.parametrize("text", ["P30D", "1w", "1.5h", "30D", "30 d", "1m1h", "-1d", "\u0661d", "999999999d", "0d0h"])
def test_span_of_another_notation_is_refused(text: str) -> None:
    """One notation, so that a reader never has to look it up."""
    assert "write a span as 30d" in refusal(SPAN, text)


@given(st.ip_addresses())
def test_ip_address_has_one_form(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Long and short text of an address are the same, and its own form is kept."""
    if "%" not in str(address):
        assert IP_ADDRESS.validate_python(address.exploded) == IP_ADDRESS.validate_python(str(address)) == str(address)


@given(DNS_NAME)
def test_dns_name_is_lower_case_and_stays(name: str) -> None:
    """Names that differ by case are one name; a wildcard stands before any of them."""
    assert dns_name(name.upper()) == dns_name(name) == name
    assert dns_name(f"*.{name}") == f"*.{name}"
    with pytest.raises(ValueError, match="wildcard"):
        dns_name(f"*.{name}", wildcard=False)


@pytest.mark.parametrize(
    "name", ["-a.example", "a-.example", "a" * 64, ".".join(["a" * 60] * 5), "a b", "a.", "", "*."]
)
def test_dns_name_outside_of_the_rules_is_refused(name: str) -> None:
    """RFC 1123: labels of up to 63 letters, digits and hyphens, 253 in all."""
    with pytest.raises(ValueError, match="write labels"):
        dns_name(name)


@given(DNS_NAME, st.integers(1, 65535))
def test_host_and_port_come_apart(name: str, port: int) -> None:
    """Name, IPv4 and bracketed IPv6 come out as they went in."""
    for host, text in ((name, name), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")):
        assert host_and_port(f"{text}:{port}") == (host, port)


@pytest.mark.parametrize(
    "address", ["[localhost]:1", "[::1:1", "::1]:1", ":1", "a:", "a:-1", "a:1:2", "a:\u0663", "[]:1"]
)
def test_host_and_port_that_are_none_are_refused(address: str) -> None:
    """An address that could be read in two ways, or in none, is told with one that can."""
    with pytest.raises(ValueError, match="write host:port"):
        host_and_port(address)


@given(st.integers(0, 0o777))
def test_mode_is_octal_text(mode: int) -> None:
    """With or without the leading zero; as a number nobody can tell which base was meant."""
    assert MODE.validate_python(f"{mode:04o}") == MODE.validate_python(f"{mode:03o}") == mode
    assert "in quotes" in refusal(MODE, mode)


def test_file_name_leaves_room_for_the_file_system() -> None:
    """Its length counts in bytes, as file systems count."""
    assert FILE_NAME.validate_python("k" * 200) == "k" * 200
    for name in ("k" * 201, "ö" * 101):
        assert "write a shorter name" in refusal(FILE_NAME, name)


@given(st.text(max_size=8))
def test_file_name_stays_in_its_folder(name: str) -> None:
    """No name that is taken leads out of the directory, hides, or breaks a line."""
    try:
        taken = FILE_NAME.validate_python(name)
    except ValidationError:
        return
    assert taken == name
    assert "/" not in taken
    assert not taken.startswith(".")
    assert taken.isprintable()


def test_server_name_is_a_name_or_an_address() -> None:
    """What TLS cannot compare or encode is told here and not at the first call."""
    assert HOST_NAME.validate_python("Vault.example.com") == "vault.example.com"
    assert HOST_NAME.validate_python("192.0.2.1") == "192.0.2.1"
    for name in ("", ".x", "a..b", "a b", "a\0b", "x" * 64, "*.example.com", "vault:8200"):
        assert "write" in refusal(HOST_NAME, name) or "has no place here" in refusal(HOST_NAME, name)


def test_namespace_is_what_a_header_can_hold() -> None:
    """A line end in it would begin another header."""
    assert NAMESPACE.validate_python("platform/kafka") == "platform/kafka"
    for name in ("a\nb", "a\r\nX-Vault-Token: x", "a b", "ä", "a\0"):
        assert "write one as platform/kafka" in refusal(NAMESPACE, name)
