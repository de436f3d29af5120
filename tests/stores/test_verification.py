"""The directory of an identity, verified without any configuration: whole, and broken in every way."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.files import JksFiles, PemFiles, Pkcs12Files, ReaderConfiguration, ReaderKind, StorePassword
from agent.core.generation import Cause
from agent.core.inspection import Severity
from agent.core.secret import Secret
from agent.errors import StoreError
from agent.keystores import jks, pem, pkcs12, private_key
from agent.stores import manifest
from agent.stores.verification import PAUSE, Verified, verify
from tests.keystores import parts
from tests.material import NOW, make_key, make_request
from tests.stores.shelf import OTHER_ROOT, ROOT, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LATER = NOW + timedelta(hours=1)
GIVEN = "changeit"
"""The password that the shelf keeps in its file."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon: nothing but the tests changes these directories, and where an agent does, the pause is real."""
    monkeypatch.setattr("agent.stores.verification.PAUSE", 0.005)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A directory with two generations of PEM files."""
    made = Shelf(tmp_path, pkcs12=False)

    async def fill() -> None:
        await made.renew()
        await made.renew()

    asyncio.run(fill())
    return made


def told(verified: Verified, severity: Severity = Severity.WRONG) -> list[str]:
    """Return what is wrong, or what else is worth knowing."""
    return [str(one) for one in verified.findings if one.severity is severity]


def test_a_whole_directory_has_nothing_wrong(shelf: Shelf) -> None:
    """All of its files are seen, and nothing is changed."""
    before = shelf.listing()
    verified = verify(shelf.directory, NOW)
    assert told(verified) == []
    assert all("expires within" in one for one in told(verified, Severity.NOTABLE))
    assert verified.generation is not None
    assert (verified.generation.number, verified.kept) == (2, (1,))
    assert [(file.record.name, file.format, file.mode) for file in verified.files] == [
        ("tls.crt", "pem", 0o444),
        ("tls.key", "pem", 0o400),
        ("tls.pem", "pem", 0o400),
        ("ca.crt", "pem", 0o444),
    ]
    assert shelf.listing() == before


def _alter(path: Path, content: bytes | None = None, *, mode: int | None = None) -> None:
    """Write a file within a generation as somebody with the right to could."""
    before = path.stat().st_mode & 0o7777
    path.chmod(0o600)
    if content is not None:
        path.write_bytes(content)
    path.chmod(before if mode is None else mode)


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _lead(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _old(path: Path, *, mode: int = 0o600) -> None:
    path.touch(mode=mode)
    os.utime(path, (NOW.timestamp() - 3600, NOW.timestamp() - 3600))


def _current(directory: Path, name: str) -> Path:
    return (directory / ".current").resolve() / name


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "current is missing": (lambda d: (d / ".current").unlink(), ".current: nothing is current"),
    "current is a folder": (
        lambda d: _folder(d / ".current"),
        ".current: it is no link",
    ),
    "current leads elsewhere": (
        lambda d: _lead(d / ".current", "/etc"),
        ".current: it leads to /etc",
    ),
    "current generation is gone": (
        lambda d: shutil.rmtree(d / ".generations/000002"),
        ".generations/000002: the generation is gone",
    ),
    "no manifest": (
        lambda d: _current(d, manifest.NAME).unlink(),
        ".generations/000002: the generation has no manifest",
    ),
    "garbled manifest": (
        lambda d: _alter(_current(d, manifest.NAME), b"{"),
        ".generations/000002: the manifest cannot be read",
    ),
    "manifest of another": (
        lambda d: _alter(_current(d, manifest.NAME), (d / ".generations/000001" / manifest.NAME).read_bytes()),
        ".generations/000002: its manifest is that of generation 1",
    ),
    "a file is missing": (lambda d: _current(d, "tls.key").unlink(), "tls.key: it is missing"),
    "a file is altered": (
        lambda d: _alter(_current(d, "tls.crt"), _current(d, "tls.crt").read_bytes() + b"\n"),
        "tls.crt: it is not what was written: its SHA-256 is not that of the manifest",
    ),
    "a file is a pipe": (
        lambda d: _pipe(_current(d, "tls.crt")),
        "tls.crt: it is no regular file",
    ),
    "another key": (
        lambda d: _alter(_current(d, "tls.key"), private_key.to_pem(make_key())),
        "tls.key: its private key is not that of the generation's leaf",
    ),
    "another leaf": (
        lambda d: _alter(_current(d, "tls.crt"), (d / ".generations/000001/tls.crt").read_bytes()),
        "tls.crt: it holds another leaf than the manifest",
    ),
    "others may read a key": (
        lambda d: _alter(_current(d, "tls.pem"), mode=0o444),
        "tls.pem: others may read it, and it holds a private key or a password (mode 0444)",
    ),
    "the group may write": (
        lambda d: _alter(_current(d, "ca.crt"), mode=0o464),
        "ca.crt: its group or others may write to it (mode 0464)",
    ),
    "others may write to the directory": (lambda d: d.chmod(0o777), "ssl: others may write to the directory"),
    "a link is missing": (lambda d: (d / "tls.pem").unlink(), "tls.pem: the link that readers open is missing"),
    "a link leads into a generation": (
        lambda d: _lead(d / "tls.pem", ".generations/000001/tls.pem"),
        "tls.pem: the link that readers open leads to .generations/000001/tls.pem, not to .current/tls.pem",
    ),
    "a file in place of a link": (
        lambda d: _replace(d / "tls.crt", b"x"),
        "tls.crt: something else stands in place of our link",
    ),
    "a folder in place of a link": (
        lambda d: _folder(d / "ca.crt"),
        "ca.crt: something else stands in place of our link",
    ),
    "the truststore's own bytes in place of its link": (
        lambda d: _replace(d / "ca.crt", _current(d, "ca.crt").read_bytes()),
        "ca.crt: something else stands in place of our link",
    ),
    "a kept generation is not whole": (
        lambda d: (d / ".generations/000001/tls.key").unlink(),
        ".generations/000001/tls.key: it is missing",
    ),
    "a kept generation is altered": (
        lambda d: _alter(d / ".generations/000001/tls.pem", b"x"),
        ".generations/000001/tls.pem: it is not what was written",
    ),
    "a kept key that others may read": (
        lambda d: _alter(d / ".generations/000001/tls.key", mode=0o404),
        ".generations/000001/tls.key: others may read it",
    ),
    "an orphan": (lambda d: _old(d / ".new-.current"), ".new-.current: a crash has left it unfinished"),
    "an orphan of a file": (
        lambda d: _old(d / ".pending.0123456789abcdef.tmp"),
        ".pending.0123456789abcdef.tmp: a crash has left it unfinished",
    ),
    "an orphan of a generation": (
        lambda d: _old(d / ".generations/.new-000003"),
        ".generations/.new-000003: a crash has left it unfinished",
    ),
    "a pending key that others may read": (
        lambda d: _old(d / ".pending", mode=0o640),
        ".pending: it holds a private key, and its mode is 0640, not 0600",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(shelf: Shelf, fault: str) -> None:
    """By the file that it is at; and to look at it changes nothing."""
    breaks, words = FAULTS[fault]
    breaks(shelf.directory)
    before = shelf.listing()
    said = told(verify(shelf.directory, NOW))
    assert any(one.startswith(words) for one in said), said
    assert shelf.listing() == before


def test_dates_are_those_of_the_generation(shelf: Shelf) -> None:
    """An expired leaf is told once, with all the places where it is."""
    (said,) = told(verify(shelf.directory, NOW + timedelta(days=31)))
    assert said.startswith("generation 2, tls.crt, tls.key, tls.pem: CN=kafka1.example.com")
    assert "expired at" in said


@pytest.mark.parametrize("how", ["in place", "anew"])
def test_an_edited_truststore_is_worth_knowing(shelf: Shelf, how: str) -> None:
    """Whether the editor wrote into the file or put another where our link was, and once it is carried along."""
    edited = pem.encode([ROOT.certificate, OTHER_ROOT.certificate])
    if how == "in place":
        _alter(_current(shelf.directory, "ca.crt"), edited)
    else:
        _replace(shelf.directory / "ca.crt", edited)
    verified = verify(shelf.directory, NOW)
    assert told(verified) == []
    assert any("ca.crt: " in one and "edited by hand" in one for one in told(verified, Severity.NOTABLE))
    asyncio.run(shelf.publish(Cause.FILES, carry=("ca.crt",)))
    verified = verify(shelf.directory, LATER)
    assert told(verified) == []
    assert "ca.crt: it is a truststore that was edited by hand, and carried along as it is" in told(
        verified, Severity.NOTABLE
    )


def test_what_is_worth_knowing_is_no_fault(shelf: Shelf) -> None:
    """What an agent may be writing now, a link that is left over, a file that no manifest names; 0600 is right."""
    (shelf.directory / ".new-.current").symlink_to("x")
    os.utime(shelf.directory / ".new-.current", (NOW.timestamp(), NOW.timestamp()), follow_symlinks=False)
    (shelf.directory / "old.pem").symlink_to(".current/old.pem")
    _current(shelf.directory, "note").touch()
    (shelf.directory / ".pending").touch(mode=0o600)
    verified = verify(shelf.directory, NOW)
    assert told(verified) == []
    said = "\n".join(told(verified, Severity.NOTABLE))
    assert ".new-.current: it is unfinished, and so young" in said
    assert "old.pem: it is our link, and leads to nothing" in said
    assert ".generations/000002/note: its manifest does not name it" in said


def test_stores_with_a_password_are_opened_with_it(tmp_path: Path) -> None:
    """And compared by their sums without it, or with another."""
    shelf = Shelf(tmp_path)
    password = StorePassword(Secret(shelf.password))
    stores = (
        PemFiles(key="tls.key", certificate="tls.crt", password=password),
        Pkcs12Files(password, "k.p12", "t.p12"),
        JksFiles(password, "k.jks", "t.jks"),
    )
    shelf.restart(wanted=replace(shelf.wanted, files=stores))
    asyncio.run(shelf.renew())
    for given in (None, "changeit", "another"):
        verified = verify(shelf.directory, NOW, given)
        assert told(verified) == []
        unopened = [one for one in told(verified, Severity.NOTABLE) if "compared by SHA-256 alone" in one]
        assert bool(unopened) == (given != "changeit")
        assert not any("nobody can tell whether it was altered" in str(one) for one in verified.findings)
    _alter(_current(shelf.directory, "t.p12"), pkcs12.truststore([OTHER_ROOT.certificate], "changeit"))
    _alter(_current(shelf.directory, "t.jks"), jks.truststore([OTHER_ROOT.certificate], "changeit", now=NOW))
    assert told(verify(shelf.directory, NOW, "changeit")) == []
    (said,) = told(verify(shelf.directory, NOW))
    assert said.startswith("t.p12: it is not what was written, and cannot be told from an edited truststore")
    stranger = make_key()
    leaf = ROOT.leaf(make_request(), stranger)
    _alter(_current(shelf.directory, "k.jks"), jks.keystore(stranger, [leaf], "kafka", "changeit", now=NOW))
    said = "\n".join(told(verify(shelf.directory, NOW, "changeit")))
    for words in ("not what was written: its SHA", "another leaf", "private key is not that of the generation"):
        assert f"k.jks: it holds {words}" in said or f"k.jks: its {words}" in said or f"k.jks: it is {words}" in said
    _alter(_current(shelf.directory, "k.jks"), b"\xfe\xed\xfe\xed")
    assert "k.jks: it is not what was written" in "\n".join(told(verify(shelf.directory, NOW)))


def test_secrets_of_every_format_are_told_by_their_bytes(tmp_path: Path) -> None:
    """A keystore and a reader's configuration with a password may not be read by others; a truststore may."""
    shelf = Shelf(tmp_path)
    password = StorePassword(Secret(shelf.password))
    keystore = Pkcs12Files(password, "k.p12", "t.p12")
    client = ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "client.properties", keystore, keystore)
    stores = (PemFiles(combined="tls.pem"), keystore, JksFiles(password, "k.jks", "t.jks"), client)
    shelf.restart(wanted=replace(shelf.wanted, files=stores))
    asyncio.run(shelf.renew())
    for name in ("tls.pem", "k.p12", "t.p12", "k.jks", "t.jks", "client.properties"):
        _alter(_current(shelf.directory, name), mode=0o444)
    (said,) = told(verify(shelf.directory, NOW))
    assert said.startswith("tls.pem, k.p12, k.jks, client.properties: others may read it")


