"""What this process has taken out of wrappings: each gives it once, and SIGHUP makes the clients of Vault anew.

It is kept in memory alone. A restart loses it, and needs a new wrapping.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.issuers.vault.token import Token

MOST = 64
"""Wrappings that are remembered; of more the one that was longest of no use is forgotten."""


@dataclass(frozen=True, slots=True)
class Content:
    """What was in a wrapping, which was made at `path`: a secret id, or a token while that is of use."""

    path: str
    secret: str = field(default="", repr=False)
    token: Token | None = None


class Opened:
    """The contents of wrappings, found by a digest of the wrapping's own token."""

    def __init__(self) -> None:
        self._contents: OrderedDict[str, Content | None] = OrderedDict()

    def recall(self, wrapping: str) -> Content | None:
        """Return what this process has taken out of a wrapping; None when it has nothing of it."""
        digest = _digest(wrapping)
        if digest in self._contents:
            self._contents.move_to_end(digest)
        return self._contents.get(digest)

    def keep(self, wrapping: str, content: Content) -> None:
        """Remember what was in a wrapping."""
        self._put(wrapping, content)

    def was_asked_for(self, wrapping: str) -> bool:
        """Whether this process has asked for what is in a wrapping, with or without an answer."""
        return _digest(wrapping) in self._contents

    def asked_for(self, wrapping: str) -> None:
        """Remember that what is in a wrapping is asked for: the answer may be lost."""
        self._put(wrapping, self.recall(wrapping))

    def forget(self, wrapping: str) -> None:
        """Forget a wrapping that was asked for and has stayed closed."""
        self._contents.pop(_digest(wrapping), None)

    def _put(self, wrapping: str, content: Content | None) -> None:
        digest = _digest(wrapping)
        self._contents[digest] = content
        self._contents.move_to_end(digest)
        while len(self._contents) > MOST:
            self._contents.popitem(last=False)


OPENED = Opened()
"""That of this process."""


def _digest(wrapping: str) -> str:
    return sha256(wrapping.encode()).hexdigest()
