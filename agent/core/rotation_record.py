"""What must last of a CA rotation and can be seen nowhere: what people have said, and since when things are so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.core.anchors import CaId, Ruling
    from agent.core.testimony import Word


@dataclass(frozen=True, slots=True)
class Pause:
    """A person has what readers use stay as it is, until they say that it may go on."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Abort:
    """A person has the leaf go back to the CA that it was of before; a leaf of `away_from` is not wanted."""

    away_from: CaId
    back_to: CaId
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Since:
    """Something that is so of a CA, by its id, or of a stage, by its name, and since when."""

    what: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Met:
    """A peer that was found by looking, the day when it last was, and whether it is a node whose process matters."""

    peer: str
    at: datetime
    is_node: bool = False


@dataclass(frozen=True, slots=True)
class RotationRecord:
    """What is noted of an identity's rotations.

    `rulings` are people's words on anchors, `words` those on peers. `entered` says since when each CA is in
    the truststores, `left` since when no leaf of a CA is known to be in use anywhere, `leaf` since when the
    leaf is of its CA, `own` since when the issuer is seen to give leaves of its CA, `away` since when the
    leaf first was of another CA than each that it was of, and `stage` since when the rotation stands
    where it stands. `owned` says of CAs until when the issuer gave leaves of them, `doubtful` are those of
    whose leaves nobody has shown yet that readers use them no more, `ended` since when the current leaf
    is seen to have ended, by its fingerprint, `leaving` the CAs that were to leave the truststores when all
    sources could be read. `forgotten`: earlier notes could not be read, and nobody has said since that it may
    go on without them. `met` are the peers that were found by looking.
    """

    rulings: tuple[Ruling, ...] = ()
    words: tuple[Word, ...] = ()
    pause: Pause | None = None
    abort: Abort | None = None
    entered: tuple[Since, ...] = ()
    left: tuple[Since, ...] = ()
    leaf: Since | None = None
    own: Since | None = None
    away: tuple[Since, ...] = ()
    stage: Since | None = None
    owned: tuple[Since, ...] = ()
    doubtful: tuple[CaId, ...] = ()
    ended: Since | None = None
    leaving: tuple[CaId, ...] = ()
    forgotten: bool = False
    met: tuple[Met, ...] = ()

    @property
    def turned_from(self) -> Mapping[CaId, datetime]:
        """Until when the issuer gave leaves of each CA that it has turned away from."""
        return {one.what: one.at for one in self.owned}
