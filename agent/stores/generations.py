"""`.generations/`: whole sets of files, written where nobody looks and read back before they count."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from agent.core.files import ReaderConfiguration
from agent.core.generation import FOLDER, Damage, FileDamage, FileRecord, Generation, generation_folder
from agent.errors import MaterialError, StoreError
from agent.net.durable import sync_directory, write_new
from agent.net.secret import read_password
from agent.stores import manifest, rendering
from agent.stores.atomic import TEMPORARY, make_folders, on_disk, read_bounded
from agent.stores.examined import is_secret
from agent.stores.formats import Material
from agent.stores.owner import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from agent.core.files import Files, Opened
    from agent.keystores.material import PrivateKey
    from agent.stores.rendering import Rendered

KEPT = 3
"""Generations that stay on disk: the current one and those to roll back to."""

MILLISECOND = 1_000_000
"""Nanoseconds; what Java tells two changes of a file apart by."""

GONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What the disk raises where a file is looked for and there is none."""

_NUMBER = re.compile(r"[0-9]{6,12}")
_TARGET = re.compile(re.escape(FOLDER) + rf"/({_NUMBER.pattern})")

Signature: TypeAlias = tuple[tuple[str, int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A generation as it was read: its manifest, and what is wrong with its files.

    `has_key` says that the private key of its leaf was there; the key itself is read when it is
    needed, and nothing keeps it in memory.
    """

    generation: Generation
    has_key: bool
    damages: tuple[FileDamage, ...]
    folder: tuple[int, int, int]
    outdated: tuple[FileDamage, ...] = ()
    """What is whole and would be written otherwise by now: a reader's configuration, an owner or mode that somebody
    changed. That spoils no generation but the current one."""

    @property
    def public_key(self) -> bytes | None:
        """The DER of the key's public half; None when the key is lost or is not that of the leaf."""
        return self.generation.leaf.public_key if self.has_key else None


class Generations:
    """The generations of one identity; files that have not changed are not read again."""

    def __init__(self, directory: Path, wanted: tuple[Files, ...]) -> None:
        self._directory = directory
        self._wanted = wanted
        self._folder = directory / FOLDER
        self._cache: dict[int, tuple[Signature, Found]] = {}

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self._folder

    def path(self, number: int) -> Path:
        """Return the folder of a generation."""
        return folder_of(self._directory, number)

    def numbers(self) -> list[int]:
        """Return the numbers of all generations that are there, the newest first."""
        with on_disk("reading the generations", self._folder):
            return numbers_in(self._directory)

    def find(self, number: int, *, closely: bool = True) -> Found:
        """Read a generation; raise `MaterialError` when its manifest cannot be read.

        Without `closely` one that was read before is looked at from outside only: what was changed
        within its files is noticed when it matters, before a switch to it.
        """
        path = self.path(number)
        with on_disk("reading a generation", path):
            cached = self._cache.get(number)
            if not closely and cached is not None and cached[1].folder == _folder_stamp(path):
                return cached[1]
            signature = self._signature(path)
            if cached is not None and cached[0] == signature:
                return cached[1]
            found = self._read(path, number)
        self._cache[number] = (signature, found)
        return found

    def key(self, number: int) -> PrivateKey | None:
        """Read the private key of a generation; None when it is lost, or there is no such generation."""
        path = self.path(number)
        with on_disk("reading a private key", path):
            try:
                generation = self.find(number).generation
            except MaterialError:
                return None
            contents = {}
            for file in generation.files:
                with contextlib.suppress(MaterialError, *GONE):
                    contents[file.name] = read_bounded(path / file.name)
            return rendering.read_key(self._wanted, contents, public_key=generation.leaf.public_key)

    def opened(self, number: int, name: str) -> Opened:
        """Return what a store is; raise `MaterialError` when it cannot be opened."""
        path = self.path(number) / name
        with on_disk("reading a keystore", path):
            try:
                content = read_bounded(path)
            except GONE as error:
                raise MaterialError(f"generation {number} has no {name}") from error
            return rendering.opened(self._wanted, name, content)

    def write(self, generation: Generation, files: Sequence[Rendered], key: PrivateKey) -> tuple[FileDamage, ...]:
        """Write a whole generation under its number, durably; return what does not read back as it was written."""
        temporary, final = self._folder / f"{TEMPORARY}{generation.number:06d}", self.path(generation.number)
        with on_disk("writing a generation", temporary):
            self._make_folder()
            modified = self._unused_instant(generation)
            shutil.rmtree(temporary, ignore_errors=True)
            make_folders(temporary)
            try:
                for file in files:
                    owner = numbers(file.access)
                    write_new(temporary / file.name, file.content, mode=file.mode, owner=owner, modified=modified)
                write_new(temporary / manifest.NAME, manifest.encode(generation), mode=0o444)
                sync_directory(temporary)
                os.rename(temporary, final)  # noqa: PTH104 - a folder's rename, as rename(2) has it
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            try:
                sync_directory(self._folder)
                damages = self._read_back(generation, files, key)
            except BaseException:
                shutil.rmtree(final, ignore_errors=True)
                raise
            if not damages:
                # Just read back: the next look need not read it again.
                found = Found(generation, has_key=True, damages=(), folder=_folder_stamp(final))
                self._cache[generation.number] = (self._signature(final), found)
            return damages

    def _make_folder(self) -> None:
        if self._folder.is_symlink():
            raise StoreError(
                f"{self._folder} is a link, and keys would be written to where it leads",
                advice="remove it: the agent makes a folder there",
            )
        make_folders(self._folder)

    def _unused_instant(self, generation: Generation) -> int:
        """Return when its files are to be said to have changed, in nanoseconds since 1970: when no others have.

        Kafka reads a store again only when this differs from that of the one it has loaded, and it
        may have loaded any that a roll-back can make current.
        """
        used = set()
        for folder in (self._directory, *map(self.path, self.numbers())):
            for name in (name for files in self._wanted for name in files.names()):
                used.add(self._modified(folder / name))
        instant = int(generation.made_at.timestamp() * 1000)
        while instant in used:
            instant += 1
        return instant * MILLISECOND

    def remove(self, number: int) -> None:
        """Remove a generation; its manifest goes first, so that half of it counts as none."""
        path = self.path(number)
        with on_disk("removing a generation", path):
            (path / manifest.NAME).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=False)
        self._cache.pop(number, None)

    def prune(self, current: int) -> None:
        """Remove all but the newest ones and the current one."""
        for number in self.numbers()[KEPT:]:
            if number != current:
                self.remove(number)

    def _read(self, path: Path, number: int) -> Found:
        try:
            generation = manifest.decode(read_bounded(path / manifest.NAME))
        except GONE as error:
            raise MaterialError(f"generation {number} has no manifest") from error
        if generation.number != number:
            raise MaterialError(f"the manifest of generation {number} is that of {generation.number}")
        contents: dict[str, bytes] = {}
        damages: list[FileDamage] = []
        for file in generation.files:
            try:
                content = read_bounded(path / file.name)
            except GONE:
                damages.append(FileDamage(file.name, Damage.MISSING))
                continue
            except MaterialError as error:
                damages.append(FileDamage(file.name, Damage.ALTERED, error.what))
                continue
            contents[file.name] = content
            if hashlib.sha256(content).hexdigest() != file.sha256:
                damages.append(self.judge(file.name, content))
        damages += self._locked(contents, {damage.name for damage in damages})
        key = rendering.read_key(self._wanted, contents, public_key=generation.leaf.public_key)
        if key is None:
            self._expect_passwords()
        sound = {name: content for name, content in contents.items() if name not in {one.name for one in damages}}
        outdated = (*self._outdated(sound), *self._exposed(path, sound))
        return Found(generation, key is not None, tuple(damages), _folder_stamp(path), outdated)

    def _expect_passwords(self) -> None:
        """Raise `StoreError` when a password cannot be read: a key that cannot be seen now is no lost key."""
        for group in rendering.guarded(self._wanted):
            try:
                read_password(group)
            except MaterialError as error:
                raise StoreError(error.what, advice="put it back: the stores were made with it") from error

    def judge(self, name: str, content: bytes) -> FileDamage:
        """Tell a truststore that a person edited from one that is broken, and from any other file."""
        try:
            if not rendering.is_truststore(self._wanted, name) or is_secret(content):
                return FileDamage(name, Damage.ALTERED)
            rendering.read_anchors(self._wanted, name, content)
        except MaterialError as error:
            return FileDamage(name, Damage.ALTERED, error.what)
        return FileDamage(name, Damage.EDITED_TRUSTSTORE)

    def _locked(self, contents: Mapping[str, bytes], damaged: set[str]) -> list[FileDamage]:
        """Name the stores that no longer open with the password that is set now."""
        names = {name for group in rendering.guarded(self._wanted) for name in group.names()}
        return [
            FileDamage(name, Damage.ALTERED, trouble)
            for name in sorted(names & contents.keys() - damaged)
            if (trouble := rendering.trouble_opening(self._wanted, name, contents[name]))
        ]

    def _outdated(self, contents: Mapping[str, bytes]) -> tuple[FileDamage, ...]:
        names = {group.name for group in self._wanted if isinstance(group, ReaderConfiguration)}
        return tuple(
            FileDamage(name, Damage.ALTERED, trouble)
            for name in sorted(names & contents.keys())
            if (trouble := rendering.outdated(self._wanted, name, contents[name], self._directory))
        )

    def _exposed(self, path: Path, names: Iterable[str]) -> Iterator[FileDamage]:
        """Name the files whose owner, group or mode is no longer what is wanted."""
        for name in names:
            access = rendering.access(self._wanted, name)
            if access is None:
                continue
            status = (path / name).stat()
            mode, (user, group) = stat.S_IMODE(status.st_mode), numbers(access)
            if mode != access.mode:
                yield FileDamage(name, Damage.ALTERED, f"its mode is {mode:04o}, and {access.mode or 0:04o} is wanted")
            elif user not in {-1, status.st_uid} or group not in {-1, status.st_gid}:
                yield FileDamage(name, Damage.ALTERED, "its owner or group is not the one that is wanted")

    def _read_back(self, generation: Generation, files: Sequence[Rendered], key: PrivateKey) -> tuple[FileDamage, ...]:
        path = self.path(generation.number)
        edited = {file.name for file in generation.files if file.edited}
        material = material_of(generation, key, self._directory)
        damages = []
        if manifest.decode(read_bounded(path / manifest.NAME)) != generation:
            damages.append(FileDamage(manifest.NAME, Damage.ALTERED))
        for file in files:
            if read_bounded(path / file.name) != file.content:
                damages.append(FileDamage(file.name, Damage.ALTERED))
            elif self._modified(path / file.name) == self._modified(self._directory / file.name):
                told = "its time of change is that of the file before it, and Kafka would not read it again"
                damages.append(FileDamage(file.name, Damage.UNREADABLE, told))
            elif (
                not file.found
                and file.name not in edited
                and (trouble := rendering.trouble(self._wanted, file.name, file.content, material))
            ):
                damages.append(FileDamage(file.name, Damage.UNREADABLE, trouble))
        return tuple(damages)

    @staticmethod
    def _modified(path: Path) -> int | None:
        """Return when a file was changed last, in milliseconds; a file system may keep less than it was told."""
        try:
            return path.stat().st_mtime_ns // MILLISECOND
        except GONE:
            return None

    def _signature(self, path: Path) -> Signature:
        """Return what changes when a file of the folder, or a store password, does."""
        seen = []
        try:
            with os.scandir(path) as entries:
                seen = [_stamp(entry.name, entry.stat(follow_symlinks=True)) for entry in entries]
        except GONE:
            return ()
        for file in {group.password.secret.file for group in rendering.guarded(self._wanted) if group.password}:
            if file is not None:
                try:
                    seen.append(_stamp(str(file), file.stat()))
                except OSError:
                    seen.append((str(file), 0, 0, 0, 0))
        return tuple(sorted(seen))


def folder_of(directory: Path, number: int) -> Path:
    """Return the folder of a generation, below an identity's directory."""
    return directory / generation_folder(number)


def number_of(target: str) -> int | None:
    """Return the number of the generation that a link leads to; None when that is none of ours."""
    matched = _TARGET.fullmatch(target)
    return int(matched[1]) if matched else None


def numbers_in(directory: Path) -> list[int]:
    """Return the numbers of all generations below an identity's directory, the newest first; raise `OSError`."""
    try:
        names = [path.name for path in (directory / FOLDER).iterdir()]
    except GONE:
        return []
    return sorted((int(name) for name in names if _NUMBER.fullmatch(name)), reverse=True)


def material_of(generation: Generation, key: PrivateKey, directory: Path) -> Material:
    """Return what the files of a generation are made of."""
    return Material(key, generation.chain, generation.anchors, generation.anchor, directory, generation.made_at)


def records(files: Sequence[Rendered], edited: frozenset[str]) -> tuple[FileRecord, ...]:
    """Return the manifest's lines for files that are about to be written."""
    return tuple(
        FileRecord(file.name, hashlib.sha256(file.content).hexdigest(), edited=file.name in edited) for file in files
    )


def _folder_stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except GONE:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


def _stamp(name: str, status: os.stat_result) -> tuple[str, int, int, int, int]:
    kind_and_size = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return (name, status.st_ino, kind_and_size, status.st_mtime_ns, status.st_ctime_ns)
