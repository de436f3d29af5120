"""`.pending`: a key, its CSR and its token, on disk before any CA is asked, and then the CA's answer.

One file, so that one rename makes it whole and a crash leaves all of it or nothing.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, TypeAlias

from agent.core.generation import Order, Pending
from agent.errors import MaterialError
from agent.keystores import private_key, signing_request
from agent.net.durable import write_durably
from agent.stores import manifest
from agent.stores.atomic import on_disk, read_bounded

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from agent.core.identity import Request
    from agent.keystores.material import PrivateKey

NAME = ".pending"

Stamp: TypeAlias = tuple[int, int, int]


class PendingFile:
    """The pending key of one identity; what has not changed is not read again."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._cache: tuple[Stamp, Pending, PrivateKey] | None = None

    def read(self) -> Pending | None:
        """Return what is pending; None when nothing is, or it cannot be made sense of."""
        found = self._find()
        return None if found is None else found[1]

    def key(self) -> PrivateKey:
        """Return the private key; raise `MaterialError` or `StoreError` when it is gone."""
        found = self._find()
        if found is None:
            raise MaterialError("the pending key is gone", advice="the CA is asked again by itself")
        return found[2]

    def begin(self, request: Request, issuer: str, key: PrivateKey | None, now: datetime) -> Pending:
        """Write a key (a new one when none is given), its CSR and a token, all of it or nothing.

        What is pending for the same identity and issuer, and has no answer yet, is taken up again:
        its token makes the repeated question one certificate where a CA knows such a thing.
        """
        before = self.read()
        if before is not None and before.issued is None and before.issuer == issuer:
            same_key = key is None or private_key.public_der(key) == before.public_key
            # Of an order that stands, a lifetime that is wished for otherwise by now is no reason to pay twice.
            same_order = before.order != Order() and before.request.same_identity(request)
            if same_key and (same_order or before.request == request):
                return before
        key = key or private_key.generate(request.key)
        pending = Pending(
            request=request,
            issuer=issuer,
            token=secrets.token_hex(16),
            made_at=now,
            public_key=private_key.public_der(key),
            csr=signing_request.make(key, request),
        )
        self._write(pending, key)
        return pending

    def keep_order(self, pending: Pending) -> None:
        """Note what is known of the order beside the key; raise `MaterialError` when the key is gone."""
        self._write(pending, self.key())

    def keep_answer(self, pending: Pending) -> None:
        """Note the CA's answer beside the key; raise `MaterialError` when the key is gone."""
        self._write(pending, self.key())

    def drop(self) -> None:
        """Remove the file; were it to come back after a power cut, it is seen to have become a generation."""
        with on_disk("removing the pending key", self._path), contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._cache = None  # the key with it

    def _write(self, pending: Pending, key: PrivateKey) -> None:
        with on_disk("writing the pending key", self._path):
            write_durably(self._path, manifest.encode_pending(pending, private_key.to_pem(key)), mode=0o600)
            self._cache = (self._stamp(), pending, key)

    def _find(self) -> tuple[Stamp, Pending, PrivateKey] | None:
        with on_disk("reading the pending key", self._path):
            try:
                stamp = self._stamp()
                if self._cache is None or self._cache[0] != stamp:
                    pem, decode = manifest.decode_pending(read_bounded(self._path))
                    key = private_key.from_pem(pem)
                    self._cache = (stamp, decode(private_key.public_der(key)), key)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError, MaterialError):
                self._cache = None
        return self._cache

    def _stamp(self) -> Stamp:
        status = self._path.stat()
        return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
