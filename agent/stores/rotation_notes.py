"""What is noted of CA rotations, in `.state.json`: what people have said, and since when things are so."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.core.anchors import Ruling
from agent.core.rotation_record import Abort, Met, Pause, RotationRecord, Since
from agent.core.testimony import Question, Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def encode(record: RotationRecord) -> dict[str, Any]:
    """Return the notes as JSON knows them."""
    return {
        "rulings": [
            {
                "fingerprint": one.fingerprint,
                "approved": one.approved,
                "by": one.by,
                "at": one.at.isoformat(),
                "force": one.force,
            }
            for one in record.rulings
        ],
        "words": [
            {"peer": one.peer, "question": one.question.name, "ca": one.ca, "by": one.by, "at": one.at.isoformat()}
            for one in record.words
        ],
        "pause": record.pause and {"by": record.pause.by, "at": record.pause.at.isoformat()},
        "abort": record.abort
        and {
            "away_from": record.abort.away_from,
            "back_to": record.abort.back_to,
            "by": record.abort.by,
            "at": record.abort.at.isoformat(),
        },
        "entered": _all_since(record.entered),
        "left": _all_since(record.left),
        "leaf": record.leaf and _since(record.leaf),
        "own": record.own and _since(record.own),
        "away": _all_since(record.away),
        "stage": record.stage and _since(record.stage),
        "owned": _all_since(record.owned),
        "doubtful": list(record.doubtful),
        "ended": record.ended and _since(record.ended),
        "leaving": list(record.leaving),
        "forgotten": record.forgotten,
        "met": [{"peer": one.peer, "at": one.at.isoformat(), "is_node": one.is_node} for one in record.met],
    }


def decode(values: dict[str, Any]) -> RotationRecord:
    """Read what `encode` wrote; raise `KeyError`, `TypeError` or `ValueError` for anything else."""
    pause, abort = values.get("pause"), values.get("abort")
    return RotationRecord(
        rulings=tuple(
            Ruling(
                str(one["fingerprint"]),
                approved=bool(one["approved"]),
                by=str(one["by"]),
                at=instant(one["at"]),
                force=bool(one["force"]),
            )
            for one in values.get("rulings", [])
        ),
        words=tuple(
            Word(str(one["peer"]), Question[one["question"]], str(one["ca"]), str(one["by"]), instant(one["at"]))
            for one in values.get("words", [])
            if one["question"] in Question.__members__  # one that a later agent asks is none of ours
        ),
        pause=None if pause is None else Pause(str(pause["by"]), instant(pause["at"])),
        abort=None
        if abort is None
        else Abort(str(abort["away_from"]), str(abort["back_to"]), str(abort["by"]), instant(abort["at"])),
        entered=_read_all(values.get("entered", [])),
        left=_read_all(values.get("left", [])),
        leaf=_read(values.get("leaf")),
        own=_read(values.get("own")),
        away=_read_all(values.get("away", [])),
        stage=_read(values.get("stage")),
        owned=_read_all(values.get("owned", [])),
        doubtful=tuple(map(str, values.get("doubtful", []))),
        ended=_read(values.get("ended")),
        leaving=tuple(map(str, values.get("leaving", []))),
        forgotten=bool(values.get("forgotten", False)),
        met=tuple(Met(str(one["peer"]), instant(one["at"]), bool(one["is_node"])) for one in values.get("met", [])),
    )


def instant(text: str) -> datetime:
    """Return a time; raise `ValueError` for one without a zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found


def _since(one: Since) -> dict[str, str]:
    return {"what": one.what, "at": one.at.isoformat()}


def _all_since(some: Iterable[Since]) -> list[dict[str, str]]:
    return [_since(one) for one in some]


def _read(values: dict[str, Any] | None) -> Since | None:
    return None if values is None else Since(str(values["what"]), instant(values["at"]))


def _read_all(some: Sequence[dict[str, Any]]) -> tuple[Since, ...]:
    return tuple(Since(str(one["what"]), instant(one["at"])) for one in some)
