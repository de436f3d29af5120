"""Kafka's jars from Maven, fetched and prepared once for all workers: what a node is started with, fast."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.tools import copied_by_maven, need

NEWEST = "4.3.1"
OLDEST = "3.9.2"
"""The last line before 4.0."""

CLUSTER_ID = "AAAAAAAAAAAAAAAAAAAAAQ"

_HERE = Path(__file__).parent
_POM = _HERE / "kafka.pom.xml"
_SOURCES = (_HERE / "Node.java", _HERE / "Load.java")
_CACHE = _HERE.parents[1] / "var" / "kafka"
_UP_WITHIN = 60.0
"""Seconds; it takes six of them on two cores that have nothing else to do."""

SMALL = ("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto")
"""What keeps a JVM small."""

QUICK = "-XX:TieredStopAtLevel=1"
"""What makes it start fast: it compiles simply, and knows nothing of the processor's SHA-256 then."""


@dataclass(frozen=True)
class Jars:
    """One version of Kafka on this machine.

    `bootstrap` is the file that formatting leaves beside `meta.properties`. `archive` holds the classes
    as a JVM maps them (JEP 350), which saves a node two of its five seconds; it may be missing.
    """

    version: str
    classpath: str
    bootstrap: Path
    archive: Path

    def command(self, main: str, *arguments: str | Path, heap: str = "320m", quick: bool = True) -> list[str]:
        """Return what starts a class with a `main`; `quick` is for one that does not live long."""
        shared = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []
        options = [f"-Xmx{heap}", *SMALL, *([QUICK] if quick else []), *shared, *LOGGING]
        return [need("java"), *options, "-cp", self.classpath, main, *map(str, arguments)]


LOGGING = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    # Three hundred lines of configuration for every node and every client.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
)


def fetched(version: str = NEWEST) -> Jars:
    """Return the jars, fetched once for each version of the pom and compiled once for each version of the sources.

    One worker does it while the others wait, for a minute on an empty cache. Without the means the test is skipped.
    """
    need("mvn")
    compiler = need("javac")
    place = _CACHE / f"{version}-{_digest(_POM)}"
    ours = place / f"tests-{_digest(*_SOURCES)}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "whole").exists():
            shutil.rmtree(place, ignore_errors=True)
            copied_by_maven(_POM, place / "lib", f"-Dkafka.version={version}")
        # An archive of classes is for one class path, of which it may know the beginning.
        jars = ":".join(str(path) for path in sorted((place / "lib").glob("*.jar")))
        found = Jars(version, f"{jars}:{ours}", place / "bootstrap.checkpoint", place / "classes.jsa")
        if not (place / "whole").exists():
            _prepare(found, jars)
            (place / "whole").touch()
        if not (ours / "whole").exists():
            ours.mkdir(exist_ok=True)
            subprocess.run([compiler, "-cp", jars, "-d", ours, *_SOURCES], check=True)
            (ours / "whole").touch()
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, below those that the kernel gives to clients.

    A node is restarted on its own: a client that tries meanwhile to reach it must not be given its port.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    drawn = iter(random.sample(range(10_000, lowest), 1000))
    return [next(port for port in drawn if _is_free(port)) for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _prepare(jars: Jars, classpath: str) -> None:
    """Format a node, keep what every node of this version is formatted with, and have it note its classes."""
    broker, controller = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="kafka-") as name:
        place = Path(name)
        data, configuration, log = place / "data", place / "server.properties", place / "log"
        configuration.write_text(
            f"process.roles=broker,controller\nnode.id=1\nlog.dirs={data}\n"
            f"controller.quorum.voters=1@127.0.0.1:{controller}\ncontroller.listener.names=CONTROLLER\n"
            f"listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n"
        )
        java = [need("java"), *SMALL, QUICK, "-Xmx320m"]
        arguments = ["-cp", classpath, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(configuration)]
        done = subprocess.run([*java, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.copyfile(data / "bootstrap.checkpoint", jars.bootstrap)
        command = [
            *java,
            f"-XX:ArchiveClassesAtExit={jars.archive}",
            "-cp",
            classpath,
            "kafka.Kafka",
            str(configuration),
        ]
        with log.open("wb") as told:
            node = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=environment(place))
        try:
            ends = time.monotonic() + _UP_WITHIN
            while "Kafka Server started" not in log.read_text():
                assert node.poll() is None, log.read_text()
                assert time.monotonic() < ends, log.read_text()
                time.sleep(0.05)
            node.send_signal(signal.SIGTERM)
            node.wait(_UP_WITHIN)
        finally:
            node.kill()
            node.wait()


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a JVM: nothing of the person's own."""
    return {"HOME": str(home), "PATH": os.environ["PATH"]}


def _digest(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]
