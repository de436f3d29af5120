"""Which process listens on a port, which are a unit's, and when each was started, by the kernel's own tables."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.net.processes import listener_on, oldest_of, pid_in, started_at, started_of

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def is_start_of(pid: int, found: datetime | None) -> bool:
    """Return whether it is, to the grain of two readings of the clocks."""
    wanted = started_at(pid)
    assert wanted is not None
    return found is not None and abs(found - wanted) < timedelta(milliseconds=5)


def test_start_is_that_of_the_pid_file_or_of_whoever_listens(tmp_path: Path) -> None:
    """A pid file goes before the ports, also one that tells nothing; of the ports the first that is listened on."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as gone:
        port, free = server.getsockname()[1], gone.getsockname()[1]
        gone.close()
        assert is_start_of(os.getpid(), started_of(None, (free, port)))
        assert started_of(None, (free,)) is None
        path = tmp_path / "kafka.pid"
        assert started_of(path, (port,)) is None
        path.write_text(str(os.getpid()))
        assert is_start_of(os.getpid(), started_of(path, ()))


@pytest.fixture
def child() -> Iterator[int]:
    """Start a process that is younger than this one."""
    time.sleep(0.02)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()


def group(root: Path, name: str, *pids: int) -> Path:
    """Write a control group as the kernel shows it."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
    return folder


@pytest.mark.parametrize("hierarchy", ["", "systemd/"])
def test_oldest_process_of_a_unit_counts(tmp_path: Path, hierarchy: str, child: int) -> None:
    """Also one in a group below that of the unit, in both versions of control groups."""
    found = group(tmp_path, f"{hierarchy}system.slice/kafka.service", child)
    assert is_start_of(child, oldest_of("kafka.service", root=tmp_path))
    group(found, "below/it", os.getpid())
    (found / "below/cgroup.procs").write_text("")
    assert is_start_of(os.getpid(), oldest_of("kafka.service", root=tmp_path))


def test_instance_of_a_template_has_a_slice_of_its_own(tmp_path: Path, child: int) -> None:
    """Systemd escapes the name of the template in that of the slice."""
    group(tmp_path, r"system.slice/system-kafka\x2dbroker.slice/kafka-broker@1.service", child)
    assert is_start_of(child, oldest_of("kafka-broker@1.service", root=tmp_path))


def test_unit_of_which_not_every_process_is_seen_is_not_known(tmp_path: Path, child: int) -> None:
    """One without a process, one that is not there, one with a process of another namespace, one that is unreadable."""
    group(tmp_path, "system.slice/empty.service")
    assert oldest_of("empty.service", root=tmp_path) is None
    assert oldest_of("none.service", root=tmp_path) is None
    found = group(tmp_path, "system.slice/kafka.service", child, 0)
    assert oldest_of("kafka.service", root=tmp_path) is None
    (found / "cgroup.procs").write_text(f"{child}\n")
    (found / "below").mkdir()
    assert oldest_of("kafka.service", root=tmp_path) is None
    group(found, "below/it", child)
    (found / "below" / "cgroup.procs").write_text("")
    assert is_start_of(child, oldest_of("kafka.service", root=tmp_path))


def test_unit_with_a_group_that_nobody_may_list_is_not_known(
    tmp_path: Path, child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older process may be in it."""
    found = group(tmp_path, "system.slice/kafka.service", child)
    group(found, "below", child)
    scan = os.scandir

    def refuse(folder: str) -> Iterator[os.DirEntry[str]]:
        if os.fspath(folder).endswith("below"):
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    assert oldest_of("kafka.service", root=tmp_path) is not None
    monkeypatch.setattr(os, "scandir", refuse)
    assert oldest_of("kafka.service", root=tmp_path) is None


@pytest.mark.parametrize("name", ["", ".", "..", "../elsewhere", "a/b", "a\0b"])
def test_what_is_no_name_of_a_unit_leads_nowhere(tmp_path: Path, name: str, child: int) -> None:
    """No path out of the slice is followed."""
    for place in ("system.slice", "elsewhere", "system.slice/a/b"):
        group(tmp_path, place, child)
    assert oldest_of(name, root=tmp_path) is None
