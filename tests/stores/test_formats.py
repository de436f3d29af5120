"""Every format and every variant through the store: what is written, told apart, read back and found again."""

from __future__ import annotations

import asyncio
import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.files import (
    Access,
    Encryption,
    JksFiles,
    PemFiles,
    Pkcs12Files,
    ReaderConfiguration,
    ReaderKind,
    StorePassword,
)
from agent.core.generation import Cause, Damage
from agent.core.secret import Secret
from agent.errors import MaterialError, StoreError
from agent.keystores import jks, pem, pkcs12, private_key
from agent.keystores.opened import open_store
from agent.stores import formats, rendering
from agent.stores.formats import Material
from tests.material import NOW, Ca, make_key, make_request
from tests.stores.shelf import ROOT, Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.certificate import Certificate
    from agent.core.files import Files, StoreFiles

PASSWORD = "changeit"  # noqa: S105 - made for these tests


@pytest.fixture
def password(tmp_path: Path) -> StorePassword:
    """Return where a password is."""
    (tmp_path / "password").write_text(PASSWORD)
    return StorePassword(Secret(tmp_path / "password"))


@pytest.fixture(scope="module")
def material() -> Material:
    """Return key, chain, anchors, and the anchor that the chain leads to."""
    root = Ca.root()
    link, key = root.intermediate(), make_key()
    chain = (link.leaf(make_request(), key), link.certificate)
    return Material(key, chain, (root.certificate,), root.certificate, Path("/etc/kafka/ssl"), NOW)


VARIANTS = ["pem", "encrypted pem", "compatible pem", "pkcs12", "compatible pkcs12", "jks"]


def identity(files: Sequence[Files], name: str, content: bytes) -> tuple[object, tuple[Certificate, ...] | None]:
    """Return key and chain of a rendered file, each None where a file of that name holds none."""
    found, role = next((one, role) for one in files for other, role in formats.contents(one) if other == name)
    return formats.read_identity(found, role, content) if role in formats.OF_THE_KEY else (None, None)


def group(variant: str, password: StorePassword, *, anchor: bool = False) -> StoreFiles:
    """Return a group of files of that variant."""
    encryption = Encryption.COMPATIBLE if "compatible" in variant else Encryption.STRONG
    if variant == "jks":
        return JksFiles(password, "keystore.jks", "truststore.jks", anchor=anchor)
    if "pkcs12" in variant:
        return Pkcs12Files(password, "keystore.p12", "truststore.p12", encryption=encryption, anchor=anchor)
    guard = None if variant == "pem" else password
    return PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt", guard, encryption, anchor)


