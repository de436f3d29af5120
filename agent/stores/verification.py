"""The directory of an identity, checked without any configuration: what its manifests say against what is there.

It reads and changes nothing, and may do so while an agent works there: a generation never changes
once it is current, and a fault counts when it is seen twice in a directory that stayed as it was.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from agent.core.chain import harmless
from agent.core.faults import findings
from agent.core.files import StoreFormat
from agent.core.generation import FOLDER, generation_folder
from agent.core.inspection import Entry, Examined, Finding, Kind, Severity, is_wrong, merged
from agent.errors import MaterialError, StoreError
from agent.keystores.opened import sniff
from agent.stores import manifest, pending
from agent.stores.atomic import TEMPORARY, UNFINISHED, on_disk, read_bounded
from agent.stores.examined import examine, is_secret, needs_password
from agent.stores.generations import GONE, folder_of, number_of, numbers_in
from agent.stores.paths import CURRENT

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.generation import FileRecord, Generation

LOOKS = 20
"""Taken at a directory that changes between two reads."""

PAUSE = 0.1
"""Seconds between two looks: a switch takes some milliseconds."""

UNFINISHED_FOR = timedelta(minutes=1)
"""An unfinished file that is younger may be one that an agent is writing now."""

_Moment: TypeAlias = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SeenFile:
    """A file that the manifest names; format and mode are empty where it cannot be seen."""

    record: FileRecord
    format: str = ""
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found in a directory; `generation` is None when none is current that can be read.

    `kept` are the numbers of the other generations, newest first.
    """

    generation: Generation | None
    files: tuple[SeenFile, ...]
    kept: tuple[int, ...]
    findings: tuple[Finding, ...]


def is_ours(directory: Path) -> bool:
    """Return whether a directory is that of an identity: it has generations, or a link to the current one."""
    return os.path.lexists(directory / CURRENT) or (directory / FOLDER).is_dir()


def verify(directory: Path, now: datetime, password: str | None = None) -> Verified:
    """Return what the directory holds, and what is wrong with it; it blocks.

    Stores that a password guards are compared with their sums alone, unless it is given. Raise
    `StoreError` when the disk refuses a read, when the directory is none of ours, and when it
    changes all the time.
    """
    if not is_ours(directory):
        raise StoreError(
            f"{directory} is no directory of an identity: it has neither {CURRENT} nor {FOLDER}",
            advice="name a directory that the agent keeps, or a file",
        )
    before: tuple[_Moment, tuple[Finding, ...]] | None = None
    for _ in range(LOOKS):
        with on_disk("verifying", directory):
            moment = _moment(directory)
            try:
                verified = _Look(directory, now, password).taken()
            except FileNotFoundError:  # removed between two reads
                before = None
                time.sleep(PAUSE)
                continue
        if not is_wrong(verified.findings) or before == (moment, verified.findings):
            return verified
        before = (moment, verified.findings)
        time.sleep(PAUSE)
    raise StoreError(f"{directory} changed at each of {LOOKS} looks", advice="try again when it is quiet")


