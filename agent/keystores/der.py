"""Just enough of BER and DER (X.690) to look into what a password guards, before it is opened.

Stores say themselves how many rounds of key derivation they want, and a hostile one wants hours of
them; the library would oblige. So they are counted first.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import MaterialError

INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
SEQUENCE = 0x30

MOST_ROUNDS = 5_000_000
"""Of key derivation in one file, together: seconds. Java allows as many for each part; usual are 2,048 to 600,000."""

MOST_ELEMENTS = 50_000
"""In one file; a truststore of 500 anchors that nothing encrypts has 10,000."""

DEEPEST = 32
"""Elements within elements; a PKCS12 store has about a dozen."""

_SCRYPT_COST = 8
"""Rounds that one block of scrypt (RFC 7914) counts for; each takes 128 bytes of memory as well."""

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


def check_rounds(*parts: Element) -> None:
    """Raise `MaterialError` when to open these parts would take more rounds of key derivation than are allowed."""
    rounds = sum(map(_rounds, parts))
    if rounds > MOST_ROUNDS:
        raise MaterialError(
            f"it wants more than {MOST_ROUNDS} rounds of key derivation",
            advice="write it anew with fewer; 20,000 are usual",
        )


def _rounds(element: Element) -> int:
    """Add up what follows a salt: the parameters of PBES1, PBKDF2 and scrypt, and the MAC of PKCS12, are alike."""
    rounds = 0
    for number, (salt, count) in enumerate(zip(element.children, element.children[1:], strict=False), 1):
        if salt.tag & ~_CONSTRUCTED == OCTET_STRING and count.tag == INTEGER:
            costs = [_number(one) for one in element.children[number : number + 3] if one.tag == INTEGER]
            is_scrypt = len(costs) == 3
            rounds += costs[0] * costs[1] * costs[2] * _SCRYPT_COST if is_scrypt else costs[0]
    return rounds + sum(map(_rounds, element.children))


def _number(element: Element) -> int:
    if len(element.content) > _LONGEST_LENGTH + 1:
        return MOST_ROUNDS + 1
    return abs(int.from_bytes(element.content, signed=True))


def _malformed() -> MaterialError:
    return MaterialError("it is cut short, or not put together as its format wants it")
