"""Plain files that stand where the links belong, on a real disk: found, taken over, replaced without a gap."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.files import Access, JksFiles, PemFiles, Pkcs12Files, StorePassword
from agent.core.generation import Cause, Damage, Draft
from agent.core.secret import Secret
from agent.errors import StoreError
from agent.keystores import jks, pem, pkcs12, private_key
from tests.material import NOW, Ca, make_key, make_request
from tests.stores.shelf import NAMES, OTHER_ROOT, ROOT, Shelf

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.generation import Adoptable, Generation
    from agent.keystores.material import PrivateKey


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An identity whose directory holds what an operator has put there by hand."""
    shelf = Shelf(tmp_path)
    shelf.directory.mkdir()
    return shelf


def put(shelf: Shelf, *, root_in_chain: bool = False) -> dict[str, bytes]:
    """Put every kind of file there, as openssl and keytool would; return their bytes."""
    link = ROOT.intermediate()
    key = make_key()
    leaf = link.leaf(make_request(), key)
    chain = (leaf, link.certificate, *((ROOT.certificate,) if root_in_chain else ()))
    files = {
        "tls.crt": pem.encode(chain),
        "tls.key": private_key.to_pem(key),
        "tls.pem": pem.encode(chain) + private_key.to_pem(key),
        "ca.crt": pem.encode((ROOT.certificate,)),
        "keystore.p12": pkcs12.keystore(key, chain, "theirs", "changeit"),
        "truststore.p12": pkcs12.truststore((ROOT.certificate,), "changeit"),
    }
    for name, content in files.items():
        lay(shelf, name, content)
    return files


def lay(shelf: Shelf, name: str, content: bytes, mode: int | None = None) -> None:
    """Put a file there; one with a key is its owner's alone unless told otherwise."""
    path = shelf.directory / name
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode if mode is not None else 0o644 if name in {"tls.crt", "ca.crt", "truststore.p12"} else 0o600)


async def adoptable(shelf: Shelf) -> Adoptable:
    """Return what the store finds."""
    found = (await shelf.store.read()).adoptable
    assert found is not None
    return found


async def adopt(shelf: Shelf, *, carry: tuple[str, ...] = ()) -> Generation:
    """Take the files over, as the daemon does."""
    found = await adoptable(shelf)
    anchors = (ROOT.certificate,)
    draft = Draft(Cause.ADOPTED, shelf.wanted.request, "", found.chain, anchors, found.leaf.not_before, carry)
    generation, damages = await shelf.store.adopt(draft, now=NOW)
    assert damages == ()
    await shelf.store.switch(generation.number)
    return generation


@pytest.mark.parametrize("root_in_chain", [False, True])
async def test_files_of_every_format_become_the_first_generation(shelf: Shelf, *, root_in_chain: bool) -> None:
    """Byte for byte, aliases and all, behind the same paths; what stood there has a second name."""
    files = put(shelf, root_in_chain=root_in_chain)
    generation = await adopt(shelf)
    assert generation.number == 1
    for name, content in files.items():
        assert (shelf.directory / name).is_symlink()
        assert (shelf.directory / name).read_bytes() == content
        assert (shelf.directory / ".found" / name).read_bytes() == content
    disk = await shelf.restart().read()
    assert disk.current == generation
    assert disk.key == generation.leaf.public_key
    assert (disk.damages, disk.trouble, disk.adoptable) == ((), "", None)


async def test_what_is_missing_is_rendered_beside(shelf: Shelf) -> None:
    """A keystore alone is enough: the other formats are made of its key and chain."""
    files = put(shelf)
    for name in files.keys() - {"keystore.p12"}:
        (shelf.directory / name).unlink()
    generation = await adopt(shelf)
    assert (shelf.directory / "keystore.p12").read_bytes() == files["keystore.p12"]
    key = private_key.from_pem((shelf.directory / "tls.key").read_bytes())
    assert private_key.public_der(key) == generation.leaf.public_key
    assert pem.decode((shelf.directory / "ca.crt").read_bytes()) == (ROOT.certificate,)


