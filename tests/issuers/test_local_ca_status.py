"""What the embedded CA tells of itself, and what it does not do."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.identity import KeyAlgorithm
from agent.core.issuer_status import IssuerStatus, Opinion
from agent.errors import IssuerRefusedError, IssuerUnavailableError, TrustError
from tests.issuers.local_cas import WITHIN, YEAR, Clock, below, files, folder, issue, local_ca, note
from tests.issuers.pendings import make_pending
from tests.material import NOW, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.issuer_status import Examined
    from agent.issuers.local_ca import LocalCa


async def examined(ca: LocalCa, *lifetimes: timedelta) -> dict[str, Examined]:
    """Examine a CA for requests of these lifetimes."""
    requests = [make_request(lifetime=lifetime) for lifetime in lifetimes]
    return {one.what: one for one in await ca.examine(requests)}


# --- status ---------------------------------------------------------------------------------


async def test_status_before_any_call_knows_nothing(tmp_path: Path) -> None:
    """Nothing is read for it, and nothing is made."""
    assert local_ca(tmp_path / "ca").status() == IssuerStatus("local", "local_ca")
    assert files(tmp_path) == {}


async def test_status_names_the_intermediate(tmp_path: Path) -> None:
    """The certificate that signs, and when it was last asked."""
    clock = Clock()
    ca = local_ca(tmp_path, clock)
    issued = await issue(ca)
    assert ca.status() == IssuerStatus("local", "local_ca", asked_at=NOW, authority=issued.certificates[1])
    clock.now += timedelta(hours=1)
    await ca.anchors()
    assert ca.status().asked_at == clock.now


async def test_status_tells_the_last_failure_until_a_call_succeeds(tmp_path: Path) -> None:
    """Why and of which sort; what was known of the CA stays known."""
    ca = local_ca(tmp_path)
    await issue(ca)
    with pytest.raises(IssuerRefusedError):
        await issue(ca, replace(make_pending(), csr=b""))
    status = ca.status()
    assert "refuses the CSR" in status.trouble
    assert (status.reason, status.authority is None) == ("refused", False)
    (tmp_path / "root.pem").rename(tmp_path / "aside")
    with pytest.raises(TrustError):
        await ca.anchors()
    assert ca.status().reason == "authority"
    (tmp_path / "aside").rename(tmp_path / "root.pem")
    await ca.anchors()
    assert (ca.status().trouble, ca.status().reason) == ("", "")


async def test_status_remarks_on_retired_roots_and_a_successor(tmp_path: Path) -> None:
    """How many are still trusted and until when; none of those that have ended."""
    clock = Clock()
    ca = local_ca(tmp_path, clock)
    await issue(ca)
    folder(tmp_path).rotate(NOW, within=WITHIN)
    await issue(ca)
    (remark,) = ca.status().remarks
    assert remark.startswith("1 retired root is still trusted, until 2036-11-23 or")
    folder(tmp_path).rotate(NOW, within=WITHIN)
    clock.now = NOW + 9 * YEAR
    await ca.anchors()
    two, successor = ca.status().remarks
    assert two.startswith("2 retired roots are still trusted")
    assert "its successor" in successor
    clock.now = NOW + 11 * YEAR
    assert not any("retired" in remark for remark in ca.status().remarks)


async def test_disk_that_does_not_answer_costs_the_time_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe in the place of the root answers nobody: each question ends at its deadline."""
    os.mkfifo(tmp_path / "root.pem")
    pipe = os.open(tmp_path / "root.pem", os.O_RDWR)
    monkeypatch.setattr("agent.issuers.local_ca.ANSWER_WITHIN", timedelta(milliseconds=100))
    ca = local_ca(tmp_path)
    try:
        with pytest.raises(IssuerUnavailableError, match="did not answer in time") as caught:
            await ca.issue(make_pending(), note=note, within=timedelta(milliseconds=100))
        assert caught.value.reason == ca.status().reason == "time-out"
        with pytest.raises(TrustError, match="did not answer in time"):
            await ca.anchors()
        assert (await examined(ca))["folder"].opinion is Opinion.BAD
    finally:
        os.close(pipe)


# --- the rest of the port -------------------------------------------------------------------


async def test_revocation_is_refused(tmp_path: Path) -> None:
    """It keeps no list, and says what to do instead."""
    ca = local_ca(tmp_path)
    leaf = (await issue(ca)).certificates[0]
    with pytest.raises(IssuerRefusedError, match="keeps no revocation list") as caught:
        await ca.revoke(leaf, within=WITHIN)
    assert "cert-agent local-ca rotate" in caught.value.advice
    assert caught.value.reason == "refused"


async def test_there_is_no_login_to_tend(tmp_path: Path) -> None:
    """Nobody need come again."""
    ca = local_ca(tmp_path)
    assert await ca.tend() is None
    await ca.close()
    assert files(tmp_path) == {}


# --- examine --------------------------------------------------------------------------------


