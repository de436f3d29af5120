"""What holds for the configuration of every reader, and which readers cannot be pointed at which files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from agent.clientconfig.render import Passwords, problems, render
from agent.core.files import ClientAuth, JksFiles, PemFiles, Pkcs12Files, ReaderConfiguration, ReaderKind, StoreFiles
from tests.clientconfig.wanted import DIRECTORY, JKS, LOCKED, PEM, PKCS12, SOMEWHERE, SPLIT, text

CLIENT, LIBRDKAFKA, SPRING, SERVER = ReaderKind
JAVA = (CLIENT, SPRING, SERVER)

NO_COMBINED = (
    "Kafka's Java side reads key and chain in PEM from one file, since ssl.keystore.key takes the text of a key and no "
    "path: name a `combined` file in the group of its keystore"
)
NO_KEYSTORE = "the group of its keystore names no `keystore`"
NO_TRUSTSTORE = "the group of its truststore names no `truststore`"
NO_KEY_OR_CHAIN = "librdkafka needs both chain and key: name a `combined` file, or `certificate` and `key`"
NO_JKS = "librdkafka reads no JKS: name a group in PEM or PKCS12 for its keystore"
ANCHORS_IN_PEM = "librdkafka takes anchors only from PEM: name a group in PEM for its truststore"
NO_LISTENER = "a listener, its protocols and its ciphers are a broker's: only `server_properties` takes them"


@pytest.mark.parametrize("kind", ReaderKind)
@pytest.mark.parametrize("sasl", [False, True])
def test_every_file_says_first_whose_it_is(kind: ReaderKind, *, sasl: bool) -> None:
    """Who opens it to change it reads that it will be replaced."""
    told = text(kind, PEM, PEM, sasl=sasl)
    assert told.startswith("# Written by cert-agent, which replaces it at each renewal: do not edit.\n")
    assert told.endswith("\n")
    assert told == text(kind, PEM, PEM, sasl=sasl)


@pytest.mark.parametrize("kind", ReaderKind)
def test_hostname_verification_is_never_off(kind: ReaderKind) -> None:
    """Whatever is left out."""
    for keystore, truststore in ((PEM, PEM), (PEM, None), (None, PEM)):
        assert "ssl.endpoint.identification.algorithm" in text(kind, keystore, truststore, sasl=True)


def test_relative_directory_is_a_mistake_of_the_caller() -> None:
    """A reader has a working directory of its own."""
    with pytest.raises(ValueError, match="absolute"):
        render(ReaderConfiguration(CLIENT, "file", PEM, PEM), PurePosixPath("tls"), Passwords())


def test_missing_password_is_a_mistake_of_the_caller() -> None:
    """Rather than a store that does not open."""
    for keystore, truststore in ((LOCKED, None), (PKCS12, None), (None, JKS)):
        with pytest.raises(ValueError, match="given none"):
            render(ReaderConfiguration(CLIENT, "file", keystore, truststore), DIRECTORY, Passwords())


def test_passwords_are_not_told() -> None:
    """A log line with them in it shows none."""
    assert repr(Passwords("key word", "trust word")) == "Passwords()"


@pytest.mark.parametrize(
    ("keystore", "truststore", "held"),
    [
        (PEM, PEM, False),
        (LOCKED, None, True),
        (PEM, LOCKED, False),
        (PKCS12, None, True),
        (None, PKCS12, True),
        (None, JKS, True),
        (None, PEM, False),
    ],
)
def test_password_is_written_where_the_format_has_one(
    keystore: StoreFiles | None, truststore: StoreFiles | None, *, held: bool
) -> None:
    """And nowhere else: PEM in the clear has no password, nor have anchors in PEM."""
    assert (" word" in text(CLIENT, keystore, truststore)) is held


@pytest.mark.parametrize("kind", ReaderKind)
@pytest.mark.parametrize("group", [PEM, LOCKED])
def test_whole_group_is_no_problem(kind: ReaderKind, group: StoreFiles) -> None:
    """Nor is a group in each format for Java."""
    assert problems(ReaderConfiguration(kind, "file", group, group)) == ()
    if kind in JAVA:
        assert problems(ReaderConfiguration(kind, "file", PKCS12, JKS)) == ()
    else:
        assert problems(ReaderConfiguration(kind, "file", PKCS12, PEM)) == ()


@pytest.mark.parametrize(
    ("kinds", "keystore", "truststore", "expected"),
    [
        (JAVA, SPLIT, SPLIT, NO_COMBINED),
        (JAVA, Pkcs12Files(SOMEWHERE, truststore="t.p12"), PEM, NO_KEYSTORE),
        (JAVA, JksFiles(SOMEWHERE, truststore="t.jks"), PEM, NO_KEYSTORE),
        (JAVA, PEM, Pkcs12Files(SOMEWHERE, "k.p12"), NO_TRUSTSTORE),
        (JAVA, PEM, JksFiles(SOMEWHERE, "k.jks"), NO_TRUSTSTORE),
        (tuple(ReaderKind), PEM, PemFiles(combined="combined.pem"), NO_TRUSTSTORE),
        ((LIBRDKAFKA,), JKS, PEM, NO_JKS),
        ((LIBRDKAFKA,), PemFiles("tls.crt"), PEM, NO_KEY_OR_CHAIN),
        ((LIBRDKAFKA,), PemFiles(key="tls.key"), PEM, NO_KEY_OR_CHAIN),
        ((LIBRDKAFKA,), Pkcs12Files(SOMEWHERE, truststore="t.p12"), PEM, NO_KEYSTORE),
        ((LIBRDKAFKA,), PEM, PKCS12, ANCHORS_IN_PEM),
        ((LIBRDKAFKA,), PEM, JKS, ANCHORS_IN_PEM),
    ],
)
def test_files_that_a_reader_cannot_be_pointed_at_are_told(
    kinds: tuple[ReaderKind, ...], keystore: StoreFiles, truststore: StoreFiles, expected: str
) -> None:
    """One phrase that says what to name instead; to render it all the same is a mistake of the caller."""
    for kind in kinds:
        wanted = ReaderConfiguration(kind, "file", keystore, truststore)
        assert problems(wanted) == (expected,)
        with pytest.raises(ValueError, match=r"no such file|does not make the file|no JKS"):
            render(wanted, DIRECTORY, Passwords("key word", "trust word"))


def test_split_pem_is_enough_for_librdkafka() -> None:
    """It names key and chain apart."""
    assert problems(ReaderConfiguration(LIBRDKAFKA, "file", SPLIT, SPLIT)) == ()


@pytest.mark.parametrize("kind", [CLIENT, LIBRDKAFKA, SPRING])
def test_client_that_names_nothing_is_told(kind: ReaderKind) -> None:
    """Its file would say nothing."""
    (told,) = problems(ReaderConfiguration(kind, "file", None, None))
    assert told == "it names neither a keystore nor a truststore, so there is nothing to point at"
    assert problems(ReaderConfiguration(kind, "file", None, PEM)) == ()
    assert problems(ReaderConfiguration(kind, "file", PEM, None)) == ()


@pytest.mark.parametrize("change", [{"listener": "EXTERNAL"}, {"protocols": ("TLSv1.3",)}, {"ciphers": ("X",)}])
def test_listener_of_a_client_is_told(change: dict[str, Any]) -> None:
    """What would be left out of its file without a word."""
    for kind in (CLIENT, LIBRDKAFKA, SPRING):
        assert problems(ReaderConfiguration(kind, "file", PEM, PEM, **change)) == (NO_LISTENER,)
    assert problems(ReaderConfiguration(SERVER, "file", PEM, PEM, **change)) == ()


def test_broker_without_a_keystore_is_told() -> None:
    """A listener with TLS has a key."""
    assert problems(ReaderConfiguration(SERVER, "file", None, PEM)) == (
        "a broker's listener needs a key and a chain: name a keystore",
    )


@pytest.mark.parametrize("auth", [ClientAuth.REQUESTED, ClientAuth.REQUIRED])
def test_listener_that_would_let_in_the_clients_of_public_cas_is_told(auth: ClientAuth) -> None:
    """Java takes its own bundle where no truststore is named."""
    (told,) = problems(ReaderConfiguration(SERVER, "file", PEM, None, client_auth=auth))
    assert "lets in whoever has one of a public CA" in told
    assert problems(ReaderConfiguration(SERVER, "file", PEM, None, client_auth=ClientAuth.NONE)) == ()
