"""What a person says of a CA rotation: a verb, what it is about, and who says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

SHORTEST_FINGERPRINT = 16
"""Hex digits by which an anchor may be called: as many as nobody finds a second one for by accident."""

LONGEST_NAME = 100
"""Characters of a person's name."""

LONGEST_PEER = 300
"""Characters of what a peer is called: a host's longest name and its port are fewer."""

_FINGERPRINT = re.compile(f"[0-9a-f]{{{SHORTEST_FINGERPRINT},64}}")


class RotationVerb(StrEnum):
    """What can be said; the first three are about an anchor or a peer, the others about an identity."""

    APPROVE = "approve"
    RETIRE = "retire"
    CONFIRM = "confirm"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Instruction:
    """A person's word: `about` is a fingerprint (or what it begins with), a peer, or an identity that may be left out.

    `force` has an anchor leave although a leaf in use would no longer be trusted.
    """

    verb: RotationVerb
    about: str | None
    by: str
    force: bool = False


def instruction(verb: str, about: str | None, by: str, *, force: bool = False) -> Instruction:
    """Return what a person says, fingerprints in lower case without colons; raise `ValueError` for what is unusable."""
    try:
        known = RotationVerb(verb)
    except ValueError:
        raise ValueError(f"there is no such verb: write one of {', '.join(RotationVerb)}") from None
    by = by.strip()
    if not by or not by.isprintable() or len(by) > LONGEST_NAME:
        raise ValueError(f"who says so is no name: write one of at most {LONGEST_NAME} printable characters")
    match known:
        case RotationVerb.APPROVE | RotationVerb.RETIRE:
            about = (about or "").replace(":", "").lower()
            if not _FINGERPRINT.fullmatch(about):
                raise ValueError(
                    f"the fingerprint is none: write SHA-256 in hex, or at least its first {SHORTEST_FINGERPRINT}"
                    " digits"
                )
        case RotationVerb.CONFIRM:
            about = (about or "").strip()
            if not about or not about.isprintable() or len(about) > LONGEST_PEER:
                raise ValueError("the peer is none: write it as `cert-agent ca status` does")
        case _:
            pass
    if force and known is not RotationVerb.RETIRE:
        raise ValueError(f"{known} forces nothing: leave it out")
    return Instruction(known, about, by, force)
