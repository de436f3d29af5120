"""The core reads no clock, draws nothing at random and touches no file: what the linter's contract cannot see."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import agent.core

CLOCKS = frozenset({"now", "utcnow", "today"})
"""Of `datetime` and `date`; every instant comes in as an argument."""

TOUCHING = frozenset({"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"})
"""Builtins that reach out of the process, or hide what does."""

METHODS = frozenset({"read_text", "read_bytes", "write_text", "write_bytes", "exists", "is_file", "is_dir", "stat"})
"""Methods of a path that touch the disk, which the core passes through and never asks."""

IMPURE = frozenset(
    {
        "asyncio",
        "importlib",
        "io",
        "logging",
        "os",
        "pathlib",
        "random",
        "secrets",
        "shutil",
        "socket",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    }
)
"""Modules that are the world; imported for a type alone they do no harm."""

MODULES = sorted(Path(agent.core.__file__).parent.glob("*.py"))


class _Impurities(ast.NodeVisitor):
    """Gathers what a module does that a pure one does not."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def visit_If(self, node: ast.If) -> None:
        """Leave out what only a type checker runs."""
        for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.orelse if for_types else [node.test, *node.body, *node.orelse]:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        """Note an import of a module that is the world."""
        for name in node.names:
            self._note_module(node, name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note an import from a module that is the world."""
        self._note_module(node, node.module or "")

    def visit_Name(self, node: ast.Name) -> None:
        """Note a builtin that reaches out, also where it is only passed on."""
        if node.id in TOUCHING:
            self._note(node, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note a clock or a path's method, also where it is only passed on."""
        if (node.attr in CLOCKS and _is_clock(node.value)) or node.attr in METHODS:
            self._note(node, ast.unparse(node))
        self.generic_visit(node)

    def _note_module(self, node: ast.stmt, name: str) -> None:
        if name.partition(".")[0] in IMPURE:
            self._note(node, f"import of {name}")

    def _note(self, node: ast.stmt | ast.expr, what: str) -> None:
        self.found.append(f"line {node.lineno}: {what}")


def _is_clock(value: ast.expr) -> bool:
    """Whether it is `datetime` or `date`, and no value that has a field called `now`."""
    name = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name in {"datetime", "date", "dt"}


def impurities(source: str) -> list[str]:
    """Return what a module does that a pure one does not, a phrase with its line each."""
    visitor = _Impurities()
    visitor.visit(ast.parse(source))
    return visitor.found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_core_module_reads_no_clock_and_touches_nothing(module: Path) -> None:
    """A module of the core is a function of its arguments."""
    assert impurities(module.read_text(encoding="utf-8")) == []


def test_every_module_of_the_core_is_looked_at() -> None:
    """The decision and the schedule are among them, so the test above is not about an empty folder."""
    assert {"plan", "schedule", "chain", "proof"} <= {module.stem for module in MODULES}


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\nnow = datetime.now(UTC)",
        "import datetime\nnow = datetime.datetime.now()",
        "from dataclasses import field\nfrom datetime import datetime\nat = field(default_factory=datetime.now)",
        "from datetime import date\nday = date.today()",
        "import time",
        "def draw():\n    from random import random\n    return random()",
        "import os.path",
        "def read(path):\n    with open(path) as stream:\n        return stream.read()",
        "def read(path):\n    return path.read_text()",
        "print('here')",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import time",
    ],
)
def test_impurity_is_found(source: str) -> None:
    """Each way out of the core is noticed, within functions and as a value that is passed on too."""
    assert impurities(source) != []


@pytest.mark.parametrize(
    "source",
    [
        "def due(situation):\n    return situation.now",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pathlib import Path",
        "from datetime import timedelta\nDAY = timedelta(days=1)",
    ],
)
def test_pure_source_is_left_in_peace(source: str) -> None:
    """A time that was passed in, a type and a span are what the core is made of."""
    assert impurities(source) == []
