"""Owners and groups by name, as the numbers that a file system knows."""

from __future__ import annotations

import grp
import pwd
from typing import TYPE_CHECKING

from agent.errors import StoreError

if TYPE_CHECKING:
    from agent.core.files import Access


def numbers(access: Access) -> tuple[int, int]:
    """Return user and group, -1 for the process's own; raise `StoreError` for a name that this host does not know."""
    try:
        user = pwd.getpwnam(access.owner).pw_uid if access.owner else -1
        group = grp.getgrnam(access.group).gr_gid if access.group else -1
    except KeyError as error:
        what = f"this host knows no such owner or group: {error.args[0]}"
        raise StoreError(what, advice="create it, or name another in `owner` or `group`") from None
    return user, group
