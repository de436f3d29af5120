"""Which process listens on a port, and when it was started, by the kernel's own tables."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.net.processes import listener_on, pid_in, started_at

if TYPE_CHECKING:
    from pathlib import Path

LATITUDE = timedelta(seconds=1)
"""Between the clocks of the kernel and ours, and for a machine that is busy."""

LISTENER = (
    "import socket, sys; s = socket.create_server(('::1' if sys.argv[1] == '6' else '127.0.0.1', 0), family=%s); "
)
LISTENER += "print(s.getsockname()[1], flush=True); sys.stdin.read()"


def test_start_of_a_process_is_when_it_was_started() -> None:
    """A restart is told from the process before it by this moment."""
    before = datetime.now(UTC)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = started_at(process.pid)
        assert process.stdin is not None
        process.stdin.close()
    assert started is not None
    assert before - LATITUDE <= started <= datetime.now(UTC) + LATITUDE


def test_own_start_lies_before_a_child_s() -> None:
    """The order of two starts is that of their moments."""
    own = started_at(os.getpid())
    time.sleep(0.05)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        child = started_at(process.pid)
        assert process.stdin is not None
        process.stdin.close()
    assert own is not None
    assert child is not None
    assert own < child


def test_start_of_no_process_is_not_known() -> None:
    """One that has ended, or never was, has none."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert started_at(process.pid) is None


def test_listener_is_found_by_its_port() -> None:
    """Whoever listens is found, over IPv4 and IPv6, and nobody else who is connected to it."""
    for family, version in (("socket.AF_INET", "4"), ("socket.AF_INET6", "6")):
        command = [sys.executable, "-c", LISTENER % family, version]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with socket.create_connection(("::1" if version == "6" else "127.0.0.1", port)):
                assert listener_on(port) == process.pid
            process.stdin.close()
        assert listener_on(port) is None


def test_pid_file_is_read_or_tells_nothing(tmp_path: Path) -> None:
    """A number with white space around it is one; anything else is no process."""
    path = tmp_path / "kafka.pid"
    assert pid_in(path) is None
    path.write_text(" 4711\n")
    assert pid_in(path) == 4711
    path.write_text("starting")
    assert pid_in(path) is None
