"""Passwords and paths of every sort survive their syntax, read back by the programs that read the files."""

from __future__ import annotations

import re
import subprocess
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.clientconfig.render import Passwords, render
from agent.core.files import PemFiles, ReaderConfiguration, ReaderKind
from agent.errors import MaterialError
from tests.judges.identities import PEM_ENCRYPTED, PKCS12
from tests.judges.java import Kafka, started_kafka
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DIRECTORY = PurePosixPath("/etc/kafka/tls")
PASSWORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=6, max_size=64)
"""What a store's password may be."""
NAMES = st.text(st.characters(blacklist_characters="/", blacklist_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda name: name not in {".", ".."}
)
# One file for all examples is what makes hundreds of them cheap.
MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def kafka() -> Iterator[Kafka]:
    """Return the JVM that reads for all tests of this file."""
    with started_kafka() as kafka:
        yield kafka


@MANY
@given(password=PASSWORDS)
@example(password=r" \u0041=:#! ")  # noqa: S106
@example(password="\\" * 6)
def test_java_reads_back_the_password_that_properties_were_given(kafka: Kafka, tmp_path: Path, password: str) -> None:
    """`java.util.Properties` finds it, behind its own rules for spaces, signs and backslashes."""
    path = tmp_path / "client.properties"
    wanted = ReaderConfiguration(ReaderKind.CLIENT_PROPERTIES, path.name, PKCS12, PKCS12)
    path.write_bytes(render(wanted, DIRECTORY, Passwords(password, password[::-1])))
    values = kafka.ask("values", path)
    assert values["ssl.keystore.password"] == password
    assert values["ssl.truststore.password"] == password[::-1]


@MANY
@given(name=NAMES)
@example(name="schlüssel 🔑.pem")
@example(name=" \\u0041\t")
def test_java_reads_back_the_path_that_properties_were_given(kafka: Kafka, tmp_path: Path, name: str) -> None:
    """Any name of a file, whatever its script: the file is read as Latin-1 and escapes the rest."""
    path = tmp_path / "server.properties"
    wanted = ReaderConfiguration(
        ReaderKind.SERVER_PROPERTIES, path.name, PemFiles(combined=name), None, listener="SASL: all=of it"
    )
    path.write_bytes(render(wanted, DIRECTORY, Passwords()))
    assert kafka.ask("values", path)["listener.name.sasl: all=of it.ssl.keystore.location"] == str(DIRECTORY / name)


@MANY
@given(password=PASSWORDS, name=NAMES)
@example(password="pass${PATH}word", name="a")  # noqa: S106
@example(password=r"a\${b}#{c}", name="#?%41 ü")  # noqa: S106
@example(password="$${{}}", name="🔑")  # noqa: S106
def test_spring_boot_reads_back_what_it_was_given(kafka: Kafka, tmp_path: Path, password: str, name: str) -> None:
    """Behind YAML, placeholders and URLs it finds both; what it would expand is refused before."""
    path = tmp_path / "application.yml"
    files = PemFiles(combined=name, password=PEM_ENCRYPTED.password)
    wanted = ReaderConfiguration(ReaderKind.SPRING, path.name, files, None)
    try:
        path.write_bytes(render(wanted, DIRECTORY, Passwords(password)))
    except MaterialError:
        assert "${" in password
        return
    values = kafka.ask("values", path)
    assert values["ssl.key.password"] == password
    assert values["ssl.keystore.location"] == str(DIRECTORY / name)


@settings(MANY, max_examples=60)
@given(password=PASSWORDS)
@example(password=r"abc\=def")  # noqa: S106
@example(password="#=:!\\ 'x\"")  # noqa: S106
def test_kcat_reads_back_the_password_that_it_was_given(tmp_path: Path, password: str) -> None:
    """It has no way to escape: what its file cannot hold is refused, and nothing else."""
    path = tmp_path / "librdkafka.properties"
    wanted = ReaderConfiguration(ReaderKind.LIBRDKAFKA, path.name, PEM_ENCRYPTED, None)
    try:
        path.write_bytes(render(wanted, DIRECTORY, Passwords(password)))
    except MaterialError:
        assert password != password.strip() or re.search(r"\\[=:]", password)
        return
    assert f"\nssl.key.password = {password}\n" in dumped(path)


@pytest.mark.parametrize("password", [r"abc\=def", r"abc\\:def", "spaced "])
def test_kcat_misreads_what_is_refused(tmp_path: Path, password: str) -> None:
    """Why such passwords are refused for librdkafka: they arrive as others."""
    path = tmp_path / "librdkafka.properties"
    path.write_text(f"ssl.key.password={password}\n")
    assert f"\nssl.key.password = {password}\n" not in dumped(path)


def dumped(path: Path) -> str:
    """Return the configuration as kcat says that it understood it."""
    told = subprocess.run([need("kcat"), "-F", path, "-X", "dump"], capture_output=True, text=True, check=True)
    return told.stdout
