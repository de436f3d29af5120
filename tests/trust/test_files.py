"""Anchors in files and folders: found, shared, renewed, and refused with a reason."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agent.core.anchors import Origin, Sighting
from agent.core.files import Encryption
from agent.core.secret import Secret
from agent.errors import TrustError
from agent.keystores import jks, pem, pkcs12, private_key
from agent.trust.files import MOST_FILES, FileAnchorSource
from tests.material import NOW, Ca, make_key, make_request
from tests.tools import need
from tests.trust.sources import anchors_of

PASSWORD = "correct horse battery"  # noqa: S105 - made up for the tests
ONE, TWO = Ca.root("CN=One"), Ca.root("CN=Two")


async def test_anchors_come_from_a_file(tmp_path: Path) -> None:
    """A file's certificates are its anchors, each once."""
    file = tmp_path / "ca.txt"
    file.write_bytes(b"a bundle\n" + pem.encode([ONE.certificate, TWO.certificate, ONE.certificate]))
    assert await anchors_of(FileAnchorSource(file)) == (ONE.certificate, TWO.certificate)


async def test_anchors_come_from_a_folder(tmp_path: Path) -> None:
    """A folder's certificates and stores are read by their names, other files and subfolders are not."""
    (tmp_path / "b.CRT").write_bytes(pem.encode([TWO.certificate]))
    (tmp_path / "a.pem").write_bytes(pem.encode([ONE.certificate]))
    (tmp_path / "c.pem").write_bytes(pem.encode([ONE.certificate]))
    (tmp_path / "README").write_text("not a certificate")
    (tmp_path / "old").mkdir()
    assert await anchors_of(FileAnchorSource(tmp_path)) == (ONE.certificate, TWO.certificate)


async def test_anchors_of_files_say_where_they_were_seen(tmp_path: Path) -> None:
    """By the path of the settings, a folder's its own: an operator is told what to look at."""
    (tmp_path / "a.pem").write_bytes(pem.encode([ONE.certificate]))
    for path in (tmp_path, tmp_path / "a.pem"):
        assert await FileAnchorSource(path).sightings() == (Sighting(ONE.certificate, str(path), Origin.FILE),)


async def test_anchors_may_be_intermediates(tmp_path: Path) -> None:
    """A CA below another is an anchor where an operator says so."""
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.intermediate().certificate]))
    assert len(await anchors_of(FileAnchorSource(tmp_path / "ca.pem"))) == 1


async def test_anchors_may_be_a_self_signed_leaf(tmp_path: Path) -> None:
    """A broker's self-signed certificate, CA:FALSE as it is, is trusted by itself."""
    request, key = make_request("CN=self"), make_key()
    (tmp_path / "ca.pem").write_bytes(pem.encode([Ca.root("CN=self", key=key).leaf(request, key)]))
    assert len(await anchors_of(FileAnchorSource(tmp_path / "ca.pem"))) == 1


async def test_anchors_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    """A file that is replaced gives its new anchors; one that is not gives the very same objects."""
    file = tmp_path / "ca.pem"
    file.write_bytes(pem.encode([ONE.certificate]))
    source = FileAnchorSource(file)
    first = await anchors_of(source)
    assert (await anchors_of(source))[0] is first[0]
    new = tmp_path / "new"
    new.write_bytes(pem.encode([TWO.certificate]))
    new.replace(file)
    assert await anchors_of(source) == (TWO.certificate,)


async def test_anchors_follow_a_link_that_is_switched(tmp_path: Path) -> None:
    """A mounted Kubernetes secret changes by a link far above the file."""
    for name, ca in (("1", ONE), ("2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.crt").write_bytes(pem.encode([ca.certificate]))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "ca.crt").symlink_to("..data/ca.crt")
    source = FileAnchorSource(tmp_path)
    assert await anchors_of(source) == (ONE.certificate,)
    (tmp_path / "new").symlink_to("2")
    (tmp_path / "new").rename(tmp_path / "..data")
    assert await anchors_of(source) == (TWO.certificate,)


async def test_anchors_are_shared_by_many_callers(tmp_path: Path) -> None:
    """A hundred identities at once have the file parsed once."""
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.certificate]))
    source = FileAnchorSource(tmp_path)
    answers = await asyncio.gather(*(anchors_of(source) for _ in range(100)))
    assert {id(answer[0]) for answer in answers} == {id(answers[0][0])}


