"""Where a password or token is read; the value itself is in no setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a password or token is read, each time that it is needed; the value itself is in no setting.

    One of the two is set: a file (its last line end is not part of the secret) or an environment variable.
    """

    file: Path | None = None
    environment: str | None = None

    def __str__(self) -> str:
        """Return where it is read, for messages."""
        return str(self.file) if self.file else f"${self.environment}"