async def test_a_file_of_another_leaf_is_not_taken_for_ours(shelf: Shelf) -> None:
    """A certificate that was forgotten beside a newer keystore is replaced, and preserved."""
    put(shelf)
    stranger = Ca.root("CN=Old").leaf(make_request(), make_key())
    (shelf.directory / "tls.crt").write_bytes(pem.encode((stranger,)))
    generation = await adopt(shelf)
    assert pem.decode((shelf.directory / "tls.crt").read_bytes()) == generation.chain
    assert pem.decode((shelf.directory / ".found" / "tls.crt").read_bytes()) == (stranger,)


async def test_the_leaf_that_lasts_longest_counts(shelf: Shelf) -> None:
    """Two whole identities in one directory: the newer one."""
    put(shelf)
    link, key = ROOT.intermediate(), make_key()
    newer = link.leaf(make_request(), key, not_after=NOW + shelf.wanted.request.lifetime * 2)
    keystore = pkcs12.keystore(key, (newer, link.certificate), "kafka", "changeit")
    lay(shelf, "keystore.p12", keystore)
    assert (await adopt(shelf)).leaf == newer


async def test_a_truststore_that_is_held_is_carried_on(shelf: Shelf) -> None:
    """One that holds more than our sources is kept as it is, also through the next leaf."""
    put(shelf)
    more = pem.encode((ROOT.certificate, OTHER_ROOT.certificate))
    (shelf.directory / "ca.crt").write_bytes(more)
    assert (await adoptable(shelf)).anchors == (ROOT.certificate, OTHER_ROOT.certificate)
    generation = await adopt(shelf, carry=("ca.crt",))
    assert [file.name for file in generation.files if file.edited] == ["ca.crt"]
    assert (shelf.directory / "ca.crt").read_bytes() == more
    await shelf.publish(Cause.FILES, carry=("ca.crt",))
    assert (shelf.directory / "ca.crt").read_bytes() == more


@pytest.mark.parametrize("lost", ["tls.key", "tls.crt"])
async def test_half_an_identity_is_none(shelf: Shelf, lost: str) -> None:
    """A key without its leaf, or a leaf without its key."""
    files = put(shelf)
    for name in files.keys() - {"tls.key", "tls.crt"} | {lost}:
        (shelf.directory / name).unlink()
    assert (await shelf.store.read()).adoptable is None


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x30\x82\x01\x00", b"-----BEGIN PRIVATE KEY-----\n"])
async def test_garbage_is_nothing_to_take_over(shelf: Shelf, content: bytes) -> None:
    """It is preserved when links take its place, and stops nothing."""
    for name in NAMES:
        (shelf.directory / name).write_bytes(content)
    assert (await shelf.store.read()).adoptable is None
    await shelf.renew()
    assert (shelf.directory / ".found" / "tls.pem").read_bytes() == content


@pytest.mark.parametrize("name", ["keystore.p12", "truststore.p12"])
async def test_a_store_of_another_password_is_refused_before_a_ca_is_asked(shelf: Shelf, name: str) -> None:
    """Its reader knows a password that the settings do not, and would not open what took its place."""
    key = make_key()
    leaf = ROOT.leaf(make_request(), key)
    store = pkcs12.keystore(key, (leaf,), "kafka", "another-one") if name == "keystore.p12" else None
    lay(shelf, name, store or pkcs12.truststore((ROOT.certificate,), "another-one"))
    assert (await shelf.store.read()).adoptable is None
    with pytest.raises(StoreError, match="does not open as what it is to be"):
        await shelf.issue()


async def test_a_keystore_in_the_place_of_a_truststore_is_refused(shelf: Shelf) -> None:
    """Whoever copied it there trusts nobody by it, and its key would be where everybody reads."""
    lay(shelf, "truststore.p12", put(shelf)["keystore.p12"])
    with pytest.raises(StoreError, match="does not open as what it is to be"):
        await shelf.issue()


