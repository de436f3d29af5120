"""The settings of files: every format, what goes with what, and what is advised against."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.files import (
    ClientAuth,
    Encryption,
    JksFiles,
    PemFiles,
    Pkcs12Files,
    ReaderConfiguration,
    ReaderKind,
    StorePassword,
    holds_key,
    secret_names,
)
from agent.core.secret import Secret
from agent.settings import advise
from tests.settings.host import PASSWORD, Host, changed

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.files import Files

BROKER = "identities.broker"
PEM = {"format": "pem", "combined": "tls.pem", "truststore": "ca.crt"}
PKCS12 = {"format": "pkcs12", "keystore": "keystore.p12", "truststore": "trust.p12", "password_file": "password"}
JKS = {"format": "jks", "keystore": "keystore.jks", "truststore": "trust.jks", "password_file": "password"}
SASL_BROKER = {"format": "server_properties", "file": "server.properties", "security_protocol": "SASL_SSL"}
CLIENT = {"format": "client_properties", "file": "client.properties"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A folder with a configuration."""
    return Host(tmp_path)


def files(host: Host, *parts: dict[str, Any]) -> tuple[Files, ...]:
    """Return what the settings of an identity's files become."""
    return host.load(changed((f"{BROKER}.files", list(parts)))).identities["broker"].files


def advice(host: Host, *parts: dict[str, Any], **changes: Any) -> str:
    """Return all that is advised for an identity with these files."""
    paths = [(f"{BROKER}.{key.replace('__', '.')}", value) for key, value in changes.items()]
    return "\n".join(advise(host.load(changed((f"{BROKER}.files", list(parts)), *paths))))


def test_every_setting_of_a_store_arrives(host: Host) -> None:
    """Formats, names, alias, encryption, anchor, access and the place of the password."""
    (host.folder / "environment").touch()
    password = StorePassword(Secret(host.folder / "password"))
    access = {"mode": "0440", "reader": "nobody"}
    pem, pkcs12, jks = files(
        host,
        PEM | {"password_file": "password", "encryption": "compatible", "include_anchor": True} | access,
        PKCS12 | {"alias": "broker", "encryption": "compatible"},
        JKS | {"alias": "old"},
    )
    assert isinstance(pem, PemFiles)
    assert (pem.password, pem.encryption, pem.anchor) == (password, Encryption.COMPATIBLE, True)
    assert (pem.access.mode, pem.access.reader) == (0o440, "nobody")
    assert pkcs12 == Pkcs12Files(password, "keystore.p12", "trust.p12", "broker", Encryption.COMPATIBLE)
    assert jks == JksFiles(password, "keystore.jks", "trust.jks", "old")


def test_a_reader_is_pointed_at_the_first_files_that_hold_a_key(host: Host) -> None:
    """Or at those of the format that is named, anchors and all."""
    named = CLIENT | {"file": "jks.properties", "stores": "jks"}
    pem, _, jks, *readers = files(host, PEM, PKCS12, JKS, CLIENT, named)
    assert isinstance(pem, PemFiles)
    assert isinstance(jks, JksFiles)
    assert readers == [
        ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "client.properties", pem, pem),
        ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, "jks.properties", jks, jks),
    ]


def test_the_order_of_the_settings_does_not_matter(host: Host) -> None:
    """A reader may stand before the files that it reads."""
    reader, stores = files(host, CLIENT, PKCS12)
    assert isinstance(reader, ReaderConfiguration)
    assert reader.keystore == stores


def test_librdkafka_takes_its_anchors_in_pem(host: Host) -> None:
    """Whatever its key comes in."""
    pem, pkcs12, reader = files(
        host, PEM, PKCS12, {"format": "librdkafka", "file": "librdkafka.conf", "stores": "pkcs12"}
    )
    assert isinstance(reader, ReaderConfiguration)
    assert (reader.keystore, reader.truststore) == (pkcs12, pem)


def test_anchors_of_another_format_will_do(host: Host) -> None:
    """Java reads a keystore of one format beside a truststore of another."""
    jks, pem, reader = files(host, JKS | {"truststore": None}, PEM, CLIENT)
    assert isinstance(reader, ReaderConfiguration)
    assert (reader.keystore, reader.truststore) == (jks, pem)


def test_a_client_without_a_certificate_has_anchors_alone(host: Host) -> None:
    """SASL logs in, TLS is for the server alone."""
    pkcs12, reader = files(host, PKCS12, CLIENT | {"security_protocol": "SASL_SSL", "client_certificate": False})
    assert isinstance(reader, ReaderConfiguration)
    assert (reader.sasl, reader.keystore, reader.truststore) == (True, None, pkcs12)


