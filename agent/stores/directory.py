"""The directory of one identity: the store that the daemon sees (`ports.Store`).

```
tls.pem  -> .current/tls.pem           the paths that readers open; they never change
.current -> .generations/000042        one rename of this link is the switch
.generations/000042/…                  whole, fsynced and read back before the switch
.pending                               a key and its CSR, between asking a CA and the switch
.state.json                            the notes
.found/                                plain files that stood where the links are now
```
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import structlog

from agent.core.chain import order
from agent.core.credentials import Credentials
from agent.core.generation import Cause, Damage, Disk, FileDamage, Generation, generation_folder
from agent.core.record import Record
from agent.core.rotation_record import RotationRecord
from agent.errors import MaterialError, StoreError
from agent.keystores import private_key
from agent.net.durable import sync_directory, write_durably
from agent.net.threads import Arguments, Result, in_thread
from agent.stores import edits, journal, rendering
from agent.stores import found as found_files
from agent.stores.atomic import make_folders, on_disk, read_bounded, remove_orphans, replace_link
from agent.stores.formats import Material
from agent.stores.generations import Generations, number_of, records
from agent.stores.passwords import make_missing
from agent.stores.paths import CURRENT, keep_found, put_links, refuse_strangers, switched_at
from agent.stores.pending import PendingFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from agent.core.configuration import Wanted
    from agent.core.files import Opened
    from agent.core.generation import Draft, Issued, Order, Pending
    from agent.core.identity import Request
    from agent.keystores.material import PrivateKey
    from agent.stores.generations import Found


async def _in_thread(work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run blocking work to its end; what is wrong with the material is a failure of the store to its caller."""
    try:
        return await in_thread(work, *args, **kwargs)
    except MaterialError as error:
        raise StoreError(error.what, advice=error.advice) from error


