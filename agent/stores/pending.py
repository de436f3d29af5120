"""`.pending/`: a key, its CSR and its token, on disk before any CA is asked, and then the CA's answer."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING

from agent.core.generation import Pending
from agent.errors import MaterialError
from agent.keystores import private_key, signing_request
from agent.net.durable import sync_directory, write_durably, write_new
from agent.stores import manifest
from agent.stores.atomic import TEMPORARY, on_disk, read_bounded

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from agent.core.identity import Request
    from agent.keystores.material import PrivateKey

KEY = "key.pem"
NOTES = "pending.json"


class PendingFolder:
    """The pending key of one identity; its folder is whole or not there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folder = directory / ".pending"

    def read(self) -> Pending | None:
        """Return what is pending; None when nothing is, or it cannot be made sense of."""
        with on_disk("reading the pending key", self._folder):
            try:
                notes = read_bounded(self._folder / NOTES)
                key = private_key.from_pem(read_bounded(self._folder / KEY))
                return manifest.decode_pending(notes, private_key.public_der(key))
            except (FileNotFoundError, NotADirectoryError, MaterialError):
                return None

    def key(self) -> PrivateKey:
        """Return the private key; raise `MaterialError` or `StoreError` when it is gone."""
        with on_disk("reading the pending key", self._folder):
            return private_key.from_pem(read_bounded(self._folder / KEY))

    def begin(self, request: Request, issuer: str, key: PrivateKey | None, now: datetime) -> Pending:
        """Write a key (a new one when none is given), its CSR and a token, all of it or nothing.

        What is pending for the same identity and issuer, and has no answer yet, is taken up again:
        its token makes the repeated question one certificate where a CA knows such a thing.
        """
        before = self.read()
        if before is not None and before.issued is None and before.issuer == issuer:
            same_key = key is None or private_key.public_der(key) == before.public_key
            if same_key and before.request == request:
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
        with on_disk("writing the pending key", self._folder):
            self._replace(private_key.to_pem(key), manifest.encode_pending(pending))
        return pending

    def keep_answer(self, pending: Pending) -> None:
        """Note the CA's answer beside the key."""
        with on_disk("writing the CA's answer", self._folder):
            write_durably(self._folder / NOTES, manifest.encode_pending(pending), mode=0o600)

    def drop(self) -> None:
        """Remove the folder; a crash half-way leaves one that counts as none."""
        with on_disk("removing the pending key", self._folder), contextlib.suppress(FileNotFoundError):
            (self._folder / NOTES).unlink(missing_ok=True)
            shutil.rmtree(self._folder)
            sync_directory(self._directory)

    def _replace(self, key: bytes, notes: bytes) -> None:
        temporary = self._directory / f"{TEMPORARY}pending"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700)
        try:
            write_new(temporary / KEY, key, mode=0o600)
            write_new(temporary / NOTES, notes, mode=0o600)
            sync_directory(temporary)
            if self._folder.exists():
                (self._folder / NOTES).unlink(missing_ok=True)
                shutil.rmtree(self._folder)
            os.rename(temporary, self._folder)  # noqa: PTH104 - a folder's rename, as rename(2) has it
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(self._directory)
