"""Kafka's own readers, and Spring Boot's, take the stores and the configurations that point at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.files import ClientAuth, ReaderKind, StoreFiles
from agent.core.identity import KeyAlgorithm
from agent.keystores import pem, private_key
from tests.judges.identities import (
    JKS,
    PEM,
    PEM_ENCRYPTED,
    PEM_STRONG,
    PKCS12,
    PKCS12_OLD,
    Identity,
    make_identity,
    make_root,
)
from tests.judges.java import Kafka, started_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The first run of all waits for Maven.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CLIENT, SERVER, SPRING = ReaderKind.CLIENT_PROPERTIES, ReaderKind.SERVER_PROPERTIES, ReaderKind.SPRING

CLIENT_NAME, SERVER_NAME = "CN=producer-app,O=MyOrg", "CN=kafka1.example.com,O=MyOrg"
"""As Java tells them."""

GROUPS = [
    pytest.param(PEM, id="pem"),
    pytest.param(PEM_ENCRYPTED, id="pem-compatible"),
    pytest.param(PKCS12, id="pkcs12"),
    pytest.param(PKCS12_OLD, id="pkcs12-compatible"),
    pytest.param(JKS, id="jks"),
]
KEYS = [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048]


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """Return the JVM that judges all tests of this file."""
    with started_kafka() as kafka:
        yield kafka


@pytest.fixture(scope="module", params=KEYS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Identity]:
    """Return a client and a broker below one anchor, with keys of one kind."""
    # Whatever a path can hold that a syntax takes for its own.
    place = tmp_path_factory.mktemp("a place # with=all: of% it! é")
    root = make_root()
    client = make_identity(place / "client", request.param, root=root, subject=CLIENT_NAME, dns=(), ip=())
    broker = make_identity(
        place / "broker", request.param, root=root, subject=SERVER_NAME, dns=("kafka1.example.com",), ip=()
    )
    return client, broker


@pytest.mark.parametrize("group", GROUPS)
def test_client_and_broker_read_every_format_and_prove_themselves_to_each_other(
    kafka: Kafka, pair: tuple[Identity, Identity], group: StoreFiles
) -> None:
    """Whole chain, all anchors, and a mutual handshake with the name verified, from what was rendered for either."""
    client, broker = pair
    client.put(group)
    broker.put(group)
    read = client.put_configuration(CLIENT, group, group)
    served = broker.put_configuration(SERVER, group, group, listener="MTLS")

    stores = {
        "chain": [CLIENT_NAME, "CN=Test Intermediate,O=MyOrg"],
        "anchors": ["CN=Test Root,O=MyOrg"],
        "alias": "kafka",
    }
    assert kafka.ask("client", read) == stores
    assert kafka.ask("server", served, "MTLS", "SSL").items() >= {"chain": [SERVER_NAME, *stores["chain"][1:]]}.items()
    told = kafka.ask("handshake", read, served, "MTLS", "kafka1.example.com")
    assert told == {"protocol": "TLSv1.3", "server": SERVER_NAME, "client": CLIENT_NAME}


@pytest.mark.parametrize("group", GROUPS)
def test_spring_boot_passes_every_format_on(kafka: Kafka, pair: tuple[Identity, Identity], group: StoreFiles) -> None:
    """An application with the rendered YAML gives Kafka's client the stores that a properties file gives it."""
    client, broker = pair
    client.put(group)
    broker.put(group)
    read = client.put_configuration(SPRING, group, group)
    served = broker.put_configuration(SERVER, group, group)

    values, expected = kafka.ask("values", read), kafka.ask("values", client.put_configuration(CLIENT, group, group))
    assert values == expected
    told = kafka.ask("handshake", read, served, "SSL", "kafka1.example.com")
    assert told == {"protocol": "TLSv1.3", "server": SERVER_NAME, "client": CLIENT_NAME}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return an identity with the plain PEM and PKCS12 files."""
    identity = make_identity(
        tmp_path_factory.mktemp("identity"), subject=SERVER_NAME, dns=("kafka1.example.com",), ip=()
    )
    identity.put(PEM)
    identity.put(PKCS12)
    return identity


@pytest.mark.parametrize("kind", [CLIENT, SPRING])
def test_hostname_verification_is_on(kafka: Kafka, identity: Identity, kind: ReaderKind) -> None:
    """A broker whose certificate does not name the host is turned down."""
    read = identity.put_configuration(kind, PEM, PEM)
    served = identity.put_configuration(SERVER, PEM, PEM)
    assert "error" not in kafka.ask("handshake", read, served, "SSL", "kafka1.example.com")
    assert "No subject alternative DNS name matching kafka2.example.com" in str(
        kafka.ask("handshake", read, served, "SSL", "kafka2.example.com")["error"]
    )


def test_client_of_another_ca_is_turned_down(kafka: Kafka, identity: Identity, tmp_path: Path) -> None:
    """The broker's truststore is what it judges clients by, so the handshakes above prove something."""
    stranger = make_identity(tmp_path / "stranger", subject=CLIENT_NAME)
    stranger.put(PEM)
    read = stranger.put_configuration(CLIENT, PEM, None)
    read.write_text(
        read.read_text() + f"ssl.truststore.type=PEM\nssl.truststore.location={identity.directory}/ca.pem\n"
    )
    served = identity.put_configuration(SERVER, PEM, PEM)
    assert "PKIX path" in kafka.ask("handshake", read, served, "SSL", "kafka1.example.com")["error"]


