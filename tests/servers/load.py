"""Steady produce and consume by Java's clients and by librdkafka, which at the end tell what became of the records."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.kafka import property_line
from tests.servers.kafka_jars import environment, fetched

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

_LIBRDKAFKA = Path(__file__).parent / "librdkafka_load.py"
PATIENCE = 60.0
"""Seconds for which records that were sent and have not been read are waited for at the end."""

_ENDED_WITHIN = 2 * PATIENCE


@dataclass(frozen=True)
class Report:
    """What became of the records.

    `sent` were acknowledged by all replicas that were in sync; `lost` are those of them that were never read.
    `doubled` stand twice in the log; `reread` were only read twice, as a group may after a rebalance.
    `read_failures` are errors that the consumer was told. `made` counts the clients, each with its own handshakes.
    `slowest` is the longest time in seconds that a record waited for its acknowledgement.
    """

    sent: int
    failed: int
    read: int
    lost: int
    doubled: int
    reread: int
    read_failures: int
    made: int
    slowest: float
    errors: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether no send and no read failed, and each record has been read once."""
        return not self.errors and self.failed == self.lost == self.doubled == 0 and self.sent == self.read > 0


class Load:
    """A process that produces and consumes, until `stop()`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def wait_until_flowing(self) -> None:
        """Wait until the first record has come back; a failed send or the process's end fails the test with its log."""
        said = self._out.readline().strip()
        assert said == "flowing", f"{said}{self._log.read_text()[-3000:]}"

    def stop(self) -> Report:
        """End it: all is flushed, and read or waited for; return what became of the records."""
        out, _ = self._process.communicate(timeout=_ENDED_WITHIN)
        lines = out.splitlines()
        assert lines, self._log.read_text()[-3000:]
        told = json.loads(lines[-1])
        return Report(**(told | {"errors": tuple(told["errors"])}))

    @property
    def _out(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


@contextmanager
def java_load(
    directory: Path,
    properties: Mapping[str, str],
    topic: str,
    *,
    rate: float = 100,
    remake: float = 0,
    patience: float = PATIENCE,
) -> Iterator[Load]:
    """Start a Java producer and a Java consumer (acks=all, idempotent) with `properties`, and kill them at the end.

    `properties` hold `bootstrap.servers` and `security.protocol` with what that needs. `rate` is in records a second;
    after `remake` seconds producer and consumer are closed and made anew, 0 for never, so that there are new
    handshakes: connections that carry records all the while are never closed by a broker.
    """
    directory.mkdir(parents=True)
    file = directory / "client.properties"
    file.touch(mode=0o600)
    file.write_text("".join(property_line(key, value) for key, value in properties.items()), "ascii")
    command = fetched().command("Load", file, topic, str(rate), str(remake), str(patience), heap="128m")
    with _started(directory, command) as load:
        yield load


@contextmanager
def librdkafka_load(
    directory: Path,
    properties: Mapping[str, str],
    topic: str,
    *,
    rate: float = 100,
    remake: float = 0,
    patience: float = PATIENCE,
) -> Iterator[Load]:
    """Do what `java_load` does with librdkafka, whose `properties` have other names for the same things."""
    directory.mkdir(parents=True)
    file = directory / "client.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(dict(properties)))
    command = [sys.executable, str(_LIBRDKAFKA), str(file), topic, str(rate), str(remake), str(patience)]
    with _started(directory, command) as load:
        yield load


@contextmanager
def _started(directory: Path, command: list[str]) -> Iterator[Load]:
    log = directory / "load.log"
    with (
        log.open("w") as told,
        subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
            env=environment(directory),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Load(process, log)
        finally:
            process.kill()