@pytest.mark.parametrize("anchor", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_written_reads_back(variant: str, password: StorePassword, material: Material, *, anchor: bool) -> None:
    """Key, chain and anchors come back, the anchor at the end of the chain where it is asked for."""
    files = (group(variant, password, anchor=anchor),)
    contents = {file.name: file.content for file in rendering.render(files, material)}
    for name, content in contents.items():
        assert rendering.trouble(files, name, content, material) == ""
    chains = [identity(files, name, content)[1] for name, content in contents.items()]
    wanted = (*material.chain, material.anchor) if anchor else material.chain
    assert {chain for chain in chains if chain is not None} == {wanted}
    other = replace(material, chain=material.chain[:1])
    holders = [name for name in contents if name in {"tls.crt", "tls.pem", "keystore.p12", "keystore.jks"}]
    assert all(rendering.trouble(files, name, contents[name], other) for name in holders)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_key_is_found_whatever_the_settings_name(variant: str, password: StorePassword, material: Material) -> None:
    """Other names, even other files: the format and the password are enough."""
    files = (group(variant, password),)
    contents = {f"old-{file.name}": file.content for file in rendering.render(files, material)}
    found = rendering.read_key(files, contents, public_key=material.chain[0].public_key)
    assert found is not None
    assert private_key.public_der(found) == material.chain[0].public_key
    assert rendering.read_key(files, contents, public_key=b"other") is None


@pytest.mark.parametrize("variant", [one for one in VARIANTS if one != "pem"])
def test_another_password_is_told_and_never_quoted(variant: str, password: StorePassword, material: Material) -> None:
    """What a password guards does not open with another."""
    files = (group(variant, password),)
    contents = {file.name: file.content for file in rendering.render(files, material)}
    assert password.secret.file is not None
    password.secret.file.write_text("another-password")
    for name in contents.keys() - {"tls.crt", "ca.crt"}:
        told = rendering.trouble_opening(files, name, contents[name])
        assert told
        assert "another-password" not in told
        assert PASSWORD not in told


def test_no_anchor_is_left_out_silently(password: StorePassword, material: Material) -> None:
    """Where the chain is to carry an anchor and nobody knows it, nothing is written."""
    for variant in VARIANTS:
        with pytest.raises(MaterialError, match="trust anchor"):
            rendering.render((group(variant, password, anchor=True),), replace(material, anchor=None))


def test_every_difference_is_another_layout(password: StorePassword) -> None:
    """Format, encryption, anchor, alias, reader: a change of any renders the files again."""
    layouts = [
        rendering.layout((group(variant, password, anchor=anchor),)) for variant in VARIANTS for anchor in (False, True)
    ]
    stores = Pkcs12Files(password, "keystore.p12", "truststore.p12")
    layouts.append(rendering.layout((replace(stores, alias="broker"),)))
    client = ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "client.properties", stores, stores)
    others = (
        client,
        replace(client, sasl=True),
        replace(client, keystore=None),
        replace(client, kind=ReaderKind.SPRING),
    )
    layouts += [rendering.layout((stores, one)) for one in others]
    assert len(set(layouts)) == len(layouts)
    assert rendering.layout((replace(stores, password=replace(password, make=True)),)) == rendering.layout((stores,))


def shelf_of(tmp_path: Path, *files: Files) -> Shelf:
    """Return an identity with these files."""
    shelf = Shelf(tmp_path)
    shelf.restart(wanted=replace(shelf.wanted, files=files))
    return shelf


async def test_all_formats_share_one_generation(tmp_path: Path, password: StorePassword) -> None:
    """PEM, PKCS12, JKS and a client's configuration switch together, and what holds a secret is 0400."""
    stores = [group(variant, password) for variant in ("encrypted pem", "pkcs12", "jks")]
    client = ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "client.properties", stores[1], stores[1])
    shelf = shelf_of(tmp_path, *stores, client)
    await shelf.renew()
    generation = await shelf.renew()
    folder = shelf.directory
    leaf = generation.leaf
    assert pem.decode((folder / "tls.crt").read_bytes())[0] == leaf
    assert pkcs12.read_keystore((folder / "keystore.p12").read_bytes(), PASSWORD)[1][0] == leaf
    assert jks.read_keystore((folder / "keystore.jks").read_bytes(), PASSWORD)[1][0] == leaf
    assert private_key.public_der(private_key.from_pem((folder / "tls.key").read_bytes(), PASSWORD)) == leaf.public_key
    text = (folder / "client.properties").read_text()
    assert f"ssl.keystore.location={folder}/keystore.p12" in text
    modes = {name: (folder / name).stat().st_mode & 0o777 for name in shelf.wanted.names}
    open_to_all = {"tls.crt", "ca.crt", "truststore.p12", "truststore.jks"}
    assert modes == {name: 0o444 if name in open_to_all else 0o400 for name in modes}
    disk = await shelf.restart().read()
    assert (disk.current, disk.damages) == (generation, ())


async def test_another_password_reaches_the_configuration_too(tmp_path: Path, password: StorePassword) -> None:
    """The stores and the file that names their password are written again, together."""
    stores = group("pkcs12", password)
    client = ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "client.properties", stores, stores)
    shelf = shelf_of(tmp_path, stores, client, PemFiles(combined="tls.pem"))
    await shelf.renew()
    shelf.password.write_text("another-password")
    disk = await shelf.store.read()
    assert {damage.name for damage in disk.damages} == {"keystore.p12", "truststore.p12", "client.properties"}
    await shelf.publish(Cause.FILES)
    assert (await shelf.store.read()).damages == ()
    assert "another-password" in (shelf.directory / "client.properties").read_text()