@pytest.mark.parametrize(
    ("auth", "seen"),
    [(ClientAuth.NONE, "ANONYMOUS"), (ClientAuth.REQUESTED, "ANONYMOUS"), (ClientAuth.REQUIRED, None)],
)
def test_listener_asks_for_client_certificates_as_told(
    kafka: Kafka, identity: Identity, auth: ClientAuth, seen: str | None
) -> None:
    """A client without a keystore is let in, or not."""
    read = identity.put_configuration(CLIENT, None, PKCS12)
    served = identity.put_configuration(SERVER, PKCS12, PKCS12, listener="MTLS", client_auth=auth)
    assert kafka.ask("server", served, "MTLS", "SSL")["client_auth"] == auth
    assert kafka.ask("handshake", read, served, "MTLS", "kafka1.example.com").get("client") == seen


def test_listener_has_the_protocols_and_ciphers_that_were_told(kafka: Kafka, identity: Identity) -> None:
    """They hold for the listener that is named and for no other."""
    suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
    served = identity.put_configuration(
        SERVER, PKCS12, PKCS12, listener="Old-Ones", protocols=("TLSv1.2",), ciphers=(suite,)
    )
    asked = kafka.ask("server", served, "OLD-ONES", "SSL")
    assert (asked["protocols"], asked["ciphers"]) == (["TLSv1.2"], [suite])
    other = kafka.ask("server", served, "INTERNAL", "SSL")
    assert "chain" not in other
    assert "TLSv1.3" in other["protocols"]
    assert len(other["ciphers"]) > 1


def test_sasl_listener_heeds_client_auth_with_its_prefix_only(kafka: Kafka, identity: Identity) -> None:
    """What the fragment's comment says: without the listener's prefix Kafka ignores ssl.client.auth on SASL_SSL."""
    prefixed = identity.put_configuration(SERVER, PKCS12, PKCS12, sasl=True, listener="SECURE")
    assert kafka.ask("server", prefixed, "SECURE", "SASL_SSL")["client_auth"] == "required"
    bare = identity.put_configuration(SERVER, PKCS12, PKCS12, sasl=True)
    assert kafka.ask("server", bare, "SECURE", "SASL_SSL")["client_auth"] == "none"
    assert kafka.ask("server", bare, "SECURE", "SSL")["client_auth"] == "required"


