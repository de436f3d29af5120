"""The configuration of librdkafka, line by line; librdkafka and kcat judge it in tests/judges."""

from __future__ import annotations

import pytest

from agent.clientconfig.render import Passwords, render
from agent.core.files import PemFiles, ReaderConfiguration, ReaderKind, StoreFiles
from agent.errors import MaterialError
from tests.clientconfig.wanted import DIRECTORY, LOCKED, PEM, PKCS12, SPLIT, rendered, text

KIND = ReaderKind.LIBRDKAFKA


@pytest.mark.parametrize(
    ("group", "lines"),
    [
        (
            PEM,
            [
                "ssl.certificate.location=/etc/kafka/tls/kafka1/combined.pem",
                "ssl.key.location=/etc/kafka/tls/kafka1/combined.pem",
            ],
        ),
        (
            SPLIT,
            [
                "ssl.certificate.location=/etc/kafka/tls/kafka1/tls.crt",
                "ssl.key.location=/etc/kafka/tls/kafka1/tls.key",
            ],
        ),
        (
            LOCKED,
            [
                "ssl.certificate.location=/etc/kafka/tls/kafka1/combined.pem",
                "ssl.key.location=/etc/kafka/tls/kafka1/combined.pem",
                "ssl.key.password=key word",
            ],
        ),
        (
            PKCS12,
            [
                "ssl.keystore.location=/etc/kafka/tls/kafka1/keystore.p12",
                "ssl.keystore.password=key word",
            ],
        ),
    ],
    ids=["pem", "pem-split", "pem-encrypted", "pkcs12"],
)
def test_keystore_is_told_by_its_format(group: StoreFiles, lines: list[str]) -> None:
    """The combined file where there is one; anchors in PEM; both verifications on."""
    assert rendered(KIND, group, PEM) == [
        "security.protocol=SSL",
        *lines,
        "ssl.ca.location=/etc/kafka/tls/kafka1/ca.pem",
        "enable.ssl.certificate.verification=true",
        "ssl.endpoint.identification.algorithm=https",
    ]


def test_sasl_client_is_told_what_is_left_to_it() -> None:
    """The SASL half is named and not written; a keystore may be left out."""
    told = text(KIND, PEM, PEM, sasl=True)
    assert "\nsecurity.protocol=SASL_SSL\n" in told
    assert "left to you: sasl.mechanism" in told
    assert "the lines of the keystore may be left out" in told
    assert "keystore" not in text(KIND, None, PEM, sasl=True)


@pytest.mark.parametrize("password", [" leading", "trailing ", r"back\=slash", r"back\:slash", "line\nend", "bell\a"])
def test_password_that_the_file_cannot_hold_is_refused(password: str) -> None:
    """Nothing can be escaped there; the refusal names the key and what to choose, and not the password."""
    wanted = ReaderConfiguration(KIND, "file", PKCS12, PEM)
    with pytest.raises(MaterialError, match=r"ssl\.keystore\.password cannot be written") as caught:
        render(wanted, DIRECTORY, Passwords(password))
    assert password.strip() not in caught.value.diagnosis()


def test_path_that_the_file_cannot_hold_is_refused() -> None:
    """A path is no different."""
    wanted = ReaderConfiguration(KIND, "file", None, PemFiles(truststore="ca.pem "))
    with pytest.raises(MaterialError, match=r"ssl\.ca\.location cannot be written"):
        render(wanted, DIRECTORY, Passwords())


@pytest.mark.parametrize("password", [r"back\slash", "a = b : c # d ! e", "schlüssel"])
def test_other_signs_stand_as_they_are(password: str) -> None:
    """The value is all that follows the first sign of equality."""
    wanted = ReaderConfiguration(KIND, "file", PKCS12, PEM)
    assert f"\nssl.keystore.password={password}\n" in render(wanted, DIRECTORY, Passwords(password)).decode()
