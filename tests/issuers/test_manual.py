"""The issuer that only people can ask: its refusals, its anchors, and how a host fares until they come."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.chain import NoPath, find_path
from agent.core.issuer_status import Opinion
from agent.errors import IssuerRefusedError, TrustError
from agent.issuers.manual import Manual
from agent.keystores import pem
from agent.trust.files import FileAnchorSource
from tests.issuers.pendings import make_pending
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.generation import Order

WITHIN = timedelta(seconds=5)


async def note(_order: Order) -> None:
    """Fail: nothing is ordered."""
    raise AssertionError


def manual(anchors: Path | None = None) -> Manual:
    """Return the issuer, as the agent makes it."""
    return Manual("hand", lambda: NOW, None if anchors is None else FileAnchorSource(anchors))


async def test_a_leaf_is_refused_with_what_a_person_is_to_do() -> None:
    """A refusal goes at the slow pace; status and metrics tell it apart from those of a CA."""
    issuer = manual()
    assert issuer.status().asked_at is None
    with pytest.raises(IssuerRefusedError, match=r"CN=kafka1\.example\.com.* is to be signed by hand") as caught:
        await issuer.issue(make_pending(), note=note, within=WITHIN)
    assert caught.value.reason == "by hand"
    for verb in ("cert-agent csr NAME", "cert-agent import NAME CHAIN"):
        assert verb in caught.value.advice
    status = issuer.status()
    assert (status.name, status.kind, status.trouble, status.asked_at) == ("hand", "manual", "", NOW)
    assert await issuer.tend() is None
    await issuer.close()


async def test_a_leaf_without_a_subject_is_told_too() -> None:
    """Its names are in the SANs alone."""
    with pytest.raises(IssuerRefusedError, match="an empty subject"):
        await manual().issue(make_pending(make_request(subject="")), note=note, within=WITHIN)


async def test_revoking_is_for_people_too() -> None:
    """The settings never ask for it."""
    leaf = Ca.root().leaf(make_request(), make_key())
    with pytest.raises(IssuerRefusedError, match=f"{leaf.serial_number:x} was signed by hand"):
        await manual().revoke(leaf, within=WITHIN)


async def test_the_anchors_are_those_of_the_file(tmp_path: Path) -> None:
    """Each once, and what the file holds now: a chain of the CA leads there."""
    root, other = Ca.root(), Ca.root("CN=Other Root")
    path = tmp_path / "ca.crt"
    path.write_bytes(b"a comment\n" + pem.encode([root.certificate, root.certificate]))
    issuer = manual(path)
    assert await issuer.anchors() == (root.certificate,)
    request = make_request()
    found = find_path(root.leaf(request, make_key()), (), await issuer.anchors(), NOW, request.usages)
    assert not isinstance(found, NoPath)
    path.write_bytes(pem.encode([root.certificate, other.certificate]))
    assert await issuer.anchors() == (root.certificate, other.certificate)
    assert await issuer.listed() == ()


def _leaf_among_them(path: Path) -> None:
    root = Ca.root()
    path.write_bytes(pem.encode([root.certificate, root.leaf(make_request(), make_key())]))


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 33)


UNREADABLE: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda _: None, "is not there"),
    ("a pipe", os.mkfifo, "is no file"),
    ("empty", lambda path: path.write_bytes(b""), "holds no certificate"),
    ("DER", lambda path: path.write_bytes(Ca.root().certificate.der), "is DER, not PEM"),
    ("cut short", lambda path: path.write_bytes(pem.encode([Ca.root().certificate])[:-30]), "cut short"),
    ("huge", _huge, "larger than"),
    ("a leaf", _leaf_among_them, "is no CA"),
]


@pytest.mark.parametrize(("make", "why"), [one[1:] for one in UNREADABLE], ids=[one[0] for one in UNREADABLE])
async def test_anchors_that_cannot_be_had_are_told(tmp_path: Path, make: Callable[[Path], object], why: str) -> None:
    """By the file's name and with what to do; the caller keeps what it has."""
    path = tmp_path / "ca.crt"
    make(path)
    with pytest.raises(TrustError, match=why) as caught:
        await manual(path).anchors()
    assert str(path) in caught.value.what
    assert caught.value.advice
    assert [one.opinion for one in await manual(path).examine([make_request()])] == [Opinion.UNKNOWN, Opinion.BAD]


async def test_an_issuer_without_anchors_says_where_to_name_them() -> None:
    """There, or with the identity."""
    with pytest.raises(TrustError, match="hand names no anchors") as caught:
        await manual().anchors()
    assert "trust" in caught.value.advice


@pytest.mark.parametrize(("ends", "opinion"), [(timedelta(days=9), Opinion.GOOD), (timedelta(days=-9), Opinion.BAD)])
async def test_an_examination_looks_at_the_anchors(tmp_path: Path, ends: timedelta, opinion: Opinion) -> None:
    """What people will sign, nobody can tell."""
    (tmp_path / "ca.crt").write_bytes(pem.encode([Ca.root(not_after=NOW + ends).certificate]))
    signing, anchors = await manual(tmp_path / "ca.crt").examine([make_request(), make_request()])
    assert (signing.opinion, anchors.opinion) == (Opinion.UNKNOWN, opinion)
    assert "2 identities" in signing.sentence
    assert f"ends {NOW + ends:%Y-%m-%d}" in anchors.sentence
