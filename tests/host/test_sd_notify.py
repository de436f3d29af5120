"""What systemd is told, by the datagrams that a manager receives."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.errors import AgentError
from agent.host.sd_notify import SdNotifier, watchdog_interval

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """Listen as systemd does; a name that begins with a NUL byte is in the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(5)
        yield receiver


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, SdNotifier]]:
    """A manager, and a notifier that it started."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@cert-agent-test-{os.getpid()}"
    address = name if request.param == "path" else "\0" + name[1:]
    with manager(address) as receiver:
        yield receiver, SdNotifier({"NOTIFY_SOCKET": name})


def test_each_state_is_told_as_systemd_reads_it(systemd: tuple[socket.socket, SdNotifier]) -> None:
    """One datagram each (sd_notify(3))."""
    receiver, notifier = systemd
    notifier.ready("keeps 2 identities")
    notifier.alive()
    notifier.stopping()
    assert [receiver.recv(4096) for _ in range(3)] == [
        b"READY=1\nSTATUS=keeps 2 identities",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


def test_reloading_carries_the_steady_clock(systemd: tuple[socket.socket, SdNotifier]) -> None:
    """In microseconds: systemd tells by it which reload is meant."""
    receiver, notifier = systemd
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    state, _, moment = receiver.recv(4096).partition(b"\nMONOTONIC_USEC=")
    assert state == b"RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000


def test_a_sentence_cannot_add_an_assignment(systemd: tuple[socket.socket, SdNotifier]) -> None:
    """A line end in it would: `MAINPID=1` from a CA's error must stay text."""
    receiver, notifier = systemd
    notifier.ready("one\nMAINPID=1\r\ntwo")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=one MAINPID=1 two"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_a_manager_nothing_is_told(environment: dict[str, str]) -> None:
    """On a terminal the agent runs as well, and says nothing of it."""
    with capture_logs() as logs:
        notifier = SdNotifier(environment)
        notifier.ready("fine")
        notifier.alive()
        notifier.reloading()
        notifier.stopping()
    assert logs == []


def test_a_socket_of_another_kind_is_told_once_and_left_alone() -> None:
    """`vsock:` and its like are for virtual machines."""
    with capture_logs() as logs:
        notifier = SdNotifier({"NOTIFY_SOCKET": "vsock:2:1234"})
        notifier.alive()
        notifier.alive()
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_a_manager_that_has_gone_is_logged_once_and_stops_nothing(tmp_path: Path) -> None:
    """The agent goes on; when the manager is back it hears of it again."""
    path = str(tmp_path / "notify")
    notifier = SdNotifier({"NOTIFY_SOCKET": path})
    with capture_logs() as logs:
        notifier.alive()
        notifier.alive()
    assert [entry["log_level"] for entry in logs] == ["warning"]
    with manager(path) as receiver:
        notifier.alive()
        assert receiver.recv(4096) == b"WATCHDOG=1"


def test_a_manager_that_does_not_read_is_not_waited_for(tmp_path: Path) -> None:
    """A full queue must never stop the loop that feeds it."""
    path = str(tmp_path / "notify")
    notifier = SdNotifier({"NOTIFY_SOCKET": path})
    with manager(path), capture_logs() as logs:
        for _ in range(2000):
            notifier.alive()
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_the_watchdog_is_that_of_the_environment() -> None:
    """Microseconds, for this process or for whoever reads them."""
    assert watchdog_interval({"WATCHDOG_USEC": "60000000"}) == timedelta(minutes=1)
    assert watchdog_interval({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}) == timedelta(seconds=1.5)


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}])
def test_no_watchdog_and_another_processs_are_none(environment: dict[str, str]) -> None:
    """A parent's watchdog is not ours to feed."""
    assert watchdog_interval(environment) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "me"},
    ],
)
def test_a_watchdog_that_makes_no_sense_is_refused(environment: dict[str, str]) -> None:
    """To ignore it would be to be killed by it."""
    with pytest.raises(AgentError, match="WATCHDOG") as caught:
        watchdog_interval(environment)
    assert "WatchdogSec" in caught.value.advice
