"""Spring's `application.yml`, read back as YAML; Spring Boot and Kafka judge it in tests/judges."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from agent.clientconfig.render import Passwords, render
from agent.core.files import ReaderConfiguration, ReaderKind, StoreFiles
from agent.errors import MaterialError
from tests.clientconfig.wanted import DIRECTORY, JKS, LOCKED, PEM, PKCS12, text

KIND = ReaderKind.SPRING


def kafka(keystore: StoreFiles | None, truststore: StoreFiles | None, **changes: Any) -> Any:
    """Return what stands below `spring.kafka`."""
    return yaml.safe_load(text(KIND, keystore, truststore, **changes))["spring"]["kafka"]


@pytest.mark.parametrize(
    ("group", "ssl"),
    [
        (
            PEM,
            {
                "key-store-type": "PEM",
                "key-store-location": "file:/etc/kafka/tls/kafka1/combined.pem",
                "trust-store-type": "PEM",
                "trust-store-location": "file:/etc/kafka/tls/kafka1/ca.pem",
            },
        ),
        (
            LOCKED,
            {
                "key-store-type": "PEM",
                "key-store-location": "file:/etc/kafka/tls/kafka1/combined.pem",
                "key-password": "key word",
                "trust-store-type": "PEM",
                "trust-store-location": "file:/etc/kafka/tls/kafka1/ca.pem",
            },
        ),
        (
            PKCS12,
            {
                "key-store-type": "PKCS12",
                "key-store-location": "file:/etc/kafka/tls/kafka1/keystore.p12",
                "key-store-password": "key word",
                "trust-store-type": "PKCS12",
                "trust-store-location": "file:/etc/kafka/tls/kafka1/truststore.p12",
                "trust-store-password": "trust word",
            },
        ),
        (
            JKS,
            {
                "key-store-type": "JKS",
                "key-store-location": "file:/etc/kafka/tls/kafka1/keystore.jks",
                "key-store-password": "key word",
                "trust-store-type": "JKS",
                "trust-store-location": "file:/etc/kafka/tls/kafka1/truststore.jks",
                "trust-store-password": "trust word",
            },
        ),
    ],
    ids=["pem", "pem-encrypted", "pkcs12", "jks"],
)
def test_stores_are_named_by_files_and_not_by_the_classpath(group: StoreFiles, ssl: dict[str, str]) -> None:
    """A file is replaced at a renewal; what is on the classpath was packed with the application."""
    assert kafka(group, group) == {
        "security": {"protocol": "SSL"},
        "ssl": ssl,
        "properties": {"ssl.endpoint.identification.algorithm": "https"},
    }


def test_sasl_client_is_told_what_is_left_to_it() -> None:
    """The SASL half is named and not written; a keystore may be left out."""
    told = text(KIND, PEM, PEM, sasl=True)
    assert "left to you: sasl.mechanism and sasl.jaas.config in spring.kafka.properties" in told
    assert "the lines of the keystore may be left out" in told
    assert kafka(PEM, PEM, sasl=True)["security"] == {"protocol": "SASL_SSL"}
    assert set(kafka(None, PEM, sasl=True)["ssl"]) == {"trust-store-type", "trust-store-location"}


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(lambda text: "${" not in text))
@example("yes: no # \"'\\ \t\x85\u2028\x7f🔑")
def test_yaml_reads_back_any_password(password: str) -> None:
    """Quotes, backslashes, what YAML folds as line ends, and every script."""
    wanted = ReaderConfiguration(KIND, "file", PKCS12, None)
    read = yaml.safe_load(render(wanted, DIRECTORY, Passwords(password)))
    assert read["spring"]["kafka"]["ssl"]["key-store-password"] == password


def test_what_spring_would_expand_is_refused() -> None:
    """A placeholder in a password would be looked up; the refusal does not tell the password."""
    wanted = ReaderConfiguration(KIND, "file", PKCS12, None)
    with pytest.raises(MaterialError, match="key-store-password cannot be written") as caught:
        render(wanted, DIRECTORY, Passwords("pass${word}"))
    assert "word}" not in caught.value.diagnosis()


def test_location_is_a_url() -> None:
    """What a URL takes for syntax is written as percent and number."""
    wanted = ReaderConfiguration(KIND, "file", PEM, None)
    read = yaml.safe_load(render(wanted, PurePosixPath("/etc/50% of #1"), Passwords()))
    assert read["spring"]["kafka"]["ssl"]["key-store-location"] == "file:/etc/50%25%20of%20%231/combined.pem"
