"""`store inspect` and `store verify` on real files: ours, keytool's and OpenSSL's, whole and broken."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization import pkcs12 as library
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.core.identity import KeyAlgorithm
from agent.errors import AgentError
from agent.keystores import jks, magic, pem, pkcs12, private_key
from agent.stores.examined import examine
from tests.material import Ca, make_key, make_request
from tests.stores.shelf import Shelf
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "correct horse"  # noqa: S105 - made up for the tests
NOW = datetime.now(UTC).replace(microsecond=0)
"""The verbs read the clock themselves."""

ROOT = Ca.root(not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=900))
LINK = ROOT.intermediate(not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=800))
KEY = make_key()
LEAF = LINK.leaf(make_request(), KEY, not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=90))
CHAIN = (LEAF, LINK.certificate)


@dataclass
class Desk:
    """The command line, in a folder with a password file."""

    folder: Path
    capture: pytest.CaptureFixture[str] = field(repr=False)

    def run(self, verb: str, name: str, *arguments: str) -> tuple[int, str, str]:
        """Run a verb on a file; return exit code, output and errors."""
        code = main(["store", verb, str(self.folder / name), *arguments])
        captured = self.capture.readouterr()
        return code, captured.out, captured.err

    def with_password(self, verb: str, name: str) -> tuple[int, str, str]:
        """The same with the password."""
        return self.run(verb, name, "--password-file", str(self.folder / "password"))

    def wrong(self, name: str) -> list[str]:
        """Return what is wrong with a file, seen with the password; the exit code says the same."""
        code, out, _ = self.run("verify", name, "--json", "--password-file", str(self.folder / "password"))
        said = [one["what"] for one in json.loads(out)["findings"] if one["severity"] == "wrong"]
        assert code == (1 if said else 0)
        return said

    def notable(self, name: str) -> str:
        """Return what is worth knowing, seen with the password."""
        _, out, _ = self.run("verify", name, "--json", "--password-file", str(self.folder / "password"))
        found = json.loads(out)["findings"]
        return "\n".join(f"{one['where']}: {one['what']}" for one in found if one["severity"] == "notable")

    def values(self, name: str, *arguments: str) -> dict[str, Any]:
        """Return what `inspect --json` has to say."""
        code, out, _ = self.run("inspect", name, "--json", *arguments)
        assert code == 0
        values: dict[str, Any] = json.loads(out)
        return values


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A folder with the password, and a key and its chain in PEM for other programs."""
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "tls.key").write_bytes(private_key.to_pem(KEY))
    (tmp_path / "tls.crt").write_bytes(pem.encode([LEAF]))
    (tmp_path / "chain.crt").write_bytes(pem.encode(CHAIN[1:]))
    (tmp_path / "ca.crt").write_bytes(pem.encode([ROOT.certificate]))
    return Desk(tmp_path, capsys)


def ours() -> dict[str, bytes]:
    """Return stores of ours in every format."""
    return {
        "k.p12": pkcs12.keystore(KEY, CHAIN, "kafka", PASSWORD),
        "t.p12": pkcs12.truststore([ROOT.certificate], PASSWORD),
        "k.jks": jks.keystore(KEY, CHAIN, "kafka", PASSWORD, now=NOW),
        "t.jks": jks.truststore([ROOT.certificate], PASSWORD, now=NOW),
        "tls.pem": private_key.to_pem(KEY) + pem.encode(CHAIN),
        "tls.crt": pem.encode(CHAIN),
        "ca.crt": pem.encode([ROOT.certificate]),
    }


def test_stores_of_ours_have_nothing_wrong(desk: Desk) -> None:
    """And their entries are told, with whole fingerprints; the key is told by its type alone."""
    for name, content in ours().items():
        (desk.folder / name).write_bytes(content)
        assert desk.wrong(name) == []
        code, out, _ = desk.with_password("inspect", name)
        assert code == 0
        shown = (ROOT.certificate,) if name in {"t.p12", "t.jks", "ca.crt"} else CHAIN
        for certificate in shown:
            assert f"SHA-256    {certificate.fingerprint}" in out
            assert f"serial     {certificate.serial_number:x}" in out
        assert max(map(len, out.splitlines()[1:])) <= 100
        assert "nothing is wrong" in out
    for name in ("k.p12", "k.jks"):
        assert "1. kafka: private key, ec-p256, matches the leaf: yes" in desk.with_password("inspect", name)[1]
    assert "1. private key, ec-p256, matches the leaf: yes" in desk.run("inspect", "tls.pem")[1]


