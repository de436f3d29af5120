"""Kafka's own mapper of principals, and Java's own names, say what ours say: on thousands of names and rules."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Certificate
from agent.core.distinguished_name import java_name, java_releases_disagree
from agent.core.java_text import CannotPreviewError, lower, upper
from agent.core.principal import InvalidRulesError, Mapped, Rules
from tests.core.mapping_vectors import INVALID, INVALID_PATTERNS, MATCHES, NOT_PREVIEWED, PRINCIPALS, UNMAPPED
from tests.judges.java import Kafka, started_kafka
from tests.judges.mappings import (
    odd_name,
    odd_replacement,
    odd_rules,
    ordinary_name,
    ordinary_rules,
    some_name,
    some_pattern,
)
from tests.material import NOW, make_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

# The first run of all waits for Maven.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SEED = 6
"""Of all that is at random here: a failure can be had again."""


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """Return the JVM that judges all tests of this file."""
    with started_kafka() as kafka:
        yield kafka


# --- names ----------------------------------------------------------------------------------


def certificates(names: Iterable[x509.Name]) -> Iterator[Certificate]:
    """Yield a certificate for each subject."""
    key, issuer = make_key(), x509.Name.from_rfc4514_string("CN=Test Root")
    for number, subject in enumerate(names, 1):
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), number, NOW, NOW + timedelta(days=1))
        # Java reads no certificate without a subject, unless it has a SAN instead.
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        yield Certificate.from_der(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


@pytest.mark.filterwarnings("ignore:Attribute's length")
def test_names_are_printed_as_java_prints_them(kafka: Kafka, tmp_path: Path) -> None:
    """Every type of string, every escape, RDNs of several attributes; read from certificates, as a broker does."""
    random = Random(SEED)  # noqa: S311 - no secret is drawn
    made = list(certificates(some_name(random) for _ in range(3000)))
    file = tmp_path / "certificates"
    file.write_text("".join(f"{certificate.der.hex()}\n" for certificate in made))
    printed: list[str] = kafka.ask("names", file)["names"]
    doubtful = 0
    for certificate, theirs in zip(made, printed, strict=True):
        if java_releases_disagree(certificate.subject):
            doubtful += 1
        else:
            assert java_name(certificate.subject) == theirs
    assert 0 < doubtful < len(made) / 3


# --- rules ----------------------------------------------------------------------------------


Case = tuple[str, "Sequence[str]"]
"""Rules, and names for them."""


def written(folder: Path, lines: Iterable[Sequence[str]]) -> Path:
    """Write texts in the way that `Kafka.java` reads them."""
    file = folder / "texts"
    file.write_text("".join("\t".join(one.encode().hex() for one in line) + "\n" for line in lines))
    return file


def asked(kafka: Kafka, folder: Path, cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Return what Kafka makes of each case: why it does not start, or what each name becomes."""
    file = written(folder, ((rules, *names) for rules, names in cases))
    told: list[dict[str, Any]] = kafka.ask("principals", file)["principals"]
    return told


def judge(kafka: Kafka, folder: Path, cases: Sequence[Case]) -> Counter[str]:
    """Assert the law on every case, and count what came of them.

    What we tell for certain is what Kafka tells, in the same words. What Kafka does not start with we
    refuse, and nothing else, but for patterns that we have said to be beyond us.
    """
    ours = [previewed(*case) for case in cases]
    # Java is not asked where we have no answer: a pattern at random may keep it for ever.
    questions = [(text, list(certain(one))) for (text, _), one in zip(cases, ours, strict=True)]
    seen: Counter[str] = Counter()
    for (text, _), one, theirs in zip(cases, ours, asked(kafka, folder, questions), strict=True):
        if isinstance(one, str):
            assert same_refusal(one, theirs), (text, one, theirs)
            seen["invalid"] += 1
        elif "invalid" in theirs:
            assert theirs["pattern"], (text, theirs)
            assert Rules.parse(text).doubts, (text, theirs)
            seen["doubted"] += 1
        else:
            told = [Mapped(mapped.get("principal"), mapped.get("error")) for mapped in theirs["mapped"]]
            assert told == list(certain(one).values()), text
            seen.update(map(outcome, one.values()))
    return seen


def previewed(text: str, names: Sequence[str]) -> dict[str, Mapped] | str:
    """Return what we make of each name, or in which words we refuse the rules."""
    try:
        rules = Rules.parse(text)
    except InvalidRulesError as error:
        return str(error)
    return {name: rules.principal(name) for name in names}


def certain(ours: dict[str, Mapped] | str) -> dict[str, Mapped]:
    """Return the names of which we are sure."""
    return {} if isinstance(ours, str) else {name: mapped for name, mapped in ours.items() if mapped.is_certain}


def outcome(mapped: Mapped) -> str:
    """Return in a word what came of a name."""
    if not mapped.is_certain:
        return "beyond preview"
    if mapped.principal is not None:
        return "principal"
    return "no rule" if (mapped.error or "").startswith("No rules apply") else "thrown"


