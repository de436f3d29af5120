"""Which principal a Kafka broker makes of a client's name: `ssl.principal.mapping.rules` (KIP-371), previewed.

The rules are read and applied as `org.apache.kafka.common.security.ssl.SslPrincipalMapper` does, in
its own words where it refuses. Where nobody can be sure of what Java would do, that is what is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.distinguished_name import java_name, java_releases_disagree
from agent.core.java_matcher import Subject
from agent.core.java_ranges import LINE_ENDS
from agent.core.java_regex import InvalidPatternError, read_pattern
from agent.core.java_replacement import ReplacementError
from agent.core.java_text import CannotPreviewError, lower, upper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.certificate import Certificate
    from agent.core.java_pattern import JavaPattern

OWN_BUILDER = "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"
"""`principal.builder.class` by default, and the only one that heeds the rules."""

_DEFAULT = "DEFAULT"
_LARGEST_INT = 2**31 - 1
_TRIMMED = "".join(map(chr, range(0x21)))
"""What `String.trim()` takes off."""

_SPACE = re.compile(r"[ \t\n\x0b\f\r]*")
_LINE = re.compile(rf"[^{LINE_ENDS}]*")
_QUOTABLE = rf"(?:[^/\\]|\\[^{LINE_ENDS}])*"
_RULE = re.compile(rf"RULE:({_QUOTABLE})/({_QUOTABLE})/")
_WHOLE_RULE = re.compile(rf"{_DEFAULT}|{_RULE.pattern}[LU]?")
_END_OF_PIECE = re.compile(rf"{_SPACE.pattern}(?:,{_SPACE.pattern}|(?=[{LINE_ENDS}]?\Z))")
_NEXT_BEGIN = re.compile(rf"RULE:|(?<=[{LINE_ENDS}])|\Z")
_REFERENCE = re.compile(r"\$([0-9]+)")


class InvalidRulesError(ValueError):
    """A broker with these rules does not start; the message is Kafka's own, or Java's about a pattern."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a name becomes.

    `principal` is None where the broker turns the client away, and `error` has its words. It is None
    too where nobody here can tell: then `is_certain` is false, and `error` says why.
    """

    principal: str | None
    error: str | None = None
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `pattern` is None for one whose pattern cannot be previewed, and `doubt` says why."""

    text: str
    pattern: JavaPattern | None
    replacement: str
    case: str
    doubt: str = ""

    @classmethod
    def read(cls, pattern: str, replacement: str, case: str) -> Rule:
        """Read a rule; raise `InvalidRulesError` when Java does not take its pattern."""
        text = f"RULE:{pattern}/{replacement}" + (f"/{case}" if case else "")
        try:
            return cls(text, read_pattern(pattern), replacement, case)
        except CannotPreviewError as error:
            return cls(text, None, replacement, case, f"the pattern of {text} has {error}")
        except InvalidPatternError as error:
            raise InvalidRulesError(f"Java does not take the pattern of {text}: {error}") from error

    def apply(self, name: Subject) -> str | None:
        """Return the principal, or None when the rule does not match.

        Raise `CannotPreviewError`, and `ReplacementError` where Kafka fails with an exception of Java's.
        """
        if self.pattern is None:
            raise CannotPreviewError(self.doubt)
        if not self.pattern.matches(name):
            return None
        replaced = self.pattern.replace_all(name, _kept_apart(self.replacement, self.pattern.groups))
        return {"L": lower, "U": upper}.get(self.case, str)(replaced)


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a broker, in their order; None is the rule `DEFAULT`, which takes every name as it is."""

    rules: tuple[Rule | None, ...]

    @classmethod
    def parse(cls, text: str) -> Rules:
        """Read `ssl.principal.mapping.rules`; raise `InvalidRulesError` for what Kafka refuses to start with."""
        pieces = [piece for piece in _pieces(text.strip(_TRIMMED)) if piece]
        return cls(tuple(map(_read, pieces)))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What cannot be previewed, a phrase for each rule; whether Java takes its pattern is not known either."""
        return tuple(rule.doubt for rule in self.rules if rule is not None and rule.doubt)

    def principal(self, name: str) -> Mapped:
        """Return what a name becomes; `name` is the DN as Java prints it, and the first rule to match has it."""
        try:
            principal = self._first(name)
        except CannotPreviewError as error:
            return Mapped(None, f"cannot preview: {error}", is_certain=False)
        except ReplacementError as error:
            return Mapped(None, str(error))
        if principal is not None:
            return Mapped(principal)
        told = ", ".join(_DEFAULT if rule is None else rule.text for rule in self.rules)
        return Mapped(None, f"No rules apply to {name}, rules [{told}]")

    def _first(self, name: str) -> str | None:
        subject: Subject | None = None
        for rule in self.rules:
            if rule is None:
                return name
            subject = subject or Subject(name)
            principal = rule.apply(subject)
            if principal is not None:
                return principal
        return None


