"""The rotations of the status document for a person: where each stands, what it waits for, and what would answer it."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import TYPE_CHECKING, Any

from agent.core.evidence import Verdict
from agent.core.rotation import Stage
from agent.net.words import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = 16
"""Hex digits of a fingerprint in a list; a command has all of them, for a person to compare."""

NAME = "--by NAME"
"""What stands in a command for whoever gives it."""

RETIRES = "cert-agent ca retire"
"""What a held anchor's reason says where a person's word is all that it waits for."""


def rotation_in_words(identity: dict[str, Any], now: str) -> list[str]:
    """Return the rotation of one identity of the status document as lines; `now` is the document's own time.

    Names of CAs are a stranger's words: what would break a line or command a terminal is escaped.
    """
    rotation = identity.get("rotation")
    if rotation is None:
        return [escaped(f"{identity['name']}: no CA rotation is known of; {identity['sentence']}")]
    lines = [
        *_stage(identity["name"], rotation),
        *_anchors(rotation["anchors"]),
        *_peers(rotation["peers"], datetime.fromisoformat(now)),
        *_awaited(identity["name"], rotation),
    ]
    return [escaped(line) for line in lines]


def rotation_in_a_line(identity: dict[str, Any]) -> list[str]:
    """Return where a rotation stands, in one line; none while all is steady.

    Why is left out where the identity's sentence tells it, just above.
    """
    rotation = identity.get("rotation")
    if rotation is None or rotation["stage"] == Stage.STEADY:
        return []
    who = shlex.quote(identity["name"])
    why = "" if rotation["why"] in identity["sentence"] else f": {rotation['why']}"
    return [escaped(f"  CA rotation: {rotation['stage']}{why}; see `cert-agent ca status {who}`")]


def _stage(name: str, rotation: dict[str, Any]) -> Iterator[str]:
    since = f", since {rotation['since']}" if rotation["since"] else ""
    yield f"{name}: {rotation['stage']}{since}"
    if rotation["why"]:
        yield f"  why: {rotation['why']}"
    yield f"  leaf of: {rotation['leaf_ca'] or 'no CA yet'}"
    yield f"  next of: {rotation['target_ca'] or 'a CA that is not known before it comes'}"
    resume = f"cert-agent ca resume {shlex.quote(name)} {NAME}"
    if rotation["paused"]:
        yield f"  paused: {rotation['paused']}; goes on with: {resume}"
    if rotation["aborted"]:
        after = "after the pause " if rotation["paused"] else ""
        yield f"  goes back: {rotation['aborted']}; ends {after}with: {resume}"
    if rotation["opens_at"]:
        yield f"  waits for its window, which opens at {rotation['opens_at']}"


def _anchors(anchors: list[dict[str, Any]]) -> Iterator[str]:
    if anchors:
        yield "  anchors:"
    for one in anchors:
        sources = f", seen in {', '.join(one['sources'])}" if one["sources"] else ""
        yield (f"    {one['fingerprint'][:SHORT]}  {one['subject']}, ends {one['not_after']}: {one['state']}{sources}")
        if one["held"]:
            yield f"      held: {one['held']}"
        if one["state"] == "waiting":
            yield f"      enters with: cert-agent ca approve {one['fingerprint']} {NAME}"
        elif RETIRES in one["held"]:
            yield f"      leaves with: {RETIRES} {one['fingerprint']} {NAME}"


def _peers(peers: list[dict[str, Any]], now: datetime) -> Iterator[str]:
    if peers:
        yield "  peers:"
    for one in peers:
        verdicts = ", ".join(f"{each['question']}: {each['verdict']}" for each in one["verdicts"]) or "nothing is asked"
        why = f" ({one['why']})" if one["why"] else ""
        yield f"    {one['peer']}, {_age(datetime.fromisoformat(one['at']), now)}: {verdicts}{why}"


def _awaited(name: str, rotation: dict[str, Any]) -> Iterator[str]:
    """Name each answer that is waited for, and the command that gives it; no word goes against evidence.

    The identity itself stands for its own readers.
    """
    if rotation["awaited"]:
        yield "  awaited:"
    for one in rotation["awaited"]:
        peer = one["peer"]
        who = f"{peer} (the readers here, of the new files)" if peer == name else peer
        why = f" ({one['why']})" if one["why"] else ""
        known = f"    {who}: {one['question']}: {one['verdict']}{why}"
        if one["verdict"] == Verdict.UNKNOWN:
            yield f"{known}; if you know: cert-agent ca confirm {shlex.quote(peer)} {NAME}"
        else:
            yield f"{known}; it is shown to be otherwise, which nobody's word changes: see to it there"


def _age(then: datetime, now: datetime) -> str:
    """Return how long ago something was, in its largest two units."""
    seconds = int((now - then).total_seconds())
    if seconds < 1:
        return "just now"
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) + " ago"
