"""The store of an identity on a real disk: what is written, read, switched and held."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.files import Access, PemFiles
from agent.core.generation import Cause, Damage, Issued
from agent.core.record import Record
from agent.core.rotation_record import RotationRecord
from agent.errors import StoreError
from agent.keystores import pem, pkcs12, private_key
from tests.material import NOW
from tests.stores.shelf import INTERMEDIATE, NAMES, OTHER_ROOT, ROOT, Shelf

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An identity whose directory does not exist yet."""
    return Shelf(tmp_path)


def modes(shelf: Shelf) -> dict[str, int]:
    """Return the modes of the files that readers open."""
    return {name: (shelf.directory / name).stat().st_mode & 0o777 for name in NAMES}


async def test_an_empty_directory_is_empty_and_stays_so(shelf: Shelf) -> None:
    """Reading makes nothing."""
    disk = await shelf.store.read()
    assert (disk.current, disk.kept, disk.pending, disk.damages, disk.trouble) == (None, (), None, (), "")
    assert await shelf.store.load() == Record()
    assert not shelf.directory.exists()


async def test_a_renewal_makes_every_file_of_one_leaf(shelf: Shelf) -> None:
    """Split, combined, PKCS12 and the truststores: one key, one chain, the anchors."""
    generation = await shelf.renew()
    disk = await shelf.store.read()
    assert disk.current == generation
    assert disk.key == generation.leaf.public_key
    assert disk.damages == ()
    assert disk.pending is None
    folder = shelf.directory
    assert shelf.leaf() == generation.leaf
    assert pem.decode((folder / "tls.crt").read_bytes()) == generation.chain
    key, chain = pkcs12.read_keystore((folder / "keystore.p12").read_bytes(), "changeit")
    assert chain == generation.chain
    assert private_key.public_der(key) == generation.leaf.public_key
    assert pem.decode((folder / "ca.crt").read_bytes()) == (ROOT.certificate,)
    assert pkcs12.read_truststore((folder / "truststore.p12").read_bytes(), "changeit") == (ROOT.certificate,)


async def test_a_restart_reads_what_was_written(shelf: Shelf) -> None:
    """Another process finds the same generation, key and notes."""
    generation = await shelf.renew()
    record = Record(reloaded=1, settled=1, demanded=True)
    await shelf.store.save(record)
    store = shelf.restart()
    assert (await store.read()).current == generation
    assert (await store.read()).key == generation.leaf.public_key
    assert await store.load() == record


async def test_files_with_a_key_are_for_their_owner_alone(shelf: Shelf) -> None:
    """0400 with a key or a password, 0444 without."""
    await shelf.renew()
    assert modes(shelf) == {
        "tls.crt": 0o444,
        "tls.key": 0o400,
        "tls.pem": 0o400,
        "ca.crt": 0o444,
        "keystore.p12": 0o400,
        "truststore.p12": 0o444,
    }
    assert (shelf.directory / ".state.json").exists() is False


async def test_a_set_mode_holds_whatever_the_umask(tmp_path: Path) -> None:
    """The settings' mode is the file's."""
    before = os.umask(0o077)
    try:
        shelf = Shelf(tmp_path, access=Access(mode=0o440))
        await shelf.renew()
    finally:
        os.umask(before)
    assert modes(shelf)["tls.key"] == 0o440
    assert modes(shelf)["ca.crt"] == 0o440


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_owner_and_group_are_set(tmp_path: Path) -> None:
    """Names become numbers; one that is unknown is a failure of the store."""
    shelf = Shelf(tmp_path, access=Access(owner="nobody", group="daemon"))
    await shelf.renew()
    status = (shelf.directory / "tls.key").stat()
    assert (status.st_uid, status.st_gid) == (65534, 1)
    wanted = replace(shelf.wanted, files=(PemFiles(combined="tls.pem", access=Access(owner="no-such-user")),))
    shelf.restart(wanted=wanted)
    with pytest.raises(StoreError, match="no such owner"):
        await shelf.stage()


