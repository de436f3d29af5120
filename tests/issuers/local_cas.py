"""Embedded CAs below a folder, for the tests of every side of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.chain import Path as ChainPath
from agent.core.chain import find_path
from agent.core.identity import KeyAlgorithm
from agent.core.issuer_spec import LocalCaSpec
from agent.issuers.local.folder import AuthorityFolder
from agent.issuers.local_ca import LocalCa
from tests.issuers.pendings import make_pending
from tests.material import BOTH, NOW, make_request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.generation import Issued, Order, Pending

WITHIN = timedelta(seconds=20)
YEAR = timedelta(days=365)
MONTH = timedelta(days=30)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the moment that was set."""
        return self.now


async def note(order: Order) -> None:
    """Take no order: the embedded CA has none to put on disk."""
    raise AssertionError(order)


def local_ca(
    directory: Path,
    now: datetime | Clock = NOW,
    *,
    read_only: bool = False,
    key: KeyAlgorithm = KeyAlgorithm.EC_P256,
) -> LocalCa:
    """Return the CA below a folder, at a moment."""
    clock = now if isinstance(now, Clock) else Clock(now)
    return LocalCa(LocalCaSpec("local", directory, key), clock, read_only=read_only)


def folder(directory: Path, key: KeyAlgorithm = KeyAlgorithm.EC_P256) -> AuthorityFolder:
    """Return the folder of that CA."""
    return AuthorityFolder(directory, "local", key)


async def issue(ca: LocalCa, pending: Pending | None = None, *, lifetime: timedelta = MONTH) -> Issued:
    """Have a leaf signed."""
    return await ca.issue(pending or make_pending(make_request(lifetime=lifetime)), note=note, within=WITHIN)


async def trusted(ca: LocalCa) -> tuple[Certificate, ...]:
    """Return every root that leaves may chain to: its own first, then those that it lists."""
    return (*await ca.anchors(), *await ca.listed())


def chains(issued: Issued, anchors: Sequence[Certificate], at: datetime) -> bool:
    """Return whether the answer's leaf has a path to one of the anchors."""
    leaf, *between = issued.certificates
    return isinstance(find_path(leaf, between, anchors, at, BOTH), ChainPath)


def below(directory: Path) -> list[Path]:
    """Return every file and folder below a folder."""
    return sorted(directory.rglob("*"))


def files(directory: Path) -> dict[str, bytes]:
    """Return every file below a folder but the lock."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.name != ".lock" and path.is_file()
    }