def test_every_setting_of_a_broker_arrives(host: Host) -> None:
    """Listener, client certificates, protocols and ciphers."""
    _, reader = files(
        host,
        PKCS12,
        {
            "format": "server_properties",
            "file": "server.properties",
            "listener": "MTLS",
            "client_auth": "requested",
            "protocols": ["TLSv1.3"],
            "ciphers": ["TLS_AES_256_GCM_SHA384"],
        },
    )
    assert isinstance(reader, ReaderConfiguration)
    assert (reader.listener, reader.client_auth) == ("MTLS", ClientAuth.REQUESTED)
    assert (reader.protocols, reader.ciphers) == (("TLSv1.3",), ("TLS_AES_256_GCM_SHA384",))


def test_a_missing_password_may_be_made(host: Host) -> None:
    """It is no mistake that the file is not there, and reading the settings makes nothing."""
    (store,) = files(host, PKCS12 | {"password_file": "new", "make_password": True})
    assert isinstance(store, Pkcs12Files)
    assert store.password == StorePassword(Secret(host.folder / "new"), make=True)
    assert not (host.folder / "new").exists()


F = f"{BROKER}.files"
MISTAKES: list[tuple[list[dict[str, Any]], str, str]] = [
    ([PKCS12, CLIENT | {"stores": "jks"}], f"{F}[1].stores", "no files of the format jks that hold a key"),
    ([PEM | {"combined": None, "certificate": "a", "key": "b"}, CLIENT], f"{F}[1]", "name a `combined` file"),
    ([JKS, {"format": "librdkafka", "file": "x", "stores": "jks"}], f"{F}[1]", "librdkafka reads no JKS"),
    ([PKCS12, CLIENT | {"file": "keystore.p12"}], f"{F}[1]", "is written twice"),
    ([PKCS12, CLIENT | {"file": ".hidden"}], f"{F}[1].file", "begins with a dot"),
    ([PKCS12, {"format": "spring"}], f"{F}[1].file", "is missing"),
    ([PKCS12, CLIENT | {"mode": "0444"}], f"{F}[1].mode", "secret in client.properties"),
    ([PKCS12, CLIENT | {"listener": "MTLS"}], f"{F}[1].listener", "no key that is known here"),
    ([PKCS12, CLIENT | {"security_protocol": "PLAINTEXT"}], f"{F}[1].security_protocol", "SASL_SSL"),
    (
        [PKCS12, {"format": "server_properties", "file": "x", "protocols": ["TLSv1"]}],
        f"{F}[1].protocols[0]",
        "TLSv1",
    ),
    (
        [PKCS12 | {"truststore": None}, {"format": "server_properties", "file": "x"}],
        f"{F}[1]",
        "has no truststore",
    ),
    ([PKCS12 | {"make_password": True, "password_file": "nowhere/x"}], f"{F}[0].password_file", "there is no folder"),
    (
        [{k: v for k, v in PKCS12.items() if k != "password_file"} | {"make_password": True}],
        f"{F}[0].make_password",
        "write `password_file`",
    ),
    ([PKCS12 | {"password_file": "odd"}, {"format": "spring", "file": "x"}], f"{F}[1]", "a password without ${"),
    (
        [PKCS12 | {"password_file": "ssl/keystore.p12", "make_password": True}],
        f"{F}[0].password_file",
        "the store itself takes",
    ),
    ([PKCS12 | {"reader": "no-such-user"}], f"{F}[0].reader", "write one that it knows"),
    ([PKCS12 | {"encryption": "none"}], f"{F}[0].encryption", "strong, compatible"),
    ([PKCS12, {"format": "pem", "truststore": "ca.crt", "password_file": "password"}], f"{F}[1]", "leave the password"),
    ([{"format": "pem", "truststore": "ca.crt"}, CLIENT | {"client_certificate": False}], F, "hold no private key"),
]


@pytest.mark.parametrize(("parts", "key", "what"), MISTAKES, ids=[what for _, _, what in MISTAKES])
def test_a_mistake_is_told_where_it_stands(host: Host, parts: list[dict[str, Any]], key: str, what: str) -> None:
    """With its key, and what to write."""
    (host.folder / "ssl").mkdir()
    (host.folder / "odd").write_text("expand-${HOME}")
    told = host.mistakes(changed((F, parts)))
    assert [mistake.key for mistake in told] == [key], told
    assert what in told[0].what


def test_no_setting_turns_the_check_of_host_names_off(host: Host) -> None:
    """Whatever is rendered, the reader compares the name that it connects to."""
    parts = [PEM, PKCS12, JKS]
    kinds = ["client_properties", "librdkafka", "spring", "server_properties"]
    parts += [{"format": kind, "file": kind} for kind in kinds]
    from agent.clientconfig.render import Passwords, render

    for one in files(host, *parts):
        if isinstance(one, ReaderConfiguration):
            text = render(one, host.folder, Passwords(PASSWORD, PASSWORD)).decode()
            assert "ssl.endpoint.identification.algorithm" in text
            assert "https" in text


