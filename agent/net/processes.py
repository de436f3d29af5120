"""When a process of this host was started, and which one listens on a port (proc(5))."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

PROC = Path("/proc")

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