def test_a_key_within_an_encrypted_part_is_seen_once_it_opens(tmp_path: Path) -> None:
    """No program that we know hides one there; with the password it is a secret like any other."""
    shelf = Shelf(tmp_path)
    asyncio.run(shelf.renew())
    key = private_key.from_pem(_current(shelf.directory, "tls.key").read_bytes())
    # The key itself is under another password, as it may be; that there is one is seen all the same.
    part = parts.encrypted(parts.key_bag(private_key.to_der(key)), password=GIVEN)
    hidden = parts.store(part, password=GIVEN)
    _alter(_current(shelf.directory, "truststore.p12"), hidden, mode=0o444)
    for password, seen in ((GIVEN, True), (None, False)):
        said = " ".join(told(verify(shelf.directory, NOW, password)))
        assert ("truststore.p12: others may read it, and it holds a private key" in said) is seen


def test_another_directory_is_refused(tmp_path: Path) -> None:
    """Also an empty one; one without a current generation is ours, and says so."""
    with pytest.raises(StoreError, match="no directory of an identity"):
        verify(tmp_path, NOW)
    (tmp_path / ".generations").mkdir()
    assert verify(tmp_path, NOW).generation is None
    assert told(verify(tmp_path, NOW))[0].startswith(".current: nothing is current")


