"""The YAML file itself: what cannot be read is one line that says where, and nothing that it holds is repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import ConfigurationError
from agent.settings import load
from agent.settings.source import LARGEST, MOST_NODES, read_yaml
from tests.settings.host import PASSWORD, Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a folder with a configuration."""
    return Host(tmp_path)


def bomb(levels: int) -> str:
    """Return a text of a few lines that unfolds to ten to the power of the levels."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("issuers:\n\tlocal: {}\n", "line 2, column 1: found character '\\t'"),
        ("issuers: [1,\nidentities: 2\n", "line 3, column 1: expected ',' or ']'"),
        ("issuers:\n  local: {}\n broken\n", "line 3, column 2: "),
        ("issuers: {}\nhttp: {}\nissuers: {}\n", "line 3, column 1: `issuers` stands twice"),
        ("http: {listen: 'localhost:1', listen: 'localhost:2'}\n", "line 1, column 31: `listen` stands twice"),
        ("issuers: {}\n---\nissuers: {}\n", "line 2, column 1: "),
        ("host: !!python/object/apply:os.system [true]\n", "line 1, column 7: "),
        ("host: 2026-99-99\n", "is no YAML (ValueError)"),
        ('host: "a\\0b"\n', "line 1, column 7: a text holds NUL"),
        (b"host: k\xe4fka\n", "is no text at byte 8"),
        (b"host: a\0b\n", "is no text at byte 8"),
        ("- issuers\n", "is no mapping; begin with `issuers:`"),
        ("issuers\n", "is no mapping; begin with `issuers:`"),
        ("1: {}\n", "is no mapping; begin with `issuers:`"),
        ("[" * 5000, "is nested too deep"),
        ("#" * (LARGEST + 1), f"is larger than {LARGEST} bytes"),
        (bomb(6), f"unfolds to more than {MOST_NODES} values"),
        (bomb(9), f"unfolds to more than {MOST_NODES} values"),
        ("a: &a [*a]\n", f"unfolds to more than {MOST_NODES} values"),
        ("a: &a {<<: *a}\n", f"unfolds to more than {MOST_NODES} values"),
    ],
    ids=lambda one: repr(one[:30]),
)
def test_file_that_is_no_yaml_is_one_line(host: Host, content: str | bytes, told: str) -> None:
    """The line names the file and, where there is one, the place in it; what unfolds without end is not followed."""
    (mistake,) = host.mistakes(content)
    assert (mistake.file, mistake.key) == (str(host.file), "")
    assert mistake.what.startswith(told)


def test_empty_file_lacks_what_every_configuration_has(host: Host) -> None:
    """Nothing at all, or comments alone, is told by the keys that are missing."""
    for content in ("", "# nothing\n", "{}\n"):
        assert [mistake.key for mistake in host.mistakes(content)] == ["issuers", "identities"]


def test_file_that_cannot_be_opened_is_told_with_the_way_to_name_one(tmp_path: Path) -> None:
    """A missing file, a folder, and a path through a file: one line each."""
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path / "absent.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "x.yaml", "Not a directory"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load(path, {}, "host")
        (mistake,) = caught.value.mistakes
        assert mistake.file == str(path)
        assert reason in mistake.what
        assert "--config or CERT_AGENT_CONFIG" in mistake.what


@pytest.mark.parametrize("first", ["*", "&", "!"])
def test_secret_that_yaml_takes_for_its_own_sign_is_not_repeated(host: Host, first: str) -> None:
    """A password that begins like an alias, an anchor or a tag, and is not quoted, stays untold."""
    (mistake,) = host.mistakes(f"host: {first}{PASSWORD} {first}{PASSWORD}\n")
    assert "quotes help" in mistake.what


def test_aliases_and_merges_of_honest_size_are_followed(tmp_path: Path) -> None:
    """What is written once may be used twice, and a merged key be overridden."""
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {one: 1, two: 2}\nb: *a\nc: {<<: *a, two: 3}\n")
    assert read_yaml(path) == {"a": {"one": 1, "two": 2}, "b": {"one": 1, "two": 2}, "c": {"one": 1, "two": 3}}


def test_names_that_only_yaml_1_1_takes_for_truth_values_are_told(host: Host) -> None:
    """`no` as an identity's name is a truth value to YAML: it is told with the remedy."""
    text = "issuers: {local: {type: local_ca, directory: ca}}\nidentities: {no: {directory: ssl}}\n"
    (mistake,) = host.mistakes(text)
    assert mistake.key == "identities.False"
    assert "write letters" in mistake.what
