"""The embedded CA's files are damaged or another CA's: it says so, or what it signs does not prove."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import pytest

from agent.core.issuer_spec import LocalCaSpec
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, TrustError
from agent.issuers.local.signer import Signer
from agent.issuers.local_ca import LocalCa
from agent.keystores import pem
from agent.keystores.private_key import to_pem
from tests.conformance.asking import assert_telling, pending_for, refuted
from tests.conformance.cas import WITHIN, Clock
from tests.material import make_key

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.generation import Issued, Order, Pending

pytestmark = pytest.mark.slow

YEAR = timedelta(days=365)

Damage: TypeAlias = Callable[["Path", "Path"], None]
"""Given the folder of the CA and that of another."""


def put(path: Path, content: bytes) -> None:
    """Put a file in the place of another, which nobody may write."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def filled(name: str, content: bytes) -> Damage:
    """Return the damage of a file that holds something else."""

    def damage(ca: Path, _other: Path) -> None:
        (ca / name).parent.mkdir(exist_ok=True)
        put(ca / name, content)

    return damage


def cut(name: str, share: float) -> Damage:
    """Return the damage of a file of which only a share is left."""

    def damage(ca: Path, _other: Path) -> None:
        content = (ca / name).read_bytes()
        put(ca / name, content[: int(len(content) * share)])

    return damage


def swapped(*names: str) -> Damage:
    """Return the damage of files that are another CA's."""

    def damage(ca: Path, other: Path) -> None:
        for name in names:
            put(ca / name, (other / name).read_bytes())

    return damage


def without_key(ca: Path, _other: Path) -> None:
    """Leave the certificate alone."""
    path = ca / "intermediate.pem"
    put(path, pem.encode(pem.decode(path.read_bytes())))


def with_another_key(ca: Path, _other: Path) -> None:
    """Put another key beside the certificate."""
    path = ca / "intermediate.pem"
    put(path, to_pem(make_key()) + pem.encode(pem.decode(path.read_bytes())))


def with_another_s_certificate(ca: Path, other: Path) -> None:
    """Put the certificate of another CA beside the key."""
    signer = Signer.from_pem((ca / "intermediate.pem").read_bytes())
    strange = Signer.from_pem((other / "intermediate.pem").read_bytes())
    put(ca / "intermediate.pem", to_pem(signer.key) + pem.encode([strange.certificate]))


def without_root(ca: Path, _other: Path) -> None:
    """Lose the root."""
    (ca / "root.pem").unlink()


def a_folder(ca: Path, _other: Path) -> None:
    """Have a folder where the key should be."""
    (ca / "intermediate.pem").unlink()
    (ca / "intermediate.pem").mkdir()


REFUSED = (IssuerRefusedError, "authority")

DAMAGES: dict[str, tuple[Damage, tuple[type[IssuanceError], str]]] = {
    "a root of garbage": (filled("root.pem", b"\0garbage\xff" * 99), REFUSED),
    "an intermediate of garbage": (filled("intermediate.pem", b"\0garbage\xff" * 99), REFUSED),
    "an empty root": (filled("root.pem", b""), REFUSED),
    "an empty intermediate": (filled("intermediate.pem", b""), REFUSED),
    "a root cut in the key": (cut("root.pem", 0.1), REFUSED),
    "a root cut in the certificate": (cut("root.pem", 0.7), REFUSED),
    "an intermediate cut in the key": (cut("intermediate.pem", 0.1), REFUSED),
    "an intermediate cut in the certificate": (cut("intermediate.pem", 0.7), REFUSED),
    "an intermediate cut at its end": (cut("intermediate.pem", 0.98), REFUSED),
    "an intermediate without its key": (without_key, REFUSED),
    "an intermediate with another key": (with_another_key, REFUSED),
    "an intermediate with another CA's certificate": (with_another_s_certificate, REFUSED),
    "a root that is lost": (without_root, REFUSED),
    "the root of another CA": (swapped("root.pem"), REFUSED),
    "the intermediate of another CA": (swapped("intermediate.pem"), REFUSED),
    "a root without end": (filled("root.pem", b"#" * 10_000_000), REFUSED),
    "a folder": (a_folder, (IssuerUnavailableError, "disk")),
    "a successor of garbage": (filled("successor.pem", b"garbage"), REFUSED),
    "an empty root that was retired": (filled("retired/0.pem", b""), REFUSED),
    "garbage that was retired": (filled("retired/0.pem", b"-----BEGIN CERTIFICATE-----"), REFUSED),
}