@pytest.mark.slow
def test_it_holds_while_the_agent_renews(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switches and removals between two reads are no faults: in each look the directory is whole."""
    monkeypatch.setattr("agent.stores.verification.PAUSE", PAUSE)
    done = threading.Event()
    looks: list[int] = []

    async def renew() -> None:
        while not done.is_set():
            await shelf.renew()
            await asyncio.sleep(PAUSE / 5)

    thread = threading.Thread(target=lambda: asyncio.run(renew()))
    thread.start()
    try:
        # On a busy machine many looks are over before one renewal is.
        while len(looks) < 40 or len(set(looks)) < 4:
            verified = verify(shelf.directory, NOW)
            assert told(verified) == []
            assert verified.generation is not None
            looks.append(verified.generation.number)
    finally:
        done.set()
        thread.join()


def test_a_directory_that_never_rests_is_given_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is another at each look is none that can be told."""
    (shelf.directory / "tls.pem").unlink()
    looks = iter(range(100))
    rested = time.sleep

    def rename(seconds: float) -> None:
        rested(seconds / 100)
        (shelf.directory / ".current").unlink()
        (shelf.directory / ".current").symlink_to(f".generations/{next(looks) % 2 + 1:06d}")

    monkeypatch.setattr("agent.stores.verification.time.sleep", rename)
    with pytest.raises(StoreError, match="changed at each"):
        verify(shelf.directory, NOW)
