"""The embedded CA, through the port that the daemon knows."""

from __future__ import annotations

import asyncio
import fcntl
import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.core.identity import KeyAlgorithm, mismatches
from agent.errors import IssuerRefusedError, IssuerUnavailableError, TrustError
from tests.issuers.local_cas import WITHIN, YEAR, Clock, files, folder, issue, local_ca, note
from tests.issuers.pendings import make_pending
from tests.material import NOW, make_key, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.generation import Issued


async def test_issue_answers_with_leaf_and_intermediate(tmp_path: Path) -> None:
    """The chain runs leaf, intermediate, root; the root is the anchor and is left out of the answer."""
    ca = local_ca(tmp_path / "ca")
    issued = await issue(ca)
    (root,) = await ca.anchors()
    leaf, intermediate = issued.certificates
    leaf.x509.verify_directly_issued_by(intermediate.x509)
    intermediate.x509.verify_directly_issued_by(root.x509)
    root.x509.verify_directly_issued_by(root.x509)
    assert (issued.at, issued.remarks) == (NOW, ())
    assert (root.path_length, intermediate.path_length, leaf.is_ca) == (1, 0, False)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519])
async def test_issue_gives_what_was_asked(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    """Subject, SANs, usages and key are those of the request; the key usage fits the key."""
    request = make_request(uri=("spiffe://example.com/kafka1",), ip=("127.0.0.1", "::1"), key=algorithm)
    pending = make_pending(request)
    leaf = (await issue(local_ca(tmp_path), pending)).certificates[0]
    assert mismatches(leaf, request) == ()
    assert leaf.public_key == pending.public_key
    assert set(leaf.extended_key_usage or ()) == {
        ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
        ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,
    }
    expected = {"digital_signature"} | ({"key_encipherment"} if algorithm is KeyAlgorithm.RSA_2048 else set())
    assert set(leaf.key_usage or ()) == expected


async def test_issue_takes_the_names_of_the_request_and_not_of_the_csr(tmp_path: Path) -> None:
    """Of the CSR only the key counts: who holds one cannot have other names signed with it."""
    pending = make_pending(make_request(dns=("other.example.com",)))
    leaf = (await issue(local_ca(tmp_path), replace(pending, request=make_request()))).certificates[0]
    assert leaf.sans == make_request().sans


@pytest.mark.parametrize("lifetime", [timedelta(seconds=10), timedelta(minutes=2), timedelta(days=30)])
async def test_issue_keeps_the_whole_lifetime(tmp_path: Path, lifetime: timedelta) -> None:
    """The leaf begins a minute ago and ends a lifetime from now, however short that is."""
    now = NOW + timedelta(microseconds=300_000)
    leaf = (await issue(local_ca(tmp_path, now), make_pending(make_request(lifetime=lifetime)))).certificates[0]
    assert timedelta() <= leaf.not_after - (now + lifetime) < timedelta(seconds=1)
    assert leaf.not_before == NOW - timedelta(minutes=1)


async def test_issue_never_outlives_the_ca(tmp_path: Path) -> None:
    """A lifetime beyond the CA's own end is cut there, and that is remarked on."""
    issued = await issue(local_ca(tmp_path), make_pending(make_request(lifetime=20 * YEAR)))
    leaf, intermediate = issued.certificates
    assert leaf.not_after == intermediate.not_after
    assert "ends on" in issued.remarks[0]


async def test_ca_is_kept_over_restarts(tmp_path: Path) -> None:
    """A second agent on the same folder has the same anchor and the same intermediate."""
    first = await issue(local_ca(tmp_path))
    before = files(tmp_path)
    second = await issue(local_ca(tmp_path))
    assert first.certificates[1] == second.certificates[1]
    assert files(tmp_path) == before


async def test_ca_makes_a_new_intermediate_in_the_last_fifth_of_its_life(tmp_path: Path) -> None:
    """The anchor stays, so that nobody has to learn a new one; also an agent that runs all the time sees it."""
    clock = Clock()
    ca = local_ca(tmp_path, clock)
    before = await issue(ca)
    anchors = await ca.anchors()
    clock.now = NOW + 3.9 * YEAR
    assert (await issue(ca)).certificates[1] == before.certificates[1]
    clock.now = NOW + 4.1 * YEAR
    after = await issue(ca)
    assert after.certificates[1] != before.certificates[1]
    assert after.certificates[1].not_after > NOW + 9 * YEAR
    assert await ca.anchors() == anchors


async def test_ca_that_has_ended_refuses(tmp_path: Path) -> None:
    """Ten years on there is no leaf that anybody would take, and the advice says what to do."""
    await local_ca(tmp_path).anchors()
    with pytest.raises(IssuerRefusedError) as caught:
        await issue(local_ca(tmp_path, NOW + 11 * YEAR))
    assert "ended on 2036-11-" in caught.value.what
    assert "cert-agent local-ca rotate" in caught.value.advice
    assert caught.value.reason == "authority"


async def test_two_agents_at_once_make_one_ca(tmp_path: Path) -> None:
    """Sixteen first uses at the same time have one anchor and one intermediate between them."""
    cas = [local_ca(tmp_path / "ca") for _ in range(16)]
    answers: list[Issued] = await asyncio.gather(*(issue(ca) for ca in cas))
    anchors = await asyncio.gather(*(ca.anchors() for ca in cas))
    assert len({answer.certificates[1].fingerprint for answer in answers}) == 1
    assert len({anchor.fingerprint for (anchor,) in anchors}) == 1


async def test_ca_locked_by_another_process_is_tried_again(tmp_path: Path) -> None:
    """Whoever holds the lock is waited for, for as long as the call may take."""
    lock = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ca = local_ca(tmp_path)
    with pytest.raises(IssuerUnavailableError) as caught:
        await ca.issue(make_pending(), note=note, within=timedelta(milliseconds=200))
    assert caught.value.reason == "time-out"
    os.close(lock)
    assert len((await issue(ca)).certificates) == 2


async def test_ca_that_lacks_its_intermediate_makes_one_from_its_root(tmp_path: Path) -> None:
    """What a crash between the two files leaves is made whole, and what it left beside them is removed."""
    anchors = await local_ca(tmp_path).anchors()
    (tmp_path / "intermediate.pem").unlink()
    (tmp_path / ".intermediate.pem.0123.tmp").write_bytes(b"half a key")
    assert await local_ca(tmp_path).anchors() == anchors
    assert sorted(files(tmp_path)) == ["intermediate.pem", "root.pem"]


async def test_ca_that_lost_its_root_makes_no_other(tmp_path: Path) -> None:
    """A new root would have to be learnt by every truststore: that is for a person to say."""
    await local_ca(tmp_path).anchors()
    (tmp_path / "root.pem").unlink()
    with pytest.raises(TrustError, match=r"root\.pem cannot be used: it is missing"):
        await local_ca(tmp_path).anchors()
    assert sorted(files(tmp_path)) == ["intermediate.pem"]


@pytest.mark.parametrize("name", ["root.pem", "intermediate.pem"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 700, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
async def test_corrupt_file_is_told_and_left(tmp_path: Path, name: str, content: bytes) -> None:
    """Zeros, nothing and half a key are refused with the path and the way out; the file is not touched."""
    await local_ca(tmp_path).anchors()
    (tmp_path / name).write_bytes(content)
    before = files(tmp_path)
    with pytest.raises(IssuerRefusedError) as caught:
        await issue(local_ca(tmp_path))
    assert str(tmp_path / name) in caught.value.what
    assert "restore it from a backup" in caught.value.advice
    with pytest.raises(TrustError):
        await local_ca(tmp_path).anchors()
    assert files(tmp_path) == before


@pytest.mark.parametrize("cut", [1, 2, 3])
async def test_truncated_file_is_told(tmp_path: Path, cut: int) -> None:
    """A file that ends somewhere, as after a power cut, is no CA."""
    await local_ca(tmp_path).anchors()
    content = (tmp_path / "root.pem").read_bytes()
    (tmp_path / "root.pem").write_bytes(content[: len(content) * cut // 4])
    with pytest.raises(IssuerRefusedError, match=r"root\.pem cannot be used"):
        await issue(local_ca(tmp_path))


async def test_files_of_two_cas_are_told_apart(tmp_path: Path) -> None:
    """An intermediate of another CA beside the root would make chains that nobody trusts."""
    await local_ca(tmp_path / "a").anchors()
    await local_ca(tmp_path / "b").anchors()
    (tmp_path / "a" / "intermediate.pem").write_bytes((tmp_path / "b" / "intermediate.pem").read_bytes())
    with pytest.raises(IssuerRefusedError, match="not signed by the root beside it"):
        await issue(local_ca(tmp_path / "a"))


async def test_running_agent_sees_that_the_ca_was_replaced(tmp_path: Path) -> None:
    """What stands on disk is the CA, not what was read once."""
    ca = local_ca(tmp_path / "ca")
    before = await ca.anchors()
    await local_ca(tmp_path / "other").anchors()
    for name in ("root.pem", "intermediate.pem"):
        (tmp_path / "other" / name).replace(tmp_path / "ca" / name)
    assert await ca.anchors() != before


async def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file where the folder should be: tried again, with advice, and no traceback."""
    (tmp_path / "ca").write_text("in the way")
    with pytest.raises(IssuerUnavailableError) as caught:
        await issue(local_ca(tmp_path / "ca" / "deep"))
    assert "folder that it can write" in caught.value.diagnosis() or "own the folder" in caught.value.diagnosis()


async def test_read_only_ca_makes_nothing(tmp_path: Path) -> None:
    """Whoever only looks is told that there is no CA yet, and leaves no trace."""
    with pytest.raises(TrustError, match="no local CA"):
        await local_ca(tmp_path / "ca", read_only=True).anchors()
    assert files(tmp_path) == {}
    anchors = await local_ca(tmp_path / "ca").anchors()
    assert await local_ca(tmp_path / "ca", NOW + 4.5 * YEAR, read_only=True).anchors() == anchors


@pytest.mark.parametrize("csr", [b"", b"garbage"])
async def test_csr_that_is_none_is_refused(tmp_path: Path, csr: bytes) -> None:
    """Bytes that are no CSR are told as such."""
    with pytest.raises(IssuerRefusedError, match="CSR: it cannot be read"):
        await issue(local_ca(tmp_path), replace(make_pending(), csr=csr))


async def test_csr_with_a_wrong_signature_is_refused(tmp_path: Path) -> None:
    """Who asks must hold the private key: a CSR whose last byte is another has no valid signature."""
    pending = make_pending(key=make_key())
    broken = pending.csr[:-1] + bytes([pending.csr[-1] ^ 1])
    with pytest.raises(IssuerRefusedError, match="signature is not that of its key"):
        await issue(local_ca(tmp_path), replace(pending, csr=broken))


def test_authority_does_not_show_its_keys(tmp_path: Path) -> None:
    """The representation of a CA in memory holds no key."""
    authority = folder(tmp_path).make(NOW, within=WITHIN)
    assert "key" not in repr(authority)


async def test_folder_that_cannot_be_written_issues_until_the_ca_ends(tmp_path: Path) -> None:
    """A new intermediate is due and the disk does not take it: leaves are given meanwhile, and status tells."""
    clock = Clock()
    ca = local_ca(tmp_path, clock)
    before = await issue(ca)
    (tmp_path / ".lock").unlink()
    (tmp_path / ".lock").mkdir()
    clock.now = NOW + 4.5 * YEAR
    assert (await issue(ca)).certificates[1] == before.certificates[1]
    assert "due to be made anew: cannot write the local CA" in ca.status().remarks[-1]
    clock.now = NOW + 5.1 * YEAR
    with pytest.raises(IssuerUnavailableError) as caught:
        await issue(ca)
    assert caught.value.reason == "disk"
    (tmp_path / ".lock").rmdir()
    await issue(ca)
    assert ca.status().remarks == ()