async def test_an_edited_configuration_is_written_again(tmp_path: Path, password: StorePassword) -> None:
    """It is no truststore: what a person writes there is not held."""
    stores = group("pkcs12", password)
    shelf = shelf_of(
        tmp_path, stores, ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "client.properties", stores, stores)
    )
    await shelf.renew()
    path = shelf.directory / ".current" / "client.properties"
    path.chmod(0o600)
    path.write_text("ssl.endpoint.identification.algorithm=\n")
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [("client.properties", Damage.ALTERED)]


@pytest.mark.parametrize("name", ["tls.key", "keystore.p12", "ca.crt"])
async def test_a_mode_that_somebody_changed_is_put_right(tmp_path: Path, name: str) -> None:
    """A key that everybody may read by now is written again, with the mode that is wanted; so is what nobody may."""
    shelf = Shelf(tmp_path)
    await shelf.renew()
    wanted = (shelf.directory / name).stat().st_mode & 0o777
    (shelf.directory / name).chmod(0o644)
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [(name, Damage.ALTERED)]
    assert "its mode is 0644" in disk.damages[0].detail
    await shelf.publish(Cause.FILES)
    assert (shelf.directory / name).stat().st_mode & 0o777 == wanted
    assert (await shelf.store.read()).damages == ()
    assert [generation.number for generation in (await shelf.store.read()).kept] == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_an_owner_that_somebody_changed_is_put_right(tmp_path: Path) -> None:
    """Where the settings name one; the agent's own is nobody's business."""
    shelf = Shelf(tmp_path, access=Access(owner="nobody"))
    await shelf.renew()
    assert (await shelf.store.read()).damages == ()
    os.chown(shelf.directory / "tls.key", 1, 1)
    disk = await shelf.store.read()
    assert [damage.name for damage in disk.damages] == ["tls.key"]
    assert "owner" in disk.damages[0].detail


async def test_a_missing_password_is_made_once(tmp_path: Path) -> None:
    """Random, for its owner alone, kept from then on, and nothing else is left beside it."""
    file = tmp_path / "made" / "password"
    file.parent.mkdir()
    shelf = shelf_of(tmp_path, Pkcs12Files(StorePassword(Secret(file), make=True), "keystore.p12"))
    await shelf.renew()
    made = file.read_text()
    assert len(made.strip()) == 32
    assert made.strip().isascii()
    assert file.stat().st_mode & 0o777 == 0o400
    assert [path.name for path in file.parent.iterdir()] == ["password"]
    await shelf.renew()
    assert file.read_text() == made
    pkcs12.read_keystore((shelf.directory / "keystore.p12").read_bytes(), made.strip())


async def test_a_missing_password_is_not_made_unasked(tmp_path: Path) -> None:
    """Whoever did not ask for one has named the wrong file."""
    shelf = shelf_of(tmp_path, Pkcs12Files(StorePassword(Secret(tmp_path / "nowhere")), "keystore.p12"))
    with pytest.raises(Exception, match="nowhere"):
        await shelf.renew()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("make", [False, True])
async def test_a_password_that_is_away_is_no_lost_key(tmp_path: Path, *, make: bool) -> None:
    """While it cannot be read nothing is decided, and no other is made: the stores were made with it."""
    shelf = shelf_of(tmp_path, Pkcs12Files(StorePassword(Secret(tmp_path / "password"), make=make), "keystore.p12"))
    generation = await shelf.renew()
    (tmp_path / "password").rename(tmp_path / "away")
    for store in (shelf.store, shelf.restart()):
        with pytest.raises(StoreError, match="cannot read") as caught:
            await store.read()
        assert "put it back" in caught.value.diagnosis()
    assert not (tmp_path / "password").exists()
    (tmp_path / "away").rename(tmp_path / "password")
    disk = await shelf.restart().read()
    assert disk.key == generation.leaf.public_key