@pytest.mark.parametrize("role", ["tls.crt", "ca.crt"])
async def test_a_key_that_lies_where_everybody_reads_is_not_kept_there(shelf: Shelf, role: str) -> None:
    """A combined PEM under the name of the certificate, or of the anchors: rendered, and preserved."""
    files = put(shelf)
    secret = files["tls.pem"]
    if role == "ca.crt":
        secret += pem.encode((ROOT.certificate,))
    lay(shelf, role, secret, 0o600)
    await adopt(shelf)
    content = (shelf.directory / role).read_bytes()
    assert content != secret
    assert b"PRIVATE KEY" not in content
    assert (shelf.directory / ".found" / role).read_bytes() == secret
    assert (shelf.directory / ".found").stat().st_mode & 0o777 == 0o700


async def test_a_key_that_lies_in_an_edited_truststore_is_not_held(shelf: Shelf) -> None:
    """It would be written where everybody reads."""
    await shelf.renew()
    path = shelf.directory / ".current" / "ca.crt"
    path.chmod(0o644)
    path.write_bytes((shelf.directory / "tls.pem").read_bytes())
    assert [damage.damage for damage in (await shelf.store.read()).damages] == [Damage.ALTERED]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
@pytest.mark.parametrize(("owner", "group", "mode"), [(1, 0, 0o400), (0, 1, 0o640), (0, 0, 0o644), (65534, 1, 0o600)])
async def test_nobody_is_shut_out_by_a_taking_over(shelf: Shelf, owner: int, group: int, mode: int) -> None:
    """Who reads the key now could not read 0400 of root: the settings have to say who may."""
    put(shelf)
    (shelf.directory / "tls.key").chmod(mode)
    os.chown(shelf.directory / "tls.key", owner, group)
    with pytest.raises(StoreError, match="would be 0400") as caught:
        await adopt(shelf)
    assert "say who reads it" in caught.value.diagnosis()
    assert not (shelf.directory / ".current").exists()
    told = replace(shelf.wanted, files=tuple(replace(one, access=Access(mode=0o400)) for one in shelf.wanted.files))
    shelf.restart(wanted=told)
    await adopt(shelf)


async def test_a_key_in_the_clear_is_not_kept_where_a_password_is_set(shelf: Shelf) -> None:
    """What the settings want encrypted is encrypted from the first generation on."""
    put(shelf)
    guarded = PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt", StorePassword(Secret(shelf.password)))
    shelf.restart(wanted=replace(shelf.wanted, files=(guarded,)))
    await adopt(shelf)
    for name in ("tls.key", "tls.pem"):
        content = (shelf.directory / name).read_bytes()
        assert b"ENCRYPTED PRIVATE KEY" in content
        private_key.from_pem(content, "changeit")


async def test_a_truststore_that_lacks_an_anchor_gains_it(shelf: Shelf) -> None:
    """One that holds less than the sources is rendered: it loses nothing."""
    put(shelf)
    found = await adoptable(shelf)
    anchors = (ROOT.certificate, OTHER_ROOT.certificate)
    draft = Draft(Cause.ADOPTED, shelf.wanted.request, "", found.chain, anchors, found.leaf.not_before)
    generation, damages = await shelf.store.adopt(draft, now=NOW)
    assert damages == ()
    await shelf.store.switch(generation.number)
    assert pem.decode((shelf.directory / "ca.crt").read_bytes()) == anchors
    assert not any(file.edited for file in generation.files)


async def test_a_keystore_of_several_entries_is_told_of(shelf: Shelf) -> None:
    """A broker that runs compares the number of entries, and ours have one."""
    put(shelf)
    assert (await adoptable(shelf)).remarks == ()
    key = make_key()
    leaf = ROOT.leaf(make_request(), key)
    lay(shelf, "kafka.jks", two_entries(key, leaf))
    shelf.restart(wanted=replace(shelf.wanted, files=(JksFiles(StorePassword(Secret(shelf.password)), "kafka.jks"),)))
    (remark,) = (await adoptable(shelf)).remarks
    assert "kafka.jks holds 2 entries" in remark
    assert "until it is restarted" in remark


