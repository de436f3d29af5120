"""The real programs that judge what the agent writes: Java's keytool, OpenSSL, OpenBao, Kafka's own classes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

MAVEN_TRIES = 3


def need(name: str) -> str:
    """Return the path of a program, looked for on the PATH and beside this Python.

    Without it the test is skipped aloud; where `CI=true` a test that cannot judge has failed.
    """
    beside = str(Path(sys.executable).parent)
    path = shutil.which(name) or shutil.which(name, path=beside)
    if path is None:
        cannot_judge(f"{name} is neither on the PATH nor in {beside}")
    return path


def copied_by_maven(pom: Path, library: Path, *options: str) -> None:
    """Have Maven copy what a pom depends on into a folder; it is tried again, since registries fail now and then."""
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={library}"]
    for _ in range(MAVEN_TRIES):
        command = [need("mvn"), "-q", "-B", "-f", str(pom), *options, *goal]
        fetched = subprocess.run(command, capture_output=True, text=True, check=False)
        if fetched.returncode == 0:
            return
    cannot_judge(f"Maven cannot fetch what {pom.name} names: {fetched.stdout[-500:]}")


def cannot_judge(reason: str) -> NoReturn:
    """Skip the test aloud; where `CI=true` it has failed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)
