"""Python's ssl, which aiokafka and kafka-python leave the files to, takes the PEM files, and meets Kafka's client."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from agent.core.files import PemFiles, ReaderKind
from agent.core.identity import KeyAlgorithm
from tests.judges.identities import PASSWORD, PEM, PEM_ENCRYPTED, PEM_STRONG, PKCS12, Identity, make_identity
from tests.judges.java import started_kafka

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def context(purpose: int, identity: Identity, group: PemFiles, *, split: bool) -> ssl.SSLContext:
    """Load a context as an application does."""
    assert group.combined
    assert group.certificate
    assert group.truststore
    place = identity.directory
    chain, key = (place / group.certificate, place / str(group.key)) if split else (place / group.combined, None)
    made = ssl.SSLContext(purpose)
    made.load_cert_chain(chain, key, password=PASSWORD if group.password else None)
    made.load_verify_locations(place / group.truststore)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519])
def test_files_are_loaded_split_and_combined(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    """Each loads, holds the anchors, and takes part in a handshake in which either side proves its chain."""
    identity = make_identity(tmp_path / "identity", algorithm)
    for group in (PEM, PEM_ENCRYPTED, PEM_STRONG):
        identity.put(group)
        for split in (True, False):
            server = context(ssl.PROTOCOL_TLS_SERVER, identity, group, split=split)
            client = context(ssl.PROTOCOL_TLS_CLIENT, identity, group, split=split)
            assert client.get_ca_certs(binary_form=True) == [identity.anchors[0].der]
            assert handshake(client, server) == (identity.chain[0].der, identity.chain[0].der)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[bytes | None, bytes | None]:
    """Let the two meet in memory, and return the leaf that each saw."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="kafka1.example.com"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not waiting
    return ends[0].getpeercert(binary_form=True), ends[1].getpeercert(binary_form=True)


def test_kafka_client_meets_a_server_in_python(tmp_path: Path) -> None:
    """Two programs that share no code prove themselves to each other, one with PKCS12 and one with PEM."""
    identity = make_identity(tmp_path / "identity")
    identity.put(PEM)
    identity.put(PKCS12)
    read = identity.put_configuration(ReaderKind.CLIENT_PROPERTIES, PKCS12, PKCS12)
    accepting = context(ssl.PROTOCOL_TLS_SERVER, identity, PEM, split=True)

    def serve(listening: socket.socket) -> bytes | None:
        accepted, _ = listening.accept()
        with accepting.wrap_socket(accepted, server_side=True) as connection:
            connection.sendall(b"1")
            connection.recv(1)
            return connection.getpeercert(binary_form=True)

    with (
        started_kafka() as kafka,
        socket.create_server(("127.0.0.1", 0)) as listening,
        ThreadPoolExecutor(1) as threads,
    ):
        listening.settimeout(20)
        seen = threads.submit(serve, listening)
        told = kafka.ask("connect", read, "kafka1.example.com", str(listening.getsockname()[1]))
        assert told["protocol"] == "TLSv1.3"
        assert told["server"].startswith("CN=kafka1.example.com")
        assert seen.result(20) == identity.chain[0].der