async def test_anchors_come_back_when_the_file_does(tmp_path: Path) -> None:
    """A failure is no state: the next look reads what is there then."""
    source = FileAnchorSource(tmp_path / "ca.pem")
    with pytest.raises(TrustError):
        await anchors_of(source)
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.certificate]))
    assert await anchors_of(source) == (ONE.certificate,)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "holds no certificate"),
        (b"no PEM at all", "holds no certificate"),
        (ONE.certificate.der, "is DER, not PEM"),
        (pem.encode([ONE.certificate])[:-20], "cut short"),
        (
            pem.encode([ONE.certificate]) + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 2: not a certificate",
        ),
        (b" " * (pem.LARGEST_FILE + 1), "is larger than"),
        (
            pem.encode([ONE.certificate, ONE.leaf(make_request(), make_key(), not_after=None)]),
            r"certificate 2 \(.*CN=kafka1.example.com.*\) is no CA",
        ),
    ],
    ids=["empty", "text", "der", "cut", "garbage", "large", "leaf"],
)
@pytest.mark.parametrize("as_folder", [False, True])
async def test_anchors_refuse_a_bad_file_by_its_name(
    tmp_path: Path, content: bytes, what: str, as_folder: bool
) -> None:
    """What is wrong is said with the file, the block and what to do, and one bad file spoils the folder."""
    (tmp_path / "good.pem").write_bytes(pem.encode([TWO.certificate]))
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(TrustError, match=what) as caught:
        await anchors_of(FileAnchorSource(tmp_path if as_folder else file))
    assert str(file) in caught.value.what
    assert caught.value.advice


async def test_anchors_refuse_what_is_no_file(tmp_path: Path) -> None:
    """A missing path, an empty folder and a pipe are said; a pipe keeps nobody waiting."""
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (
        ("missing", "is not there"),
        ("empty", r"no file named \*\.crt, \*\.jks"),
        ("pipe", "is no file"),
    ):
        with pytest.raises(TrustError, match=what):
            await anchors_of(FileAnchorSource(tmp_path / name))


async def test_anchors_refuse_a_folder_that_never_ends(tmp_path: Path) -> None:
    """A folder with more files than any set of anchors has is a mistake."""
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.pem").touch()
    with pytest.raises(TrustError, match=f"holds {MOST_FILES + 1} files"):
        await anchors_of(FileAnchorSource(tmp_path))


async def test_anchors_refuse_what_may_not_be_read(tmp_path: Path) -> None:
    """A path that cannot be followed is said with its reason."""
    (tmp_path / "loop.pem").symlink_to("loop.pem")
    with pytest.raises(TrustError, match=r"loop\.pem cannot be read: Too many levels of symbolic links"):
        await anchors_of(FileAnchorSource(tmp_path / "loop.pem"))


async def test_anchors_do_not_care_for_dates(tmp_path: Path) -> None:
    """An expired anchor is what the operator put there; the proof judges dates."""
    old = Ca.root("CN=Old", not_after=ONE.certificate.not_before + timedelta(days=2))
    (tmp_path / "ca.pem").write_bytes(pem.encode([old.certificate]))
    assert await anchors_of(FileAnchorSource(tmp_path)) == (old.certificate,)


@pytest.fixture
def password(tmp_path: Path) -> Secret:
    """Return the password of the stores, in a file beside the folder of anchors."""
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return Secret(file)


def stores(*anchors: Ca) -> dict[str, bytes]:
    """Return the anchors in every format, by a name that does not tell which."""
    certificates = [anchor.certificate for anchor in anchors]
    return {
        "pem": pem.encode(certificates),
        "pkcs12": pkcs12.truststore(certificates, PASSWORD),
        "compatible": pkcs12.truststore(certificates, PASSWORD, Encryption.COMPATIBLE),
        "jks": jks.truststore(certificates, PASSWORD, now=NOW),
    }


@pytest.mark.parametrize("name", stores(ONE))
async def test_anchors_come_from_a_file_of_any_format(tmp_path: Path, password: Secret, name: str) -> None:
    """The bytes tell the format, not the name; a password that is not needed does no harm."""
    file = tmp_path / "cacerts"
    file.write_bytes(stores(ONE, TWO)[name])
    assert await anchors_of(FileAnchorSource(file, password)) == (ONE.certificate, TWO.certificate)


