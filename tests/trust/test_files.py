"""Anchors in files and folders: found, shared, renewed, and refused with a reason."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.errors import TrustError
from agent.keystores import pem
from agent.trust.files import MOST_FILES, FileAnchorSource
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = Ca.root("CN=One"), Ca.root("CN=Two")


async def test_anchors_come_from_a_file(tmp_path: Path) -> None:
    """A file's certificates are its anchors, each once."""
    file = tmp_path / "ca.txt"
    file.write_bytes(b"a bundle\n" + pem.encode([ONE.certificate, TWO.certificate, ONE.certificate]))
    assert await FileAnchorSource(file).anchors() == (ONE.certificate, TWO.certificate)


async def test_anchors_come_from_a_folder(tmp_path: Path) -> None:
    """A folder's *.pem and *.crt are read by their names, other files and subfolders are not."""
    (tmp_path / "b.CRT").write_bytes(pem.encode([TWO.certificate]))
    (tmp_path / "a.pem").write_bytes(pem.encode([ONE.certificate]))
    (tmp_path / "c.pem").write_bytes(pem.encode([ONE.certificate]))
    (tmp_path / "README").write_text("not a certificate")
    (tmp_path / "old").mkdir()
    assert await FileAnchorSource(tmp_path).anchors() == (ONE.certificate, TWO.certificate)


async def test_anchors_may_be_intermediates(tmp_path: Path) -> None:
    """A CA below another is an anchor where an operator says so."""
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.intermediate().certificate]))
    assert len(await FileAnchorSource(tmp_path / "ca.pem").anchors()) == 1


async def test_anchors_may_be_a_self_signed_leaf(tmp_path: Path) -> None:
    """A broker's self-signed certificate, CA:FALSE as it is, is trusted by itself."""
    request, key = make_request("CN=self"), make_key()
    (tmp_path / "ca.pem").write_bytes(pem.encode([Ca.root("CN=self", key=key).leaf(request, key)]))
    assert len(await FileAnchorSource(tmp_path / "ca.pem").anchors()) == 1


async def test_anchors_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    """A file that is replaced gives its new anchors; one that is not gives the very same objects."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pem.encode([ONE.certificate]))
    source = FileAnchorSource(file)
    first = await source.anchors()
    assert (await source.anchors())[0] is first[0]
    new = tmp_path / "new"
    new.write_bytes(pem.encode([TWO.certificate]))
    new.replace(file)
    assert await source.anchors() == (TWO.certificate,)


async def test_anchors_follow_a_link_that_is_switched(tmp_path: Path) -> None:
    """A mounted Kubernetes secret changes by a link far above the file."""
    for name, ca in (("1", ONE), ("2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.crt").write_bytes(pem.encode([ca.certificate]))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "ca.crt").symlink_to("..data/ca.crt")
    source = FileAnchorSource(tmp_path)
    assert await source.anchors() == (ONE.certificate,)
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "..data")
    assert await source.anchors() == (TWO.certificate,)


async def test_anchors_are_shared_by_many_callers(tmp_path: Path) -> None:
    """A hundred identities at once have the file parsed once."""
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.certificate]))
    source = FileAnchorSource(tmp_path)
    answers = await asyncio.gather(*(source.anchors() for _ in range(100)))
    assert {id(answer[0]) for answer in answers} == {id(answers[0][0])}


async def test_anchors_come_back_when_the_file_does(tmp_path: Path) -> None:
    """A failure is no state: the next look reads what is there then."""
    source = FileAnchorSource(tmp_path / "ca.pem")
    with pytest.raises(TrustError):
        await source.anchors()
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.certificate]))
    assert await source.anchors() == (ONE.certificate,)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "holds no certificate"),
        (b"no PEM at all", "holds no certificate"),
        (ONE.certificate.der, "is DER, not PEM"),
        (pem.encode([ONE.certificate])[:-20], "cut short"),
        (
            pem.encode([ONE.certificate]) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 2: not a certificate",
        ),
        (b" " * (pem.LARGEST_FILE + 1), "is larger than"),
        (
            pem.encode([ONE.certificate, ONE.leaf(make_request(), make_key(), not_after=None)]),
            r"certificate 2 \(.*CN=kafka1.example.com.*\) is no CA",
        ),
    ],
    ids=["empty", "text", "der", "cut", "garbage", "large", "leaf"],
)
@pytest.mark.parametrize("as_folder", [False, True])
async def test_anchors_refuse_a_bad_file_by_its_name(
    tmp_path: Path, content: bytes, what: str, as_folder: bool
) -> None:
    """What is wrong is said with the file, the block and what to do, and one bad file spoils the folder."""
    (tmp_path / "good.pem").write_bytes(pem.encode([TWO.certificate]))
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(TrustError, match=what) as caught:
        await FileAnchorSource(tmp_path if as_folder else file).anchors()
    assert str(file) in caught.value.what
    assert caught.value.advice


async def test_anchors_refuse_what_is_no_file(tmp_path: Path) -> None:
    """A missing path, an empty folder and a pipe are said; a pipe keeps nobody waiting."""
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("missing", "is not there"), ("empty", r"no file named \*\.pem"), ("pipe", "is no file")):
        with pytest.raises(TrustError, match=what):
            await FileAnchorSource(tmp_path / name).anchors()


async def test_anchors_refuse_a_folder_that_never_ends(tmp_path: Path) -> None:
    """A folder with more files than any set of anchors has is a mistake."""
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.pem").touch()
    with pytest.raises(TrustError, match=f"holds {MOST_FILES + 1} files"):
        await FileAnchorSource(tmp_path).anchors()


async def test_anchors_refuse_what_may_not_be_read(tmp_path: Path) -> None:
    """A path that cannot be followed is said with its reason."""
    (tmp_path / "loop.pem").symlink_to("loop.pem")
    with pytest.raises(TrustError, match=r"loop\.pem cannot be read: Too many levels of symbolic links"):
        await FileAnchorSource(tmp_path / "loop.pem").anchors()


async def test_anchors_do_not_care_for_dates(tmp_path: Path) -> None:
    """An expired anchor is what the operator put there; the proof judges dates."""
    old = Ca.root("CN=Old", not_after=ONE.certificate.not_before + timedelta(days=2))
    (tmp_path / "ca.pem").write_bytes(pem.encode([old.certificate]))
    assert await FileAnchorSource(tmp_path).anchors() == (old.certificate,)
