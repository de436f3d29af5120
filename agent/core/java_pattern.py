"""A pattern of Java's that was read, and what a `Matcher` of it does to a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.java_replacement import expanded
from agent.core.java_text import CannotPreviewError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.java_matcher import Match, Steps, Subject


@dataclass(frozen=True, slots=True)
class JavaPattern:
    """A pattern; `names` are those of its groups, with their numbers.

    `ascii_only`: it asks where words begin and end, and what a word is made of has changed (JDK-8264160).
    Either question raises `CannotPreviewError` then for a text with other characters.
    """

    steps: Steps
    groups: int
    names: tuple[tuple[str, int], ...]
    ascii_only: bool

    def matches(self, subject: Subject) -> bool:
        """Return what `Matcher.matches()` does: whether the whole text matches."""
        self._check(subject)
        return subject.match(self.steps, 0, self.groups, whole=True) is not None

    def replace_all(self, subject: Subject, replacement: str) -> str:
        """Return what `Matcher.replaceAll()` does; raise `ReplacementError` where that throws."""
        self._check(subject)
        text, names, taken = subject.text, dict(self.names), 0
        pieces: list[str] = []
        for found in self._found(subject):
            groups = tuple(None if span is None else text[slice(*span)] for span in found.groups)
            pieces += [text[taken : found.start], expanded(replacement, groups, names)]
            taken = found.end
        return "".join(pieces) + text[taken:]

    def _found(self, subject: Subject) -> Iterator[Match]:
        """Yield every match, from the left; behind an empty one the search goes on a character later."""
        at = 0
        while at <= len(subject.text):
            found = subject.match(self.steps, at, self.groups, whole=False)
            if found is None:
                at += 1
                continue
            yield found
            at = found.end + (found.start == found.end)

    def _check(self, subject: Subject) -> None:
        if self.ascii_only and not subject.text.isascii():
            raise CannotPreviewError(r"\b in a name that is no ASCII means one thing to Java 17, another to later ones")