def local_ca(folder: Path, offset: timedelta = timedelta()) -> LocalCa:
    """Return the CA below a folder."""
    return LocalCa(LocalCaSpec("local_ca", folder), Clock(offset))


async def ask(issuer: LocalCa, pending: Pending) -> Issued:
    """Have a leaf signed; there is no order to put on disk."""

    async def note(order: Order) -> None:
        raise AssertionError(order)

    return await issuer.issue(pending, note=note, within=WITHIN)


@pytest.fixture
async def known(tmp_path: Path) -> LocalCa:
    """Return a CA that has signed, below the folder `ca`; another's files are below `other`."""
    await local_ca(tmp_path / "other").anchors()
    issuer = local_ca(tmp_path / "ca")
    pending = pending_for()
    issued = await ask(issuer, pending)
    assert refuted(pending, issued, await issuer.anchors()) == ()
    return issuer


@pytest.mark.parametrize("restarted", [False, True], ids=["same agent", "restarted agent"])
@pytest.mark.parametrize("name", DAMAGES)
async def test_damaged_files_are_told_and_nothing_is_signed(
    known: LocalCa, tmp_path: Path, name: str, restarted: bool
) -> None:
    """The error names what to do; neither a leaf nor an anchor comes of it, and no new CA is made in its place."""
    damage, (sort, reason) = DAMAGES[name]
    await asyncio.to_thread(damage, tmp_path / "ca", tmp_path / "other")
    before = await asyncio.to_thread(below, tmp_path / "ca")
    issuer = local_ca(tmp_path / "ca") if restarted else known
    with pytest.raises(IssuanceError) as caught:
        await ask(issuer, pending_for())
    assert (type(caught.value), caught.value.reason) == (sort, reason)
    assert caught.value.advice
    assert_telling(caught.value, ())
    with pytest.raises(TrustError):
        await issuer.anchors()
    assert await asyncio.to_thread(below, tmp_path / "ca") == before


def below(folder: Path) -> dict[str, bytes]:
    """Return the files of a CA."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


async def checks(issuer: LocalCa, anchors: tuple[Certificate, ...]) -> set[str]:
    """Return the checks that refute what it signs, to peers with these anchors."""
    pending = pending_for()
    issued = await ask(issuer, pending)
    return {finding.check for finding in refuted(pending, issued, anchors)}


@pytest.mark.parametrize("restarted", [False, True], ids=["same agent", "restarted agent"])
async def test_another_ca_as_a_whole_is_not_trusted_by_the_peers(
    known: LocalCa, tmp_path: Path, restarted: bool
) -> None:
    """It signs, for it is a CA, and the proof stops it."""
    anchors = await known.anchors()
    await asyncio.to_thread(shutil.rmtree, tmp_path / "ca")
    await asyncio.to_thread(shutil.copytree, tmp_path / "other", tmp_path / "ca")
    issuer = local_ca(tmp_path / "ca") if restarted else known
    assert await checks(issuer, anchors) == {"peer trust"}


async def test_a_ca_that_has_ended_signs_nothing(tmp_path: Path) -> None:
    """It was made so long ago that its root is no longer valid."""
    await local_ca(tmp_path / "ca", -50 * YEAR).anchors()
    with pytest.raises(IssuerRefusedError) as caught:
        await ask(local_ca(tmp_path / "ca"), pending_for())
    assert_telling(caught.value, ())


async def test_a_ca_from_the_future_gives_no_leaf_that_proves(tmp_path: Path) -> None:
    """It was made under a clock that was an hour ahead, and its leaves wait for that hour."""
    issuer = local_ca(tmp_path / "ca", timedelta(hours=1))
    anchors = await issuer.anchors()
    assert await checks(local_ca(tmp_path / "ca"), anchors) == {"dates"}