class Effect(StrEnum):
    """What a renewal does to the principal; unknown never counts as same."""

    SAME = "same"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PrincipalChange:
    """What a renewal does to the principal, and in a phrase how it comes or why nobody can tell.

    `before` and `after` are None where they were not needed, or could not be told.
    """

    effect: Effect
    what: str
    before: Mapped | None = None
    after: Mapped | None = None


def principal_change(
    rules: Rules | None, custom_builder: str, before: Certificate, after: Certificate
) -> PrincipalChange:
    """Return what a renewal does to the principal that brokers see in this identity.

    `rules` are None where nobody knows them; one name is one principal whatever they are.
    `custom_builder` is `principal.builder.class`, empty or Kafka's own where none is configured; a
    custom one may look at more than the name, and is taken to give the same for the same name and SANs.
    """
    old, new = java_name(before.subject), java_name(after.subject)
    if custom_builder not in {"", OWN_BUILDER}:
        if (old, before.sans) == (new, after.sans):
            return PrincipalChange(Effect.SAME, f"name and SANs stay as they are, {old}")
        return PrincipalChange(Effect.UNKNOWN, beyond_preview(custom_builder))
    if before.subject.public_bytes() == after.subject.public_bytes():
        return PrincipalChange(Effect.SAME, f"the name stays {old}")
    if java_releases_disagree(before.subject) or java_releases_disagree(after.subject):
        return PrincipalChange(Effect.UNKNOWN, RELEASES_DISAGREE)
    if old == new:
        return PrincipalChange(Effect.SAME, f"the name stays {old}")
    if rules is None:
        return PrincipalChange(Effect.UNKNOWN, f"the name changes from {old} to {new}, by rules that are not known")
    return _compared(rules.principal(old), rules.principal(new))


RELEASES_DISAGREE = "Java 17 prints the name otherwise than later releases: it has text that is not in a UTF8String"
"""Why no principal can be told for a certificate."""


def beyond_preview(builder: str) -> str:
    """Return why no principal can be told where a class of the operator's own makes it."""
    return f"cannot preview: {builder} (principal.builder.class) makes the principal, and heeds no rules"


def _compared(before: Mapped, after: Mapped) -> PrincipalChange:
    doubt = next((one.error for one in (before, after) if not one.is_certain), None)
    if doubt is not None:
        return PrincipalChange(Effect.UNKNOWN, doubt, before, after)
    if before.principal == after.principal:
        return PrincipalChange(Effect.SAME, f"the principal stays {_told(before)}", before, after)
    return PrincipalChange(
        Effect.CHANGED, f"the principal changes from {_told(before)} to {_told(after)}", before, after
    )


def _told(mapped: Mapped) -> str:
    return f"none ({mapped.error})" if mapped.principal is None else f"User:{mapped.principal}"


def _read(piece: str) -> Rule | None:
    """Return the rule, None for `DEFAULT`; Kafka looks at what is left over before Java does at the pattern."""
    end = _past(_WHOLE_RULE, piece, 0)
    if end < len(piece):
        raise InvalidRulesError(f"Invalid rule: `{piece}`, unmatched substring: `{piece[end:]}`")
    rule = _RULE.match(piece)
    return None if rule is None else Rule.read(rule[1], rule[2], piece[rule.end() :])


def _pieces(text: str) -> Iterator[str]:
    """Yield what Kafka takes for one rule each; it searches, so what fits nowhere is passed over in silence."""
    at = 0
    while at <= len(text):
        found = _piece(text, at)
        if found is None:
            at = next(_NEXT_BEGIN.finditer(text, at + 1)).start()
            continue
        start, stop, end = found
        yield text[start:stop]
        at = end + (at == end)


def _piece(text: str, at: int) -> tuple[int, int, int] | None:
    """Return where the piece that is found at a place begins and stops, and where the search goes on."""
    start = _past(_SPACE, text, at)
    for stop in _stops(text, start):
        end = _END_OF_PIECE.match(text, stop)
        if end is not None:
            return start, stop, end.end()
    return None


def _stops(text: str, start: int) -> Iterator[int]:
    """Yield where a piece may stop: behind a rule that is whole, else at any comma of the line."""
    if text.startswith(_DEFAULT, start):
        yield start + len(_DEFAULT)
    rule = _past(_RULE, text, start)
    if rule > start:
        yield from range(rule, _past(_LINE, text, rule) + 1)
    yield from range(start, _past(_LINE, text, start) + 1)


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Return where the text goes on behind the pattern, or at the same place if it does not stand there."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _kept_apart(replacement: str, groups: int) -> str:
    """Return the replacement with a backslash before references to groups that there are not, as Kafka puts it.

    It does so only where there is a group, and counts in the text as it was: behind a first
    backslash, the next ones come a character too early.
    """
    kept = replacement
    for found in _REFERENCE.finditer(replacement if groups else ""):
        number = int(found[1])
        if found[1].startswith("0"):
            continue
        if number > _LARGEST_INT:
            raise ReplacementError(f'For input string: "{found[1]}"')
        while number > groups and number >= 10:
            number //= 10
        if number > groups:
            kept = f"{kept[: found.start()]}\\{kept[found.start() :]}"
    return kept