async def test_the_pending_key_is_on_disk_before_a_ca_is_asked(shelf: Shelf) -> None:
    """Key, CSR and token are taken up again by the next process, for the same question."""
    await shelf.store.read()
    first = await shelf.store.begin(shelf.wanted.request, "ca", now=NOW, reuse_key=False)
    assert (shelf.directory / ".pending").stat().st_mode & 0o777 == 0o600
    store = shelf.restart()
    assert (await store.read()).pending == first
    assert await store.begin(shelf.wanted.request, "ca", now=NOW, reuse_key=False) == first
    assert (await store.begin(shelf.wanted.request, "other", now=NOW, reuse_key=False)).token != first.token


async def test_an_answer_is_kept_until_it_is_dropped(shelf: Shelf) -> None:
    """A crash after the answer finds it; once used it is gone, with the key."""
    draft = await shelf.issue()
    disk = await shelf.restart().read()
    assert disk.pending is not None
    assert disk.pending.issued is not None
    assert disk.pending.issued.certificates == draft.chain
    await shelf.store.drop_pending()
    await shelf.store.drop_pending()
    assert (await shelf.store.read()).pending is None
    assert not (shelf.directory / ".pending").exists()


async def test_a_staged_generation_is_seen_by_nobody_until_the_switch(shelf: Shelf) -> None:
    """Readers find the old leaf until one rename, then the new one."""
    first = await shelf.renew()
    second, damages = await shelf.stage()
    assert damages == ()
    assert shelf.leaf() == first.leaf
    await shelf.store.switch(second.number)
    assert shelf.leaf() == second.leaf
    assert (shelf.directory / ".current").readlink().name == f"{second.number:06d}"


async def test_a_discarded_generation_is_gone(shelf: Shelf) -> None:
    """The current one cannot be discarded."""
    first = await shelf.renew()
    second, _ = await shelf.stage()
    await shelf.store.discard(second.number)
    assert (await shelf.store.read()).kept == ()
    with pytest.raises(StoreError, match="is current"):
        await shelf.store.discard(first.number)


async def test_the_last_three_generations_are_kept(shelf: Shelf) -> None:
    """Older ones go, and numbers are never used again."""
    generations = [await shelf.renew() for _ in range(5)]
    assert [generation.number for generation in generations] == [1, 2, 3, 4, 5]
    disk = await shelf.store.read()
    assert [generation.number for generation in disk.kept] == [4, 3]
    await shelf.store.switch(3)
    disk = await shelf.store.read()
    assert disk.current == generations[2]
    assert [generation.number for generation in disk.kept] == [5, 4]
    await shelf.store.load()
    await shelf.store.save(Record(refuted=9))
    assert (await shelf.renew()).number == 10


async def test_a_key_is_kept_where_it_is_wanted(shelf: Shelf) -> None:
    """With `reuse` the next leaf is for the same key, else for another."""
    first = await shelf.renew()
    second = await shelf.renew(reuse_key=True)
    third = await shelf.renew()
    assert first.leaf.public_key == second.leaf.public_key != third.leaf.public_key


async def test_rendering_again_keeps_key_and_leaf(shelf: Shelf) -> None:
    """A generation for its files is made from the current key, never from a pending one."""
    first = await shelf.renew()
    await shelf.issue()
    second = await shelf.publish(Cause.FILES)
    assert second.leaf == first.leaf
    assert (await shelf.store.read()).key == first.leaf.public_key


@pytest.mark.parametrize("name", NAMES)
async def test_a_lost_file_is_missed(shelf: Shelf, name: str) -> None:
    """Each file of the manifest is looked for; the key is found while any file holds it."""
    generation = await shelf.renew()
    (shelf.directory / ".current" / name).unlink()
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [(name, Damage.MISSING)]
    assert disk.key == generation.leaf.public_key
    await shelf.publish(Cause.FILES)
    assert (await shelf.store.read()).damages == ()


