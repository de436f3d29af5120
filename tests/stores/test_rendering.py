"""The files of a generation: what is written, how it is told apart, and how it is opened again."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.files import Access, PemFiles, Pkcs12Files, StorePassword
from agent.core.secret import Secret
from agent.errors import MaterialError
from agent.keystores import pem, pkcs12, private_key
from agent.stores import rendering
from agent.stores.formats import Material
from tests.material import NOW, Ca, make_key, make_request
from tests.tools import need

if TYPE_CHECKING:
    from agent.core.files import Files

PASSWORD = "made up for the tests"  # noqa: S105 - it is
PEM = PemFiles(certificate="tls.crt", key="tls.key", combined="tls.pem", truststore="ca.crt")
NAMES = ("tls.crt", "tls.key", "tls.pem", "ca.crt", "keystore.p12", "truststore.p12")


def make_material() -> Material:
    """Make a key, a chain of two below an anchor, and another anchor."""
    root = Ca.root()
    intermediate = root.intermediate()
    key = make_key()
    chain = (intermediate.leaf(make_request(), key), intermediate.certificate)
    anchors = (root.certificate, Ca.root("CN=Other Root").certificate)
    return Material(key, chain, anchors, root.certificate, Path("/etc/kafka/ssl"), NOW)


@pytest.fixture(scope="module")
def material() -> Material:
    """Return material that all tests of this file only read."""
    return make_material()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Files, ...]:
    """Return settings that ask for every file of every format."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    stores = Pkcs12Files(
        password=StorePassword(Secret(file=tmp_path / "password")), keystore="keystore.p12", truststore="truststore.p12"
    )
    return (PEM, stores)


def rendered(files: tuple[Files, ...], material: Material) -> dict[str, bytes]:
    """Return the bytes of every file by its name."""
    return {file.name: file.content for file in rendering.render(files, material)}


def test_render_writes_every_wanted_file_once(files: tuple[Files, ...], material: Material) -> None:
    """All files come in the order of the settings, and what is not named is not written."""
    assert tuple(file.name for file in rendering.render(files, material)) == NAMES
    only = rendering.render((PemFiles(combined="tls.pem"),), material)
    assert [file.name for file in only] == ["tls.pem"]


def test_render_puts_into_each_file_what_its_reader_needs(files: tuple[Files, ...], material: Material) -> None:
    """Leaf and chain, key, both in one, and the anchors: nothing is missing and no anchor is in a chain."""
    contents = rendered(files, material)
    key = private_key.to_pem(material.key)
    assert contents["tls.crt"] == pem.encode(material.chain)
    assert contents["tls.key"] == key
    assert contents["tls.pem"] == key + pem.encode(material.chain)
    assert contents["ca.crt"] == pem.encode(material.anchors)

    read, chain = pkcs12.read_keystore(contents["keystore.p12"], PASSWORD)
    assert private_key.to_pem(read) == key
    assert chain == material.chain
    assert pkcs12.read_truststore(contents["truststore.p12"], PASSWORD) == material.anchors


def test_render_pairs_key_and_certificate_as_openssl_sees_it(
    files: tuple[Files, ...], material: Material, tmp_path: Path
) -> None:
    """The combined file serves OpenSSL as certificate and as key, and the chain verifies up to the truststore."""
    for name, content in rendered(files, material).items():
        (tmp_path / name).write_bytes(content)
    openssl = need("openssl")
    combined = tmp_path / "tls.pem"
    of_key = subprocess.run([openssl, "pkey", "-pubout", "-in", combined], capture_output=True, check=True)
    of_leaf = subprocess.run([openssl, "x509", "-noout", "-pubkey", "-in", combined], capture_output=True, check=True)
    assert of_key.stdout == of_leaf.stdout

    moment = str(int(material.chain[0].not_before.timestamp()) + 60)
    command: list[str | Path] = [openssl, "verify", "-attime", moment, "-CAfile", tmp_path / "ca.crt"]
    verified = subprocess.run(
        [*command, "-untrusted", combined, tmp_path / "tls.crt"], capture_output=True, check=False
    )
    assert verified.returncode == 0, verified.stderr