@pytest.mark.parametrize("kind", [CLIENT, SPRING])
def test_sasl_client_needs_its_sasl_half_and_nothing_else(kafka: Kafka, identity: Identity, kind: ReaderKind) -> None:
    """With mechanism and JAAS added, as `Kafka.java` does, the client has its stores; without a keystore too."""
    both = kafka.ask("client", identity.put_configuration(kind, PKCS12, PKCS12, sasl=True))
    assert both["chain"][0] == SERVER_NAME
    assert kafka.ask("client", identity.put_configuration(kind, None, PKCS12, sasl=True)) == {
        "anchors": ["CN=Test Root,O=MyOrg"]
    }


@pytest.mark.parametrize("group", [PKCS12, PKCS12_OLD, JKS, PEM_ENCRYPTED])
def test_wrong_password_opens_nothing(kafka: Kafka, tmp_path: Path, group: StoreFiles) -> None:
    """So the right one, in the tests above, is what opened the stores."""
    identity = make_identity(tmp_path / "identity")
    identity.put(group)
    assert "error" in kafka.ask("client", identity.put_configuration(CLIENT, group, None, password="another one"))  # noqa: S106


def test_kafka_on_jdk_17_reads_no_key_encrypted_with_pbes2(kafka: Kafka, tmp_path: Path) -> None:
    """What `config check` warns of: Kafka's reader of PEM has no PBES2, whoever wrote the key."""
    identity = make_identity(tmp_path / "identity")
    identity.put(PEM_STRONG)
    refused = kafka.ask("client", identity.put_configuration(CLIENT, PEM_STRONG, PEM_STRONG))["error"]
    assert "PBES2 SecretKeyFactory not available" in refused


def test_kafka_reads_no_ed25519_in_pem_but_in_pkcs12_and_jks(kafka: Kafka, tmp_path: Path) -> None:
    """What `config check` warns of: Kafka's reader of PEM tries DSA, EC and RSA, and no other kind of key."""
    identity = make_identity(tmp_path / "identity", KeyAlgorithm.ED25519)
    for group in (PEM, PKCS12, JKS):
        identity.put(group)
    assert (
        "Private key could not be loaded" in kafka.ask("client", identity.put_configuration(CLIENT, PEM, PEM))["error"]
    )
    assert "chain" in kafka.ask("client", identity.put_configuration(CLIENT, PKCS12, PKCS12))
    assert "chain" in kafka.ask("client", identity.put_configuration(CLIENT, JKS, JKS))


def test_paths_in_the_keys_for_pem_text_are_refused(kafka: Kafka, identity: Identity, tmp_path: Path) -> None:
    """Why PEM needs the combined file: a path is no PEM text, though guides on the web write one there."""
    wrong = tmp_path / "client.properties"
    wrong.write_text(
        "security.protocol=SSL\nssl.keystore.type=PEM\n"
        f"ssl.keystore.key={identity.directory}/tls.key\nssl.keystore.certificate.chain={identity.directory}/tls.crt\n"
    )
    assert "Invalid PEM keystore configs" in kafka.ask("client", wrong)["error"]


def test_store_password_with_pem_is_refused(kafka: Kafka, identity: Identity) -> None:
    """Why none is rendered: Kafka refuses a store's password with PEM, and a key's with a key in the clear."""
    read = identity.put_configuration(CLIENT, PEM, PEM)
    good = read.read_text()
    read.write_text(good + "ssl.keystore.password=any\n")
    assert "cannot be specified with PEM format" in kafka.ask("client", read)["error"]
    read.write_text(good + "ssl.key.password=any\n")
    assert "error" in kafka.ask("client", read)


def test_key_and_chain_are_taken_in_either_order(kafka: Kafka, tmp_path: Path) -> None:
    """The combined file is read whichever comes first, so adopted files need no rewriting."""
    identity = make_identity(tmp_path / "identity")
    identity.put(PEM)
    key, chain = private_key.to_pem(identity.key), pem.encode(identity.chain)
    (identity.directory / "combined.pem").write_bytes(chain + key)
    assert "chain" in kafka.ask("client", identity.put_configuration(CLIENT, PEM, PEM))