@pytest.mark.parametrize("name", NAMES)
async def test_an_altered_file_is_found(shelf: Shelf, name: str) -> None:
    """Garbage is no truststore that a person edited."""
    await shelf.renew()
    path = shelf.directory / ".current" / name
    path.chmod(0o600)
    path.write_bytes(b"-----BEGIN NONSENSE-----\n" * 10)
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [(name, Damage.ALTERED)]


async def test_a_lost_key_is_told(shelf: Shelf) -> None:
    """When no file yields the key any more, there is none."""
    await shelf.renew()
    for name in ("tls.key", "tls.pem", "keystore.p12"):
        (shelf.directory / ".current" / name).unlink()
    disk = await shelf.store.read()
    assert disk.current is not None
    assert disk.key is None
    with pytest.raises(StoreError, match="key of the current generation is lost"):
        await shelf.publish(Cause.FILES)


async def test_another_store_password_is_noticed(shelf: Shelf) -> None:
    """Stores that no longer open with the password that is set are rendered again."""
    await shelf.renew()
    assert (await shelf.store.read()).damages == ()
    shelf.password.write_text("another-password")
    disk = await shelf.store.read()
    assert {damage.name for damage in disk.damages} == {"keystore.p12", "truststore.p12"}
    assert disk.key is not None
    await shelf.publish(Cause.FILES)
    assert (await shelf.store.read()).damages == ()
    pkcs12.read_keystore((shelf.directory / "keystore.p12").read_bytes(), "another-password")


@pytest.mark.parametrize("how", ["in place", "in place of the link"])
@pytest.mark.parametrize("name", ["ca.crt", "truststore.p12"])
async def test_an_edited_truststore_is_held_and_carried(shelf: Shelf, name: str, how: str) -> None:
    """What a person wrote is told of, taken over byte for byte, also through the next leaf."""
    await shelf.renew()
    anchors = (ROOT.certificate, OTHER_ROOT.certificate)
    edited = pem.encode(anchors) if name == "ca.crt" else pkcs12.truststore(anchors, "changeit")
    if how == "in place":
        path = shelf.directory / ".current" / name
        path.chmod(0o644)
        path.write_bytes(edited)
    else:
        (shelf.directory / "new").write_bytes(edited)
        (shelf.directory / "new").replace(shelf.directory / name)
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [(name, Damage.EDITED_TRUSTSTORE)]
    for cause in (Cause.FILES, Cause.ANCHORS):
        await shelf.publish(cause, carry=(name,))
        assert (shelf.directory / name).read_bytes() == edited
        assert (shelf.directory / name).is_symlink()
        disk = await shelf.store.read()
        assert disk.damages == ()
        assert disk.current is not None
        assert [file.name for file in disk.current.files if file.edited] == [name]
    await shelf.publish(Cause.FILES)
    assert (shelf.directory / name).read_bytes() != edited


@pytest.mark.parametrize("how", ["gone", "elsewhere", "plain file"])
async def test_a_wrong_link_is_put_right(shelf: Shelf, how: str) -> None:
    """The stable paths lead to what is current; what stood there is kept."""
    generation = await shelf.renew()
    path = shelf.directory / "tls.crt"
    path.unlink()
    if how == "elsewhere":
        path.symlink_to("/etc/passwd")
    elif how == "plain file":
        path.write_text("a person's own")
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [("tls.crt", Damage.WRONG_LINK)]
    await shelf.store.switch(generation.number)
    assert (await shelf.store.read()).damages == ()
    if how == "plain file":
        assert (shelf.directory / ".found" / "tls.crt").read_text() == "a person's own"


async def test_plain_files_of_an_earlier_life_are_preserved(shelf: Shelf) -> None:
    """Each is kept once under `.found`, a second one beside it."""
    shelf.directory.mkdir()
    (shelf.directory / "tls.pem").write_text("old")
    await shelf.renew()
    assert (shelf.directory / ".found" / "tls.pem").read_text() == "old"
    (shelf.directory / "tls.pem").unlink()
    (shelf.directory / "tls.pem").write_text("other")
    await shelf.store.switch(1)
    assert (shelf.directory / ".found" / "tls.pem.1").read_text() == "other"