def test_render_guards_what_holds_the_key(files: tuple[Files, ...], material: Material) -> None:
    """Files with the private key are 0400 and marked secret, the rest 0444; truststores are marked."""
    secret = {"tls.key", "tls.pem", "keystore.p12"}
    for file in rendering.render(files, material):
        assert file.secret == (file.name in secret)
        assert file.mode == file.access.mode == (0o400 if file.secret else 0o444)
        assert file.truststore == (file.name in {"ca.crt", "truststore.p12"})


def test_render_takes_owner_and_mode_from_the_settings(material: Material) -> None:
    """What the operator sets holds for every file of the group."""
    access = Access(owner="kafka", group="ssl", mode=0o440)
    for file in rendering.render((replace(PEM, access=access),), material):
        assert file.access == access
        assert file.mode == 0o440


def test_rendered_and_material_never_show_the_key(files: tuple[Files, ...], material: Material) -> None:
    """Neither repr holds anything of the key."""
    shown = repr(material) + "".join(map(repr, rendering.render(files, material)))
    assert "PRIVATE KEY" not in shown
    assert "PrivateKey" not in shown
    assert "content" not in shown


def test_render_refuses_an_empty_truststore(files: tuple[Files, ...], material: Material) -> None:
    """Without an anchor nothing is rendered, in either format; without a truststore none is missed."""
    bare = replace(material, anchors=())
    for group in files:
        with pytest.raises(MaterialError, match="no trust anchor"):
            rendering.render((group,), bare)
    assert rendering.render((PemFiles(combined="tls.pem"),), bare)


def test_render_tells_a_password_that_cannot_be_read(material: Material, tmp_path: Path) -> None:
    """A missing password file is named."""
    wanted = Pkcs12Files(password=StorePassword(Secret(file=tmp_path / "nowhere")), keystore="keystore.p12")
    with pytest.raises(MaterialError, match="nowhere"):
        rendering.render((wanted,), material)


def test_trouble_finds_none_in_what_was_rendered(files: tuple[Files, ...], material: Material) -> None:
    """Every file opens as it was meant."""
    for name, content in rendered(files, material).items():
        assert not rendering.trouble(files, name, content, material)
        assert not rendering.trouble_opening(files, name, content)


@pytest.mark.parametrize("name", NAMES)
def test_trouble_names_another_identity(files: tuple[Files, ...], material: Material, name: str) -> None:
    """A file of another key and CA opens, and is told from ours."""
    other = rendered(files, make_material())[name]
    assert rendering.trouble(files, name, other, material)
    assert not rendering.trouble_opening(files, name, other)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", [b"", b"\x30\x82", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_trouble_names_what_is_broken(files: tuple[Files, ...], material: Material, name: str, content: bytes) -> None:
    """Nothing, half a store and garbage in PEM are trouble in every format."""
    assert rendering.trouble(files, name, content, material)


@pytest.mark.parametrize("name", ["tls.crt", "tls.pem", "keystore.p12"])
def test_trouble_names_a_chain_that_is_not_whole(files: tuple[Files, ...], material: Material, name: str) -> None:
    """A leaf without its intermediate is trouble, although the key matches."""
    torn = rendered(files, replace(material, chain=material.chain[:1]))[name]
    assert "chain" in rendering.trouble(files, name, torn, material)


def test_trouble_names_a_chain_out_of_order(files: tuple[Files, ...], material: Material) -> None:
    """A chain whose leaf is not first is trouble: readers take the first as the leaf."""
    turned = pem.encode(tuple(reversed(material.chain)))
    assert "chain" in rendering.trouble(files, "tls.crt", turned, material)


@pytest.mark.parametrize("name", ["tls.key", "tls.pem"])
def test_trouble_names_another_key(files: tuple[Files, ...], material: Material, name: str) -> None:
    """The right chain with a wrong key is trouble."""
    mixed = rendered((PEM,), replace(material, key=make_key()))[name]
    assert "private key" in rendering.trouble(files, name, mixed, material)