async def test_anchors_come_from_a_folder_of_every_format(tmp_path: Path, password: Secret) -> None:
    """Stores are read beside PEM, each anchor once; the one password is for all of them."""
    folder = tmp_path / "ca.d"
    folder.mkdir()
    three = Ca.root("CN=Three")
    (folder / "a.P12").write_bytes(stores(TWO)["pkcs12"])
    (folder / "b.pem").write_bytes(stores(TWO, ONE)["pem"])
    (folder / "c.jks").write_bytes(stores(ONE)["jks"])
    (folder / "d.pfx").write_bytes(stores(three)["compatible"])
    (folder / "e.jceks").write_bytes(b"not read")
    assert await anchors_of(FileAnchorSource(folder, password)) == (TWO.certificate, ONE.certificate, three.certificate)


async def test_anchors_of_a_jks_need_no_password(tmp_path: Path) -> None:
    """As to keytool, they are then unchecked; a PKCS12 that has a password says where to write it."""
    (tmp_path / "cacerts").write_bytes(stores(ONE)["jks"])
    assert await anchors_of(FileAnchorSource(tmp_path / "cacerts")) == (ONE.certificate,)
    (tmp_path / "cacerts").write_bytes(stores(ONE)["pkcs12"])
    with pytest.raises(TrustError, match=r"cacerts: .* does not open without a password") as caught:
        await anchors_of(FileAnchorSource(tmp_path / "cacerts"))
    assert "`password_file` or `password_environment` beside its path" in caught.value.advice


async def test_anchors_are_read_again_when_the_password_changes(tmp_path: Path, password: Secret) -> None:
    """A password that was wrong and is mended opens the store; one that became wrong is noticed."""
    assert password.file is not None
    file = tmp_path / "ca.p12"
    file.write_bytes(stores(ONE)["compatible"])
    source = FileAnchorSource(file, password)
    first = await anchors_of(source)
    assert (await anchors_of(source))[0] is first[0]
    password.file.write_text("another, which is wrong")
    with pytest.raises(TrustError, match=r"ca\.p12: .* does not open with its password") as caught:
        await anchors_of(source)
    assert "another" not in caught.value.diagnosis()
    password.file.write_text(PASSWORD)
    assert await anchors_of(source) == (ONE.certificate,)
    password.file.unlink()
    with pytest.raises(TrustError, match=r"ca\.p12: cannot read .*password") as caught:
        await anchors_of(source)
    assert "make the file" in caught.value.advice