async def test_two_identities_agree_on_a_password_that_is_missing(tmp_path: Path) -> None:
    """Whichever makes it first has made it for both."""
    shelves = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        secret = StorePassword(Secret(tmp_path / "shared"), make=True)
        shelves.append(shelf_of(tmp_path / name, Pkcs12Files(secret, "keystore.p12")))
    await asyncio.gather(*(shelf.renew() for shelf in shelves))
    password = (tmp_path / "shared").read_text().strip()
    for shelf in shelves:
        pkcs12.read_keystore((shelf.directory / "keystore.p12").read_bytes(), password)


async def test_each_generation_has_a_time_of_its_own(tmp_path: Path) -> None:
    """By a millisecond at least, under a clock that stands still, through a roll-back, and against what was there."""
    shelf = Shelf(tmp_path)
    seen: dict[str, list[int]] = {name: [] for name in shelf.wanted.names}

    def note() -> None:
        for name, instants in seen.items():
            instants.append((shelf.directory / name).stat().st_mtime_ns // 1_000_000)

    for _ in range(3):
        await shelf.renew()  # at one and the same instant, by the clock of the tests
        note()
    await shelf.store.switch(2)
    note()
    await shelf.renew()
    note()
    for instants in seen.values():
        assert all(one != other for one, other in itertools.pairwise(instants))
        assert len(set(instants)) == 4


async def test_a_disk_that_keeps_no_milliseconds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system rounds the time to what it was before, Kafka would not see the change."""
    shelf = Shelf(tmp_path)
    await shelf.renew()
    utime = os.utime
    monkeypatch.setattr(os, "utime", lambda path, *, ns: utime(path, ns=(ns[0] // 10**9 * 10**9,) * 2))
    _, damages = await shelf.stage()
    assert damages
    assert {damage.damage for damage in damages} == {Damage.UNREADABLE}
    assert "Kafka would not read it again" in damages[0].detail


async def test_a_chain_that_carries_its_anchor_is_told_by_the_manifest(tmp_path: Path, password: StorePassword) -> None:
    """The anchor is noted, so that the files can be written again when nobody can tell the anchor any more."""
    shelf = shelf_of(tmp_path, group("pkcs12", password, anchor=True))
    draft = replace(await shelf.issue(), anchor=ROOT.certificate)
    generation, damages = await shelf.store.stage(draft, now=NOW)
    assert damages == ()
    await shelf.store.switch(generation.number)
    current = (await shelf.restart().read()).current
    assert current is not None
    assert current.anchor == ROOT.certificate
    chain = pkcs12.read_keystore((shelf.directory / "keystore.p12").read_bytes(), PASSWORD)[1]
    assert chain == (*generation.chain, ROOT.certificate)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_anchor_that_is_in_the_chain_is_not_put_there_twice(
    variant: str, password: StorePassword, material: Material
) -> None:
    """Peers may trust an intermediate, and Java refuses a chain with a certificate too many."""
    files = (group(variant, password, anchor=True),)
    trusted = replace(material, anchor=material.chain[1])
    for file in rendering.render(files, trusted):
        assert rendering.trouble(files, file.name, file.content, trusted) == ""
        chain = identity(files, file.name, file.content)[1]
        assert chain in (None, material.chain)


@pytest.mark.parametrize("variant", ["pkcs12", "compatible pkcs12", "jks"])
async def test_aliases_are_the_same_after_a_renewal(tmp_path: Path, password: StorePassword, variant: str) -> None:
    """Who looks an entry up by its name finds the next one under it."""
    shelf = shelf_of(tmp_path, group(variant, password))
    seen = set()
    for _ in range(2):
        await shelf.renew()
        stores = [open_store((shelf.directory / name).read_bytes(), PASSWORD) for name in shelf.wanted.names]
        seen.add(tuple(entry.alias for store in stores for entry in store.entries))
    assert seen == {("kafka", ROOT.certificate.fingerprint[:16])}