def test_an_entry_is_told_whole(desk: Desk) -> None:
    """What stands in the certificate, as people read it and as programs do."""
    (desk.folder / "k.jks").write_bytes(ours()["k.jks"])
    _, out, _ = desk.with_password("inspect", "k.jks")
    lines = out.splitlines()
    assert lines[0] == f"{desk.folder / 'k.jks'}: JKS, 1 entry"
    assert lines[2:10] == [
        f"1. kafka: private key, ec-p256, matches the leaf: yes, made {NOW:%Y-%m-%d %H:%M:%SZ}",
        "   CN=kafka1.example.com,OU=Brokers,O=MyOrg",
        "     issued by  CN=Test Intermediate,O=MyOrg",
        "     SANs       DNS kafka1.example.com, DNS localhost, IP 127.0.0.1",
        f"     serial     {LEAF.serial_number:x}",
        f"     valid      {LEAF.not_before:%Y-%m-%d %H:%M:%SZ} to {LEAF.not_after:%Y-%m-%d %H:%M:%SZ}, 89 days left",
        "     key        ec-p256",
        f"     SHA-256    {LEAF.fingerprint}",
    ]
    values = desk.values("k.jks", "--password-file", str(desk.folder / "password"))
    assert (values["format"], values["path"]) == ("jks", str(desk.folder / "k.jks"))
    (entry,) = values["entries"]
    assert entry["private_key"] == {"unlocked": True, "type": "ec-p256", "matches_leaf": True}
    assert (entry["alias"], entry["kind"], entry["made_at"]) == ("kafka", "private key", NOW.isoformat())
    assert entry["chain"][0] == {
        "subject": "CN=kafka1.example.com,OU=Brokers,O=MyOrg",
        "issuer": "CN=Test Intermediate,O=MyOrg",
        "sans": {"dns": ["kafka1.example.com", "localhost"], "ip": ["127.0.0.1"], "uri": []},
        "serial": f"{LEAF.serial_number:x}",
        "not_before": LEAF.not_before.isoformat(),
        "not_after": LEAF.not_after.isoformat(),
        "days_left": 89,
        "key_type": "ec-p256",
        "is_ca": False,
        "sha256": LEAF.fingerprint,
    }
    assert [one["sha256"] for one in entry["chain"]] == [one.fingerprint for one in CHAIN]


@pytest.mark.parametrize(
    ("begins", "ends", "told"),
    [
        (-9, -3.1, "expired 3 days ago"),
        (2.5, 9, "begins in 2 days"),
        (-1, 0.1, "2 hours left"),
        (-1, 0.01, "14 minutes left"),
        (-1, 0.0005, "less than a minute left"),
    ],
)
def test_dates_are_told_in_spans(desk: Desk, begins: float, ends: float, told: str) -> None:
    """As people count them."""
    now = datetime.now(UTC)
    leaf = LINK.leaf(
        make_request(), KEY, not_before=now + timedelta(days=begins), not_after=now + timedelta(days=ends, seconds=5)
    )
    (desk.folder / "leaf.pem").write_bytes(pem.encode([leaf]))
    code, out, _ = desk.run("inspect", "leaf.pem")
    assert code == 0
    assert told in out