def test_trouble_names_another_key_in_a_keystore(files: tuple[Files, ...], material: Material) -> None:
    """A keystore for the same names, of a key made anew, is trouble."""
    key = make_key()
    leaf = Ca.root().leaf(make_request(), key)
    other = rendered(files, replace(material, key=key, chain=(leaf,)))["keystore.p12"]
    assert "private key" in rendering.trouble(files, "keystore.p12", other, material)


def test_render_refuses_a_keystore_whose_key_is_not_the_leafs(files: tuple[Files, ...], material: Material) -> None:
    """What a CA signed for another key makes no keystore."""
    with pytest.raises(MaterialError, match="not that of the leaf"):
        rendering.render(files, replace(material, key=make_key()))


@pytest.mark.parametrize("name", ["ca.crt", "truststore.p12"])
def test_trouble_counts_anchors_that_are_missing_or_too_many(
    files: tuple[Files, ...], material: Material, name: str
) -> None:
    """Both are told: one anchor fewer is an outage to come, one more a door that nobody opened."""
    fewer = rendered(files, replace(material, anchors=material.anchors[:1]))[name]
    more = rendered(files, replace(material, anchors=(*material.anchors, Ca.root("CN=Third").certificate)))[name]
    assert "1 of 2 anchors are missing" in rendering.trouble(files, name, fewer, material)
    assert "none of the anchors" in rendering.trouble(files, name, more, material)


def test_trouble_opening_tells_a_password_that_changed(
    files: tuple[Files, ...], material: Material, tmp_path: Path
) -> None:
    """After the password was changed the stores are told, neither password with them, and PEM still opens."""
    contents = rendered(files, material)
    (tmp_path / "password").write_text("changed")
    troubles = {name: rendering.trouble_opening(files, name, content) for name, content in contents.items()}
    assert {name for name, trouble in troubles.items() if trouble} == {"keystore.p12", "truststore.p12"}
    assert not any(word in trouble for trouble in troubles.values() for word in (PASSWORD, "changed"))


@pytest.mark.parametrize("name", ["ca.crt", "truststore.p12"])
def test_read_anchors_reads_a_truststore_that_a_person_edited(
    files: tuple[Files, ...], material: Material, name: str
) -> None:
    """Whatever anchors are in it now, they are returned."""
    edited = (material.anchors[1], Ca.root("CN=Added by hand").certificate)
    content = rendered(files, replace(material, anchors=edited))[name]
    assert rendering.read_anchors(files, name, content) == edited


@pytest.mark.parametrize("name", ["ca.crt", "truststore.p12"])
@pytest.mark.parametrize("content", [b"", b"oops", b"-----BEGIN CERTIFICATE-----\n"])
def test_read_anchors_refuses_what_holds_none(files: tuple[Files, ...], name: str, content: bytes) -> None:
    """An emptied or broken truststore is no edit that could be kept."""
    with pytest.raises(MaterialError):
        rendering.read_anchors(files, name, content)


@pytest.mark.parametrize("name", ["tls.key", "tls.pem", "keystore.p12"])
def test_read_key_finds_the_key_in_any_file_that_carries_it(
    files: tuple[Files, ...], material: Material, name: str
) -> None:
    """One file with the key suffices, whichever it is, while the others are lost or altered."""
    contents = dict.fromkeys(NAMES, b"-----BEGIN PRIVATE KEY-----\nlost\n-----END PRIVATE KEY-----\n")
    contents |= {"keystore.p12": b"\x30lost", name: rendered(files, material)[name]}
    key = rendering.read_key(files, contents, public_key=material.chain[0].public_key)
    assert key is not None
    assert private_key.to_pem(key) == private_key.to_pem(material.key)


def test_read_key_passes_over_another_key(files: tuple[Files, ...], material: Material) -> None:
    """A whole key that is not the leaf's does not hide the right one behind it."""
    contents = rendered(files, material)
    contents |= {"tls.key": private_key.to_pem(make_key()), "tls.pem": b""}
    key = rendering.read_key(files, contents, public_key=material.chain[0].public_key)
    assert key is not None
    assert private_key.public_der(key) == material.chain[0].public_key


