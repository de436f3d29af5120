"""librdkafka takes the stores and the rendered configuration, and proves itself to a server with them."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import KafkaException, Producer

from agent.core.certificate import Certificate
from agent.core.files import ReaderKind, StoreFiles
from agent.core.identity import KeyAlgorithm
from tests.judges.identities import (
    PEM,
    PEM_ENCRYPTED,
    PEM_STRONG,
    PKCS12,
    PKCS12_OLD,
    Identity,
    make_identity,
    make_root,
)
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SPLIT = replace(PEM, combined=None)
SPLIT_ENCRYPTED = replace(PEM_ENCRYPTED, combined=None)
GROUPS = [
    pytest.param(PEM, id="pem-combined"),
    pytest.param(SPLIT, id="pem-split"),
    pytest.param(PEM_ENCRYPTED, id="pem-compatible"),
    pytest.param(SPLIT_ENCRYPTED, id="pem-split-compatible"),
    pytest.param(PEM_STRONG, id="pem-strong"),
    pytest.param(PKCS12, id="pkcs12"),
    pytest.param(PKCS12_OLD, id="pkcs12-compatible"),
]

SILENT = logging.getLogger("tests.librdkafka")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


@pytest.fixture(
    scope="module", params=[KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519], name="identity"
)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return an identity with files of every format that librdkafka reads."""
    identity = make_identity(tmp_path_factory.mktemp("tls"), request.param)
    for group in (PEM, PEM_ENCRYPTED, PEM_STRONG, PKCS12, PKCS12_OLD):
        identity.put(group)
    return identity


def read(path: Path) -> dict[str, str]:
    """Read the file as clients in Python and Go do: lines of key=value, white space around them taken away."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


@pytest.mark.parametrize("group", GROUPS)
def test_client_proves_itself_with_its_whole_chain(identity: Identity, group: StoreFiles) -> None:
    """Server and client know the anchor alone; the chain comes from the store, and the name is verified."""
    configuration = read(identity.put_configuration(ReaderKind.LIBRDKAFKA, group, PEM))
    assert configuration["ssl.endpoint.identification.algorithm"] == "https"
    assert met(identity, configuration) == identity.chain[0].fingerprint


def test_truststore_is_heeded(identity: Identity, tmp_path: Path) -> None:
    """A server whose anchor is not in it is hung up on."""
    make_identity(tmp_path / "other", root=make_root("CN=Other Root,O=Elsewhere")).put(PEM)
    configuration = read(identity.put_configuration(ReaderKind.LIBRDKAFKA, PEM, PEM))
    assert "unknown ca" in met(identity, configuration | {"ssl.ca.location": f"{tmp_path}/other/ca.pem"})


def test_hostname_verification_is_on(tmp_path: Path) -> None:
    """A server whose certificate does not name the host is hung up on."""
    identity = make_identity(tmp_path / "identity", dns=("kafka1.example.com",), ip=())
    identity.put(PEM)
    configuration = read(identity.put_configuration(ReaderKind.LIBRDKAFKA, PEM, PEM))
    assert "bad certificate" in met(identity, configuration)


@pytest.mark.parametrize("group", [PEM_ENCRYPTED, PEM_STRONG, PKCS12, PKCS12_OLD])
def test_wrong_password_opens_nothing(identity: Identity, group: StoreFiles) -> None:
    """The files are read when the client is made, and it says so when they do not open."""
    configuration = read(identity.put_configuration(ReaderKind.LIBRDKAFKA, group, PEM, password="another one"))  # noqa: S106
    with pytest.raises(KafkaException, match=r"ssl\.key(store)?\.|private key|pkcs12|PKCS"):
        Producer(configuration, logger=SILENT)


@pytest.mark.parametrize("group", GROUPS)
def test_kcat_takes_the_file(identity: Identity, group: StoreFiles) -> None:
    """It reads every line as a property that it knows, with the value that was meant."""
    path = identity.put_configuration(ReaderKind.LIBRDKAFKA, group, PEM)
    told = subprocess.run([need("kcat"), "-F", path, "-X", "dump"], capture_output=True, text=True, check=True)
    for key, value in read(path).items():
        # kcat gives this one its own name for the protocol.
        assert f"{key} = {value.lower() if key == 'security.protocol' else value}\n" in told.stdout


def met(identity: Identity, configuration: dict[str, str]) -> str:
    """Return the fingerprint of the leaf that a server saw of the client, or why it let nobody in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.directory / "combined.pem")
    context.load_verify_locations(identity.directory / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    def serve(listening: socket.socket) -> str:
        listening.settimeout(20)
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(20)
            try:
                with context.wrap_socket(accepted, server_side=True) as connection:
                    peer = connection.getpeercert(binary_form=True)
                    # In TLS 1.3 the client's word on the server's chain comes with the first that it sends.
                    connection.recv(1)
            except ssl.SSLError as error:
                return str(error)
        assert peer
        return Certificate.from_der(peer).fingerprint

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:
        seen = threads.submit(serve, listening)
        address = {"bootstrap.servers": f"localhost:{listening.getsockname()[1]}", "broker.address.family": "v4"}
        producer = Producer(configuration | address, logger=SILENT)
        while not seen.done():
            producer.poll(0.05)
        return seen.result()
