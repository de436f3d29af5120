"""Just enough of BER and DER (X.690) to take apart what a password guards.

Lengths and depths are claims of the file: what is not there is not waited for, and a nest without
end is not followed.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import MaterialError

INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
SEQUENCE = 0x30

MOST_ELEMENTS = 50_000
"""In one file; a truststore of 500 anchors that nothing encrypts has 10,000."""

DEEPEST = 32
"""Elements within elements; a PKCS12 store has about a dozen."""

_CONSTRUCTED = 0x20
_INDEFINITE = 0x80
_LONGEST_LENGTH = 4
_MULTI_BYTE_TAG = 0x1F


@dataclass(frozen=True, slots=True)
class Element:
    """A tag (with its class, and whether it is made of elements), its content, and its children where it has any.

    `whole` is the element with its header.
    """

    tag: int
    whole: memoryview
    content: memoryview
    children: tuple[Element, ...]

    @property
    def octets(self) -> bytes:
        """The content of an OCTET STRING, whose pieces BER may keep apart; `MaterialError` for anything else."""
        if self.tag & ~_CONSTRUCTED != OCTET_STRING:
            raise _malformed()
        return self.untagged

    @property
    def untagged(self) -> bytes:
        """The octets of an OCTET STRING that bears a tag of its own (IMPLICIT) in place of its usual one."""
        return b"".join(child.octets for child in self.children) if self.tag & _CONSTRUCTED else bytes(self.content)

    def child(self, number: int, tag: int | None = None) -> Element:
        """Return one of the children; `MaterialError` when there is none, or none with that tag."""
        if number >= len(self.children) or tag not in (None, self.children[number].tag):
            raise _malformed()
        return self.children[number]


class Reader:
    """Takes the contents of one file apart; raises `MaterialError` for whatever does not fit together."""

    def __init__(self) -> None:
        self._left = MOST_ELEMENTS

    def first(self, content: bytes) -> Element:
        """Return the element at the beginning, whatever follows it."""
        return self._element(memoryview(content), 0, 0)[0]

    def all(self, content: bytes) -> tuple[Element, ...]:
        """Return the elements that follow each other to the end."""
        return self._elements(memoryview(content), 0, len(content), 0)[0]

    def _elements(self, content: memoryview, at: int, end: int | None, depth: int) -> tuple[tuple[Element, ...], int]:
        """Return the elements up to `end`, or to the two zeros that end what does not tell its length."""
        found: list[Element] = []
        while at < (len(content) if end is None else end):
            if end is None and bytes(content[at : at + 2]) == b"\0\0":
                return tuple(found), at
            element, at = self._element(content[:end], at, depth)
            found.append(element)
        if end is None:
            raise _malformed()
        return tuple(found), at

    def _element(self, content: memoryview, at: int, depth: int) -> tuple[Element, int]:
        """Return the element that begins there, and where the next one does."""
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise MaterialError("it is made of more parts than any store has")
        if len(content) - at < 2 or content[at] & _MULTI_BYTE_TAG == _MULTI_BYTE_TAG:
            raise _malformed()
        tag, length, start = content[at], content[at + 1], at + 2
        children: tuple[Element, ...] = ()
        if length == _INDEFINITE and tag & _CONSTRUCTED:
            children, end = self._elements(content, start, None, depth + 1)
            return Element(tag, content[at : end + 2], content[start:end], children), end + 2
        if length >= _INDEFINITE:
            size = length - _INDEFINITE
            if not 0 < size <= _LONGEST_LENGTH:
                raise _malformed()
            length = int.from_bytes(content[start : start + size])
            start += size
        end = start + length
        if end > len(content):
            raise _malformed()
        if tag & _CONSTRUCTED:
            children, _ = self._elements(content, start, end, depth + 1)
        return Element(tag, content[at:end], content[start:end], children), end


def _malformed() -> MaterialError:
    return MaterialError("it is cut short, or not put together as its format wants it")
