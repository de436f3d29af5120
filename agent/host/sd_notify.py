"""Tell systemd how the agent is: the sd_notify(3) protocol, a datagram a message."""

from __future__ import annotations

import os
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping


class SdNotifier:
    """Notifies the service manager that started the agent; does nothing where there is none.

    `environment` is that of the process: `NOTIFY_SOCKET` names the manager's socket, a path or
    `@` and a name in the abstract namespace. A message never waits: a manager that does not
    listen is told of in the log, once, and holds nothing up.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._log = structlog.get_logger()
        self._unheard = False
        if name and name[0] not in "/@":
            # Virtual machines have `vsock:` sockets; an agent's manager is on its own host.
            self._log.warning("NOTIFY_SOCKET is no Unix socket, nobody is notified", socket=name)
            name = ""
        self._address = f"\0{name[1:]}" if name.startswith("@") else name

    def ready(self, sentence: str) -> None:
        """Say that the agent has come up, or is up again after `reloading`; `sentence` is shown by systemctl."""
        self._send("READY=1", f"STATUS={_one_line(sentence)}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` ends it."""
        # CLOCK_MONOTONIC is the clock that systemd compares with its own.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the agent is going down."""
        self._send("STOPPING=1")

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        message = "\n".join(assignments).encode()
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            ) as sender:
                sender.connect(self._address)
                sender.send(message)
        except OSError as error:
            if not self._unheard:
                self._log.warning("systemd could not be notified", error=error.strerror, message=assignments[0])
            self._unheard = True
        else:
            self._unheard = False


def watchdog_interval(environment: Mapping[str, str]) -> timedelta | None:
    """Return the time within which systemd wants a sign of life; None when its watchdog is not on this process.

    Half of it is a good beat (sd_watchdog_enabled(3)). Raise `AgentError` when the environment is wrong.
    """
    span, pid = environment.get("WATCHDOG_USEC"), environment.get("WATCHDOG_PID")
    if not span:
        return None
    try:
        microseconds, watched = int(span), int(pid) if pid else os.getpid()
    except ValueError:
        microseconds, watched = 0, 0
    if microseconds <= 0 or watched <= 0:
        raise AgentError(
            "WATCHDOG_USEC or WATCHDOG_PID in the environment is no positive number",
            advice="let systemd set them (WatchdogSec= in the unit), or unset both",
        )
    return timedelta(microseconds=microseconds) if watched == os.getpid() else None


def _one_line(sentence: str) -> str:
    """Return the sentence without line ends: each line would be an assignment of its own."""
    return " ".join(sentence.split())
