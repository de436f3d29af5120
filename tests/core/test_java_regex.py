"""Patterns of Java's, read and matched as Java does, or said to be beyond preview."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.java_matcher import LONGEST_TEXT, Subject
from agent.core.java_regex import InvalidPatternError, read_pattern
from agent.core.java_replacement import ReplacementError, expanded
from agent.core.java_text import CannotPreviewError, lower, upper
from tests.core.mapping_vectors import INVALID_PATTERNS, MATCHES, NOT_PREVIEWED


@pytest.mark.parametrize(("pattern", "text", "marked"), MATCHES)
def test_pattern_matches_what_java_matches(pattern: str, text: str, marked: str) -> None:
    """Each match stands in brackets, as `replaceAll` finds them, whether or not the whole text matches."""
    assert read_pattern(pattern).replace_all(Subject(text), "<$0>") == marked


@pytest.mark.parametrize(("pattern", "description"), INVALID_PATTERNS)
def test_invalid_pattern_is_refused_in_javas_words(pattern: str, description: str) -> None:
    """The operator learns what the broker's log would say."""
    with pytest.raises(InvalidPatternError) as caught:
        read_pattern(pattern)
    assert str(caught.value) == description


@pytest.mark.parametrize("pattern", NOT_PREVIEWED)
def test_what_is_not_surely_the_same_is_not_previewed(pattern: str) -> None:
    """A wrong preview would be worse than none."""
    with pytest.raises(CannotPreviewError):
        read_pattern(pattern)


def test_whole_text_must_match() -> None:
    """A match that ends early is tried on, as `matches()` does."""
    assert read_pattern("a|ab").matches(Subject("ab"))
    assert read_pattern("a??").matches(Subject("a"))
    assert not read_pattern("a").matches(Subject("ab"))
    assert not read_pattern("(?>a|ab)").matches(Subject("ab"))


@pytest.mark.parametrize("pattern", [r"\bé", r"a\B"])
def test_boundaries_of_words_are_told_in_ascii_only(pattern: str) -> None:
    """Java 17 takes `é` for a part of a word, Java 19 no longer does."""
    read = read_pattern(pattern)
    assert not read.matches(Subject("b"))
    for asked in (read.matches, lambda subject: read.replace_all(subject, "")):
        with pytest.raises(CannotPreviewError, match="ASCII"):
            asked(Subject("é"))


def test_text_beyond_preview_is_refused() -> None:
    """One too long for Java's stack, and those in which Java counts two characters for one."""
    Subject("a" * LONGEST_TEXT)
    for text in ("a" * (LONGEST_TEXT + 1), "\U0001f600", "\ud800"):
        with pytest.raises(CannotPreviewError):
            Subject(text)


@pytest.mark.parametrize("pattern", ["(?:a|ab|b|ba)*c", "(.*)(.*)(.*)(.*)(.*)c", "(?:a+b?)+c"])
def test_pattern_that_goes_astray_is_given_up(pattern: str) -> None:
    """The daemon asks on its event loop, and a pattern may take longer than the sun will shine."""
    with pytest.raises(CannotPreviewError, match="steps"):
        read_pattern(pattern).matches(Subject("aab" * 50))


def test_steps_are_counted_for_all_patterns_together() -> None:
    """Many rules that are just bearable each are not so in a row."""
    subject, pattern = Subject("ab" * 50), read_pattern("(.*)(.*)c")

    def match_often() -> None:
        for _ in range(100):
            pattern.matches(subject)

    assert not pattern.matches(subject)
    with pytest.raises(CannotPreviewError, match="steps"):
        match_often()


@pytest.mark.parametrize(
    ("replacement", "expected"),
    [
        ("$0-$1-$2-${n}", "ab-a--a"),
        ("$12", "a2"),
        ("$01", "a"),
        (r"\$1\\\x", r"$1\x"),
        ("", ""),
        ("${m}|", "|"),
    ],
)
def test_replacement_is_expanded_as_java_does(replacement: str, expected: str) -> None:
    """The first digit always counts, and a group that took no part is nothing."""
    assert expanded(replacement, ("ab", "a", None), {"n": 1, "m": 2}) == expected


@pytest.mark.parametrize(
    ("replacement", "words"),
    [
        ("\\", "character to be escaped is missing"),
        ("$", "Illegal group reference: group index is missing"),
        ("$a", "Illegal group reference"),
        ("$٣", "Illegal group reference"),
        ("$3", "No group 3"),
        ("${", "named capturing group has 0 length name"),
        ("${é}", "named capturing group has 0 length name"),
        ("${n", "named capturing group is missing trailing '}'"),
        ("${0n}", "capturing group name {0n} starts with digit character"),
        ("${x}", "No group with name {x}"),
    ],
)
def test_replacement_that_java_refuses_is_refused_in_its_words(replacement: str, words: str) -> None:
    """They stand in the broker's log, too."""
    with pytest.raises(ReplacementError) as caught:
        expanded(replacement, ("ab", "a", None), {"n": 1, "m": 2})
    assert str(caught.value) == words


def test_case_is_changed_where_every_java_agrees() -> None:
    """One letter may become two; of Σ, and of letters that have got their case of late, nobody is sure."""
    assert lower("ÀΩЯİ-K") == "àωяi̇-k"
    assert upper("àßςя中") == "ÀSSΣЯ中"
    for change, text in ((lower, "ΑΣ"), (lower, "ა"), (upper, "ɤ"), (upper, "\U0001f600")):
        with pytest.raises(CannotPreviewError):
            change(text)


_PIECES = st.sampled_from(
    [
        "a",
        "b",
        ",",
        ".",
        "[ab]",
        "[^,]",
        "a*",
        "b+?",
        ".*",
        ".*?",
        "(a)",
        "(.*)",
        "(a|b)",
        "(?:ab)*",
        "(b)?",
        "(?:a|,)+?",
    ]
)


@given(st.lists(_PIECES, max_size=5), st.text("ab,", max_size=8), st.integers(0, 8), st.booleans())
@settings(max_examples=100)
def test_patterns_that_python_reads_alike_match_alike(pieces: list[str], text: str, start: int, either: bool) -> None:
    """On what the two languages share, our matcher and Python's find the same match and the same groups in it."""
    pattern = ("|" if either else "").join(pieces)
    read, again, start = read_pattern(pattern), re.compile(pattern), min(start, len(text))
    for whole, ask in ((False, again.match), (True, again.fullmatch)):
        ours, theirs = Subject(text).match(read.steps, start, read.groups, whole=whole), ask(text, start)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert [span or (-1, -1) for span in ours.groups] == [theirs.span(one) for one in range(read.groups + 1)]


@given(st.text(string.printable + "é\u2028", max_size=12), st.text(string.printable + "é", max_size=6))
@settings(max_examples=100)
def test_any_pattern_is_read_or_refused(pattern: str, text: str) -> None:
    """Nothing else is raised, whatever an operator writes."""
    try:
        read_pattern(pattern).replace_all(Subject(text), "$0")
    except (CannotPreviewError, InvalidPatternError):
        return
