"""What a person brings on the command line: a chain in PEM, from a file or from standard input."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from agent.errors import MaterialError

LARGEST_CHAIN = 95_000
"""Bytes; a leaf and its intermediates have a tenth of it."""

STANDARD_INPUT = "-"

_NO_TEXT = re.compile(rb"[^\t\r\n -~]")


def read_chain(name: str) -> str:
    """Return the text of a file, or of standard input for `-`; it blocks.

    What is no ASCII becomes question marks: around the certificates they are passed over, and
    within one they do not pass for base64. Raise `MaterialError` for what cannot be read or is too
    large.
    """
    what = "standard input" if name == STANDARD_INPUT else name
    try:
        if name == STANDARD_INPUT:
            content = sys.stdin.buffer.read(LARGEST_CHAIN + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(LARGEST_CHAIN + 1)
    except OSError as error:
        raise MaterialError(
            f"{what} cannot be read: {error.strerror or error}", advice="name the file that the CA gave"
        ) from error
    if len(content) > LARGEST_CHAIN:
        raise MaterialError(
            f"{what} has more than {LARGEST_CHAIN} bytes, and a chain has fewer",
            advice="bring the leaf and the CAs between it and a root",
        )
    return _NO_TEXT.sub(b"?", content).decode("ascii")