async def test_a_directory_in_the_place_of_a_file_is_told(shelf: Shelf) -> None:
    """It is not removed behind anybody's back, and nothing is switched half-way."""
    generation, _ = await shelf.stage()
    (shelf.directory / "tls.pem").mkdir()
    with pytest.raises(StoreError, match="is a directory"):
        await shelf.store.switch(generation.number)
    assert not (shelf.directory / ".current").is_symlink()


async def test_a_link_that_is_no_longer_wanted_goes(shelf: Shelf) -> None:
    """Other wanted files leave no dangling paths; a stranger's link is left alone."""
    await shelf.renew()
    (shelf.directory / "theirs").symlink_to("/etc/hosts")
    layout = shelf.store.layout
    shelf.restart(wanted=replace(shelf.wanted, files=(PemFiles(combined="all.pem"),)))
    assert shelf.store.layout != layout
    await shelf.publish(Cause.FILES)
    links = sorted(path.name for path in shelf.directory.iterdir() if path.is_symlink())
    assert links == [".current", "all.pem", "theirs"]


@pytest.mark.slow
async def test_the_paths_of_readers_are_never_missing(shelf: Shelf) -> None:
    """Through a hundred switches a looping reader always finds a whole combined file."""
    await shelf.renew()
    troubles: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            try:
                content = (shelf.directory / "tls.pem").read_bytes()
                leaf = pem.decode(content)[0]
                assert private_key.public_der(private_key.from_pem(content)) == leaf.public_key
            except Exception as error:  # noqa: BLE001 - whatever a reader meets counts
                troubles.append(repr(error))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(30):
            await shelf.renew()
            for number in (disk.number for disk in (await shelf.store.read()).kept[:1]):
                await shelf.store.switch(number)
    finally:
        stop.set()
        reader.join()
    assert troubles == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 99}', b"\xff" * 50])
async def test_a_corrupt_manifest_is_told_and_replaced(shelf: Shelf, content: bytes) -> None:
    """A generation that cannot be read is none; the next one is written beside it."""
    await shelf.renew()
    path = shelf.directory / ".current" / "generation.json"
    path.chmod(0o644)
    path.write_bytes(content)
    disk = await shelf.restart().read()
    assert disk.current is None
    assert "cannot be read" in disk.trouble
    generation = await shelf.renew()
    assert generation.number == 2
    assert (await shelf.store.read()).current == generation


@pytest.mark.parametrize("target", ["/etc", ".generations/000099", "../elsewhere", "nowhere"])
async def test_a_current_link_that_leads_elsewhere_is_told(shelf: Shelf, target: str) -> None:
    """Only our own generations are current; whole ones are offered for a way back."""
    generation = await shelf.renew()
    (shelf.directory / ".current").unlink()
    (shelf.directory / ".current").symlink_to(target)
    disk = await shelf.store.read()
    assert disk.current is None
    assert disk.trouble
    assert disk.kept == (generation,)
    await shelf.store.switch(generation.number)
    assert (await shelf.store.read()).current == generation


async def test_a_generation_that_was_damaged_is_not_gone_back_to(shelf: Shelf) -> None:
    """What was changed within an old generation is noticed before a switch to it."""
    first = await shelf.renew()
    await shelf.renew()
    assert (await shelf.store.read()).kept == (first,)
    path = shelf.directory / ".generations" / "000001" / "tls.key"
    path.chmod(0o600)
    path.write_text("gone")
    with pytest.raises(StoreError, match="no longer whole"):
        await shelf.store.switch(1)
    assert (await shelf.restart().read()).kept == ()


@pytest.mark.parametrize("name", ["tls.pem", "generation.json"])
async def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(shelf: Shelf, name: str) -> None:
    """A FIFO would be waited for for ever."""
    await shelf.renew()
    path = shelf.directory / ".current" / name
    path.unlink()
    os.mkfifo(path)
    disk = await shelf.store.read()
    assert disk.trouble or disk.damages