def two_entries(key: PrivateKey, leaf: Certificate) -> bytes:
    """Return a keystore with the CA's certificate beside the key, as Kafka's own guide makes it."""
    own = jks.keystore(key, (leaf,), "kafka1", "changeit", now=NOW)[:-20]
    trusted = jks.truststore((ROOT.certificate,), "changeit", now=NOW)[12:-20]
    both = own[:8] + (2).to_bytes(4) + own[12:] + trusted
    password = "changeit".encode("utf-16-be")
    return both + hashlib.sha1(password + b"Mighty Aphrodite" + both, usedforsecurity=False).digest()


async def test_files_that_change_meanwhile_are_looked_at_again(shelf: Shelf) -> None:
    """What was decided about is what is taken over, or nothing."""
    put(shelf)
    found = await adoptable(shelf)
    put(shelf)
    draft = Draft(Cause.ADOPTED, shelf.wanted.request, "", found.chain, (ROOT.certificate,), NOW)
    with pytest.raises(StoreError, match="have changed"):
        await shelf.store.adopt(draft, now=NOW)


@pytest.mark.parametrize("target", ["/etc/letsencrypt/live/kafka/fullchain.pem", "elsewhere"])
async def test_a_strangers_link_is_refused_before_a_ca_is_asked(shelf: Shelf, target: str) -> None:
    """Somebody else keeps that path: the agent says so and leaves it; nor does it switch over its head."""
    (shelf.directory / "tls.pem").symlink_to(target)
    await shelf.store.read()
    with pytest.raises(StoreError, match="has not made") as caught:
        await shelf.issue()
    assert "move it away" in caught.value.diagnosis()
    assert str((shelf.directory / "tls.pem").readlink()) == target


async def test_a_strangers_link_at_a_new_name_is_refused_too(shelf: Shelf) -> None:
    """An identity that has a generation is told to write another file, where somebody else has a link."""
    await shelf.renew()
    (shelf.directory / "other.pem").symlink_to("/etc/hosts")
    shelf.restart(wanted=replace(shelf.wanted, files=(*shelf.wanted.files, PemFiles(combined="other.pem"))))
    with pytest.raises(StoreError, match="has not made"):
        await shelf.issue()
    with pytest.raises(StoreError, match="has not made"):
        await shelf.publish(Cause.FILES)
    assert str((shelf.directory / "other.pem").readlink()) == "/etc/hosts"


@pytest.mark.parametrize("name", [".current", ".found", "tls.pem"])
async def test_what_stands_in_the_way_is_told_before_a_ca_is_asked(shelf: Shelf, name: str) -> None:
    """A directory where a link belongs, a link where a folder does: nothing is removed behind anybody's back."""
    if name == ".found":
        (shelf.directory / name).symlink_to("/tmp")  # noqa: S108 - nothing is written there
    else:
        (shelf.directory / name).mkdir()
    with pytest.raises(StoreError, match="is a directory" if name == "tls.pem" else "is not what the agent has made"):
        await shelf.issue()
    assert not (shelf.directory / ".pending").exists()


async def test_a_link_in_the_place_of_the_generations_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    """No key is ever written to where somebody else's link leads."""
    (tmp_path / "elsewhere").mkdir()
    (shelf.directory / ".generations").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        await shelf.stage()
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_reader_never_misses_a_file_while_it_is_taken_over(shelf: Shelf) -> None:
    """One loops over the path from before the first link to after the last."""
    files = put(shelf)
    troubles: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            for name, content in files.items():
                try:
                    assert (shelf.directory / name).read_bytes() == content
                except (OSError, AssertionError) as error:
                    troubles.append(f"{name}: {error!r}")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        await adopt(shelf)
    finally:
        stop.set()
        reader.join()
    assert troubles == []