def test_read_key_needs_no_name_of_the_settings(files: tuple[Files, ...], material: Material) -> None:
    """After the operator named the files anew, or chose another format, the key of the old ones is still found."""
    contents = rendered(files, material)
    public_key = material.chain[0].public_key
    old_pem, old_store = {"old-name": contents["tls.pem"]}, {"old-name": contents["keystore.p12"]}
    assert rendering.read_key((files[1],), old_pem, public_key=public_key) is not None
    assert rendering.read_key(files, old_store, public_key=public_key) is not None
    assert rendering.read_key((PEM,), old_store, public_key=public_key) is None


def test_read_key_of_files_without_it_is_none(files: tuple[Files, ...], material: Material) -> None:
    """When only certificates and truststores are left the key is lost."""
    contents = rendered(files, material)
    left = {name: contents[name] for name in ("tls.crt", "ca.crt", "truststore.p12")}
    assert rendering.read_key(files, left, public_key=material.chain[0].public_key) is None


def test_layout_differs_with_all_that_a_reader_would_notice(files: tuple[Files, ...]) -> None:
    """Names, contents, formats, aliases, owners, groups and modes each give another digest."""
    stores = files[1]
    assert isinstance(stores, Pkcs12Files)
    variants: list[tuple[Files, ...]] = [
        files,
        (PEM,),
        (stores,),
        (replace(PEM, key="other.key"), stores),
        (replace(PEM, key="tls.crt", certificate="tls.key"), stores),
        (PemFiles(truststore="truststore.p12"),),
        (replace(stores, keystore=None),),
        (PEM, replace(stores, alias="other")),
        (replace(PEM, access=Access(owner="kafka")), stores),
        (replace(PEM, access=Access(group="kafka")), stores),
        (replace(PEM, access=Access(mode=0o440)), stores),
    ]
    assert len({rendering.layout(variant) for variant in variants}) == len(variants)


def test_layout_is_the_same_for_what_is_the_same(files: tuple[Files, ...], tmp_path: Path) -> None:
    """Neither the order of the settings nor the place of the password nor a default written out changes it."""
    stores = files[1]
    assert isinstance(stores, Pkcs12Files)
    wanted = rendering.layout(files)
    assert rendering.layout((stores, PEM)) == wanted
    assert rendering.layout((PEM, replace(stores, password=StorePassword(Secret(file=tmp_path / "moved"))))) == wanted
    assert rendering.layout((PemFiles(key="k", access=Access(mode=0o400)),)) == rendering.layout((PemFiles(key="k"),))


def run_python(program: str) -> str:
    """Run a program in a Python of its own, with another hash seed, and return what it printed."""
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_layout_is_stable_across_processes() -> None:
    """It is compared after a restart, so it comes out the same in another process with another hash seed."""
    program = """
        from agent.core.files import PemFiles
        from agent.stores import rendering
        print(rendering.layout((PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt"),)))
    """
    assert run_python(program) == rendering.layout((PEM,))


def test_is_truststore_tells_by_the_settings(files: tuple[Files, ...]) -> None:
    """Only files that the settings name as truststores are so."""
    assert {name for name in (*NAMES, "unknown") if rendering.is_truststore(files, name)} == {
        "ca.crt",
        "truststore.p12",
    }


def test_pem_alone_loads_no_pkcs12() -> None:
    """PKCS12 costs memory, so whoever has PEM files alone never loads it, from the rendering to the reading back."""
    program = """
        import sys
        from agent.core.files import PemFiles
        from pathlib import Path
        from agent.stores import rendering
        from agent.stores.formats import Material
        from tests.material import NOW, Ca, make_key, make_request
        root, key = Ca.root(), make_key()
        leaf = root.leaf(make_request(), key)
        material = Material(key, (leaf,), (root.certificate,), root.certificate, Path("/tls"), NOW)
        files = (PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt"),)
        contents = {file.name: file.content for file in rendering.render(files, material)}
        assert not any(rendering.trouble(files, name, content, material) for name, content in contents.items())
        assert rendering.read_key(files, contents, public_key=leaf.public_key)
        print([name for name in sys.modules if "pkcs12" in name and "_rust" not in name])
    """
    assert run_python(program) == "[]"
