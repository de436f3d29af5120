"""What could be better about an identity's files: formats that a reader cannot take, modes that shut it out."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.files import (
    Encryption,
    JksFiles,
    PemFiles,
    Pkcs12Files,
    ReaderConfiguration,
    ReaderKind,
    holds_key,
    mode_of,
)
from agent.core.identity import KeyAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent.core.configuration import Wanted
    from agent.core.files import Access

JAVA = frozenset({ReaderKind.CLIENT_PROPERTIES, ReaderKind.SPRING, ReaderKind.SERVER_PROPERTIES})


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    number: int
    groups: tuple[int, ...]


def of_formats(wanted: Wanted) -> Iterator[str]:
    """Yield what the formats are weak in, and what their readers cannot take."""
    ed25519 = wanted.request.key is KeyAlgorithm.ED25519
    if any(isinstance(one, PemFiles) and one.certificate and not one.combined for one in wanted.files):
        yield "who opens split PEM files at two moments can straddle a switch; prefer `combined` where it is read"
    if any(isinstance(one, JksFiles) and one.keystore for one in wanted.files):
        yield "JKS protects a key weakly (SHA-1 and an XOR); prefer PKCS12, which every supported Java reads"
    if any(isinstance(one, PemFiles | Pkcs12Files) and _is_weakened(one) for one in wanted.files):
        yield "`encryption: compatible` is 3DES and SHA-1; leave it out unless a reader takes nothing else"
    if ed25519 and any(isinstance(one, Pkcs12Files | JksFiles) and one.keystore for one in wanted.files):
        yield "Java before 15 reads no Ed25519 key"
    for reader in _readers(wanted):
        if reader.kind is ReaderKind.SERVER_PROPERTIES and reader.sasl and reader.listener is None:
            yield f"{reader.name}: listeners with SASL_SSL ask for client certificates only by a prefix; add `listener`"
    read_by_java = {id(one.keystore) for one in _readers(wanted) if one.kind in JAVA}
    listeners = wanted.broker.listeners if wanted.broker else ()
    read_by_broker = {one.keystore.name for one in listeners if one.keystore is not None}
    for one in wanted.files:
        if not isinstance(one, PemFiles) or not holds_key(one):
            continue
        sure = id(one) in read_by_java or one.combined in read_by_broker
        if ed25519:
            yield _told("Kafka on the JVM reads no Ed25519 key in PEM; take PKCS12, or another `key.algorithm`", sure)
        if one.password is not None and one.encryption is Encryption.STRONG:
            what = "Kafka on Java 17 reads no key in PEM that is encrypted with PBES2; set `encryption: compatible`"
            yield _told(what, sure)


def of_readers(wanted: Wanted) -> Iterator[str]:
    """Yield which files the user who is to read them could not; the agent is taken to run as whoever asks."""
    for one in wanted.files:
        user = None if one.access.reader is None else _find(one.access.reader)
        if user is None or user.number == 0:
            continue
        for name in one.names():
            mode = mode_of(one, name)
            if not _may(user, stat.S_IRUSR, mode, _owner(one.access)):
                yield (
                    f"{user.name} could not read {name} (mode {mode:04o}); set `owner: {user.name}`, "
                    f'or a `group` that {user.name} is in with `mode: "0440"`'
                )
        shut = _shut_out(wanted.directory, user)
        if shut is not None:
            yield f"{user.name} could not get into {shut}; let it pass through that folder (x)"


def of_folders(directories: Iterable[Path]) -> Iterator[str]:
    """Yield which folders above the files others may write to: whoever may can put files of their own there.

    Each folder is looked at once, however many directories are below it.
    """
    for folder in dict.fromkeys(folder for directory in directories for folder in _on_the_way(directory)):
        try:
            mode = folder.stat().st_mode
        except OSError:
            continue  # made by the agent, for nobody else to write to
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield f"{folder} is writable by everybody, who could put other keys and anchors there; take that right away"


def _on_the_way(directory: Path) -> Iterator[Path]:
    """Yield the directory and what is above it: as the path is written, and where its links lead."""
    real = directory.resolve()
    yield from (directory, *directory.parents)
    if real != directory:
        yield from (real, *real.parents)


def _readers(wanted: Wanted) -> Iterator[ReaderConfiguration]:
    return (one for one in wanted.files if isinstance(one, ReaderConfiguration))


def _is_weakened(one: PemFiles | Pkcs12Files) -> bool:
    return one.encryption is Encryption.COMPATIBLE and one.password is not None


def _told(what: str, sure: bool) -> str:
    return what if sure else f"if Kafka's Java side is to read it: {what}"


def _find(name: str) -> _User | None:
    """Return a user of this host; None for one that it does not know, which is told as a mistake."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return _User(name, found.pw_uid, tuple(os.getgrouplist(name, found.pw_gid)))


def _owner(access: Access) -> tuple[int, int]:
    """Return the user and the group that a file will have; names that nobody knows are told as mistakes."""
    try:
        user = pwd.getpwnam(access.owner).pw_uid if access.owner else os.geteuid()
        group = grp.getgrnam(access.group).gr_gid if access.group else os.getegid()
    except KeyError:
        return os.geteuid(), os.getegid()
    return user, group


def _may(user: _User, right: int, mode: int, owner: tuple[int, int]) -> bool:
    """Return whether the kernel would grant the right (given as that of an owner) to a file of that mode and owner."""
    if user.number == owner[0]:
        return bool(mode & right)
    return bool(mode & (right >> 3 if owner[1] in user.groups else right >> 6))


def _shut_out(directory: Path, user: _User) -> Path | None:
    """Return the outermost folder on the way that the user may not pass through; None when there is none."""
    for folder in (*reversed(directory.parents), directory):
        try:
            status = folder.stat()
        except OSError:
            return None  # from here on the agent makes them, for everybody to pass through
        if not _may(user, stat.S_IXUSR, status.st_mode, (status.st_uid, status.st_gid)):
            return folder
    return None
