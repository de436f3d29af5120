"""Java's own readers and writers of keys and stores, many requests in one JVM; `Keys.java` tells which there are."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.tools import need

_SOURCE = Path(__file__).with_name("Keys.java")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """An entry as Java sees it; `signs` says whether the key signs what the leaf verifies."""

    alias: str
    trusted: bool
    made_at: datetime
    fingerprints: tuple[str, ...]
    signs: bool


def ask(*requests: tuple[str | Path, ...]) -> list[str]:
    """Return the answers; one begins with `error` and a tab where Java refused."""
    need("javac")  # a source file is run by the compiler, which a mere runtime lacks
    text = "".join("\t".join(map(str, words)) + "\n" for words in requests)
    done = subprocess.run(
        [need("java"), "-XX:TieredStopAtLevel=1", _SOURCE],
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    answers = done.stdout.splitlines()
    assert len(answers) == len(requests), done.stderr
    return answers


def entries(answer: str) -> dict[str, Entry]:
    """Return what Java found in a store, by alias."""
    assert not answer.startswith("error"), answer
    found = {}
    for one in filter(None, answer.split("\t")):
        alias, kind, made_at, fingerprints, signs = one.split("|")
        moment = _EPOCH + timedelta(milliseconds=int(made_at))
        found[alias] = Entry(alias, kind == "trusted", moment, tuple(fingerprints.split(",")), signs == "true")
    return found


def keytool(*arguments: str | Path, password: str) -> str:
    """Run keytool, which finds the password in its environment, and return what it printed."""
    command = [need("keytool"), "-J-Duser.language=en", *arguments, "-storepass:env", "STORE_PASSWORD"]
    done = subprocess.run(
        command, env=os.environ | {"STORE_PASSWORD": password}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def java_fingerprints(printed: str) -> list[str]:
    """Return the SHA-256 fingerprints that keytool printed, as we write them."""
    return [found.replace(":", "").lower() for found in re.findall(r"SHA256: ([0-9A-F:]+)", printed)]
