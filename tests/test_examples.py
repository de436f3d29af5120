"""The examples as a newcomer runs them: the TLS listener, and the quickstart with the agent itself."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.core.evidence import Verdict
from agent.keystores import pem
from agent.wire.handshake import Handshaker
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.certificate import Certificate

ROOT = Path(__file__).resolve().parent.parent
LISTENER = ROOT / "examples" / "tls_listener.py"
CA = Ca.root()

pytestmark = pytest.mark.slow


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


class Listener:
    """The example's listener on a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.directory = folder / "ssl"
        self.pid_file = folder / "listener.pid"
        self.address = f"127.0.0.1:{_free_port()}"
        self.number = 0

    def publish(self) -> Certificate:
        """Make a new leaf current, by one rename of a link, as the agent does."""
        self.number += 1
        key = make_key()
        leaf = CA.leaf(make_request(), key)
        generation = self.directory / ".generations" / f"{self.number:06}"
        generation.mkdir(parents=True)
        content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + pem.encode([leaf])
        (generation / "tls.pem").write_bytes(content)
        link = self.directory / ".new"
        link.symlink_to(generation.relative_to(self.directory))
        link.rename(self.directory / ".current")
        if self.number == 1:
            (self.directory / "tls.pem").symlink_to(".current/tls.pem")
        return leaf

    def start(self) -> subprocess.Popen[str]:
        """Start it, and wait until it has taken its address."""
        arguments = ["--directory", str(self.directory), "--address", self.address, "--pid-file", str(self.pid_file)]
        process = subprocess.Popen(
            [sys.executable, str(LISTENER), "serve", *arguments], stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert process.stderr.readline().startswith("listener: waits for ")
        return process

    def reload(self, within: float = 10) -> subprocess.CompletedProcess[str]:
        """Tell it to reload, as the agent's command does."""
        arguments = ["reload", "--pid-file", str(self.pid_file), "--within", str(within)]
        return subprocess.run(
            [sys.executable, str(LISTENER), *arguments], capture_output=True, text=True, check=False, timeout=30
        )

    async def verdict(self, leaf: Certificate, seconds: float = 5) -> Verdict:
        """Return whether it serves the leaf."""
        within = timedelta(seconds=seconds)
        looked = await Handshaker(lambda: datetime.now(UTC)).look(self.address, wanted=leaf.fingerprint, within=within)
        return looked.verdict(leaf.fingerprint)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


async def test_listener_serves_the_files_as_soon_as_they_are_there(tmp_path: Path) -> None:
    """It waits for the agent to make them, and ends well at SIGTERM."""
    listener = Listener(tmp_path)
    with _ended(listener.start()) as process:
        leaf = listener.publish()
        assert await listener.verdict(leaf) is Verdict.PROVEN
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


async def test_listener_serves_what_a_reload_says(tmp_path: Path) -> None:
    """After `reload` has ended well, the very next connection is given the new leaf; before it, the old one."""
    listener = Listener(tmp_path)
    with _ended(listener.start()):
        first = listener.publish()
        assert listener.reload().returncode == 0, "the first reload finds a listener that is coming up"
        assert await listener.verdict(first) is Verdict.PROVEN
        second = listener.publish()
        assert await listener.verdict(first, 0.05) is Verdict.PROVEN
        told = listener.reload()
        assert (told.returncode, second.fingerprint in told.stderr) == (0, True)
        assert await listener.verdict(second, 0.3) is Verdict.PROVEN


async def test_listener_serves_on_when_the_file_is_bad(tmp_path: Path) -> None:
    """A file that it cannot read fails the reload and leaves the old leaf served."""
    listener = Listener(tmp_path)
    with _ended(listener.start()):
        leaf = listener.publish()
        assert await listener.verdict(leaf) is Verdict.PROVEN
        (listener.directory / "tls.pem").resolve().write_text("no PEM")
        told = listener.reload()
        assert told.returncode == 1
        assert "holds no certificate" in told.stderr
        assert await listener.verdict(leaf, 0.3) is Verdict.PROVEN


async def test_listener_survives_reloads_at_once(tmp_path: Path) -> None:
    """Reloads from many sides while the files switch all end well, and the last leaf is served."""
    listener = Listener(tmp_path)
    with _ended(listener.start()):
        codes: list[int] = []
        leaf = listener.publish()
        threads = [
            threading.Thread(target=lambda: codes.extend(listener.reload().returncode for _ in range(3)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            leaf = listener.publish()
            await asyncio.sleep(0.01)
        for thread in threads:
            thread.join()
        assert codes == [0] * 12
        assert listener.reload().returncode == 0
        assert await listener.verdict(leaf) is Verdict.PROVEN


def test_reload_signals_nobody_when_the_listener_is_gone(tmp_path: Path) -> None:
    """The number in a stale pid-file may be another process's: that one is not signalled."""
    listener = Listener(tmp_path)
    listener.pid_file.write_text(f"{os.getpid()}\n")  # a SIGHUP would end these tests
    told = listener.reload(within=0.2)
    assert told.returncode == 1
    assert "no listener runs" in told.stderr


def test_listener_says_when_its_address_is_taken(tmp_path: Path) -> None:
    """An address that is in use ends it at once, before there is any file."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        arguments = ["serve", "--directory", str(tmp_path), "--address", address, "--pid-file", str(tmp_path / "pid")]
        told = subprocess.run(
            [sys.executable, str(LISTENER), *arguments], capture_output=True, text=True, check=False, timeout=30
        )
    assert told.returncode == 1
    assert f"cannot listen on {address}" in told.stderr


# --- the quickstart ------------------------------------------------------------------------------


def _quickstart(folder: Path) -> tuple[Path, str]:
    """Copy what `make run` uses to a folder, with ports that are free; return the script and the agent's URL."""
    for name in ("config", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    http, tls = _free_port(), _free_port()
    for file in (folder / "config" / "quickstart.yaml", folder / "examples" / "quickstart.py"):
        file.write_text(file.read_text().replace("9847", str(http)).replace("9843", str(tls)))
    return folder / "examples" / "quickstart.py", f"http://127.0.0.1:{http}/"


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_quickstart_keeps_a_certificate_served(tmp_path: Path, number: signal.Signals) -> None:
    """`make run` comes to an identity that is issued, served and ready, and a signal ends all of it."""
    script, url = _quickstart(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    with _ended(process):
        try:
            end = time.monotonic() + 30
            ready = (0, "")
            while ready[0] != 200 and time.monotonic() < end and process.poll() is None:
                time.sleep(0.1)
                ready = _get(f"{url}readyz?verbose")
            children = _children(process.pid)
        finally:
            process.send_signal(number)
            said = process.communicate(timeout=30)[0]
        assert ready[0] == 200, ready[1] + said
        assert process.returncode == 0, said
        assert f"{url}status" in said
        assert len(children) == 2
        assert not [child for child in children if Path(f"/proc/{child}").exists()]
    folder = tmp_path / "var" / "quickstart"
    assert (folder / "password").stat().st_mode & 0o777 == 0o600
    assert (folder / "password").read_text().strip() not in said
    assert (folder / "ssl" / "tls.pem").exists()
