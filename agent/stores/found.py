"""Plain files of an earlier life that stand where the links of an identity belong."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.core.chain import order
from agent.core.generation import Adoptable
from agent.errors import MaterialError
from agent.keystores import private_key
from agent.stores import rendering
from agent.stores.atomic import on_disk, read_bounded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.files import Files
    from agent.keystores.material import PrivateKey


@dataclass(frozen=True, slots=True)
class FoundIdentity:
    """What was found: a key, its chain, and the bytes of the files that belong to the two, by their names."""

    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    files: dict[str, bytes] = field(repr=False)
    truststores: dict[str, tuple[Certificate, ...]]

    @property
    def adoptable(self) -> Adoptable:
        """The same without a secret."""
        anchors = dict.fromkeys(anchor for found in self.truststores.values() for anchor in found)
        return Adoptable(tuple(self.files), self.chain, tuple(anchors), tuple(self.truststores))


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes = field(repr=False)
    key: PrivateKey | None = field(repr=False)
    chain: tuple[Certificate, ...]


def look(directory: Path, wanted: Sequence[Files]) -> FoundIdentity | None:
    """Read the plain files that stand at the paths of wanted ones; None when no key and leaf among them fit.

    Where several do, the leaf that is valid the longest counts. A file that does not open is none;
    so is a link, whoever made it. Raise `StoreError` when the disk fails.
    """
    opened: dict[str, _File] = {}
    truststores: dict[str, tuple[Certificate, ...]] = {}
    contents: dict[str, bytes] = {}
    for name in dict.fromkeys(name for group in wanted for name in group.names()):
        content = _read(directory / name)
        if content is None:
            continue
        contents[name] = content
        try:
            if rendering.is_truststore(wanted, name):
                truststores[name] = rendering.read_anchors(wanted, name, content)
            else:
                key, chain = rendering.read_identity(wanted, name, content)
                opened[name] = _File(content, key, chain or ())
        except MaterialError:
            continue  # garbage, or another password's: it is preserved beside when a link takes its place
    keys = {private_key.public_der(file.key): file.key for file in opened.values() if file.key is not None}
    pool = [certificate for file in opened.values() for certificate in file.chain]
    leaves = [certificate for certificate in pool if certificate.public_key in keys]
    if not leaves:
        return None
    leaf = max(leaves, key=lambda one: (one.not_after, one.fingerprint))
    files = {name: file.content for name, file in opened.items() if _belongs(file, leaf)}
    return FoundIdentity(
        keys[leaf.public_key], order(leaf, pool), files | {name: contents[name] for name in truststores}, truststores
    )


def _belongs(file: _File, leaf: Certificate) -> bool:
    """Whether all that the file holds is of the leaf: its key, and a chain that begins with it."""
    holds_something = file.key is not None or bool(file.chain)
    of_key = file.key is None or private_key.public_der(file.key) == leaf.public_key
    return holds_something and of_key and file.chain[:1] in ((), (leaf,))


def _read(path: Path) -> bytes | None:
    with on_disk("reading what stands there", path):
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            return read_bounded(path)
        except (FileNotFoundError, NotADirectoryError, MaterialError):
            return None