async def test_anchors_take_the_password_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable does as well as a file."""
    monkeypatch.setenv("TRUST_PASSWORD", PASSWORD)
    (tmp_path / "ca.jks").write_bytes(stores(TWO)["jks"])
    source = FileAnchorSource(tmp_path / "ca.jks", Secret(environment="TRUST_PASSWORD"))
    assert await anchors_of(source) == (TWO.certificate,)


async def test_anchors_refuse_a_store_that_offers_none(tmp_path: Path, password: Secret) -> None:
    """A keystore in the place of a truststore, and a store with a leaf among the trusted, are told."""
    key = make_key()
    leaf = ONE.leaf(make_request(), key)
    file = tmp_path / "ca.store"
    for content in (
        pkcs12.keystore(key, (leaf,), "kafka", PASSWORD, Encryption.COMPATIBLE),
        jks.keystore(key, (leaf,), "kafka", PASSWORD, now=NOW),
    ):
        file.write_bytes(content)
        with pytest.raises(TrustError, match=r"ca\.store: it holds no trusted certificate") as caught:
            await anchors_of(FileAnchorSource(file, password))
        assert caught.value.advice
    file.write_bytes(jks.truststore((leaf,), PASSWORD, now=NOW))
    with pytest.raises(TrustError, match=r"certificate 1 \(.*\) is no CA"):
        await anchors_of(FileAnchorSource(file, password))


def export(folder: Path, password: Secret, *words: str) -> None:
    """Have OpenSSL make a PKCS12."""
    command = [need("openssl"), "pkcs12", "-export", *words, "-passout", f"file:{password.file}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


async def test_anchors_that_java_would_not_see_are_taken_and_told(
    tmp_path: Path, password: Secret, capsys: pytest.CaptureFixture[str]
) -> None:
    """A PKCS12 that OpenSSL made of CAs marks none as trusted: who names it means it, and hears of it once."""
    (tmp_path / "ca.pem").write_bytes(pem.encode([ONE.certificate, TWO.certificate]))
    export(tmp_path, password, "-nokeys", "-in", "ca.pem", "-out", "ca.p12")
    source = FileAnchorSource(tmp_path / "ca.p12", password)
    for _ in range(3):
        assert await anchors_of(source) == (ONE.certificate, TWO.certificate)
    told = capsys.readouterr().out
    assert told.count("not marked as trusted, so Java sees no entry in it") == 1
    assert str(tmp_path / "ca.p12") in told


async def test_the_cas_of_a_keystore_are_no_anchors(tmp_path: Path, password: Secret) -> None:
    """Whatever they are called: in a store with a key an anchor is what Java trusts, and it trusts none of them."""
    key = make_key()
    middle = ONE.intermediate("CN=Middle")
    (tmp_path / "key.pem").write_bytes(private_key.to_pem(key))
    (tmp_path / "all.pem").write_bytes(
        pem.encode([middle.leaf(make_request(), key), middle.certificate, ONE.certificate])
    )
    export(
        tmp_path,
        password,
        "-inkey",
        "key.pem",
        "-in",
        "all.pem",
        "-out",
        "k.p12",
        "-caname",
        "inter",
        "-caname",
        "root",
    )
    with pytest.raises(TrustError, match=r"k\.p12: it holds no trusted certificate"):
        await anchors_of(FileAnchorSource(tmp_path / "k.p12", password))


@pytest.mark.parametrize("change", ["longer", "as long"])
async def test_anchors_that_change_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Half an old file and half a new one are neither; the next look reads what is there then."""
    file, one, two = tmp_path / "ca.pem", pem.encode([ONE.certificate]), pem.encode([TWO.certificate])
    file.write_bytes(one)

    class Written(io.BufferedReader):
        """A file that somebody writes to between the first byte that is read and the last."""

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            time.sleep(0.01)  # the clock of a file moves in steps
            file.write_bytes(two + one if change == "longer" else bytes(len(one)))
            return content

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdopen", lambda descriptor, mode: Written(io.FileIO(descriptor, mode)))
        source = FileAnchorSource(file)
        with pytest.raises(TrustError, match=r"ca\.pem changed while it was read") as caught:
            await anchors_of(source)
        assert caught.value.advice
    file.write_bytes(two)
    assert await anchors_of(source) == (TWO.certificate,)


async def test_anchors_come_from_a_bundle_of_a_megabyte(tmp_path: Path) -> None:
    """A large system's bundle is read whole."""
    text = b"# a comment as large as a hundred anchors\n" * 25_000
    (tmp_path / "bundle.pem").write_bytes(text + pem.encode([ONE.certificate]))
    assert (tmp_path / "bundle.pem").stat().st_size > 1024 * 1024
    assert await anchors_of(FileAnchorSource(tmp_path / "bundle.pem")) == (ONE.certificate,)


def jvm_anchors() -> tuple[Path, int]:
    """Return where this machine's Java has the anchors that it trusts by default, and how many keytool counts."""
    printed = subprocess.run(
        [need("java"), "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
    ).stderr
    home = next(line.split("=", 1)[1].strip() for line in printed.splitlines() if line.strip().startswith("java.home"))
    cacerts = Path(home, "lib", "security", "cacerts")
    command = [need("keytool"), "-J-Duser.language=en", "-list", "-keystore", str(cacerts), "-storepass", "changeit"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return cacerts, listed.count("trustedCertEntry")


@pytest.mark.slow
async def test_anchors_are_those_of_the_jvm(tmp_path: Path) -> None:
    """The `cacerts` that Java trusts by default is read, under the password that everybody knows."""
    cacerts, count = jvm_anchors()
    (tmp_path / "password").write_text("changeit\n")
    anchors = await anchors_of(FileAnchorSource(cacerts, Secret(tmp_path / "password")))
    assert len(anchors) == count > 10