class DirectoryStore:
    """Files below `wanted.directory`; with `read_only` nothing is made, cleaned or written.

    Not for two tasks at a time: the keeper of the identity takes turns.
    """

    def __init__(self, wanted: Wanted, *, read_only: bool = False) -> None:
        self._wanted = wanted
        self._directory = wanted.directory
        self._read_only = read_only
        self._generations = Generations(wanted.directory, wanted.files)
        self._pending = PendingFile(wanted.directory)
        self._layout = rendering.layout(wanted.files)
        self._record: Record | None = None
        self._may_differ = False  # the notes on disk from `_record`: writing them failed half-way
        self._tidied = read_only

    @property
    def layout(self) -> str:
        """A digest of the files that are wanted."""
        return self._layout

    async def read(self) -> Disk:
        """Read what is there."""
        return await _in_thread(self._read)

    async def begin(self, request: Request, issuer: str, *, now: datetime, reuse_key: bool) -> Pending:
        """Write a key, its CSR and a token before any CA is asked."""
        return await _in_thread(self._begin, request, issuer, now, reuse_key)

    async def keep_order(self, pending: Pending, order: Order) -> Pending:
        """Write down what is known of the order."""
        ordered = replace(pending, order=order)
        await _in_thread(self._pending.keep_order, ordered)
        return ordered

    async def keep_answer(self, pending: Pending, issued: Issued) -> Pending:
        """Write down what the CA answered."""
        answered = replace(pending, issued=issued)
        await _in_thread(self._pending.keep_answer, answered)
        return answered

    async def drop_pending(self) -> None:
        """Forget the pending key and its answer."""
        await _in_thread(self._pending.drop)

    async def stage(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Write a whole generation that nobody reads yet."""
        return await _in_thread(self._stage, draft, now)

    async def adopt(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Write a generation of plain files that stand where the links belong, byte for byte."""
        return await _in_thread(self._adopt, draft, now)

    async def switch(self, number: int) -> None:
        """Make a written generation current by one rename."""
        await _in_thread(self._switch, number)

    async def discard(self, number: int) -> None:
        """Remove a generation that is not current."""
        if number == self._current_number():
            raise StoreError(f"generation {number} is current and stays", advice="switch to another first")
        await _in_thread(self._generations.remove, number)

    async def credentials(self, number: int) -> Credentials:
        """Return the key and the chain of a generation."""
        return await _in_thread(self._credentials, number)

    async def candidate(self) -> Credentials | None:
        """Return the pending key and the chain that a CA gave for it."""
        return await _in_thread(self._candidate)

    async def opened(self, number: int, name: str) -> Opened:
        """Return what a store of a generation is, opened with the password that is set now."""
        return await _in_thread(self._generations.opened, number, name)

    async def load(self) -> Record:
        """Return what was noted."""
        return await _in_thread(self._load)

    async def save(self, record: Record) -> None:
        """Note it durably."""
        if record != self._record or self._may_differ:
            await _in_thread(self._save, record)

    # --- reading ---------------------------------------------------------------------------

    def _read(self) -> Disk:
        if not self._tidied and self._directory.is_dir():
            with on_disk("cleaning up after a crash", self._directory):
                remove_orphans(self._directory)
                if self._generations.folder.is_dir():
                    remove_orphans(self._generations.folder)
            self._tidied = True
        number, trouble = self._current_number(), ""
        found: Found | None = None
        kept: list[Generation] = []
        for other in self._generations.numbers():
            try:
                one = self._generations.find(other, closely=other == number)
            except MaterialError as error:
                if other == number:
                    trouble = f"the current generation cannot be read: {error.what}"
                continue
            if other == number:
                found = one
            elif not any(damage.damage is not Damage.EDITED_TRUSTSTORE for damage in one.damages) and one.public_key:
                kept.append(one.generation)
        if found is None and number is not None and not trouble:
            trouble = f"the current generation {number} is gone"
        if number is None and os.path.lexists(self._directory / CURRENT):
            trouble = f"{self._directory / CURRENT} is not our link"
        adoptable = found_files.look(self._directory, self._wanted.files) if found is None else None
        damages = self._damages(found) if found else ()
        return Disk(
            current=found.generation if found else None,
            key=found.public_key if found else None,
            damages=damages,
            kept=tuple(kept),
            pending=self._pending.read(),
            trouble=trouble,
            adoptable=adoptable.adoptable if adoptable else None,
            switched_at=switched_at(self._directory) if found else None,
            edited=edits.read(self._directory, self._wanted.files, found.generation, damages) if found else (),
        )

    def _damages(self, found: Found) -> tuple[FileDamage, ...]:
        """Return what is wrong with the files, as readers who open the stable paths see them."""
        damages = {damage.name: damage for damage in (*found.damages, *found.outdated)}
        for file in found.generation.files:
            if file.name in self._wanted.names and file.name not in damages:
                damage = self._link_damage(found.generation, file.name)
                if damage is not None:
                    damages[file.name] = damage
        return tuple(damages.values())

    def _link_damage(self, generation: Generation, name: str) -> FileDamage | None:
        path = self._directory / name
        with on_disk("reading a link", path):
            try:
                target = os.readlink(path)  # noqa: PTH115 - the text of the link, not a path
            except FileNotFoundError:
                return FileDamage(name, Damage.WRONG_LINK, "the link is missing")
            except OSError:
                return self._plain_damage(generation, name)
        return None if target == f"{CURRENT}/{name}" else FileDamage(name, Damage.WRONG_LINK, f"it leads to {target}")

    def _plain_damage(self, generation: Generation, name: str) -> FileDamage:
        """Judge a file that stands where our link was: editors that write anew leave such a one."""
        path = self._directory / name
        if not path.is_file() or not rendering.is_truststore(self._wanted.files, name):
            return FileDamage(name, Damage.WRONG_LINK, "something else stands in its place")
        try:
            content = read_bounded(path)
            ours = read_bounded(self._generations.path(generation.number) / name)
        except MaterialError as error:
            return FileDamage(name, Damage.WRONG_LINK, error.what)
        judged = self._generations.judge(name, content)
        if content != ours and judged.damage is Damage.EDITED_TRUSTSTORE:
            return judged
        return FileDamage(name, Damage.WRONG_LINK, "a file stands in its place")

    def _current_number(self) -> int | None:
        try:
            target = os.readlink(self._directory / CURRENT)  # noqa: PTH115 - the text of the link, not a path
        except OSError:
            return None
        return number_of(target)

    def _credentials(self, number: int) -> Credentials:
        generation, key = self._generations.find(number).generation, self._generations.key(number)
        if key is None:
            raise StoreError(
                f"the private key of generation {number} is lost", advice="have a new leaf issued: cert-agent renew"
            )
        return Credentials(private_key.to_der(key), generation.chain, generation.anchors)

    def _candidate(self) -> Credentials | None:
        pending = self._pending.read()
        if pending is None or pending.issued is None:
            return None
        leaf, *others = pending.issued.certificates
        return Credentials(private_key.to_der(self._pending.key()), order(leaf, others))

    # --- writing ---------------------------------------------------------------------------

    def _begin(self, request: Request, issuer: str, now: datetime, reuse_key: bool) -> Pending:
        self._make_directory()
        self._refuse_strangers()
        key = self._current_key() if reuse_key else None
        return self._pending.begin(request, issuer, key, now)

    def _stage(self, draft: Draft, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        self._make_directory()
        key = self._pending.key() if draft.cause is Cause.LEAF else self._current_key()
        if key is None:
            raise StoreError(
                "the private key of the current generation is lost", advice="have a new leaf issued: cert-agent renew"
            )
        return self._write(draft, now, key, self._carried(draft.carry))

    def _adopt(self, draft: Draft, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        self._refuse_strangers()
        found = found_files.look(self._directory, self._wanted.files)
        if found is None or found.chain != draft.chain:
            raise StoreError("the files that were to be taken over have changed", advice="they are looked at again")
        with on_disk("looking at who reads the files", self._directory):
            found_files.refuse_to_shut_out(self._directory, self._wanted.files, tuple(found.files))
        edited = {name: found.files[name] for name in draft.carry if name in found.truststores}
        # A truststore that lacks an anchor of the draft is rendered: it gains what it is to hold, and loses nothing.
        lacking = {name for name, anchors in found.truststores.items() if set(anchors) != set(draft.anchors)}
        kept = {name: content for name, content in found.files.items() if name not in edited.keys() | lacking}
        return self._write(draft, now, found.key, edited, kept)

    def _write(
        self,
        draft: Draft,
        now: datetime,
        key: PrivateKey,
        carried: Mapping[str, bytes],
        found: Mapping[str, bytes] = MappingProxyType({}),
    ) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Write a generation; `carried` are edited truststores, `found` other files that are kept as they are."""
        if self._current_number() is None:
            make_missing(self._wanted.files)  # what stores were made with is not lost for good because it is away
        number = self._next_number()
        material = Material(key, draft.chain, draft.anchors, draft.anchor, self._directory, now)
        files = tuple(
            replace(file, content=carried.get(file.name, found.get(file.name, file.content)), found=file.name in found)
            for file in rendering.render(self._wanted.files, material)
        )
        generation = Generation(
            number=number,
            cause=draft.cause,
            request=draft.request,
            issuer=draft.issuer,
            chain=draft.chain,
            anchors=draft.anchors,
            issued_at=draft.issued_at,
            remarks=draft.remarks,
            made_at=now,
            layout=self._layout,
            files=records(files, frozenset(carried)),
            anchor=draft.anchor,
        )
        return generation, self._generations.write(generation, files, key)

    def _carried(self, names: tuple[str, ...]) -> dict[str, bytes]:
        """Return the bytes of edited truststores as readers see them now."""
        carried = {}
        for name in names:
            if rendering.is_truststore(self._wanted.files, name):
                with on_disk("reading an edited truststore", self._directory / name):
                    carried[name] = read_bounded(self._directory / name)
        return carried

    def _switch(self, number: int) -> None:
        found = self._generations.find(number)
        broken = [str(one) for one in found.damages if one.damage is not Damage.EDITED_TRUSTSTORE]
        if broken and number != self._current_number():
            raise StoreError(
                f"generation {number} is no longer whole: {'; '.join(broken)}", advice="go back to another, or renew"
            )
        self._refuse_strangers()
        with on_disk("switching", self._directory):
            names = [file.name for file in found.generation.files]
            keep_found(self._directory, names)
            replace_link(self._directory / CURRENT, generation_folder(number))
            put_links(self._directory, names)
            sync_directory(self._directory)
        try:
            self._generations.prune(number)
        except StoreError as error:  # the new files are in use; what is left over goes after the next switch
            structlog.get_logger().warning(error.what, advice=error.advice, identity=self._wanted.name)

    def _refuse_strangers(self) -> None:
        """Refuse what stands in the way, before a CA is asked and before anything is written."""
        number = self._current_number()
        with on_disk("looking at what stands there", self._directory):
            refuse_strangers(self._directory, self._wanted.names, self._names_of(number))
        if number is None:
            found_files.refuse_locked(self._directory, self._wanted.files)

    def _names_of(self, number: int | None) -> frozenset[str]:
        """Return the names of the files of a generation, where links of ours are or were."""
        if number is None:
            return frozenset()
        try:
            return frozenset(file.name for file in self._generations.find(number, closely=False).generation.files)
        except MaterialError:
            return frozenset(self._wanted.names)  # nobody knows any more, and nothing of ours is to be left behind

    def _current_key(self) -> PrivateKey | None:
        number = self._current_number()
        return None if number is None else self._generations.key(number)

    def _next_number(self) -> int:
        """Return a number that no generation has and no note names."""
        record = self._record or Record()
        named = (record.reloaded or 0, record.settled or 0, record.refuted or 0, self._current_number() or 0)
        return max(*named, *self._generations.numbers(), 0) + 1

    def _make_directory(self) -> None:
        with on_disk("making the directory", self._directory):
            make_folders(self._directory)

    # --- notes -----------------------------------------------------------------------------

    def _load(self) -> Record:
        path = self._directory / journal.NAME
        with on_disk("reading the notes", path):
            try:
                record = journal.decode(read_bounded(path))
            except (FileNotFoundError, NotADirectoryError):
                record = Record()
            except MaterialError as error:
                if not self._read_only:
                    journal.set_aside(path)
                structlog.get_logger().error(
                    "the notes of an identity cannot be read, and what people said of it is forgotten",
                    identity=self._wanted.name,
                    reason=error.what,
                    advice=f"they are kept as {path}.unreadable; say again what was said, then `cert-agent ca resume`",
                )
                # A pause, a way back or an anchor that was let go may have been among them.
                record = Record(rotation=RotationRecord(forgotten=True))
        self._record = record
        return record

    def _save(self, record: Record) -> None:
        self._make_directory()
        path = self._directory / journal.NAME
        self._may_differ = True
        with on_disk("writing the notes", path):
            write_durably(path, journal.encode(record), mode=0o600)
        self._record, self._may_differ = record, False
