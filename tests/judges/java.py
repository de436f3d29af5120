"""Kafka's and Spring Boot's own classes in one JVM, which read what the agent writes and shake hands with it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tools import copied_by_maven, need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_HERE = Path(__file__).parent
_POM, _SOURCE = _HERE / "pom.xml", _HERE / "Kafka.java"
_CACHE = _HERE.parents[1] / "var" / "judges"


class Kafka:
    """A JVM that answers one request after the other; `Kafka.java` tells which there are."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers

    def ask(self, *words: str | Path) -> dict[str, Any]:
        """Return the answer; it holds an "error" where Kafka refused."""
        self._requests.write("\t".join(map(str, words)) + "\n")
        self._requests.flush()
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return answer


@contextmanager
def started_kafka() -> Iterator[Kafka]:
    """Start the JVM, once its classes were fetched by Maven and compiled; without the means the test is skipped."""
    command = [need("java"), "-XX:TieredStopAtLevel=1", "-cp", _classpath(), "Kafka"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Kafka(process.stdin, process.stdout)
        process.stdin.close()


def _classpath() -> str:
    """Return what to give as `-cp`; fetched and compiled once for each version of pom and source, by one worker."""
    need("mvn")
    compiler = need("javac")
    place = _CACHE / hashlib.sha256(_POM.read_bytes() + _SOURCE.read_bytes()).hexdigest()[:16]
    classpath = f"{place}/classes:{place}/lib/*"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            copied_by_maven(_POM, place / "lib")
            (place / "classes").mkdir(exist_ok=True)
            subprocess.run([compiler, "-cp", classpath, "-d", place / "classes", _SOURCE], check=True)
            (place / "whole").touch()
    return classpath
