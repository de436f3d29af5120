"""Passwords of stores that are made where they are missing."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from agent.net.durable import write_once
from agent.stores import rendering
from agent.stores.atomic import on_disk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.files import Files

LENGTH = 32
"""Characters; of letters, digits, hyphen and underscore, which every reader and every file format takes as they are."""

MODE = 0o400


def make_missing(files: Sequence[Files]) -> None:
    """Make the password file of each group whose settings ask for it and whose file is not there.

    Whoever else makes the same file first has made it for both. Raise `StoreError` when the disk
    fails it.
    """
    for group in rendering.guarded(files):
        password = group.password
        if password is None or not password.make or password.secret.file is None:
            continue
        path = password.secret.file
        with on_disk("making the password", path):
            if not path.exists():
                write_once(path, secrets.token_urlsafe(LENGTH * 3 // 4).encode() + b"\n", mode=MODE)
