"""`.state.json`: what is noted of an identity and must last over a restart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.core.record import Failure, Lane, Record, Replaced, Tries
from agent.core.restart import RestartDue
from agent.errors import MaterialError
from agent.stores import rotation_notes
from agent.stores.manifest import UNREADABLE, certificates, texts
from agent.stores.rotation_notes import instant

if TYPE_CHECKING:
    from pathlib import Path

NAME = ".state.json"
FORMAT = 1


def encode(record: Record) -> bytes:
    """Return the record as a file's content."""
    values = {
        "format": FORMAT,
        "reloaded": record.reloaded,
        "settled": record.settled,
        "refuted": record.refuted,
        "demanded": record.demanded,
        "held_leaf": record.held_leaf,
        "replaced": [{"issuer": one.issuer, "leaf": texts([one.leaf])[0]} for one in record.replaced],
        "restart": record.restart and _due(record.restart),
        "restarted": record.restarted,
        "rotation": rotation_notes.encode(record.rotation),
        "lanes": {lane: _lane(record.tries(lane)) for lane in Lane if record.tries(lane) != Tries()},
    }
    return json.dumps(values).encode() + b"\n"


def decode(content: bytes) -> Record:
    """Read what `encode` wrote, and pass over what a later agent may add; raise `MaterialError` for anything else."""
    try:
        values = json.loads(content)
        record = Record(
            reloaded=_number(values["reloaded"]),
            settled=_number(values["settled"]),
            refuted=_number(values["refuted"]),
            demanded=bool(values["demanded"]),
            held_leaf=None if values["held_leaf"] is None else str(values["held_leaf"]),
            replaced=tuple(
                Replaced(str(one["issuer"]), certificates([one["leaf"]])[0]) for one in values.get("replaced", [])
            ),
            restart=_restart(values.get("restart")),
            restarted=_number(values.get("restarted")),
            rotation=rotation_notes.decode(values.get("rotation") or {}),
        )
        for lane in Lane:
            if lane in values["lanes"]:
                record = record.with_tries(lane, _tries(values["lanes"][lane]))
    except UNREADABLE as error:
        raise MaterialError(f"the notes cannot be read: {error}") from error
    return record


def set_aside(path: Path) -> None:
    """Keep notes that cannot be read under another name, for a person to look at."""
    path.replace(path.with_name(path.name + ".unreadable"))


def _due(due: RestartDue) -> dict[str, Any]:
    return {
        "generation": due.generation,
        "since": due.since.isoformat(),
        "by": due.by.isoformat(),
        "why": due.why,
        "whole": due.whole,
        "before": due.before and _due(due.before),
    }


def _restart(values: dict[str, Any] | None) -> RestartDue | None:
    if values is None:
        return None
    return RestartDue(
        generation=int(values["generation"]),
        since=instant(values["since"]),
        by=instant(values["by"]),
        why=str(values["why"]),
        whole=bool(values["whole"]),
        before=_restart(values.get("before")),
    )


def _lane(tries: Tries) -> dict[str, Any]:
    failure = tries.failure
    return {
        "count": tries.count,
        "next_at": tries.next_at.isoformat() if tries.next_at else None,
        "failure": failure
        and {
            "what": failure.what,
            "advice": failure.advice,
            "at": failure.at.isoformat(),
            "refused": failure.refused,
            "reason": failure.reason,
        },
    }


def _tries(values: dict[str, Any]) -> Tries:
    failure = values["failure"]
    return Tries(
        count=int(values["count"]),
        next_at=None if values["next_at"] is None else instant(values["next_at"]),
        failure=failure
        and Failure(
            str(failure["what"]),
            str(failure["advice"]),
            instant(failure["at"]),
            refused=bool(failure["refused"]),
            reason=str(failure.get("reason", "")),
        ),
    )


def _number(value: int | None) -> int | None:
    return None if value is None else int(value)
