"""Logins at what is no broker: why nothing comes is told, and nothing is left behind."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.credentials import Credentials
from agent.core.kafka_spec import Cluster
from agent.errors import KafkaUnavailableError, MaterialError
from agent.kafka.admin import admin
from agent.keystores import pem, private_key
from tests.kafka.place import failure
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = timedelta(seconds=1)


def someone() -> Credentials:
    """Return credentials of a CA that nobody else knows."""
    now = datetime.now(UTC)
    root = Ca.root(not_before=now - timedelta(days=1), not_after=now + timedelta(days=1))
    middle = root.intermediate(not_before=now - timedelta(days=1), not_after=now + timedelta(days=1))
    key = make_key()
    leaf = middle.leaf(make_request(dns=("localhost",), ip=()), key, not_before=now - timedelta(hours=1))
    return Credentials(private_key.to_der(key), (leaf, middle.certificate), (root.certificate,))


@contextmanager
def silent(host: str = "127.0.0.1") -> Iterator[str]:
    """Listen and say nothing, as the kernel does for a process that hangs."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=32) as listener:
        yield f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def closed(host: str = "127.0.0.1") -> str:
    """Return an address where nothing listens."""
    with silent(host) as address:
        return address


def at(address: str, **changes: Any) -> Cluster:
    """Return a cluster that is asked there, for not long."""
    return Cluster("main", (address,), **{"within": SOON} | changes)


@contextmanager
def tls(credentials: Credentials, folder: Path, **limits: Any) -> Iterator[tuple[str, list[int]]]:
    """Serve TLS and take the clients of the same root alone; yield the address, and how long their chains are.

    In a thread, with blocking sockets: where a handshake fails, asyncio resets the connection before
    the alert is read.
    """
    (folder / "served.pem").write_bytes(pem.block("PRIVATE KEY", credentials.key) + pem.encode(credentials.chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "served.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=pem.encode(credentials.anchors).decode())
    for name, value in limits.items():
        setattr(context, name, value)
    chains: list[int] = []

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            if ended.is_set():
                connection.close()
                return
            connection.settimeout(3)
            with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as tls:
                inner: Any = tls
                chains.append(len(inner._sslobj.get_unverified_chain()))
                tls.recv(1000)

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=32) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"localhost:{listener.getsockname()[1]}", chains
        ended.set()
        socket.create_connection(listener.getsockname()).close()
        server.join()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_nothing_that_listens_is_told(host: str) -> None:
    """A broker that is down is unavailable, at the address that was asked."""
    try:
        address = closed(host)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    error = await failure(at(address), someone())
    assert isinstance(error, KafkaUnavailableError)
    assert error.what == f"the Kafka cluster main at {address} is down: nothing listens there"


@pytest.mark.slow
async def test_listener_that_never_answers_is_told() -> None:
    """It takes the connection and nothing else."""
    with silent() as address:
        error = await failure(at(address, within=timedelta(seconds=2)), someone())
    assert isinstance(error, KafkaUnavailableError)
    assert error.reason == "time-out"


@pytest.mark.slow
async def test_name_that_leads_nowhere_is_told() -> None:
    """RFC 6761, 6.4: there is no such name."""
    error = await failure(at("kafka.invalid:9093"), someone())
    assert error.what.startswith("the Kafka cluster main at kafka.invalid:9093 is not found: Failed to resolve")


@pytest.mark.slow
async def test_whole_chain_is_shown(tmp_path: Path) -> None:
    """A listener that trusts the root alone can follow it."""
    ours = someone()
    with tls(ours, tmp_path) as (address, chains):
        error = await failure(at(address), ours)
    assert chains
    assert set(chains) == {2}
    assert error.reason in {"time-out", "unavailable"}


@pytest.mark.slow
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_missing_certificate_is_told(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """OpenSSL says in its alert what it wants, as no Java does."""
    ours = someone()
    (tmp_path / "ca.pem").write_bytes(pem.encode(ours.anchors))
    with tls(ours, tmp_path, minimum_version=version, maximum_version=version) as (address, _):
        error = await failure(at(address, ca_file=tmp_path / "ca.pem"), None)
    assert error.reason == "certificate refused"
    assert "certificate" in error.advice


@pytest.mark.slow
async def test_expired_certificates_are_told(tmp_path: Path) -> None:
    """That of the agent by the alert, that of the broker by a verification of our own."""
    now = datetime.now(UTC)
    ours, key = someone(), make_key()
    root = Ca.root(not_before=now - timedelta(days=1), not_after=now + timedelta(days=1))
    old = root.leaf(
        make_request(dns=("localhost",)), key, not_before=now - timedelta(hours=3), not_after=now - timedelta(hours=1)
    )
    expired = Credentials(private_key.to_der(key), (old,), (root.certificate,))
    with tls(replace(ours, anchors=expired.anchors), tmp_path) as (address, _):
        error = await failure(at(address), replace(expired, anchors=ours.anchors))
        assert error.what.endswith("ended the TLS handshake: certificate expired (alert 45)")
    with tls(expired, tmp_path) as (address, _):
        error = await failure(at(address), expired)
        assert error.what.endswith("is not trusted: certificate has expired")
        assert error.advice.startswith("renew the certificate of that broker")


async def test_key_of_another_certificate_is_told() -> None:
    """It is seen before anything is sent; the key is in no message."""
    ours = someone()
    error = await failure(at(closed()), replace(ours, key=private_key.to_der(make_key())))
    assert error.what.startswith("librdkafka cannot log in at the Kafka cluster main: ")
    assert "key values mismatch" in error.what


async def test_login_that_cannot_be_read_is_no_failure_of_kafka(tmp_path: Path) -> None:
    """A file that is missing is told as such."""
    with pytest.raises(MaterialError, match=r"cannot read .*ca.pem"):
        async with admin(at(closed(), ca_file=tmp_path / "ca.pem"), someone()):
            raise AssertionError("there is no login")


async def test_missing_library_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra, and whoever asks for it late learns its name."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    error = await failure(at(closed()), someone())
    assert error.reason == "not installed"
    assert "kafka-cert-agent[kafka]" in error.advice


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.slow
async def test_cancelled_question_leaves_nothing_behind() -> None:
    """The client ends with whoever waited for it, and all of its threads do."""
    with silent() as address:
        async with admin(at(address), someone()):
            pass  # the loop's own threads are there from now on
        before = _threads()

        async def ask() -> None:
            async with admin(at(address, within=timedelta(seconds=30)), someone()) as client:
                await client.nodes()

        for pause in (0, 0.001, 0.01, 0.3):
            asking = asyncio.create_task(ask())
            await asyncio.sleep(pause)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        while _threads() > before:  # noqa: ASYNC110 - the threads are the library's, and tell nobody that they end
            await asyncio.sleep(0.05)
    assert not [thread for thread in threading.enumerate() if thread.name == "end of a Kafka client"]


@pytest.mark.slow
async def test_question_after_the_end_of_a_login_is_an_error() -> None:
    """A client that has ended is not touched, neither by a new question nor by one that is still asked."""
    with silent() as address:
        async with admin(at(address, within=timedelta(seconds=30)), someone()) as client:
            asking = asyncio.create_task(client.nodes())
            await asyncio.sleep(0.2)
        for question in (asking, client.nodes()):
            with pytest.raises(KafkaUnavailableError, match="has logged out"):
                await question
        await client.close()
