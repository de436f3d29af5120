"""What belongs to one alone: the directories of identities and CAs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.settings.wording import Findings


def check_apart(directories: Mapping[tuple[str, str], Path], findings: Findings) -> None:
    """Note each directory that another identity or CA has too, by whatever name, or that is inside of another's.

    The inner one could take the name of a file, or stand where the outer one cleans up. Keys are
    `("identities" or "issuers", name)`; links are followed.
    """
    real = {owner: Path(os.path.realpath(directory)) for owner, directory in directories.items()}
    owners: dict[Path, tuple[str, str]] = {}
    for owner, directory in real.items():
        owners.setdefault(directory, owner)
    for owner, directory in real.items():
        at = (*owner, "directory")
        first = owners[directory]
        around = next((owners[above] for above in directory.parents if above in owners), None)
        if first != owner:
            findings.add(at, f"shares {directories[owner]} with {_named(first)}: write a directory of its own")
        elif around is not None:
            findings.add(at, f"is in the directory of {_named(around)}: write one outside of it")


def _named(owner: tuple[str, str]) -> str:
    kind, name = owner
    return f"the CA {name}" if kind == "issuers" else f"the identity {name}"
