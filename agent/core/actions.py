"""What an agent can do for an identity, one action at a time, each as a verb for a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from agent.core.generation import Cause

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.record import Replaced

_PUBLICATIONS = {
    Cause.LEAF: "prove the issued leaf and switch to it",
    Cause.ANCHORS: "write the truststores with the new anchors",
    Cause.FILES: "render the files again",
}


@dataclass(frozen=True, slots=True)
class Issue:
    """Ask the CA for a new leaf."""

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "ask the CA for a leaf"


@dataclass(frozen=True, slots=True)
class Publish:
    """Write a generation, prove it and switch to it: the pending leaf, other anchors, or the files again."""

    cause: Cause

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return _PUBLICATIONS[self.cause]


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make the first generation of plain files that stand where the links belong, and switch to it."""

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "take over the files that are there"


@dataclass(frozen=True, slots=True)
class Switch:
    """Make a written generation current again, and put right the links that readers follow."""

    number: int

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return f"switch to generation {self.number}"


@dataclass(frozen=True, slots=True)
class RollBack:
    """Go back from what a listener refuted to the generation before it."""

    number: int
    refuted: int

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return f"roll back to generation {self.number}"


@dataclass(frozen=True, slots=True)
class Reload:
    """Tell the readers of the files."""

    number: int

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "tell the readers"


@dataclass(frozen=True, slots=True)
class Prove:
    """Handshake with every listener."""

    number: int

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "look at what the listeners serve"


@dataclass(frozen=True, slots=True)
class Restart:
    """Run the restart command: the reader takes the files as it starts, and in no other way."""

    number: int

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "restart the broker"


@dataclass(frozen=True, slots=True)
class AskPeers:
    """Ask the peers whom they trust and whose leaves they use."""

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "ask the peers"


@dataclass(frozen=True, slots=True)
class Settle:
    """Note that the generation is in use: its reload succeeded and its proof is in."""

    number: int

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return f"settle generation {self.number}"


@dataclass(frozen=True, slots=True)
class DropPending:
    """Forget a pending key whose leaf has become a generation."""

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "forget the pending key"


@dataclass(frozen=True, slots=True)
class Remember:
    """Note which leaves were in use and are replaced, before the last generation that holds them is pruned."""

    replaced: tuple[Replaced, ...]

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return "note what was replaced"


@dataclass(frozen=True, slots=True)
class Revoke:
    """Have the CA revoke a leaf that was replaced and that no roll-back reaches any more."""

    leaf: Certificate

    def __str__(self) -> str:
        """Return what it does, as a verb for a sentence."""
        return f"have the leaf {self.leaf.serial_number:x} revoked"


Action: TypeAlias = (
    Issue
    | Publish
    | Adopt
    | Switch
    | RollBack
    | Reload
    | Restart
    | Prove
    | AskPeers
    | Settle
    | DropPending
    | Remember
    | Revoke
)


@dataclass(frozen=True, slots=True)
class Step:
    """An action, the instant from which it is due, and why, as half a sentence."""

    action: Action
    due: datetime
    why: str
