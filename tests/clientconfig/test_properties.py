"""`client.properties` and a broker's `server.properties`, line by line; Kafka itself judges them in tests/judges."""

from __future__ import annotations

import pytest

from agent.core.files import ClientAuth, ReaderKind, StoreFiles
from tests.clientconfig.wanted import JKS, LOCKED, PEM, PKCS12, SPLIT, rendered, text

CLIENT, SERVER = ReaderKind.CLIENT_PROPERTIES, ReaderKind.SERVER_PROPERTIES


@pytest.mark.parametrize(
    ("group", "lines"),
    [
        (
            PEM,
            """\
            ssl.keystore.type=PEM
            ssl.keystore.location=/etc/kafka/tls/kafka1/combined.pem
            ssl.truststore.type=PEM
            ssl.truststore.location=/etc/kafka/tls/kafka1/ca.pem""",
        ),
        (
            LOCKED,
            """\
            ssl.keystore.type=PEM
            ssl.keystore.location=/etc/kafka/tls/kafka1/combined.pem
            ssl.key.password=key word
            ssl.truststore.type=PEM
            ssl.truststore.location=/etc/kafka/tls/kafka1/ca.pem""",
        ),
        (
            PKCS12,
            """\
            ssl.keystore.type=PKCS12
            ssl.keystore.location=/etc/kafka/tls/kafka1/keystore.p12
            ssl.keystore.password=key word
            ssl.truststore.type=PKCS12
            ssl.truststore.location=/etc/kafka/tls/kafka1/truststore.p12
            ssl.truststore.password=trust word""",
        ),
        (
            JKS,
            """\
            ssl.keystore.type=JKS
            ssl.keystore.location=/etc/kafka/tls/kafka1/keystore.jks
            ssl.keystore.password=key word
            ssl.truststore.type=JKS
            ssl.truststore.location=/etc/kafka/tls/kafka1/truststore.jks
            ssl.truststore.password=trust word""",
        ),
    ],
    ids=["pem", "pem-encrypted", "pkcs12", "jks"],
)
def test_stores_are_told_alike_to_client_and_broker(group: StoreFiles, lines: str) -> None:
    """Type, path, and a password only where the format has one; hostname verification is on for both."""
    stores = [*(line.strip() for line in lines.splitlines()), "ssl.endpoint.identification.algorithm=https"]
    assert rendered(CLIENT, group, group) == ["security.protocol=SSL", *stores]
    assert rendered(SERVER, group, group) == [*stores, "ssl.client.auth=required"]
    assert rendered(SERVER, group, group, listener="External") == [
        f"listener.name.external.{line}" for line in (*stores, "ssl.client.auth=required")
    ]


def test_each_half_comes_from_its_own_group() -> None:
    """A keystore in one format and anchors in another."""
    assert rendered(CLIENT, PKCS12, SPLIT)[3:6] == [
        "ssl.keystore.password=key word",
        "ssl.truststore.type=PEM",
        "ssl.truststore.location=/etc/kafka/tls/kafka1/ca.pem",
    ]


def test_sasl_client_is_told_what_is_left_to_it() -> None:
    """The SASL half is named and not written; a keystore may be left out, by us too."""
    told = text(CLIENT, PEM, PEM, sasl=True)
    assert "\nsecurity.protocol=SASL_SSL\n" in told
    assert "left to you: sasl.mechanism and sasl.jaas.config" in told
    assert "the lines of the keystore may be left out" in told
    without = text(CLIENT, None, PEM, sasl=True)
    assert "keystore" not in without
    assert "\nssl.endpoint.identification.algorithm=https\n" in without


def test_listener_has_its_client_auth_protocols_and_ciphers() -> None:
    """All of them static keys, with the prefix of the listener."""
    lines = rendered(
        SERVER,
        PKCS12,
        PKCS12,
        listener="EXTERNAL",
        client_auth=ClientAuth.REQUESTED,
        protocols=("TLSv1.3", "TLSv1.2"),
        ciphers=("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"),
    )
    assert lines[-3:] == [
        "listener.name.external.ssl.client.auth=requested",
        "listener.name.external.ssl.enabled.protocols=TLSv1.3,TLSv1.2",
        "listener.name.external.ssl.cipher.suites=TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256",
    ]


@pytest.mark.parametrize(
    ("listener", "remark"),
    [
        ("SECURE", "listener.name.secure.MECHANISM.sasl.jaas.config"),
        ("SECURE", "only when ssl.client.auth has its prefix"),
        (None, "listener.name.NAME.MECHANISM.sasl.jaas.config"),
        (None, "those with SASL_SSL ask for no client certificate"),
    ],
)
def test_sasl_listener_is_told_what_is_left_and_what_kafka_ignores(listener: str | None, remark: str) -> None:
    """The mechanisms are the operator's; ssl.client.auth counts with a listener's prefix only."""
    told = text(SERVER, PKCS12, PKCS12, sasl=True, listener=listener)
    assert "sasl.enabled.mechanisms" in told
    assert remark in told
    assert remark not in text(SERVER, PKCS12, PKCS12, listener=listener)
