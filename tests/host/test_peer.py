"""Who may command the agent, by the kernel's own word."""

from __future__ import annotations

import grp
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.host.peer import Gate, peer_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
SPARE_GROUP = next((group for group in grp.getgrall() if group.gr_gid not in (0, NOBODY)), grp.getgrgid(0))

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

CONNECT = """
import os, socket, sys
path, user, *groups = sys.argv[1:]
os.setgroups([int(group) for group in groups[1:]])
os.setgid(int(groups[0]))
os.setuid(int(user))
caller = socket.socket(socket.AF_UNIX)
caller.connect("\\0" + path)
caller.recv(1)
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that everybody may connect to: names in the abstract namespace have no mode."""
    with socket.socket(socket.AF_UNIX) as server:
        # Linux gives a free name to who binds to none (unix(7), autobind).
        server.bind("")
        server.listen()
        server.settimeout(10)
        yield server


@contextmanager
def caller(listener: socket.socket, user: int, *groups: int) -> Iterator[tuple[socket.socket, int]]:
    """Have a process of another user and with other groups connect."""
    arguments = [listener.getsockname()[1:].decode(), str(user), *map(str, groups)]
    with subprocess.Popen([sys.executable, "-c", CONNECT, *arguments]) as process:
        connection, _ = listener.accept()
        with connection:
            yield connection, process.pid
        process.wait(10)


def test_the_peer_is_this_process_when_it_calls_itself() -> None:
    """Process, user and groups, as the kernel has them."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        peer = peer_of(one)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert peer.gids == {os.getegid(), *os.getgroups()}


def test_the_agents_own_user_is_admitted() -> None:
    """With no group named."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert Gate(None).admit(one).uid == os.geteuid()


@needs_root
def test_another_user_is_refused_and_told_who_may(listener: socket.socket) -> None:
    """Whatever the file's mode has let through."""
    with caller(listener, NOBODY, NOBODY) as (connection, pid):
        assert peer_of(connection).pid == pid
        with pytest.raises(AgentError, match="user 65534 may not command") as caught:
            Gate(None).admit(connection)
        assert "be root" in caught.value.advice
        with pytest.raises(AgentError) as caught:
            Gate(SPARE_GROUP.gr_name).admit(connection)
        assert SPARE_GROUP.gr_name in caught.value.advice


@needs_root
@pytest.mark.parametrize("groups", [(SPARE_GROUP.gr_gid,), (NOBODY, SPARE_GROUP.gr_gid)], ids=["own", "supplementary"])
def test_a_member_of_the_group_is_admitted(listener: socket.socket, groups: tuple[int, ...]) -> None:
    """By its own group or a supplementary one; without the group it is not."""
    with caller(listener, NOBODY, *groups) as (connection, _):
        assert Gate(SPARE_GROUP.gr_name).admit(connection).uid == NOBODY
        with pytest.raises(AgentError):
            Gate(None).admit(connection)


@needs_root
def test_a_peer_of_more_groups_than_can_be_told_counts_by_its_own(listener: socket.socket) -> None:
    """It is refused rather than guessed at, unless its own group is the one."""
    many = range(100_000, 100_400)
    with caller(listener, NOBODY, NOBODY, *many, SPARE_GROUP.gr_gid) as (connection, _):
        assert peer_of(connection).gids == {NOBODY}
        with pytest.raises(AgentError):
            Gate(SPARE_GROUP.gr_name).admit(connection)


def test_a_group_that_the_host_does_not_know_is_refused_at_the_start() -> None:
    """Not when the first member is turned away."""
    with pytest.raises(AgentError, match="there is no group no-such-group") as caught:
        Gate("no-such-group")
    assert "http.admin_group" in caught.value.advice