@pytest.mark.slow
def test_no_secret_is_ever_printed(desk: Desk) -> None:
    """Neither the password, nor any part of the key, in text, in JSON and in errors."""
    secrets = [PASSWORD]
    numbers = KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secrets += [numbers.hex(), base64.b64encode(numbers).decode()[44:84]]
    for name, content in ours().items():
        (desk.folder / name).write_bytes(content)
        (desk.folder / f"cut-{name}").write_bytes(content[: len(content) // 2])
        for verb in ("inspect", "verify"):
            for told in (
                desk.with_password(verb, name),
                desk.run(verb, name),
                desk.run(verb, name, "--json"),
                desk.with_password(verb, f"cut-{name}"),
            ):
                assert not any(secret in text for secret in secrets for text in told[1:])


def test_without_a_password(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JKS is listed, and nobody has seen that it is whole; a PKCS12 says how to give it; the environment will do."""
    for name, content in ours().items():
        (desk.folder / name).write_bytes(content)
    code, out, _ = desk.run("inspect", "k.jks")
    assert code == 0
    assert "1. kafka: private key, not unlocked" in out
    assert "without its password, nobody can tell whether it was altered" in out
    assert LEAF.fingerprint in out
    (entry,) = desk.values("k.jks")["entries"]
    assert entry["private_key"] == {"unlocked": False, "type": None, "matches_leaf": None}
    for verb in ("inspect", "verify"):
        code, out, errors = desk.run(verb, "k.p12")
        assert (code, out) == (1, "")
        assert "give it with --password-file FILE, or --password-environment NAME" in errors
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    assert desk.run("verify", "k.p12", "--password-environment", "STORE_PASSWORD")[0] == 0
    monkeypatch.setenv("STORE_PASSWORD", "another")
    for name in ("k.p12", "k.jks"):
        code, _, errors = desk.run("verify", name, "--password-environment", "STORE_PASSWORD")
        assert code == 1
        assert "does not open with its password" in errors
    with pytest.raises(SystemExit):
        desk.run("verify", "k.p12", "--password-file", "x", "--password-environment", "Y")
    with pytest.raises(SystemExit):
        desk.run("verify", "k.p12", "--password", PASSWORD)


def test_an_encrypted_key_in_pem(desk: Desk) -> None:
    """Not opened without its password, opened with it, wrong with another; Kafka's limits are told."""
    (desk.folder / "strong.pem").write_bytes(private_key.to_pem(KEY, PASSWORD) + pem.encode(CHAIN))
    code, out, _ = desk.run("verify", "strong.pem")
    assert code == 0
    assert "without its password it was not seen whether" in " ".join(out.split())
    assert desk.wrong("strong.pem") == []
    assert "PBES2" in desk.notable("strong.pem")
    (desk.folder / "password").write_text("another")
    assert any("does not open" in one for one in desk.wrong("strong.pem"))


def test_faults_in_stores_of_ours(desk: Desk) -> None:
    """Broken on purpose, each way, in each format that can be broken so."""
    other = make_key()
    ended = LINK.leaf(make_request(), KEY, not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))
    stranger = Ca.root("CN=Stranger", not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=99))
    key = private_key.to_pem(KEY)
    broken = {
        "mismatch.pem": (private_key.to_pem(other) + pem.encode(CHAIN), "the private key is not that of"),
        "order.pem": (key + pem.encode(reversed(CHAIN)), "does not stand first"),
        "order.crt": (pem.encode(reversed(CHAIN)), "does not stand first"),
        "stranger.pem": (key + pem.encode([*CHAIN, stranger.certificate]), "CN=Stranger belongs to nothing before it"),
        "gap.pem": (key + pem.encode([LEAF, ROOT.certificate]), "is missing from the chain"),
        "ended.pem": (key + pem.encode([ended, *CHAIN[1:]]), "expired at"),
        "ended.p12": (pkcs12.keystore(KEY, [ended, *CHAIN[1:]], "kafka", PASSWORD), "expired at"),
        "order.jks": (jks.keystore(KEY, [LEAF, ROOT.certificate], "kafka", PASSWORD, now=NOW), "is missing from"),
        "upper.jks": (_renamed(ours()["k.jks"], b"kafka", b"Kafka"), "lower case alone"),
        "empty.jks": (_sealed(magic.JKS + struct.pack(">II", 2, 0)), "it holds nothing"),
    }
    for name, (content, words) in broken.items():
        (desk.folder / name).write_bytes(content)
        said = desk.wrong(name)
        assert any(words in one for one in said), (name, said)


def test_pem_that_kafka_does_not_read(desk: Desk) -> None:
    """Worth knowing, since others do: keys by their old names, two keys, Ed25519, a key in a file of its own."""
    sec1 = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (desk.folder / "sec1.pem").write_bytes(sec1 + pem.encode(CHAIN))
    assert "EC PRIVATE KEY" in desk.notable("sec1.pem")
    (desk.folder / "two.pem").write_bytes(private_key.to_pem(KEY) + sec1 + pem.encode(CHAIN))
    assert "2 private keys" in desk.notable("two.pem")
    edwards = make_key(KeyAlgorithm.ED25519)
    (desk.folder / "ed.pem").write_bytes(private_key.to_pem(edwards))
    assert "Ed25519" in desk.notable("ed.pem")
    assert "no certificate with the private key" in desk.notable("ed.pem")
    assert "1. private key, ed25519, without a certificate" in desk.run("inspect", "ed.pem")[1]
    garbled = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    (desk.folder / "garbled.pem").write_bytes(garbled)
    assert any("does not open" in one for one in desk.wrong("garbled.pem"))


def test_a_certificate_in_der_is_shown(desk: Desk) -> None:
    """As one certificate."""
    (desk.folder / "leaf.cer").write_bytes(LEAF.der)
    code, out, _ = desk.run("inspect", "leaf.cer")
    assert code == 0
    assert out.startswith(f"{desk.folder / 'leaf.cer'}: a certificate in DER, 1 entry")
    assert LEAF.fingerprint in out
    assert desk.values("leaf.cer")["format"] == "der"


def test_what_is_no_store_is_told_by_what_it_seems_to_be(desk: Desk) -> None:
    """And nothing of it is quoted but the label of a PEM block."""
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {
        "public": (public, "PEM with PUBLIC KEY"),
        "empty": (b"", "empty"),
        "text": (b"ssl.keystore.password=hunter2\n", "text"),
        "zip": (b"PK\x03\x04", "an archive"),
        "jceks": (bytes.fromhex("cececece00000002"), "a JCEKS"),
        "key.der": (private_key.to_der(KEY), "DER, but no certificate"),
        "p7": (bytes.fromhex("300d06092a864886f70d010702a000"), "a PKCS#7 in DER"),
        "noise": (b"\x00\xff\xfe\x01", "binary data"),
    }
    for name, (content, words) in files.items():
        (desk.folder / name).write_bytes(content)
        code, out, errors = desk.run("inspect", name)
        assert (code, out) == (1, ""), name
        assert f"seems to be {words}" in errors
        assert "hunter2" not in errors
    for name, content in (
        ("cut", b"-----BEGIN CERTIFICATE-----\nAA"),
        ("trusted", b"-----BEGIN TRUSTED CERTIFICATE-----"),
    ):
        (desk.folder / name).write_bytes(content)
        assert desk.run("inspect", name)[0] == 1


def test_only_regular_files_of_a_store_s_size_are_read(desk: Desk) -> None:
    """A pipe is not waited for, a sparse file not read; a link is followed."""
    os.mkfifo(desk.folder / "pipe")
    with (desk.folder / "huge").open("wb") as file:
        file.truncate(1 << 40)
    (desk.folder / "link").symlink_to("ca.crt")
    for name, words in (("pipe", "no regular file"), ("huge", "bytes"), ("nothing", "there is no ")):
        code, _, errors = desk.run("verify", name)
        assert code == 1
        assert words in errors
    assert desk.run("verify", "link")[0] == 0


def test_a_path_that_names_nothing_is_no_store(desk: Desk) -> None:
    """An empty one, of a variable that is not set, is not taken for the folder that one stands in."""
    for verb in ("inspect", "verify"):
        with pytest.raises(SystemExit) as caught:
            main(["store", verb, ""])
        assert caught.value.code == 2
        assert "PATH: it is empty" in desk.capture.readouterr().err
        code, _, errors = desk.run(verb, "nothing/at/all")
        assert (code, errors.splitlines()[0].split(":")[1]) == (1, f" there is no {desk.folder / 'nothing/at/all'}")


def test_a_damaged_certificate_is_told_without_the_words_of_a_library(desk: Desk) -> None:
    """Which one it is, and that it cannot be read; how the library calls that is of no use to anybody."""
    (desk.folder / "damaged.pem").write_bytes(pem.encode([LEAF]) + pem.block("CERTIFICATE", b"0\x00"))
    _, _, errors = desk.run("verify", "damaged.pem")
    assert errors.rstrip().endswith("certificate 2: not a certificate that can be read")


def test_a_system_bundle_is_shown(desk: Desk) -> None:
    """A hundred anchors, one of them expired, are a truststore."""
    roots = [Ca.root(f"CN=Root {number}", not_after=NOW + timedelta(days=900)).certificate for number in range(99)]
    ended = Ca.root("CN=Ended", not_after=NOW - timedelta(days=1)).certificate
    (desk.folder / "bundle.crt").write_bytes(b"# all of them\n" + pem.encode([*roots, ended]))
    assert desk.wrong("bundle.crt") == []
    assert "CN=Ended expired at" in desk.notable("bundle.crt")
    assert len(desk.values("bundle.crt")["entries"]) == 100


async def test_a_directory_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The current generation, its files and what is wrong; only `verify` exits with 1, and only when something is."""
    shelf, desk = Shelf(tmp_path), Desk(tmp_path, capsys)
    generation = await shelf.renew()
    code, out, _ = desk.run("inspect", "ssl")
    assert code == 0
    assert f"{tmp_path / 'ssl'}: the directory of an identity, at generation 1" in out
    for words in (
        "cause      leaf",
        "by ca",
        "kept       none",
        "tls.key: PEM, mode 0400",
        *(certificate.fingerprint for certificate in generation.chain),
    ):
        assert words in out
    for file in generation.files:
        assert f"SHA-256    {file.sha256}" in out
    assert "keystore.p12, truststore.p12: compared by SHA-256 alone" in " ".join(out.split())
    assert "does not open without a password; give it with --password-file" in " ".join(out.split())
    assert max(map(len, out.splitlines()[1:])) <= 100
    values = desk.values("ssl")
    assert (values["generation"]["number"], values["generation"]["leaf"]["sha256"]) == (1, generation.leaf.fingerprint)
    assert [one["sha256"] for one in values["generation"]["chain"]] == [one.fingerprint for one in generation.chain]
    assert {one["severity"] for one in values["findings"]} == {"notable"}
    assert {file["name"]: file["format"] for file in values["generation"]["files"]}["keystore.p12"] == "pkcs12"
    (shelf.directory / "tls.pem").unlink()
    code, out, _ = desk.run("verify", "ssl")
    assert code == 1
    assert "wrong:" in out
    assert "tls.pem: the link that readers open is missing" in out
    (shelf.directory / ".current").unlink()
    code, out, _ = desk.run("inspect", "ssl")
    assert code == 0
    assert "no current generation can be read" in out
    assert desk.values("ssl")["generation"] is None
    (tmp_path / "other").mkdir()
    code, _, errors = desk.run("verify", "other")
    assert code == 1
    assert "no directory of an identity" in errors


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=200)
@given(st.data())
def test_no_bytes_make_it_fail_otherwise(data: st.DataObject) -> None:
    """Whatever stands in a file, it is a store or an error for people."""
    content = bytearray(data.draw(st.sampled_from(sorted(STORES))))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    password = data.draw(st.sampled_from([None, PASSWORD, "x"]))
    try:
        examined = examine(bytes(content), password)
    except AgentError:
        return
    assert examined.format


STORES = (LEAF.der, *ours().values())


def _sealed(body: bytes) -> bytes:
    """Sign the bytes of a JKS anew."""
    return body + hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()  # noqa: S324


def _renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return a JKS with another alias of the same length, as a program that is not Java's may write one."""
    return _sealed(content[:-20].replace(struct.pack(">H", len(old)) + old, struct.pack(">H", len(new)) + new, 1))


# --- stores of others ------------------------------------------------------------------------


def _keytool(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [need("keytool"), *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=50
    )
    return done.stdout + done.stderr


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([need("openssl"), *arguments], cwd=folder, capture_output=True, check=True, timeout=50)


@pytest.mark.slow
def test_stores_of_keytool(desk: Desk) -> None:
    """JKS and PKCS12 with two keys, an anchor and an upper-case alias; keytool tells the same fingerprints."""
    for kind in ("JKS", "PKCS12"):
        name = f"store.{kind}"
        access = ("-storetype", kind, "-keystore", name, "-storepass", PASSWORD)
        for alias in ("Broker", "other"):
            _keytool(
                desk.folder, "-genkeypair", "-alias", alias, "-keyalg", "EC", "-groupname", "secp256r1",
                "-dname", f"CN={alias}", "-ext", "SAN=dns:kafka1", "-validity", "90", *access,
            )  # fmt: skip
        _keytool(desk.folder, "-importcert", "-noprompt", "-alias", "root", "-file", "ca.crt", *access)
        listed = _keytool(desk.folder, "-list", "-v", *access).replace(":", "").lower()
        values = desk.values(name, "--password-file", str(desk.folder / "password"))
        kinds = {entry["alias"]: entry["kind"] for entry in values["entries"]}
        for entry in values["entries"]:
            for certificate in entry["chain"]:
                assert certificate["sha256"] in listed
        assert kinds == {"broker": "private key", "other": "private key", "root": "trusted certificate"}
        assert all(one["private_key"] is None or one["private_key"]["matches_leaf"] for one in values["entries"])
        assert "2 private keys" in desk.notable(name)
        assert desk.wrong(name) == []


@pytest.mark.slow
def test_java_finds_no_upper_case_alias_in_a_jks(desk: Desk) -> None:
    """What we call wrong is wrong for Java: it lists the entry, and cannot get it."""
    (desk.folder / "upper.jks").write_bytes(_renamed(ours()["k.jks"], b"kafka", b"Kafka"))
    access = ("-keystore", "upper.jks", "-storepass", PASSWORD)
    assert "contains 1 entry" in _keytool(desk.folder, "-list", *access)
    assert "does not exist" in _keytool(desk.folder, "-exportcert", "-rfc", "-alias", "Kafka", *access)


def test_stores_of_openssl(desk: Desk) -> None:
    """Legacy and new encryption, an alias in upper case, a chain out of order, a truststore that Java sees empty."""
    base = ("pkcs12", "-export", "-passout", f"pass:{PASSWORD}")
    identity = ("-inkey", "tls.key", "-in", "tls.crt", "-certfile", "chain.crt")
    _openssl(desk.folder, *base, *identity, "-name", "Kafka", "-out", "new.p12")
    _openssl(desk.folder, *base, *identity, "-name", "kafka", "-legacy", "-out", "legacy.p12")
    for name in ("new.p12", "legacy.p12"):
        assert desk.wrong(name) == []
        (entry,) = desk.values(name, "--password-file", str(desk.folder / "password"))["entries"]
        assert [one["sha256"] for one in entry["chain"]] == [one.fingerprint for one in CHAIN]
    assert "Kafka: Java calls it kafka" in desk.notable("new.p12")
    _openssl(desk.folder, *base, "-nokeys", "-in", "ca.crt", "-out", "bare.p12")
    assert any("Java sees no trusted entry" in one for one in desk.wrong("bare.p12"))
    _openssl(desk.folder, *base, "-nokeys", "-caname", "root", "-in", "ca.crt", "-out", "named.p12")
    assert any("not marked as trusted" in one for one in desk.wrong("named.p12"))


@pytest.mark.slow
def test_anchors_without_an_alias_are_entries_to_java(desk: Desk) -> None:
    """What bears its mark is an entry, with an alias or without; keytool counts as we do, under the same names."""
    encryption = BestAvailableEncryption(PASSWORD.encode())
    anchors = [
        library.PKCS12Certificate(ROOT.certificate.x509, None),
        library.PKCS12Certificate(LINK.certificate.x509, None),
    ]
    (desk.folder / "nameless.p12").write_bytes(library.serialize_java_truststore(anchors, encryption))
    assert desk.wrong("nameless.p12") == []
    values = desk.values("nameless.p12", "--password-file", str(desk.folder / "password"))
    listed = _keytool(desk.folder, "-J-Duser.language=en", "-list", "-keystore", "nameless.p12", "-storepass", PASSWORD)
    assert [(one["alias"], one["kind"]) for one in values["entries"]] == [
        (name, "trusted certificate") for name in ("1", "2")
    ]
    assert "contains 2 entries" in listed
    assert all(f"\n{name}, " in listed for name in ("1", "2"))


@pytest.mark.slow
def test_pem_of_openssl(desk: Desk) -> None:
    """EC keys with their parameters before them, keys encrypted in three ways, keys of RSA by their old name."""
    _openssl(desk.folder, "ecparam", "-genkey", "-name", "prime256v1", "-out", "ec.pem")
    assert b"EC PARAMETERS" in (desk.folder / "ec.pem").read_bytes()
    assert desk.wrong("ec.pem") == []
    assert "EC PRIVATE KEY" in desk.notable("ec.pem")
    secret = ("-passout", f"pass:{PASSWORD}")
    _openssl(desk.folder, "pkcs8", "-topk8", "-in", "ec.pem", "-out", "new.pem", *secret)
    _openssl(desk.folder, "pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", "ec.pem", "-out", "old.pem", *secret)
    _openssl(desk.folder, "ec", "-aes256", "-in", "ec.pem", "-out", "oldest.pem", *secret)
    for name, words in (("new.pem", "PBES2"), ("oldest.pem", "EC PRIVATE KEY")):
        assert desk.wrong(name) == []
        assert words in desk.notable(name)
    assert desk.wrong("old.pem") == []
    assert "PBES2" not in desk.notable("old.pem")
    _openssl(desk.folder, "genrsa", "-traditional", "-out", "rsa.pem", "2048")
    assert desk.wrong("rsa.pem") == []
    assert "RSA PRIVATE KEY" in desk.notable("rsa.pem")
    _openssl(desk.folder, "req", "-new", "-key", "ec.pem", "-subj", "/CN=x", "-out", "csr.pem")
    assert "PEM with CERTIFICATE REQUEST" in desk.run("inspect", "csr.pem")[2]