class _Look:
    """One look at the directory; what it finds is gathered on the way."""

    def __init__(self, directory: Path, now: datetime, password: str | None) -> None:
        self._directory = directory
        self._now = now
        self._password = password
        self._found: list[Finding] = []

    def taken(self) -> Verified:
        """Look at everything; `.current` is resolved once."""
        number = self._current_number()
        generation: Generation | None = None
        files: tuple[SeenFile, ...] = ()
        if number is not None:
            generation = self._manifest(number)
            if generation is not None:
                files = self._current(generation)
        kept = tuple(other for other in numbers_in(self._directory) if other != number)
        for other in kept:
            one = self._manifest(other)
            for record in () if one is None else one.files:
                self._file(other, record, f"{generation_folder(other)}/{record.name}")
        self._surroundings()
        self._links({file.record.name for file in files})
        return Verified(generation, files, kept, merged(self._found))

    # --- generations -------------------------------------------------------------------------

    def _current_number(self) -> int | None:
        try:
            target = os.readlink(self._directory / CURRENT)  # noqa: PTH115 - the text of the link, not a path
        except FileNotFoundError:
            self._wrong("nothing is current: no generation was switched to yet, or the link is lost", CURRENT)
            return None
        except OSError:
            self._wrong("it is no link: something else stands in its place", CURRENT)
            return None
        number = number_of(target)
        if number is None:
            self._wrong(f"it leads to {harmless(target)}, which is no generation", CURRENT)
        return number

    def _manifest(self, number: int) -> Generation | None:
        """Return what the manifest says; None, and a fault, when there is none that can be read."""
        where, folder = generation_folder(number), folder_of(self._directory, number)
        try:
            generation = manifest.decode(read_bounded(folder / manifest.NAME))
        except GONE:
            gone = "the generation is gone" if not folder.is_dir() else "the generation has no manifest"
            self._wrong(gone, where)
            return None
        except MaterialError as error:
            self._wrong(harmless(error.what), where)
            return None
        if generation.number != number:
            self._wrong(f"its manifest is that of generation {generation.number}", where)
            return None
        named = {manifest.NAME, *(record.name for record in generation.files)}
        for name in sorted({path.name for path in folder.iterdir()} - named):
            self._notable("its manifest does not name it", f"{where}/{harmless(name)}")
        return generation

    def _current(self, generation: Generation) -> tuple[SeenFile, ...]:
        chain = tuple(Entry("", Kind.CERTIFICATE, (one,)) for one in generation.chain)
        whole = findings(Examined(StoreFormat.PEM, chain), self._now)
        self._found += (one.at(f"generation {generation.number}") for one in whole)
        seen = []
        for record in generation.files:
            file, content, examined = self._file(generation.number, record, record.name)
            seen.append(file)
            self._stable_path(record.name, content)
            if record.edited:
                self._notable("it is a truststore that was edited by hand, and carried along as it is", record.name)
            if examined is not None:
                self._of_store(record.name, examined, generation)
        return tuple(seen)

    # --- files -------------------------------------------------------------------------------

    def _file(self, number: int, record: FileRecord, where: str) -> tuple[SeenFile, bytes | None, Examined | None]:
        """Compare a file with its sum, and judge its mode; what can be opened of it is opened."""
        path = folder_of(self._directory, number) / record.name
        try:
            mode, content = stat.S_IMODE(path.stat().st_mode), read_bounded(path)
        except GONE:
            self._wrong("it is missing", where)
            return SeenFile(record), None, None
        except MaterialError as error:
            self._wrong(error.what, where)
            return SeenFile(record), None, None
        examined, trouble = self._opened(content)
        secret = _seems_secret(content) or (examined is not None and bool(examined.keys))
        if secret and mode & stat.S_IROTH:
            self._wrong(f"others may read it, and it holds a private key or a password (mode {mode:04o})", where)
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            self._wrong(f"its group or others may write to it (mode {mode:04o})", where)
        if hashlib.sha256(content).hexdigest() != record.sha256:
            self._sum_differs(where, examined, trouble, secret=secret)
        elif trouble:
            self._notable(f"compared by SHA-256 alone: {trouble}", where)
        format_ = sniff(content)
        return SeenFile(record, "text" if format_ is None else format_, mode), content, examined

    def _opened(self, content: bytes) -> tuple[Examined | None, str]:
        """Return what a store holds, or why it was not opened; neither for what is no store."""
        format_ = sniff(content)
        if format_ is None:
            return None, ""
        try:
            examined = examine(content, self._password)
        except MaterialError as error:
            lacking = self._password is None and needs_password(content)
            return None, f"{error.what}; give it with --password-file" if lacking else error.what
        if format_ is StoreFormat.JKS and self._password is None:
            examined = replace(examined, remarks=())  # that nobody can tell whether it was altered; its sum does
        return examined, ""

    def _sum_differs(self, where: str, examined: Examined | None, trouble: str, *, secret: bool) -> None:
        if examined is not None and examined.is_truststore:
            self._notable("it is a truststore that was edited by hand", where)
        elif trouble and not secret:
            self._wrong(f"it is not what was written, and cannot be told from an edited truststore: {trouble}", where)
        else:
            self._wrong("it is not what was written: its SHA-256 is not that of the manifest", where)

    def _stable_path(self, name: str, content: bytes | None) -> None:
        """See that the path that readers open is a link through `.current`."""
        path, target = self._directory / name, f"{CURRENT}/{name}"
        try:
            found = os.readlink(path)  # noqa: PTH115 - the text of the link, not a path
        except FileNotFoundError:
            self._wrong("the link that readers open is missing", name)
            return
        except OSError:
            if self._is_edited(path, content):
                self._notable("a truststore that was edited by hand stands in place of our link", name)
            else:
                self._wrong("something else stands in place of our link", name)
            return
        if found != target:
            self._wrong(f"the link that readers open leads to {harmless(found)}, not to {target}", name)

    def _is_edited(self, path: Path, ours: bytes | None) -> bool:
        try:
            content = read_bounded(path)
        except (MaterialError, IsADirectoryError):
            return False
        examined, _ = self._opened(content)
        return content != ours and examined is not None and examined.is_truststore

    def _of_store(self, name: str, examined: Examined, generation: Generation) -> None:
        """Judge a store of the current generation by itself and by the manifest."""
        leaf = generation.leaf
        # A key in a file of its own is judged with the chain that is beside it.
        entries = (replace(one, chain=one.chain or generation.chain) for one in examined.entries)
        # The password that was given may be that of other files; a key that it does not open is no fault here.
        judged = replace(examined, entries=tuple(entries), with_password=False)
        self._found += (one.at(name) for one in findings(judged, self._now))
        for entry in examined.keys:
            if entry.key is not None and entry.key.public != leaf.public_key:
                self._wrong("its private key is not that of the generation's leaf", name)
        chains = [entry.chain for entry in examined.keys] or [examined.certificates if examined.is_chain else ()]
        if any(chain and chain[0] != leaf for chain in chains):
            self._wrong("it holds another leaf than the manifest", name)

    # --- beside the generations ----------------------------------------------------------------

    def _surroundings(self) -> None:
        """Look for what a crash has left, for a pending key that others may read, and for who may write."""
        for folder in (self._directory, self._directory / FOLDER):
            if not folder.is_dir():
                continue
            if folder.stat().st_mode & stat.S_IWOTH:
                self._wrong("others may write to the directory, and so replace the files", folder.name)
            for path in sorted(folder.iterdir()):
                if path.name.startswith(TEMPORARY) or UNFINISHED.fullmatch(path.name):
                    self._orphan(path)
        try:
            mode = stat.S_IMODE((self._directory / pending.NAME).lstat().st_mode)
        except FileNotFoundError:
            return
        if mode != 0o600:
            self._wrong(f"it holds a private key, and its mode is {mode:04o}, not 0600", pending.NAME)

    def _orphan(self, path: Path) -> None:
        where = str(path.relative_to(self._directory))
        try:
            changed = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
        except FileNotFoundError:
            return
        if self._now - changed < UNFINISHED_FOR:
            self._notable("it is unfinished, and so young that an agent may be writing it", where)
        else:
            self._wrong("a crash has left it unfinished; an agent removes it when it starts", where)

    def _links(self, names: set[str]) -> None:
        for path in sorted(self._directory.iterdir()):
            if path.name not in names and path.is_symlink():
                target = os.readlink(path)  # noqa: PTH115 - the text of the link, not a path
                if target == f"{CURRENT}/{path.name}" and not path.exists():
                    self._notable("it is our link, and leads to nothing in the current generation", path.name)

    # --- what they share ---------------------------------------------------------------------

    def _wrong(self, what: str, where: str) -> None:
        self._found.append(Finding(Severity.WRONG, what, where))

    def _notable(self, what: str, where: str) -> None:
        self._found.append(Finding(Severity.NOTABLE, what, where))


def _moment(directory: Path) -> _Moment:
    """Return what changes when an agent switches or removes a generation."""
    try:
        target = os.readlink(directory / CURRENT)  # noqa: PTH115 - the text of the link, not a path
    except OSError:
        target = ""
    return target, tuple(numbers_in(directory))


def _seems_secret(content: bytes) -> bool:
    try:
        return is_secret(content)
    except MaterialError:
        return False  # a JKS that is cut short; its sum tells
