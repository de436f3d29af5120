"""DER and BER taken apart: whatever is claimed, nothing takes long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import MaterialError
from agent.keystores import der


def sequence(*elements: bytes) -> bytes:
    """Return a SEQUENCE of elements."""
    body = b"".join(elements)
    return b"\x30\x84" + len(body).to_bytes(4) + body


def integer(number: int) -> bytes:
    """Return an INTEGER."""
    body = number.to_bytes(number.bit_length() // 8 + 1, signed=True)
    return bytes([2, len(body)]) + body


SALT = b"\x04\x08saltsalt"


def test_reader_reads_lengths_that_are_told_and_such_that_are_not() -> None:
    """A store that Bouncy Castle or a browser wrote in BER is the same as one in DER."""
    octets = b"\x24\x80\x04\x02ab\x24\x03\x04\x01c\x00\x00"
    element = der.Reader().first(b"\x30\x80" + octets + b"\x05\x00\x00\x00 and what follows")
    assert element.child(0).octets == b"abc"
    assert element.child(1).tag == 5
    assert len(element.children) == 2
    assert bytes(element.child(0).whole) == octets
    assert der.Reader().first(b"\x04\x81\x80" + b"x" * 128).octets == b"x" * 128


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x30",
        b"\x30\x02\x05",
        b"\x30\x03\x05\x00",
        b"\x30\x80\x05\x00",
        b"\x04\x80",
        b"\x30\x85\0\0\0\0\1\0",
        b"\x1f\x85\x01\x00",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x03\x04\x02a",
    ],
)
def test_reader_refuses_what_does_not_fit_together(content: bytes) -> None:
    """Every length is compared with what is there."""
    with pytest.raises(MaterialError, match="put together"):
        der.Reader().first(content)


def test_reader_refuses_children_that_are_not_there() -> None:
    """A place without an element, or with another kind of one, is told, and so are octets of what has none."""
    element = der.Reader().first(sequence(b"\x05\x00"))
    for wrong in (lambda: element.child(1), lambda: element.child(0, der.OID), lambda: element.child(0).octets):
        with pytest.raises(MaterialError, match="put together"):
            wrong()


@pytest.mark.parametrize(
    "content",
    [
        b"\x30\x84\x00\x40\x00\x00" + b"\x05\x00" * 0x200000,
        b"\x30\x80" * 1_000_000,
        b"\x30\x80" + b"\x30\x80\x00\x00" * 1_000_000,
    ],
    ids=["millions of parts", "parts in parts", "parts without a length"],
)
def test_reader_gives_up_soon(content: bytes) -> None:
    """Megabytes of the least parts are not taken apart to their end, nor is a nest of them followed into its depth."""
    with pytest.raises(MaterialError, match="more parts"):
        der.Reader().first(content)


@given(content=st.binary(max_size=200))
def test_reader_raises_nothing_else(content: bytes) -> None:
    """Whatever the bytes are, they are taken apart whole, or refused."""
    try:
        elements = der.Reader().all(content)
    except MaterialError:
        return
    assert b"".join(bytes(element.whole) for element in elements) == content
    der.check_rounds()


@pytest.mark.parametrize(
    "algorithm",
    [
        sequence(SALT, integer(der.MOST_ROUNDS + 1)),
        sequence(sequence(SALT, integer(der.MOST_ROUNDS)), sequence(SALT, integer(1))),
        sequence(SALT, integer(-der.MOST_ROUNDS - 1)),
        sequence(SALT, b"\x02\x40" + b"\x01" * 64),
        sequence(b"\x24\x0a" + SALT, integer(der.MOST_ROUNDS + 1)),
        sequence(SALT, integer(1 << 17), integer(8), integer(1)),
        sequence(SALT, integer(16), integer(8), integer(1 << 16)),
        sequence(SALT, integer(der.MOST_ROUNDS + 1), integer(32)),
    ],
    ids=["many", "together", "negative", "endless", "a salt in pieces", "scrypt, large", "scrypt, often", "PBKDF2"],
)
def test_check_rounds_refuses_hours(algorithm: bytes) -> None:
    """Whichever key derivation it is, and wherever it stands, its cost counts."""
    with pytest.raises(MaterialError, match="rounds of key derivation"):
        der.check_rounds(der.Reader().first(sequence(b"\x05\x00", algorithm)))


def test_check_rounds_allows_what_is_usual() -> None:
    """A million rounds, and scrypt as OpenSSL uses it, are fine."""
    usual = sequence(SALT, integer(1_000_000), integer(32), sequence(b"\x05\x00"))
    scrypt = sequence(SALT, integer(1 << 14), integer(8), integer(1))
    der.check_rounds(*(der.Reader().first(one) for one in (usual, scrypt)))
