"""From what is wanted to the text of the configuration, by whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.clientconfig import librdkafka, properties, spring
from agent.clientconfig.passwords import Passwords
from agent.clientconfig.problems import problems
from agent.core.files import ReaderKind

if TYPE_CHECKING:
    from pathlib import PurePath

    from agent.core.files import ReaderConfiguration

__all__ = ["Passwords", "problems", "render"]


def render(wanted: ReaderConfiguration, directory: PurePath, passwords: Passwords) -> bytes:
    """Return the configuration that points a reader at the stable paths below `directory`, an absolute one.

    The same arguments give the same bytes, in every renewal. Hostname verification is always on.
    Raise `MaterialError` for a password that the syntax cannot hold, and `ValueError` for what
    `problems` tells before.
    """
    if not directory.is_absolute():
        raise ValueError("a reader's working directory is its own: the paths that it is given are absolute")
    match wanted.kind:
        case ReaderKind.CLIENT_PROPERTIES:
            text = properties.client(wanted, directory, passwords)
        case ReaderKind.SERVER_PROPERTIES:
            text = properties.server(wanted, directory, passwords)
        case ReaderKind.LIBRDKAFKA:
            text = librdkafka.client(wanted, directory, passwords)
        case ReaderKind.SPRING:
            text = spring.client(wanted, directory, passwords)
    return text.encode()
