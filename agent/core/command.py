"""A command of the operator's: an argument vector, run without a shell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CommandReload:
    """A command that tells the reader: an argument vector, run without a shell.

    It runs in a process group of its own, in the folder `directory` (that of the configuration
    file), with an environment that names the identity and its directory, and is killed, with all
    that it started, when `within` is over.
    """

    argv: tuple[str, ...]
    directory: Path
    within: timedelta = timedelta(seconds=30)