async def test_examine_of_a_ca_that_is_to_be_made(tmp_path: Path) -> None:
    """It can be made where a folder can be; the examination makes nothing."""
    found = await examined(local_ca(tmp_path / "deep" / "ca", key=KeyAlgorithm.RSA_3072), timedelta(days=30))
    assert {what: one.opinion for what, one in found.items()} == {"folder": Opinion.GOOD}
    assert "rsa-3072" in found["folder"].sentence
    assert below(tmp_path) == []


async def test_examine_of_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "ca").write_text("in the way")
    found = await examined(local_ca(tmp_path / "ca"), timedelta(days=30))
    assert found["folder"].opinion is Opinion.BAD


async def test_examine_of_a_good_ca(tmp_path: Path) -> None:
    """Every answer is good, and nothing has changed."""
    await issue(local_ca(tmp_path))
    before = files(tmp_path)
    found = await examined(local_ca(tmp_path), timedelta(days=30), timedelta(days=90))
    assert list(found) == ["folder", "writing", "root", "intermediate", "key files"]
    assert {one.opinion for one in found.values()} == {Opinion.GOOD}
    assert "ends on 2036-11-23" in found["root"].sentence
    assert files(tmp_path) == before


async def test_examine_looks_at_lifetimes(tmp_path: Path) -> None:
    """Leaves that would outlive the intermediate end with it."""
    long = 6 * YEAR
    assert (await examined(local_ca(tmp_path), long))["intermediate"].opinion is Opinion.DOUBTFUL
    await issue(local_ca(tmp_path))
    found = await examined(local_ca(tmp_path), timedelta(days=1), long)
    assert found["intermediate"].opinion is Opinion.DOUBTFUL
    assert "leaves of 2190 days end on 2031-11-24" in found["intermediate"].sentence


async def test_examine_of_a_ca_that_grows_old(tmp_path: Path) -> None:
    """What is made anew by itself is no trouble; a root that has ended is."""
    await issue(local_ca(tmp_path))
    found = await examined(local_ca(tmp_path, NOW + 4.9 * YEAR), timedelta(days=90))
    assert found["intermediate"].opinion is Opinion.GOOD
    assert "made anew at the next use" in found["intermediate"].sentence
    found = await examined(local_ca(tmp_path, NOW + 9 * YEAR), timedelta(days=90))
    assert "another will follow it" in found["root"].sentence
    await issue(local_ca(tmp_path, NOW + 9 * YEAR))
    found = await examined(local_ca(tmp_path, NOW + 9 * YEAR), timedelta(days=90))
    assert "an anchor already and will follow it" in found["root"].sentence
    assert found["root"].opinion is Opinion.GOOD
    found = await examined(local_ca(tmp_path, NOW + 11 * YEAR))
    assert (found["root"].opinion, found["intermediate"].opinion) == (Opinion.BAD, Opinion.BAD)
    assert "cert-agent local-ca rotate" in found["root"].sentence
    found = await examined(local_ca(tmp_path, NOW - YEAR))
    assert found["root"].opinion is Opinion.BAD


async def test_examine_tells_who_else_may_read_the_keys(tmp_path: Path) -> None:
    """0600 of an earlier version will do; what a group or others may do will not."""
    await issue(local_ca(tmp_path))
    (tmp_path / "root.pem").chmod(0o600)
    assert (await examined(local_ca(tmp_path)))["key files"].opinion is Opinion.GOOD
    for mode in (0o440, 0o604, 0o420):
        (tmp_path / "root.pem").chmod(mode)
        found = await examined(local_ca(tmp_path))
        assert found["key files"].opinion is Opinion.DOUBTFUL
        assert f"root.pem has mode {mode:04o}" in found["key files"].sentence


async def test_examine_of_files_that_are_no_ca(tmp_path: Path) -> None:
    """The diagnosis is that of the first issuance, before it."""
    await issue(local_ca(tmp_path))
    (tmp_path / "root.pem").unlink()
    found = await examined(local_ca(tmp_path), timedelta(days=30))
    assert found["folder"].opinion is Opinion.BAD
    assert "root.pem cannot be used: it is missing" in found["folder"].sentence


async def test_examine_names_another_key_type(tmp_path: Path) -> None:
    """What is there stays; what is made anew will have the type that is set."""
    await issue(local_ca(tmp_path))
    found = await examined(local_ca(tmp_path, key=KeyAlgorithm.ED25519))
    assert found["folder"].sentence.endswith("what is made anew will be of type ed25519")


async def test_examine_of_a_folder_that_this_user_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It issues, and cannot be renewed; one that is not there cannot be made."""
    await issue(local_ca(tmp_path / "ca"))
    # Root may write everything, and the tests may run as root.
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = await examined(local_ca(tmp_path / "ca"), timedelta(days=30))
    assert found["writing"].opinion is Opinion.DOUBTFUL
    assert "until 2031-11-24" in found["writing"].sentence
    found = await examined(local_ca(tmp_path / "ca", NOW + 8.5 * YEAR), timedelta(days=30))
    assert (found["root"].opinion, found["intermediate"].opinion) == (Opinion.DOUBTFUL, Opinion.BAD)
    assert (await examined(local_ca(tmp_path / "other")))["folder"].opinion is Opinion.BAD
