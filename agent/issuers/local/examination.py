"""Questions to an embedded CA: is it there or can it be made, will it last, who may read its keys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.core.issuer_status import Examined, Opinion
from agent.errors import IssuanceError
from agent.issuers.local.authority import in_last_fifth
from agent.issuers.local.making import INTERMEDIATE_LIFETIME, ROTATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.identity import Request
    from agent.core.issuer_spec import LocalCaSpec
    from agent.issuers.local.authority import Authority
    from agent.issuers.local.folder import AuthorityFolder


def examine(
    spec: LocalCaSpec, folder: AuthorityFolder, requests: Sequence[Request], now: datetime
) -> tuple[Examined, ...]:
    """Return what there is to say of a CA for these requests; it blocks, and makes nothing."""
    try:
        authority = folder.read()
    except IssuanceError as error:
        return (Examined("folder", Opinion.BAD, error.diagnosis()), *_key_files(folder))
    longest = max((request.lifetime for request in requests), default=None)
    writable = _writable(spec.directory)
    if authority is None:
        return (*_to_be_made(spec, writable=writable, longest=longest), *_key_files(folder))
    return (*_found(spec, authority, now, longest, writable=writable), *_key_files(folder))


def _to_be_made(spec: LocalCaSpec, *, writable: bool, longest: timedelta | None) -> Iterator[Examined]:
    if writable:
        sentence = f"{spec.directory} holds no whole CA yet; one of type {spec.key} is made at the first use"
        yield Examined("folder", Opinion.GOOD, sentence)
    else:
        sentence = f"{spec.directory} holds no whole CA yet, and this user cannot make one there"
        yield Examined("folder", Opinion.BAD, f"{sentence}: give the agent's user a folder that it can write")
    if longest is not None and longest > INTERMEDIATE_LIFETIME:
        sentence = f"an intermediate lasts {INTERMEDIATE_LIFETIME.days} days, and leaves of {longest.days} are wanted"
        yield Examined("intermediate", Opinion.DOUBTFUL, f"{sentence}: they will end with it")


def _found(
    spec: LocalCaSpec, authority: Authority, now: datetime, longest: timedelta | None, *, writable: bool
) -> Iterator[Examined]:
    root, between = authority.root, authority.intermediate.certificate
    types = f"a root of type {root.key_type} and an intermediate of type {between.key_type}"
    later = "" if root.key_type == between.key_type == spec.key else f"; what is made anew will be of type {spec.key}"
    yield Examined("folder", Opinion.GOOD, f"{spec.directory} holds {types}{later}")
    if writable:
        yield Examined("writing", Opinion.GOOD, f"this user can write {spec.directory}")
    else:
        sentence = f"this user cannot write {spec.directory}: the CA issues until {authority.ends():%Y-%m-%d}"
        yield Examined("writing", Opinion.DOUBTFUL, f"{sentence}, and is not renewed before")
    yield _root(authority, now, writable=writable)
    yield _intermediate(between, root, now, longest, writable=writable)


def _root(authority: Authority, now: datetime, *, writable: bool) -> Examined:
    root, after = authority.root, authority.successor
    told = f"the root {root.fingerprint[:16]} ends on {root.not_after:%Y-%m-%d}"
    if root.not_after <= now:
        return Examined("root", Opinion.BAD, f"{told}, which is past: {ROTATE}")
    if root.not_before > now:
        return Examined("root", Opinion.BAD, f"the root is valid from {root.not_before:%Y-%m-%d} only: set the clock")
    if not in_last_fifth(root, now):
        return Examined("root", Opinion.GOOD, told)
    if not writable:
        return Examined("root", Opinion.DOUBTFUL, f"{told}, and this user cannot have another follow it")
    follows = f"{after.fingerprint[:16]} is an anchor already and will follow it" if after else "another will follow it"
    return Examined("root", Opinion.GOOD, f"{told}; {follows}")


def _intermediate(
    between: Certificate, root: Certificate, now: datetime, longest: timedelta | None, *, writable: bool
) -> Examined:
    told = f"the intermediate {between.fingerprint[:16]} ends on {between.not_after:%Y-%m-%d}"
    end = between.not_after
    if writable and in_last_fifth(between, now) and end < root.not_after:
        told += " and is made anew at the next use"
        end = min(now + INTERMEDIATE_LIFETIME, root.not_after)
    if end <= now:
        return Examined("intermediate", Opinion.BAD, f"{told}: {ROTATE}")
    if longest is not None and now + longest > end:
        return Examined(
            "intermediate", Opinion.DOUBTFUL, f"{told}: leaves of {longest.days} days end on {end:%Y-%m-%d} with it"
        )
    return Examined("intermediate", Opinion.GOOD, told)


def _key_files(folder: AuthorityFolder) -> Iterator[Examined]:
    """Say who else may read or write the keys; nothing while there are none."""
    found = False
    for path in folder.key_files:
        try:
            mode = path.stat().st_mode & 0o777
        except OSError:
            continue
        found = True
        if mode & 0o177:
            sentence = f"{path} has mode {mode:04o}: whoever else may read or replace it can sign as the CA"
            yield Examined("key files", Opinion.DOUBTFUL, f"{sentence}; `chmod 0400` it")
            return
    if found:
        yield Examined("key files", Opinion.GOOD, "the files with private keys are for their owner alone")


def _writable(directory: Path) -> bool:
    """Return whether this user could write in a folder, or make it where it is not there yet."""
    nearest = next((path for path in (directory, *directory.parents) if os.path.lexists(path)), directory)
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