def same_refusal(ours: str, theirs: dict[str, Any]) -> bool:
    """Whether Kafka refuses the rules in our words; of a pattern it goes on to tell where its fault is."""
    if not theirs.get("pattern"):
        # Where a pattern before it is beyond us, Kafka may have ended there.
        return bool(ours == theirs.get("invalid"))
    description = str(theirs["invalid"]).partition(" near index")[0].partition("\n")[0]
    return ours.startswith("Invalid rule:") or ours.endswith(f": {description}")


def test_vectors_of_the_fast_tests_are_kafkas(kafka: Kafka, tmp_path: Path) -> None:
    """What the fast tests take for Kafka's answers is what it answers."""
    mapped = [(rules, [name]) for rules, name, _ in (*PRINCIPALS, *UNMAPPED)]
    told = [one["mapped"][0] for one in asked(kafka, tmp_path, mapped)]
    assert told[: len(PRINCIPALS)] == [{"principal": principal} for _, _, principal in PRINCIPALS]
    assert told[len(PRINCIPALS) :] == [{"error": words} for _, _, words in UNMAPPED]
    refused = asked(kafka, tmp_path, [(rules, []) for rules, _ in INVALID])
    assert [one["invalid"] for one in refused] == [words for _, words in INVALID]
    refused = asked(kafka, tmp_path, [(f"RULE:{pattern}/x/", []) for pattern, _ in INVALID_PATTERNS])
    for (pattern, description), one in zip(INVALID_PATTERNS, refused, strict=True):
        assert one["pattern"], pattern
        assert one["invalid"].startswith(description)


def test_matches_of_the_fast_tests_are_javas(kafka: Kafka, tmp_path: Path) -> None:
    """What the fast tests take for Java's matches is what it finds."""
    told = kafka.ask("replaced", written(tmp_path, [(pattern, "<$0>", text) for pattern, text, _ in MATCHES]))
    assert told["replaced"] == [marked for _, _, marked in MATCHES]


def test_ordinary_rules_are_all_previewed(kafka: Kafka, tmp_path: Path) -> None:
    """What the documentation shows and people write: nothing of it is beyond preview."""
    random = Random(SEED)  # noqa: S311 - no secret is drawn
    cases = [(ordinary_rules(random), [ordinary_name(random) for _ in range(4)]) for _ in range(1000)]
    seen = judge(kafka, tmp_path, cases)
    assert set(seen) == {"principal", "no rule", "thrown"}
    assert seen["principal"] > 1000


def test_rules_are_taken_apart_as_kafka_does(kafka: Kafka, tmp_path: Path) -> None:
    """Commas, slashes, backslashes and line ends wherever they may stand, most often wrongly."""
    random = Random(SEED)  # noqa: S311 - no secret is drawn
    cases = [(odd_rules(random), ["CN=a,O=b", "a", "b,c", "a/b", ""]) for _ in range(8000)]
    seen = judge(kafka, tmp_path, cases)
    assert seen["invalid"] > 2000
    assert seen["principal"] > 500
    assert seen["beyond preview"] < 100


def test_patterns_match_as_java_has_them_match(kafka: Kafka, tmp_path: Path) -> None:
    """Everything that patterns can be made of, on short names that nearly match."""
    random = Random(SEED)  # noqa: S311 - no secret is drawn
    cases: list[Case] = []
    for _ in range(4000):
        pattern, text = some_pattern(random)
        rules = f"RULE:{pattern.replace('/', '')}/{odd_replacement(random)}/{random.choice(['', '', 'L', 'U'])}"
        cases.append((rules, [odd_name(random, text) for _ in range(6)]))
    cases += [(f"RULE:{pattern}/<$0>/", ["", "a", "ab", "aab,"]) for pattern in NOT_PREVIEWED if encodable(pattern)]
    seen = judge(kafka, tmp_path, cases)
    for came in ("principal", "thrown", "no rule", "beyond preview", "invalid", "doubted"):
        assert seen[came] > 50, seen


def encodable(pattern: str) -> bool:
    """Whether a pattern can be handed over as UTF-8."""
    return not any(0xD800 <= ord(one) < 0xE000 for one in pattern)


@pytest.mark.parametrize(("case", "change"), [("L", lower), ("U", upper)])
def test_letter_case_is_changed_as_java_does(kafka: Kafka, tmp_path: Path, case: str, change: Any) -> None:
    """Every character of which we are sure, one by one."""
    sure = []
    for point in (*range(0xD800), *range(0xE000, 0x10000)):
        try:
            change(chr(point))
        except CannotPreviewError:
            continue
        sure.append(chr(point))
    assert len(sure) > 30_000
    (told,) = asked(kafka, tmp_path, [(f"RULE:(?s)^(.*)$/$1/{case}", [f"i{one}a" for one in sure])])
    assert [one["principal"] for one in told["mapped"]] == [change(f"i{one}a") for one in sure]
