"""Plain files of an earlier life that stand where the links of an identity belong."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.core.chain import order
from agent.core.files import PemFiles, StoreFormat, secret_names
from agent.core.generation import Adoptable
from agent.errors import MaterialError, StoreError
from agent.keystores import opened, private_key
from agent.net.secret import read_password
from agent.stores import formats, rendering
from agent.stores.atomic import on_disk, read_bounded
from agent.stores.examined import is_secret
from agent.stores.formats import Content

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.files import Files, StoreFiles
    from agent.keystores.material import PrivateKey

_ENCRYPTED = b"ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class FoundIdentity:
    """What was found: a key, its chain, and the bytes of the files that are kept as they are, by their names.

    `truststores` are those among them, with what each holds. `remarks` are what a person should know.
    """

    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    files: dict[str, bytes] = field(repr=False)
    truststores: dict[str, tuple[Certificate, ...]]
    remarks: tuple[str, ...]

    @property
    def adoptable(self) -> Adoptable:
        """The same without a secret."""
        return Adoptable(tuple(self.files), self.chain, tuple(self.truststores.items()), self.remarks)


@dataclass(frozen=True, slots=True)
class _File:
    """A file that opened."""

    name: str
    group: StoreFiles
    role: Content
    content: bytes = field(repr=False)
    key: PrivateKey | None = field(repr=False)
    chain: tuple[Certificate, ...]

    @property
    def may_stay(self) -> bool:
        """Whether it may be kept as it is: no key where everybody reads, none in the clear where a password is set."""
        if self.name not in secret_names(self.group):
            return not is_secret(self.content)
        guarded = isinstance(self.group, PemFiles) and self.group.password is not None
        return not guarded or _ENCRYPTED in self.content


@dataclass(frozen=True, slots=True)
class _Locked:
    """A store, or an encrypted key, that did not."""

    name: str
    why: str


def look(directory: Path, wanted: Sequence[Files]) -> FoundIdentity | None:
    """Read the plain files that stand at the paths of wanted ones; None when no key and leaf among them fit.

    Where several do, the leaf that is valid the longest counts. A file that does not open is none;
    so is a link, whoever made it. Raise `StoreError` when the disk fails.
    """
    found = [file for file in _opened(directory, wanted) if isinstance(file, _File)]
    stores = [file for file in found if file.role is not Content.TRUSTSTORE]
    keys = {private_key.public_der(file.key): file.key for file in stores if file.key is not None}
    pool = [certificate for file in stores for certificate in file.chain]
    leaves = [certificate for certificate in pool if certificate.public_key in keys]
    if not leaves:
        return None
    leaf = max(leaves, key=lambda one: (one.not_after, one.fingerprint))
    kept = [file for file in stores if file.may_stay and _belongs(file, leaf)]
    trusted = [file for file in found if file.role is Content.TRUSTSTORE and file.may_stay]
    return FoundIdentity(
        keys[leaf.public_key],
        order(leaf, pool),
        {file.name: file.content for file in (*kept, *trusted)},
        {file.name: file.chain for file in trusted},
        tuple(remark for file in kept for remark in _remarks(file)),
    )


def refuse_locked(directory: Path, wanted: Sequence[Files]) -> None:
    """Raise `StoreError` for a store, or an encrypted key, that does not open: who reads it knows another password."""
    for file in _opened(directory, wanted):
        if isinstance(file, _Locked):
            raise StoreError(
                f"{directory / file.name} stands there, and does not open as what it is to be: {file.why}",
                advice="set its password, or move it away if nobody reads it any more",
            )


def refuse_to_shut_out(directory: Path, wanted: Sequence[Files], names: Sequence[str]) -> None:
    """Raise `StoreError` for a file that somebody reads now and could not read any more, where nobody said who may."""
    for name in names:
        access = rendering.access(wanted, name)
        if access is None or rendering.access_is_set(wanted, name):
            continue
        status = (directory / name).lstat()
        if _shuts_out(status, access.mode or 0):
            mode = stat.S_IMODE(status.st_mode)
            raise StoreError(
                f"{directory / name} is {mode:04o}, of user {status.st_uid} and group {status.st_gid}, "
                f"and would be {access.mode or 0:04o} for the agent's own user",
                advice="say who reads it: `owner`, `group` or `mode` in the settings of these files",
            )


def _shuts_out(status: os.stat_result, mode: int) -> bool:
    """Whether an owner, a group or others who may read a file could not, were it ours with that mode."""
    if mode & stat.S_IROTH:
        return False
    owner = status.st_uid not in (0, os.geteuid()) and status.st_mode & stat.S_IRUSR
    group = status.st_gid not in (0, os.getegid()) and status.st_mode & stat.S_IRGRP
    return bool(owner or group or status.st_mode & stat.S_IROTH)


def _opened(directory: Path, wanted: Sequence[Files]) -> Iterator[_File | _Locked]:
    """Yield what opens, and what is a store and does not; what is no store at all is passed over."""
    for group in rendering.stores(wanted):
        for name, role in formats.contents(group):
            content = _read(directory / name)
            if content is None:
                continue
            try:
                if role is Content.TRUSTSTORE:
                    yield _File(name, group, role, content, None, rendering.read_anchors(wanted, name, content))
                else:
                    key, chain = formats.read_identity(group, role, content)
                    yield _File(name, group, role, content, key, chain or ())
            except MaterialError as error:
                if group.password is not None and _is_locked(content):
                    yield _Locked(name, error.what)


def _is_locked(content: bytes) -> bool:
    return opened.sniff(content) in {StoreFormat.PKCS12, StoreFormat.JKS} or _ENCRYPTED in content


def _belongs(file: _File, leaf: Certificate) -> bool:
    """Whether all that the file holds is of the leaf: its key, and a chain that begins with it."""
    holds_something = file.key is not None or bool(file.chain)
    of_key = file.key is None or private_key.public_der(file.key) == leaf.public_key
    return holds_something and of_key and file.chain[:1] in ((), (leaf,))


def _remarks(file: _File) -> Iterator[str]:
    """Yield what a running broker would refuse of the next keystore."""
    if file.role is not Content.KEYSTORE:
        return
    entries = opened.open_store(file.content, read_password(file.group)).entries
    if len(entries) > 1:
        yield (
            f"{file.name} holds {len(entries)} entries, and those of the agent hold one: "
            "a broker that has read it takes no other number until it is restarted"
        )


def _read(path: Path) -> bytes | None:
    with on_disk("reading what stands there", path):
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            return read_bounded(path)
        except (FileNotFoundError, NotADirectoryError, MaterialError):
            return None
