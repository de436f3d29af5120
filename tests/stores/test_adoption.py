"""Plain files that stand where the links belong, on a real disk: found, taken over, replaced without a gap."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.files import JksFiles, PemFiles, Pkcs12Files, StorePassword
from agent.core.generation import Cause, Draft
from agent.core.secret import Secret
from agent.errors import StoreError
from agent.keystores import jks, pem, pkcs12, private_key
from tests.material import NOW, Ca, make_key, make_request
from tests.stores.shelf import NAMES, OTHER_ROOT, ROOT, Shelf

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.generation import Adoptable, Generation


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
        (shelf.directory / name).write_bytes(content)
    return files


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
    (shelf.directory / "keystore.p12").write_bytes(keystore)
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


async def test_another_password_opens_nothing(shelf: Shelf) -> None:
    """A keystore whose password the settings do not know is preserved, no more."""
    key = make_key()
    leaf = ROOT.leaf(make_request(), key)
    (shelf.directory / "keystore.p12").write_bytes(pkcs12.keystore(key, (leaf,), "kafka", "another-one"))
    assert (await shelf.store.read()).adoptable is None


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
    """Somebody else keeps that path: the agent says so and leaves it."""
    (shelf.directory / "tls.pem").symlink_to(target)
    await shelf.store.read()
    with pytest.raises(StoreError, match="has not made") as caught:
        await shelf.issue()
    assert "move it away" in caught.value.diagnosis()
    assert str((shelf.directory / "tls.pem").readlink()) == target


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


async def test_a_jks_keystore_is_taken_over(shelf: Shelf) -> None:
    """What keytool made for years is read with the password that the settings name."""
    link, key = ROOT.intermediate(), make_key()
    leaf = link.leaf(make_request(), key)
    content = jks.keystore(key, (leaf, link.certificate, ROOT.certificate), "kafka1", "changeit", now=NOW)
    (shelf.directory / "kafka.jks").write_bytes(content)
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