ADVICE: list[tuple[str, list[dict[str, Any]], dict[str, Any], str]] = [
    ("JKS", [JKS], {}, "JKS protects a key weakly"),
    ("old ciphers", [PKCS12 | {"encryption": "compatible"}], {}, "3DES and SHA-1"),
    ("PBES2 and nobody knows the reader", [PEM | {"password_file": "password"}], {}, "if Kafka's Java side"),
    ("PBES2 and Java", [PEM | {"password_file": "password"}, CLIENT], {}, "better: Kafka on Java 17 reads no key"),
    ("Ed25519 in PEM", [PEM, CLIENT], {"key__algorithm": "ed25519"}, "reads no Ed25519 key in PEM"),
    ("Ed25519 in PKCS12", [PKCS12], {"key__algorithm": "ed25519"}, "Java before 15"),
    ("SASL without a listener", [PKCS12, SASL_BROKER], {}, "only by a prefix"),
    ("split", [{"format": "pem", "certificate": "tls.crt", "key": "tls.key"}], {}, "straddle"),
]


@pytest.mark.parametrize(("parts", "changes", "what"), [one[1:] for one in ADVICE], ids=[one[0] for one in ADVICE])
def test_what_works_and_could_be_better_is_told(
    host: Host, parts: list[dict[str, Any]], changes: dict[str, Any], what: str
) -> None:
    """By format and reader; without the cause nothing is said."""
    assert what.removeprefix("better: ") in advice(host, *parts, **changes)
    if what.startswith("better: "):
        assert "if Kafka's Java side" not in advice(host, *parts, **changes)
    assert what.removeprefix("better: ") not in advice(host, PKCS12)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that nobody else may read")
def test_a_reader_that_could_not_read_is_told(host: Host) -> None:
    """By owner, group and mode, and by the folders on the way; for those who can, nothing is said."""
    open_folders(host.folder)
    told = advice(host, PKCS12 | {"reader": "nobody"})
    assert "nobody could not read keystore.p12 (mode 0400); set `owner: nobody`" in told
    assert "trust.p12" not in told
    assert "could not" not in advice(host, PKCS12 | {"reader": "nobody", "owner": "nobody"})
    assert "could not" not in advice(host, PKCS12 | {"reader": "root"})
    assert "could not" not in advice(host, PKCS12 | {"reader": "daemon", "group": "daemon", "mode": "0440"})
    assert "could not read keystore.p12" in advice(host, PKCS12 | {"reader": "daemon", "group": "daemon"})
    (host.folder / "ssl").mkdir(mode=0o700)
    told = advice(host, PKCS12 | {"reader": "nobody", "owner": "nobody"})
    assert f"nobody could not get into {host.folder / 'ssl'}" in told


def open_folders(folder: Path) -> None:
    """Let everybody pass to a folder of the test."""
    for one in (folder, *folder.parents):
        if one.stat().st_mode & 0o001 == 0:
            one.chmod(one.stat().st_mode | 0o055)


def test_a_folder_that_others_may_write_to_is_told(host: Host) -> None:
    """They could put keys and anchors of their own there; a sticky folder, as /tmp is, keeps them apart."""
    assert "writable by everybody" not in advice(host, PKCS12)
    above = host.folder
    mode = above.stat().st_mode
    above.chmod(0o777)
    try:
        assert f"{above} is writable by everybody" in advice(host, PKCS12)
        above.chmod(0o1777)
        assert "writable by everybody" not in advice(host, PKCS12)
    finally:
        above.chmod(mode)


def test_a_folder_behind_a_link_is_looked_at_too(host: Host) -> None:
    """Where the directory is a link, whoever may write above its target may put another in its place."""
    (host.folder / "open" / "real").mkdir(parents=True)
    (host.folder / "open").chmod(0o777)
    (host.folder / "ssl").symlink_to("open/real")
    assert f"{host.folder / 'open'} is writable by everybody" in advice(host, PKCS12)


def test_a_password_of_a_key_that_everybody_may_read_is_told(host: Host) -> None:
    """Of keys in PEM as of stores; one that is yet to be made has no mode."""
    (host.folder / "password").chmod(0o644)
    told = f"the mode of {host.folder / 'password'} is 0644"
    assert told in advice(host, PEM | {"password_file": "password"})
    assert told not in advice(host, PKCS12 | {"password_file": "new", "make_password": True})


def test_who_holds_the_key_is_told_by_the_files() -> None:
    """A truststore alone does not."""
    assert not holds_key(PemFiles(truststore="ca.crt"))
    assert holds_key(PemFiles(combined="tls.pem"))
    assert not holds_key(JksFiles(StorePassword(Secret(environment="X")), truststore="x"))


def test_what_holds_a_secret_is_told_by_the_files() -> None:
    """Keys, keystores, and configurations, which hold passwords; neither chains nor anchors."""
    password = StorePassword(Secret(environment="X"))
    pem = PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt")
    assert secret_names(pem) == {"tls.key", "tls.pem"}
    assert secret_names(Pkcs12Files(password, "keystore.p12", "trust.p12")) == {"keystore.p12"}
    assert secret_names(JksFiles(password, truststore="trust.jks")) == frozenset()
    assert secret_names(ReaderConfiguration(ReaderKind.SPRING, "application.yml", pem, pem)) == {"application.yml"}
