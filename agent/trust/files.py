"""Trust anchors in files and folders: PEM, PKCS12 and JKS, each known by its bytes."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import structlog

from agent.core.anchors import Origin, Sighting
from agent.core.files import StoreFormat
from agent.errors import MaterialError, TrustError
from agent.keystores import opened
from agent.keystores.limits import LARGEST_FILE
from agent.net.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.secret import Secret

SUFFIXES = frozenset({".pem", ".crt", ".p12", ".pfx", ".jks"})
"""The files of a folder that are read; upper case is as good."""

MOST_FILES = 1_000
"""Files in one folder; more are no set of trust anchors."""

_LOCKED = frozenset({StoreFormat.PKCS12, StoreFormat.JKS})
"""The formats that a password is for."""


class FileAnchorSource:
    """A file in PEM, PKCS12 or JKS, or a folder of such, known by their suffixes; its subfolders are not read.

    The password is for every PKCS12 and JKS among them; a JKS opens without, unchecked.

    A certificate that says that it is no CA is refused, unless it is self-signed and so an anchor
    by itself: a leaf in a truststore is a mix-up of files.
    """

    silent = ""
    """It shows all that there is, or raises."""

    def __init__(self, path: Path, password: Secret | None = None) -> None:
        self._path = path
        self._files = AnchorFiles(password)

    def forget(self) -> None:
        """Do nothing: each look is at the files as they are."""

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return the anchors, each once; files that have not changed are not read again.

        Raise `TrustError` for what is missing, holds no certificate, or cannot be read.
        """
        anchors = await self._files.certificates(self._load)
        return tuple(Sighting(anchor, str(self._path), Origin.FILE) for anchor in anchors)

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


class AnchorFiles:
    """Reads files of anchors, each only when it or the password has changed; many callers have it read once."""

    def __init__(self, password: Secret | None = None) -> None:
        self._password = password
        self._seen: dict[Path, _Seen] = {}
        self._turn = asyncio.Lock()

    async def certificates(self, load: Callable[[], tuple[Certificate, ...]]) -> tuple[Certificate, ...]:
        """Call `load`, which calls `read`, in a thread; one caller at a time."""
        async with self._turn:
            return await asyncio.to_thread(load)

    def read(self, paths: Iterable[Path]) -> dict[Path, tuple[Certificate, ...]]:
        """Return the certificates of each file; raise `TrustError`, which names the file, for any that is not whole."""
        password = _signature_of(self._password)
        before, self._seen = self._seen, {}
        for path in paths:
            self._seen[path] = self._read(path, before.get(path), password)
        return {path: seen.certificates for path, seen in self._seen.items()}

    def _read(self, path: Path, seen: _Seen | None, password: Signature | None) -> _Seen:
        try:
            # A FIFO or a device would keep the reader waiting for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise TrustError(f"{path} is no file", advice="name a file with certificates or a folder of them")
                signature = Signature.of(status)
                if seen and (seen.file, seen.password) == (signature, password):
                    return seen
                content = file.read(LARGEST_FILE + 1)
                after = Signature.of(os.fstat(descriptor))
        except OSError as error:
            raise _unreadable(path, error) from error
        if after != signature:
            raise TrustError(f"{path} changed while it was read", advice="write it under another name and rename it")
        return _Seen(signature, password, self._parse(path, content))

    def _parse(self, path: Path, content: bytes) -> tuple[Certificate, ...]:
        format_ = opened.sniff(content)
        try:
            password = read_secret(self._password) if format_ in _LOCKED and self._password is not None else None
            anchors, remarks = opened.read_anchors(content, password)
        except MaterialError as error:
            advice = error.advice or "replace it with the CA's certificate in PEM"
            if format_ is StoreFormat.PKCS12 and self._password is None:
                advice = "write its `password_file` or `password_environment` beside its path"
            raise TrustError(f"{path}: {error.what}", advice=advice) from error
        for remark in remarks:
            # A file is read when it has changed, so this is not said again and again.
            structlog.get_logger().warning("a source of trust anchors", path=str(path), remark=remark)
        return anchors


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file held, and the states of the file and the password's in which it was read."""

    file: Signature
    password: Signature | None
    certificates: tuple[Certificate, ...]


def once(groups: Iterable[Iterable[Certificate]]) -> tuple[Certificate, ...]:
    """Return the certificates of all groups in their order, each once."""
    return tuple(dict.fromkeys(certificate for group in groups for certificate in group))


def _members(path: Path) -> list[Path]:
    """Return the file itself, or the files of the folder by their names."""
    try:
        if not path.is_dir():
            return [path]
        members = sorted(member for member in path.iterdir() if member.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not members:
        raise TrustError(
            f"the folder {path} holds no file named {', '.join(f'*{suffix}' for suffix in sorted(SUFFIXES))}",
            advice="put the CA's certificate there, in PEM",
        )
    if len(members) > MOST_FILES:
        raise TrustError(f"the folder {path} holds {len(members)} files", advice="give a folder with the anchors alone")
    return members


def _signature_of(password: Secret | None) -> Signature | None:
    """Return the state of the password's file, if there is one; what is missing is told when it is read."""
    if password is None or password.file is None:
        return None
    try:
        return Signature.of(password.file.stat())
    except OSError:
        return None


def _unreadable(path: Path, error: OSError) -> TrustError:
    if isinstance(error, FileNotFoundError):
        return TrustError(f"{path} is not there", advice="put the CA's certificate there, in PEM, or mend the path")
    return TrustError(
        f"{path} cannot be read: {error.strerror or error}", advice="let the agent's user read it and its folders"
    )