async def test_a_file_that_cannot_have_a_second_name_is_copied(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel denies it to files of others (fs.protected_hardlinks); the copy is for nobody else to read."""
    (shelf.directory / "tls.pem").write_text("theirs")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", denied)
    await shelf.renew()
    assert (shelf.directory / ".found" / "tls.pem").read_text() == "theirs"
    assert (shelf.directory / ".found" / "tls.pem").stat().st_mode & 0o777 == 0o600


async def test_the_same_content_is_preserved_once(shelf: Shelf) -> None:
    """Whatever lays the same file down again and again fills no folder."""
    await shelf.renew()
    for _ in range(5):
        (shelf.directory / "tls.crt").unlink()
        (shelf.directory / "tls.crt").write_text("laid down by a tool")
        await shelf.store.switch(1)
    assert [path.name for path in (shelf.directory / ".found").iterdir()] == ["tls.crt"]


async def test_others_can_pass_through_whatever_the_umask(shelf: Shelf) -> None:
    """A unit's umask of 077 keeps nobody from files whose mode lets them in."""
    shelf.directory.rmdir()
    before = os.umask(0o077)
    try:
        await shelf.renew()
    finally:
        os.umask(before)
    folders = (shelf.directory, shelf.directory / ".generations", (shelf.directory / ".current").resolve())
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o755] * 3


async def test_a_jks_keystore_is_taken_over(shelf: Shelf) -> None:
    """What keytool made for years is read with the password that the settings name."""
    link, key = ROOT.intermediate(), make_key()
    leaf = link.leaf(make_request(), key)
    content = jks.keystore(key, (leaf, link.certificate, ROOT.certificate), "kafka1", "changeit", now=NOW)
    lay(shelf, "kafka.jks", content)
    password = StorePassword(Secret(shelf.password))
    wanted = replace(
        shelf.wanted,
        files=(
            JksFiles(password, "kafka.jks", "trust.jks"),
            Pkcs12Files(password, "keystore.p12"),
            PemFiles(combined="tls.pem"),
        ),
    )
    shelf.restart(wanted=wanted)
    generation = await adopt(shelf)
    assert generation.leaf == leaf
    assert generation.chain == (leaf, link.certificate)
    assert (shelf.directory / "kafka.jks").read_bytes() == content
    assert jks.read_truststore((shelf.directory / "trust.jks").read_bytes(), "changeit") == (ROOT.certificate,)


async def test_a_pair_that_does_not_fit_is_rendered(shelf: Shelf) -> None:
    """A combined file with our chain and somebody else's key: whoever put it there made a mistake."""
    files = put(shelf)
    lay(shelf, "tls.pem", files["tls.crt"] + private_key.to_pem(make_key()))
    generation = await adopt(shelf)
    key = private_key.from_pem((shelf.directory / "tls.pem").read_bytes())
    assert private_key.public_der(key) == generation.leaf.public_key


async def test_the_first_generation_has_another_time_than_the_files_before_it(shelf: Shelf) -> None:
    """A broker that has loaded them reads what takes their place."""
    files = put(shelf)
    before = int(NOW.timestamp() * 1000)
    for name in files:
        os.utime(shelf.directory / name, ns=(before * 10**6, before * 10**6))
    await adopt(shelf)
    assert all((shelf.directory / name).stat().st_mtime_ns // 10**6 != before for name in files)


async def test_a_link_that_comes_in_between_is_refused(shelf: Shelf) -> None:
    """What was looked at is not what is there any more."""
    put(shelf)
    found = await adoptable(shelf)
    (shelf.directory / "tls.pem").unlink()
    (shelf.directory / "tls.pem").symlink_to("/etc/hosts")
    draft = Draft(Cause.ADOPTED, shelf.wanted.request, "", found.chain, (ROOT.certificate,), NOW)
    with pytest.raises(StoreError, match="has not made"):
        await shelf.store.adopt(draft, now=NOW)
    assert not list((shelf.directory / ".generations").glob("*"))
