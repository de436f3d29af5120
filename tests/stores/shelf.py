"""A store on a real disk, and a CA to fill it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.configuration import Wanted
from agent.core.files import Access, PemFiles, Pkcs12Files, StorePassword
from agent.core.generation import Cause, Draft, FileDamage, Generation, Issued
from agent.core.secret import Secret
from agent.keystores import pem
from agent.stores.directory import DirectoryStore
from tests.material import NOW, Ca, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.certificate import Certificate

ROOT = Ca.root()
INTERMEDIATE = ROOT.intermediate()
OTHER_ROOT = Ca.root("CN=Other Root")
NAMES = ("tls.crt", "tls.key", "tls.pem", "ca.crt", "keystore.p12", "truststore.p12")


class Shelf:
    """An identity's directory, its store, and steps of a renewal as the daemon takes them."""

    def __init__(self, folder: Path, *, access: Access | None = None, pkcs12: bool = True) -> None:
        self.folder = folder
        self.password = folder / "password"
        self.password.write_text("changeit")
        pem_files = PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt", access=access or Access())
        stores = Pkcs12Files(StorePassword(Secret(self.password)), "keystore.p12", "truststore.p12")
        self.wanted = Wanted(
            name="broker",
            directory=folder / "ssl",
            issuer="ca",
            request=make_request(),
            files=(pem_files, stores) if pkcs12 else (pem_files,),
        )
        self.directory = self.wanted.directory
        self.store = DirectoryStore(self.wanted)

    def restart(self, *, read_only: bool = False, wanted: Wanted | None = None) -> DirectoryStore:
        """Begin with a store that has read nothing yet."""
        self.wanted = wanted or self.wanted
        self.store = DirectoryStore(self.wanted, read_only=read_only)
        return self.store

    async def issue(self, *, reuse_key: bool = False) -> Draft:
        """Have a leaf pending."""
        await self.store.read()
        await self.store.load()
        pending = await self.store.begin(self.wanted.request, "ca", now=NOW, reuse_key=reuse_key)
        leaf = INTERMEDIATE.leaf_for(pending)
        chain = (leaf, INTERMEDIATE.certificate)
        await self.store.keep_answer(pending, Issued(chain, NOW))
        return self.draft(chain)

    def draft(self, chain: tuple[Certificate, ...], cause: Cause = Cause.LEAF, carry: tuple[str, ...] = ()) -> Draft:
        """Return a draft with the usual anchors."""
        return Draft(cause, self.wanted.request, "ca", chain, (ROOT.certificate,), NOW, carry)

    async def stage(self, *, reuse_key: bool = False) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Issue and write a generation."""
        return await self.store.stage(await self.issue(reuse_key=reuse_key), now=NOW)

    async def renew(self, *, reuse_key: bool = False) -> Generation:
        """Go through a whole renewal."""
        generation, damages = await self.stage(reuse_key=reuse_key)
        assert damages == ()
        await self.store.switch(generation.number)
        await self.store.drop_pending()
        return generation

    async def publish(self, cause: Cause, *, carry: tuple[str, ...] = (), other_anchor: bool = False) -> Generation:
        """Write the current leaf again, with other anchors if told."""
        current = (await self.store.read()).current
        assert current is not None
        draft = self.draft(current.chain, cause, carry)
        if other_anchor:
            draft = replace(draft, anchors=(*draft.anchors, OTHER_ROOT.certificate))
        generation, damages = await self.store.stage(draft, now=NOW + timedelta(minutes=1))
        assert damages == ()
        await self.store.switch(generation.number)
        return generation

    def leaf(self) -> Certificate:
        """Return the leaf that readers find."""
        return pem.decode((self.directory / "tls.pem").read_bytes())[0]

    def listing(self) -> list[str]:
        """Return all that stands in the directory and its generations."""
        return sorted(str(path.relative_to(self.directory)) for path in self.directory.rglob("*"))
