"""The real programs that judge what the agent writes: Java's keytool, OpenSSL, OpenBao, Kafka's own classes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def need(name: str) -> str:
    """Return the path of a program, looked for on the PATH and beside this Python.

    Without it the test is skipped aloud; where `CI=true` a test that cannot judge has failed.
    """
    beside = str(Path(sys.executable).parent)
    path = shutil.which(name) or shutil.which(name, path=beside)
    if path is None:
        cannot_judge(f"{name} is neither on the PATH nor in {beside}")
    return path


def cannot_judge(reason: str) -> NoReturn:
    """Skip the test aloud; where `CI=true` it has failed."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)
