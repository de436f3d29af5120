"""Reading a password or token where the settings say that it is, each time that it is needed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.errors import MaterialError
from agent.net.bounded import read_at_most

if TYPE_CHECKING:
    from agent.core.files import StoreFiles
    from agent.core.secret import Secret

LARGEST_SECRET = 64 * 1024
"""Bytes; a file that is larger is no password or token."""


def read_password(files: StoreFiles | None) -> str | None:
    """Return the password that guards the files; None where none does. Raise `MaterialError` as `read_secret` does."""
    return None if files is None or files.password is None else read_secret(files.password.secret)


def read_secret(secret: Secret) -> str:
    """Return the secret without its last line end; it blocks on the disk for a file.

    Raise `MaterialError`, which names the place and never the content, when it cannot be read,
    is empty or is no UTF-8 text.
    """
    if secret.file is None:
        value = os.environ.get(secret.environment or "", "")
    else:
        content = read_at_most(
            secret.file,
            LARGEST_SECRET,
            unreadable="make the file, readable by the agent's user and nobody else",
            too_large="name the right file",
        )
        try:
            value = content.decode()
        except UnicodeDecodeError:
            raise MaterialError(f"{secret} is not UTF-8 text", advice="write the secret as text") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise MaterialError(f"{secret} is empty", advice="put the secret there")
    return value
