"""The folder of an embedded CA: made once, read back, and made anew in time or when a person says so.

```
root.pem            the trust anchor
intermediate.pem    below it; signs leaves
successor.pem       the root that is to follow, an anchor already
retired/<SHA-256>.pem   the certificates of roots that were replaced, without their keys: anchors still
.lock               held by whoever writes
```

Each file but those below `retired` holds a private key and its certificate, so each is whole or
not there. An intermediate that is missing is made from the root, so a crash between two steps
leaves nothing half. `root.pem` is only ever replaced, and only after what it holds is retired.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias

from agent.core.chain import is_self_signed, is_signed_by
from agent.core.identity import KeyAlgorithm
from agent.errors import IssuerRefusedError, IssuerUnavailableError, MaterialError
from agent.issuers.local import files
from agent.issuers.local.authority import Authority, Due
from agent.issuers.local.making import new_intermediate, new_root
from agent.issuers.local.signer import Signer
from agent.keystores import pem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta
    from pathlib import Path

    from agent.core.certificate import Certificate

READS = 5
"""How often files are read that change meanwhile; a rotation replaces two."""

Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]


class AuthorityFolder:
    """The folder of an embedded CA; every method blocks, and many threads and processes may call them at once.

    All raise `IssuerRefusedError` for files that are no CA, and `IssuerUnavailableError` when the
    disk does not give or take them, or when another process holds the lock for all of `within`.
    """

    def __init__(self, directory: Path, name: str, key: KeyAlgorithm = KeyAlgorithm.EC_P256) -> None:
        self._directory = directory
        self._name = name
        self._key = key
        self._root = directory / "root.pem"
        self._intermediate = directory / "intermediate.pem"
        self._successor = directory / "successor.pem"
        self._retired = directory / "retired"

    @property
    def key_files(self) -> tuple[Path, ...]:
        """The files that hold private keys, whether they are there or not."""
        return self._root, self._intermediate, self._successor

    def read(self) -> Authority | None:
        """Return what stands there, or None when the CA or its intermediate is still to be made."""
        for _ in range(READS - 1):
            before = self._stamp_or_none()
            try:
                return self._read()
            except IssuerRefusedError:
                # A rotation between reading one file and the next makes them look like those of two CAs.
                if self._stamp_or_none() == before:
                    raise
        return self._read()

    def make(self, now: datetime, *, within: timedelta) -> Authority:
        """Make what is missing or will not last, and return all."""
        with self._on_disk():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(within):
                self.tighten()
                found = self._read() or self._complete(now)
                while (due := found.due(now)) is not None:
                    self._do(due, now)
                    found = self._whole()
                return found

    def rotate(self, now: datetime, *, within: timedelta) -> Authority:
        """Make a new root and an intermediate below it, and return all; the root before is retired.

        Killed between any two steps it leaves a CA that works: that before, or the new one.
        """
        if not self._directory.is_dir():
            raise self.none_yet()
        with self._on_disk(), self._locked(within):
            self._sweep()
            if self._root_signer() is None:
                raise self.none_yet()
            # Never a successor that was announced before: a person may rotate since somebody has read the keys.
            self._put(self._successor, new_root(self._name, self._key, now))
            self._succeed(now)
            return self._whole()

    def retire(self, now: datetime, *, within: timedelta) -> tuple[Certificate, ...]:
        """Forget every root that was replaced, and return those that were trusted until now."""
        if not self._directory.is_dir():
            raise self.none_yet()
        with self._on_disk(), self._locked(within):
            found = self._whole()
            for path in self._retired_files():
                files.remove(path)
            return found.still_trusted(now)

    def stamp(self) -> Stamp:
        """Return what changes when a file does: name, inode, size and time of each that is there; raise `OSError`."""
        stamp = []
        for path in (*self.key_files, *self._retired_files()):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                stamp.append((path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(stamp)

    def tighten(self) -> None:
        """Keep the keys that an earlier version wrote from being written, where this user may say so."""
        for path in self.key_files:
            files.tighten(path)

    def none_yet(self) -> IssuerRefusedError:
        """Return the error that tells that there is no CA."""
        return IssuerRefusedError(
            f"there is no local CA in {self._directory} yet",
            advice="it is made when the first certificate is asked for",
            reason="authority",
        )

    # --- steps; whoever calls them holds the lock ---------------------------------------------

    def _do(self, due: Due, now: datetime) -> None:
        self._sweep()
        match due:
            case Due.ANNOUNCE:
                self._put(self._successor, new_root(self._name, self._key, now))
            case Due.SUCCEED:
                self._succeed(now)
            case Due.FORGET:
                files.remove(self._successor)
            case Due.INTERMEDIATE:
                self._complete(now)

    def _complete(self, now: datetime) -> Authority:
        """Make a root if there is none, and an intermediate from it."""
        self._sweep()
        root = self._root_signer()
        if root is None:
            root = new_root(self._name, self._key, now)
            self._put(self._root, root)
        self._put(self._intermediate, new_intermediate(self._name, root, self._key, now))
        return self._whole()

    def _succeed(self, now: datetime) -> None:
        """Put the successor in the root's place; each line but the last two leaves the old CA, those the new one."""
        root, successor = self._root_signer(), self._signer(self._successor)
        if root is None or successor is None:
            raise self._corrupt(self._successor, "it has gone")
        # Made before the first step, since a key may take seconds: the CA is never without an intermediate for long.
        intermediate = new_intermediate(self._name, successor, self._key, now)
        self._keep_retired(root.certificate)
        # Before the root: no intermediate at all is made anew from either root, one of another root is no CA.
        files.remove(self._intermediate)
        files.move(self._successor, self._root)
        self._put(self._intermediate, intermediate)

    def _keep_retired(self, root: Certificate) -> None:
        owner = files.owner_beside(self._root)
        files.make_folder(self._retired, owner)
        files.put(self._retired / f"{root.fingerprint}.pem", pem.encode([root]), mode=0o444, owner=owner)

    def _put(self, path: Path, signer: Signer) -> None:
        files.put(path, signer.to_pem(), mode=files.KEY_MODE, owner=files.owner_beside(self._root))

    def _sweep(self) -> None:
        files.sweep(self._directory)
        files.sweep(self._retired)

    def _locked(self, within: timedelta) -> contextlib.AbstractContextManager[None]:
        return files.locked(self._directory / ".lock", files.owner_beside(self._root), within)

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise IssuerUnavailableError(
                f"cannot write the local CA to {self._directory}: {error.strerror or error}",
                advice="give the agent's user a folder that it can write, on a disk that has room",
                reason="disk",
            ) from error

    # --- reading ------------------------------------------------------------------------------

    def _whole(self) -> Authority:
        found = self._read()
        if found is None:
            raise self.none_yet()
        return found

    def _read(self) -> Authority | None:
        root = self._root_signer()
        intermediate = self._signer(self._intermediate)
        if root is None or intermediate is None:
            return None
        if not is_signed_by(intermediate.certificate, root.certificate):
            raise self._corrupt(self._intermediate, "its certificate was not signed by the root beside it")
        successor = self._signer(self._successor)
        retired = [certificate for path in self._retired_files() for certificate in self._certificates(path)]
        return Authority(
            root=root.certificate,
            intermediate=intermediate,
            successor=successor.certificate if successor else None,
            # A rotation that broke off has retired the root and not replaced it.
            retired=tuple(one for one in dict.fromkeys(retired) if one != root.certificate),
        )

    def _root_signer(self) -> Signer | None:
        """Return the root; None when nothing was made yet. A root that was lost is for a person to restore."""
        root = self._signer(self._root)
        if root is None:
            if self._content(self._intermediate) is None:
                return None
            raise self._corrupt(self._root, "it is missing, and its intermediate is there")
        if not is_self_signed(root.certificate):
            raise self._corrupt(self._root, "its certificate is not self-signed")
        return root

    def _signer(self, path: Path) -> Signer | None:
        """Read a key and its certificate; None when the file is not there."""
        content = self._content(path)
        try:
            return None if content is None else Signer.from_pem(content)
        except MaterialError as error:
            raise self._corrupt(path, error.what) from None

    def _certificates(self, path: Path) -> tuple[Certificate, ...]:
        """Read a retired root; none when it has just been forgotten."""
        content = self._content(path)
        try:
            found = () if content is None else pem.decode(content)
        except MaterialError as error:
            raise self._corrupt(path, error.what) from None
        if content is not None and not any(certificate.is_ca for certificate in found):
            # An empty file, say, as after a power cut: to pass it over would take an anchor from every truststore.
            raise self._corrupt(path, "it holds no certificate of a CA")
        return found

    def _content(self, path: Path) -> bytes | None:
        try:
            content = files.read(path)
        except OSError as error:
            raise self._unreadable(path, error) from error
        if content is not None and len(content) > files.LARGEST_FILE:
            raise self._corrupt(path, f"it is larger than {files.LARGEST_FILE} bytes")
        return content

    def _retired_files(self) -> list[Path]:
        # Not `glob`, which takes a folder that may not be read for an empty one: truststores would lose their anchors.
        try:
            return sorted(path for path in self._retired.iterdir() if path.suffix == ".pem")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(self._retired, error) from error

    def _stamp_or_none(self) -> Stamp | None:
        try:
            return self.stamp()
        except (OSError, IssuerUnavailableError):
            return None

    @staticmethod
    def _unreadable(path: Path, error: OSError) -> IssuerUnavailableError:
        return IssuerUnavailableError(
            f"cannot read the local CA's {path}: {error.strerror or error}",
            advice="let the agent's user own the folder and its files",
            reason="disk",
        )

    def _corrupt(self, path: Path, why: str) -> IssuerRefusedError:
        if path == self._successor:
            advice = "remove it: nothing was signed with it, and another is made in time"
        elif path.parent == self._retired:
            advice = "restore it from a backup, or remove it once no leaf of that root is in use"
        else:
            advice = (
                f"restore it from a backup, or move {self._directory} away to have a new CA made,"
                " which every truststore must learn first"
            )
        return IssuerRefusedError(f"the local CA's {path} cannot be used: {why}", advice=advice, reason="authority")
