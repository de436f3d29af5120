"""The project as it is handed over: locks, dependencies with their reasons, version, licence, scripts."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

import agent
from tests.tools import need

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("run", "kafka", "build", "dev")
MOST_DEPENDENCIES = 12
NOT_COUNTED = {"botocore": "aiobotocore", "pydantic": "pydantic-settings"}
"""What is named only because the agent imports it, and what it comes along with anyway."""

APACHE_2_0 = "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4"
"""SHA-256 of the licence's text as apache.org hands it out, appendix included."""


def canonical(requirement: str) -> str:
    """Return the name of a package as PEP 503 writes it, without version, extra or marker."""
    name = re.split(r"[\s\[<>=!~;]", requirement.strip(), maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(name: str) -> dict[str, list[str]]:
    """Return the hashes of each pinned package of a lock; a line that is none of it fails the test."""
    locked: dict[str, list[str]] = {}
    package = ""
    for line in (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        text = line.strip().removesuffix("\\").strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("--hash="):
            locked[package].append(text)
        else:
            assert re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==[^\s;]+( ;|$)", text), f"{name}.txt: {line}"
            package = canonical(text)
            locked[package] = []
    return locked


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_every_package_with_hashes(name: str) -> None:
    """A package that was altered on its way is refused, and none comes without a SHA-256."""
    locked = read_lock(name)
    assert locked
    for package, hashes in locked.items():
        assert hashes, f"{package} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), package


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_host_and_no_path(name: str) -> None:
    """Where packages come from is pip's own affair on each machine."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", text)
    assert not re.search(r"(^|\s)/\w", text)


def test_locks_hold_what_the_project_declares() -> None:
    """Each declared package is locked where it is needed."""
    groups = PROJECT["dependency-groups"]
    run, kafka, build, dev = (read_lock(name).keys() for name in LOCKS)
    declared = {canonical(each) for each in PROJECT["project"]["dependencies"]}
    extra = {canonical(each) for each in PROJECT["project"]["optional-dependencies"]["kafka"]}
    assert declared <= run
    assert declared | extra <= kafka
    assert not extra & run
    assert {canonical(each) for each in groups["build"]} <= build
    assert {canonical(each) for each in PROJECT["build-system"]["requires"]} <= build
    assert declared | extra | {canonical(each) for each in groups["dev"]} <= dev


def test_locks_agree_with_each_other() -> None:
    """They are installed in one environment, so a package has one version and the same hashes in all."""
    pins: dict[str, set[str]] = {}
    for name in LOCKS:
        text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        for package, version in re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^\s;]+)", text, re.MULTILINE):
            pins.setdefault(package, set()).add(version)
    assert {package: versions for package, versions in pins.items() if len(versions) > 1} == {}


def test_every_dependency_has_its_reason_and_there_are_few() -> None:
    """The table of ADR 0003 and pyproject.toml name the same packages, and at most twelve that are counted."""
    declared = {canonical(each) for each in PROJECT["project"]["dependencies"]}
    table = (ROOT / "docs/adr/0003-dependencies.md").read_text(encoding="utf-8")
    reasoned = set(re.findall(r"^\| `([a-z0-9-]+)` \|[^|]+\S[^|]*\|[^|]+\S[^|]*\|$", table, re.MULTILINE))
    extra = {canonical(each) for each in PROJECT["project"]["optional-dependencies"]["kafka"]}
    assert reasoned == declared | extra
    assert len((declared | extra) - NOT_COUNTED.keys()) <= MOST_DEPENDENCIES


def test_what_is_not_counted_comes_along_anyway() -> None:
    """ADR 0003 says which, and the package that brings each requires it on every platform, without an extra."""
    decision = (ROOT / "docs/adr/0003-dependencies.md").read_text(encoding="utf-8")
    assert f"({', '.join(f'`{name}`' for name in NOT_COUNTED)}); they are not counted" in decision
    for name, brings in NOT_COUNTED.items():
        required = [each for each in requires(brings) or [] if canonical(each) == name]
        assert required, name
        assert not any(";" in each for each in required), name


def test_version_is_the_same_everywhere() -> None:
    """What `--version` says is what is installed."""
    assert PROJECT["project"]["version"] == agent.__version__


def test_licence_is_the_whole_apache_licence() -> None:
    """The text is unaltered."""
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_0
    assert PROJECT["project"]["license"] == "Apache-2.0"


def test_layers_are_exhaustive_and_told_in_the_architecture() -> None:
    """The contract names every package, and ARCHITECTURE.md uses the contract's words."""
    contracts = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    layers = [layer.strip() for line in contracts["layers"]["layers"] for layer in line.split("|")]
    assert contracts["layers"]["exhaustive"] is True
    assert contracts["pure-core"]["source_modules"] == ["agent.core"]
    there = {
        path.stem for path in (ROOT / "agent").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert set(layers) == there - {"__init__"}
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert [layer for layer in layers if not re.search(rf"\b{layer}\b", text)] == []


def test_module_stays_small() -> None:
    """No module of the agent outgrows what one reading holds."""
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "agent").rglob("*.py")}
    assert [str(path) for path, lines in sizes.items() if lines > 400] == []


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_link_leads_to_a_file(document: str) -> None:
    """A link within the repository leads somewhere."""
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_readme_names_targets_that_the_makefile_has() -> None:
    """`make run` and `make test` stand in the README as they are, and so does every other target that it names."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z]+)\b(?=[\s`])", (ROOT / document).read_text(encoding="utf-8")))
        there = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
        assert {"test"} <= named <= there, document


def test_ci_script_is_sound_and_runs_everything() -> None:
    """The CI's script can be started, is valid bash and calls the one test command as the CI."""
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    subprocess.run([need("bash"), "-n", str(script)], check=True)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "CI=true make test"


def test_image_runs_without_root_from_hashed_locks() -> None:
    """The Dockerfile gives up root before its entry point, and every fetch is checked against a lock."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER (?!root|0)", lines, re.MULTILINE)
    assert lines.index("\nUSER ") < lines.index('\nENTRYPOINT ["cert-agent"]')
    for command in re.findall(r"pip install [^&\n]*", lines):
        assert "--require-hashes" in command or "--no-index" in command, command
    assert "\nHEALTHCHECK " in lines
