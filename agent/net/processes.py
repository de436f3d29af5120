"""When a process of this host was started: one by its number, one that listens on a port (proc(5)), a unit's oldest."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")

_HIERARCHIES = ("", "systemd")
"""Where systemd keeps its control groups: in version 2, and in version 1."""
_TRIES = 3
"""How often the processes of a unit are read again, of which one has ended meanwhile."""

_STARTED = 22
"""The field of `/proc/PID/stat` that tells when the process was started, in ticks since boot."""
_LISTENS = "0A"
_HEADER_LINES = 1


def started_at(pid: int) -> datetime | None:
    """Return when a process was started, to a hundredth of a second; None when there is none, or it cannot be seen."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        # The second field is the program's name in brackets, and may hold any sign.
        ticks = int(stat.rpartition(")")[2].split()[_STARTED - 3])
    except (OSError, ValueError, IndexError):
        return None
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return datetime.fromtimestamp(booted + ticks / os.sysconf("SC_CLK_TCK"), UTC)


def pid_in(path: Path) -> int | None:
    """Return the number in a pid file; None when it cannot be read or holds none."""
    try:
        return int(path.read_text(errors="replace").strip())
    except (OSError, ValueError):
        return None


def listener_on(port: int) -> int | None:
    """Return the process that listens on a TCP port; None when there is none, or another user's cannot be seen."""
    inodes = {inode for table in ("tcp", "tcp6") for inode in _listening(PROC / "net" / table, port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and _holds(folder / "fd", wanted):
            return int(folder.name)
    return None


def started_of(pid_file: Path | None, ports: Iterable[int]) -> datetime | None:
    """Return when the process of a pid file was started, else whoever listens on the first port that anybody does.

    None where neither can be seen from here.
    """
    if pid_file is not None:
        pid = pid_in(pid_file)
        return None if pid is None else started_at(pid)
    pid = next((found for port in ports if (found := listener_on(port)) is not None), None)
    return None if pid is None else started_at(pid)


def oldest_of(unit: str, *, root: Path = CGROUP) -> datetime | None:
    """Return when the oldest process of a unit of systemd was started: all were, from then on.

    None where there is none, where one cannot be seen, and for what is the name of no unit. A unit is
    looked for where systemd puts it unless told otherwise: in `system.slice`, an instance of a template
    in a slice of its own below that (systemd.slice(5)).
    """
    if not unit or "/" in unit or "\0" in unit or unit in {".", ".."}:
        return None
    template, is_instance, _ = unit.partition("@")
    below = (f"system-{template.replace('-', chr(92) + 'x2d')}.slice", unit) if is_instance else (unit,)
    for hierarchy in _HIERARCHIES:
        group = (root / hierarchy / "system.slice").joinpath(*below)
        if group.is_dir():
            return _oldest_in(group)
    return None


def _oldest_in(group: Path) -> datetime | None:
    for _ in range(_TRIES):
        try:
            pids = _pids_in(group)
        except (OSError, ValueError):
            continue  # one that ended has taken its group along, or nobody lets us read it
        starts = [started_at(pid) for pid in pids]
        known = [start for start in starts if start is not None]
        if len(known) == len(starts):  # else one has ended since, or cannot be seen
            return min(known, default=None)
    return None


def _pids_in(group: Path) -> list[int]:
    """Return the processes of a control group and of those below it; raise `OSError` where one cannot be read."""
    found: list[int] = []

    def fail(error: OSError) -> None:
        raise error

    for folder, _, _ in os.walk(group, onerror=fail):
        found += map(int, (Path(folder) / "cgroup.procs").read_text().split())
    return found


def _listening(table: Path, port: int) -> list[str]:
    """Return the inodes of the sockets that listen on the port, in one of the kernel's tables."""
    try:
        lines = table.read_text().splitlines()[_HEADER_LINES:]
    except OSError:
        return []
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]


def _holds(descriptors: Path, wanted: set[str]) -> bool:
    """Return whether a process has one of the sockets open; the processes of others are closed to us."""
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) in wanted:
                    return True
    return False
