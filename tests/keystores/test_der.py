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


def test_reader_reads_lengths_that_are_told_and_such_that_are_not() -> None:
    """A store that Bouncy Castle or a browser wrote in BER is the same as one in DER."""
    octets = b"\x24\x80\x04\x02ab\x24\x03\x04\x01c\x00\x00"
    element = der.Reader().first(b"\x30\x80" + octets + b"\x05\x00\x00\x00 and what follows")
    assert element.child(0).octets == b"abc"
    assert element.child(1).tag == 5
    assert len(element.children) == 2
    assert bytes(element.child(0).whole) == octets
    assert der.Reader().first(b"\xa0\x80" + octets + b"\x00\x00").child(0).octets == b"abc"
    for implicit in (b"\x80\x03abc", b"\xa0\x80\x04\x02ab\x04\x01c\x00\x00"):
        assert der.Reader().first(implicit).untagged == b"abc"
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
