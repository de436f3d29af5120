"""Who is at the other end of a Unix socket, as the kernel says, and whether they may command the agent."""

from __future__ import annotations

import errno
import grp
import os
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from agent.errors import AgentError

SO_PEERGROUPS = 59
"""asm-generic/socket.h: the supplementary groups of the peer; Python has no name for it."""

MOST_GROUPS_BYTES = 1024
"""The longest answer that Python takes from getsockopt: 256 groups."""

CREDENTIALS = struct.Struct("iII")
"""`struct ucred` of unix(7): pid, uid, gid."""


class Connection(Protocol):
    """A connected Unix socket, or asyncio's view of one."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Return an option's bytes."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected, as it was at that moment; `gids` holds its own group and the supplementary ones."""

    pid: int
    uid: int
    gids: frozenset[int]


def peer_of(connection: Connection) -> Peer:
    """Ask the kernel who connected (SO_PEERCRED, SO_PEERGROUPS); raise `OSError` when it cannot tell."""
    pid, uid, gid = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return Peer(pid, uid, frozenset({gid, *_supplementary(connection)}))


def _supplementary(connection: Connection) -> tuple[int, ...]:
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, MOST_GROUPS_BYTES)
    except OSError as error:
        # Too many to be told, or a kernel that does not tell: the peer's own group alone counts.
        if error.errno in (errno.ERANGE, errno.ENOPROTOOPT):
            return ()
        raise
    return struct.unpack(f"{len(groups) // 4}I", groups)


class Gate:
    """Admits root, the agent's own user and, where a group is named, its members.

    `group_id` is the group's number, None without one. Raise `AgentError` for a group that the host does not know.
    """

    def __init__(self, group: str | None) -> None:
        self._group = group
        self.group_id = None if group is None else _group_id(group)

    def admit(self, connection: Connection) -> Peer:
        """Return who connected; raise `AgentError` when they may not command the agent."""
        peer = peer_of(connection)
        if peer.uid in (0, os.geteuid()) or self.group_id in peer.gids:
            return peer
        members = "" if self._group is None else f", or a member of group {self._group}"
        raise AgentError(
            f"user {peer.uid} may not command this agent", advice=f"be root or user {os.geteuid()}{members}"
        )


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise AgentError(
            f"there is no group {name}", advice="make it (groupadd --system), or name another as http.admin_group"
        ) from None