async def test_a_huge_file_is_not_read(shelf: Shelf) -> None:
    """A file of many gigabytes (a sparse one, say) is altered, whatever it holds."""
    await shelf.renew()
    path = shelf.directory / ".current" / "tls.crt"
    path.chmod(0o644)
    with path.open("wb") as stream:
        stream.truncate(10 * 1024**4)
    disk = await shelf.store.read()
    assert [(damage.name, damage.damage) for damage in disk.damages] == [("tls.crt", Damage.ALTERED)]


async def test_orphans_of_a_crash_are_cleaned_at_start(shelf: Shelf) -> None:
    """Unfinished files, links and folders go; a reader that only looks leaves them."""
    await shelf.renew()
    whole = shelf.listing()
    (shelf.directory / ".new-.current").symlink_to("nowhere")
    (shelf.directory / "..state.json.0123456789abcdef.tmp").write_text("{")
    (shelf.directory / ".generations" / ".new-000002").mkdir()
    (shelf.directory / ".generations" / ".new-000002" / "tls.key").write_text("half")
    littered = shelf.listing()
    await shelf.restart(read_only=True).read()
    assert shelf.listing() == littered
    await shelf.restart().read()
    assert shelf.listing() == whole


async def test_garbage_in_the_notes_is_set_aside(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """They are kept for a person, who is told; a pause may have been among them, so no CA changes until they act."""
    await shelf.renew()
    (shelf.directory / ".state.json").write_bytes(b"\x00\xff")
    (shelf.directory / ".pending").write_bytes(b"{}")
    store = shelf.restart()
    record = await store.load()
    assert record == Record(rotation=RotationRecord(forgotten=True))
    told = capsys.readouterr().out
    assert "the notes of an identity cannot be read" in told
    assert "cert-agent ca resume" in told
    assert (await store.read()).pending is None
    assert (shelf.directory / ".state.json.unreadable").read_bytes() == b"\x00\xff"


async def test_the_same_notes_are_not_written_again(shelf: Shelf) -> None:
    """An idle agent writes nothing."""
    await shelf.renew()
    await shelf.store.load()
    await shelf.store.save(Record(settled=1))
    before = (shelf.directory / ".state.json").stat().st_mtime_ns
    await shelf.store.save(Record(settled=1))
    assert (shelf.directory / ".state.json").stat().st_mtime_ns == before


OPENED: list[str] | None = None


def _note_opens(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and OPENED is not None:
        OPENED.append(str(arguments[0]))


sys.addaudithook(_note_opens)


async def test_a_look_at_what_has_not_changed_opens_no_file(shelf: Shelf) -> None:
    """Only names and times are looked at."""
    global OPENED  # noqa: PLW0603 - an audit hook cannot be taken back, so it asks
    await shelf.renew()
    await shelf.renew()
    await shelf.issue()
    await shelf.store.read()
    OPENED = []
    await shelf.store.read()
    opened, OPENED = OPENED, None
    assert [path for path in opened if str(shelf.folder) in path] == []


async def test_a_chain_that_is_not_ours_does_not_read_back(shelf: Shelf) -> None:
    """A leaf for another key is written and found out before anybody sees it."""
    await shelf.issue()
    stranger = INTERMEDIATE.leaf(shelf.wanted.request, INTERMEDIATE.key)
    draft = shelf.draft((stranger, INTERMEDIATE.certificate))
    try:
        _, damages = await shelf.store.stage(draft, now=NOW)
    except StoreError:
        return
    assert damages


# --- what a CA rotation asks of the disk -----------------------------------------------------


async def test_when_what_is_current_became_so_is_seen_on_disk(shelf: Shelf) -> None:
    """A switch dates it; neither a look, a restart, a note nor a generation that is only written does."""
    assert (await shelf.store.read()).switched_at is None
    before = datetime.now(UTC) - timedelta(seconds=1)
    await shelf.renew()
    first = (await shelf.store.read()).switched_at
    assert first is not None
    assert before <= first <= datetime.now(UTC)
    await asyncio.sleep(0.02)
    await shelf.stage()
    await shelf.store.save(Record(reloaded=1))
    assert (await shelf.restart().read()).switched_at == first
    await shelf.store.switch(2)
    second = (await shelf.store.read()).switched_at
    assert second is not None
    assert second > first
    await asyncio.sleep(0.02)
    await shelf.store.switch(1)
    back = (await shelf.store.read()).switched_at
    assert back is not None
    assert back > second


@pytest.mark.parametrize("name", ["ca.crt", "truststore.p12"])
async def test_what_an_edited_truststore_holds_is_read(shelf: Shelf, name: str) -> None:
    """As readers who open its stable path see it, now and after it was carried along; taken back it is none."""
    await shelf.renew()
    assert (await shelf.store.read()).edited == ()
    anchors = (OTHER_ROOT.certificate,)
    path = shelf.directory / ".current" / name
    path.chmod(0o644)
    path.write_bytes(pem.encode(anchors) if name == "ca.crt" else pkcs12.truststore(anchors, "changeit"))
    assert (await shelf.store.read()).edited == ((name, anchors),)
    await shelf.publish(Cause.FILES, carry=(name,))
    assert (await shelf.restart().read()).edited == ((name, anchors),)
    await shelf.publish(Cause.FILES)
    assert (await shelf.store.read()).edited == ()


async def test_an_edited_truststore_that_is_lost_again_is_a_damage_and_no_edit(shelf: Shelf) -> None:
    """What cannot be read holds nothing that anybody could rely on, and the look goes on."""
    await shelf.renew()
    path = shelf.directory / ".current" / "ca.crt"
    path.chmod(0o644)
    path.write_bytes(pem.encode((OTHER_ROOT.certificate,)))
    await shelf.publish(Cause.FILES, carry=("ca.crt",))
    carried = shelf.directory / ".current" / "ca.crt"
    carried.chmod(0o644)
    carried.write_bytes(b"-----BEGIN NONSENSE-----\n")
    disk = await shelf.store.read()
    assert disk.edited == ()
    assert [damage.damage for damage in disk.damages] == [Damage.ALTERED]
    (shelf.directory / ".current" / "ca.crt").unlink()
    disk = await shelf.store.read()
    assert (disk.edited, [damage.damage for damage in disk.damages]) == ((), [Damage.MISSING])


async def test_a_leaf_in_hand_can_be_shown_before_it_is_current(shelf: Shelf) -> None:
    """With its own key, leaf first, also by the next process; before the answer and after the switch there is none."""
    await shelf.renew()
    assert await shelf.store.candidate() is None
    await shelf.store.begin(shelf.wanted.request, "ca", now=NOW, reuse_key=False)
    assert await shelf.store.candidate() is None
    draft = await shelf.issue()
    shown = await shelf.restart().candidate()
    assert shown is not None
    assert shown.chain == draft.chain
    key = private_key.from_der(shown.key)
    assert private_key.public_der(key) == draft.chain[0].public_key
    in_use = await shelf.store.credentials(1)
    assert in_use.chain != shown.chain
    assert in_use.key != shown.key
    await shelf.store.drop_pending()
    assert await shelf.store.candidate() is None


async def test_a_leaf_in_hand_is_shown_leaf_first_whatever_order_the_ca_answered_in(shelf: Shelf) -> None:
    """A handshake needs the chain in its order; a root that came along is left to the peer."""
    await shelf.store.read()
    await shelf.store.load()
    pending = await shelf.store.begin(shelf.wanted.request, "ca", now=NOW, reuse_key=False)
    leaf, below = INTERMEDIATE.leaf_for(pending), INTERMEDIATE.intermediate("CN=Below")
    lower = below.leaf_for(pending)
    assert leaf != lower
    await shelf.store.keep_answer(pending, Issued((lower, INTERMEDIATE.certificate, below.certificate), NOW))
    shown = await shelf.store.candidate()
    assert shown is not None
    assert shown.chain == (lower, below.certificate, INTERMEDIATE.certificate)
