"""Trust anchors in PEM files and folders."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from agent.errors import MaterialError, TrustError
from agent.keystores import pem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.core.certificate import Certificate

SUFFIXES = frozenset({".pem", ".crt"})
"""The files of a folder that are read; upper case is as good."""

MOST_FILES = 1_000
"""Files in one folder; more are no set of trust anchors."""

_DER_SEQUENCE = b"\x30"


class FileAnchorSource:
    """A PEM file, or a folder of `*.pem` and `*.crt`; a folder's subfolders are not read.

    A certificate that says that it is no CA is refused, unless it is self-signed and so an anchor
    by itself: a leaf in a truststore is a mix-up of files.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = PemFiles()

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the anchors, each once; files that have not changed are not read again.

        Raise `TrustError` for what is missing, holds no certificate, or cannot be read.
        """
        return await self._files.certificates(self._load)

    def _load(self) -> tuple[Certificate, ...]:
        found = self._files.read(_members(self._path))
        for path, certificates in found.items():
            for number, certificate in enumerate(certificates, 1):
                if certificate.is_ca is False and not certificate.self_issued:
                    raise TrustError(
                        f"{path}: certificate {number} ({certificate.subject.rfc4514_string()}) is no CA",
                        advice="put the certificate of the CA that issued it there instead",
                    )
        return once(found.values())


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells one state of a file from another, without reading it."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from what `stat` says."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class PemFiles:
    """Reads PEM files, each only when it has changed; many callers at once have it read once."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[Signature, tuple[Certificate, ...]]] = {}
        self._turn = asyncio.Lock()

    async def certificates(self, load: Callable[[], tuple[Certificate, ...]]) -> tuple[Certificate, ...]:
        """Call `load`, which calls `read`, in a thread; one caller at a time."""
        async with self._turn:
            return await asyncio.to_thread(load)

    def read(self, paths: Iterable[Path]) -> dict[Path, tuple[Certificate, ...]]:
        """Return the certificates of each file; raise `TrustError`, which names the file, for any that is not whole."""
        before, self._seen = self._seen, {}
        for path in paths:
            self._seen[path] = _read(path, before.get(path))
        return {path: certificates for path, (_, certificates) in self._seen.items()}


def once(groups: Iterable[Iterable[Certificate]]) -> tuple[Certificate, ...]:
    """Return the certificates of all groups in their order, each once."""
    return tuple(dict.fromkeys(certificate for group in groups for certificate in group))


def _members(path: Path) -> list[Path]:
    """Return the file itself, or the PEM files of the folder by their names."""
    try:
        if not path.is_dir():
            return [path]
        members = sorted(member for member in path.iterdir() if member.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not members:
        raise TrustError(
            f"the folder {path} holds no file named *.pem or *.crt", advice="put the CA's certificate there, in PEM"
        )
    if len(members) > MOST_FILES:
        raise TrustError(f"the folder {path} holds {len(members)} files", advice="give a folder with the anchors alone")
    return members


def _read(
    path: Path, seen: tuple[Signature, tuple[Certificate, ...]] | None
) -> tuple[Signature, tuple[Certificate, ...]]:
    try:
        # A FIFO or a device would keep the reader waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TrustError(f"{path} is no file", advice="name a PEM file or a folder of them")
            signature = Signature.of(status)
            if seen and seen[0] == signature:
                return seen
            content = file.read(pem.LARGEST_FILE + 1)
            after = Signature.of(os.fstat(descriptor))
    except OSError as error:
        raise _unreadable(path, error) from error
    if after != signature:
        raise TrustError(f"{path} changed while it was read", advice="write it under another name and rename it")
    return signature, _parse(path, content)


def _parse(path: Path, content: bytes) -> tuple[Certificate, ...]:
    try:
        certificates = pem.decode(content)
    except MaterialError as error:
        raise TrustError(f"{path}: {error.what}", advice="replace it with the CA's certificate in PEM") from error
    if certificates:
        return certificates
    if content.startswith(_DER_SEQUENCE):
        raise TrustError(f"{path} is DER, not PEM", advice="convert it with `openssl x509 -inform der`")
    raise TrustError(f"{path} holds no certificate", advice="put the CA's certificate there, in PEM")


def _unreadable(path: Path, error: OSError) -> TrustError:
    if isinstance(error, FileNotFoundError):
        return TrustError(f"{path} is not there", advice="put the CA's certificate there, in PEM, or mend the path")
    return TrustError(
        f"{path} cannot be read: {error.strerror or error}", advice="let the agent's user read it and its folders"
    )
