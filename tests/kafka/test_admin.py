"""Logins at a real broker: what is answered, refused and denied."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.broker import Node, Source, read_broker
from agent.core.files import ClientAuth
from agent.core.kafka_spec import Cluster, LoginFiles, SaslLogin, SecurityProtocol
from agent.core.secret import Secret
from agent.errors import KafkaDeniedError, KafkaError, KafkaRefusedError, KafkaUnavailableError
from agent.kafka.admin import admin
from agent.keystores import pem, private_key
from tests.judges.identities import make_root
from tests.kafka.place import AGENT, SASL_PASSWORD, SERVANT, Place, credentials_of, failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.credentials import Credentials
    from agent.kafka.admin import Admin

SOON = timedelta(seconds=1)
LOCATION = "listener.name.mtls.ssl.keystore.location"
MARKS = count(1_000_000_000)
BROKER = pytest.mark.timeout(240)
"""For what may be the first to fetch Kafka."""


@pytest.mark.slow
@BROKER
async def test_login_names_the_brokers_and_describes_one(place: Place) -> None:
    """What the broker says of itself is what it was started with, and what it keeps to itself is not shown."""
    async with admin(place.cluster(), place.agent) as client:
        (node,) = await client.nodes()
        values = await client.describe(1)
    assert node == Node(1, "localhost", place.node.ports["MTLS"])
    facts = read_broker(1, values)
    assert [one.name for one in facts.listeners] == ["INTERNAL", "MTLS", "LOGIN", "CONTROLLER"]
    assert (facts.inter_broker, facts.is_controller, facts.tls_controllers) == ("INTERNAL", True, False)
    mtls, login = facts.listener("MTLS"), facts.listener("LOGIN")
    assert mtls is not None
    assert login is not None
    assert mtls.advertised == place.node.address("MTLS")
    assert mtls.bound == f"127.0.0.1:{place.node.ports['MTLS']}"
    assert (mtls.protocol, mtls.asks_clients, mtls.network_threads) == (SecurityProtocol.SSL, ClientAuth.REQUIRED, 3)
    assert (mtls.principal_rules, mtls.principal_builder, mtls.engine_factory) == ("DEFAULT", "", "")
    assert (login.protocol, login.asks_clients) == (SecurityProtocol.SASL_SSL, ClientAuth.NONE)
    assert login.truststore is not None
    assert login.truststore.static == str(place.folder / "server" / "truststore.p12")
    password = values["listener.name.mtls.ssl.keystore.password"]
    assert (password.value, password.static, password.sensitive, password.source) == (None, None, True, Source.STATIC)
    assert values["ssl.keystore.location"].source is Source.DEFAULT
    assert (values["num.network.threads"].value, values["num.network.threads"].static) == ("3", "3")


@pytest.mark.slow
@BROKER
async def test_alter_sets_what_it_names_and_nothing_else(place: Place) -> None:
    """A dynamic value of another key stays, and what server.properties says is still seen below."""
    path = str(place.folder / "server" / "keystore.p12")
    async with admin(place.cluster(), place.agent) as client:
        await client.alter(1, {"background.threads": "3"})
        await client.alter(1, {LOCATION: path})
        await _settled(client)
        values = await client.describe(1)
    assert (values[LOCATION].value, values[LOCATION].static, values[LOCATION].dynamic) == (path, path, True)
    assert (values["background.threads"].value, values["background.threads"].dynamic) == ("3", True)


async def _settled(client: Admin) -> None:
    """Wait until the broker has taken something that is written down after all that was written down before."""
    mark = str(next(MARKS))
    await client.alter(1, {"log.retention.ms": mark})
    while True:
        if (await client.describe(1))["log.retention.ms"].value == mark:
            return
        await asyncio.sleep(0.05)


@pytest.mark.slow
@BROKER
@pytest.mark.parametrize(
    ("name", "request_", "core"),
    [
        ("good", {}, None),
        ("more", {"dns": ("localhost", "more.example.com")}, None),
        ("nosan", {"dns": ("other.example.com",)}, "Keystore SubjectAltNames do not match: "),
        ("otherdn", {"subject": "CN=another,O=MyOrg"}, "Keystore DistinguishedName does not match: "),
        ("missing", None, "Failed to load SSL keystore "),
    ],
)
async def test_broker_judges_a_store_before_it_reads_it(
    place: Place, name: str, request_: dict[str, Any] | None, core: str | None
) -> None:
    """With validate-only it says what it would refuse, in its own words, and changes nothing."""
    path = place.folder / name / "keystore.p12"
    if request_ is not None:
        place.identity(name, **{"subject": "CN=broker,O=MyOrg", "dns": ("localhost",), "ip": ()} | request_)
    async with admin(place.cluster(), place.agent) as client:
        await _settled(client)
        before = (await client.describe(1)).get(LOCATION)
        if core is None:
            await client.alter(1, {LOCATION: str(path)}, validate_only=True)
        else:
            with pytest.raises(KafkaRefusedError) as caught:
                await client.alter(1, {LOCATION: str(path)}, validate_only=True)
            assert caught.value.what.startswith(f"broker 1 of the Kafka cluster main refuses: {core}")
            assert caught.value.words.startswith("Invalid value org.apache.kafka.common.config.ConfigException: ")
            assert core in caught.value.words
            assert caught.value.advice
        await _settled(client)
        assert (await client.describe(1)).get(LOCATION) == before


@pytest.mark.slow
@BROKER
async def test_broker_refuses_what_cannot_be_changed(place: Place) -> None:
    """A refusal that is about no store is told in the broker's words too."""
    error = await failure_of_alter(place, {"ssl.keystore.location": "/somewhere"})
    assert isinstance(error, KafkaRefusedError)
    assert "can be dynamically updated only per-listener" in error.what


async def failure_of_alter(place: Place, values: dict[str, str]) -> KafkaError:
    """Return the error of an alter."""
    with pytest.raises(KafkaError) as caught:
        async with admin(place.cluster(), place.agent) as client:
            await client.alter(1, values, validate_only=True)
    return caught.value


@pytest.mark.slow
@BROKER
@pytest.mark.parametrize(
    ("work", "asked", "operation"),
    [("describe", (1,), "DescribeConfigs"), ("alter", (1, {"background.threads": "3"}), "AlterConfigs")],
)
async def test_missing_right_is_denied_with_the_acl(
    place: Place, work: str, asked: tuple[Any, ...], operation: str
) -> None:
    """The principal that the broker sees is named, and the command that gives it the right."""
    error = await failure(place.cluster(), place.servant, work, *asked)
    assert isinstance(error, KafkaDeniedError)
    assert f"does not allow {SERVANT} to do this" in error.what
    assert f"--allow-principal 'User:{SERVANT}' --operation {operation} --cluster" in error.advice


@pytest.mark.slow
@BROKER
async def test_broker_that_is_not_up_is_told_with_those_that_are(place: Place) -> None:
    """A node id that the cluster does not name is not waited for."""
    error = await failure(place.cluster(), place.agent, "alter", 7, {LOCATION: "/somewhere"})
    assert error.what == (
        f"broker 7 is not among those of the Kafka cluster main that are up: 1 at localhost:{place.node.ports['MTLS']}"
    )


@pytest.mark.slow
@BROKER
async def test_certificate_of_the_clusters_own_is_shown(place: Place) -> None:
    """Files of the settings go before the identity's certificate, whose principal may do nothing."""
    folder = place.folder / "agent"
    files = LoginFiles(folder / "agent.crt", folder / "agent.key")
    files.certificate.write_bytes(pem.encode(place.agent.chain))
    files.key.write_bytes(private_key.to_pem(private_key.from_der(place.agent.key)))
    async with admin(place.cluster(files=files), place.servant) as client:
        assert await client.describe(1)


@pytest.mark.slow
@BROKER
async def test_certificate_of_a_stranger_is_refused(place: Place) -> None:
    """The broker says no more than that it is bad, so what to look at is advised."""
    stranger = credentials_of(place.identity("stranger", make_root("CN=Stranger"), subject=AGENT))
    error = await failure(place.cluster(within=SOON), replace(stranger, anchors=place.agent.anchors))
    assert isinstance(error, KafkaUnavailableError)
    assert error.reason == "certificate refused"
    assert "ended the TLS handshake" in error.what
    assert "whose CA is in the truststore of that listener" in error.advice


@pytest.mark.slow
@BROKER
async def test_broker_of_another_ca_is_not_trusted(place: Place) -> None:
    """OpenSSL's own reason is told, which librdkafka keeps to itself."""
    error = await failure(place.cluster(within=SOON), replace(place.agent, anchors=(make_root("CN=X").certificate,)))
    assert error.reason == "not trusted"
    assert error.what.endswith(" is not trusted: unable to get local issuer certificate")


@pytest.mark.slow
@BROKER
async def test_broker_that_does_not_bear_the_name_is_not_trusted(place: Place) -> None:
    """The name is compared unless the settings say otherwise."""
    elsewhere = place.cluster(bootstrap=(f"127.0.0.1:{place.node.ports['MTLS']}",), within=SOON)
    error = await failure(elsewhere, place.agent)
    assert error.what.endswith("is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'.")
    assert "`verify_host_name: false`" in error.advice
    async with admin(replace(elsewhere, verify_host_name=False), place.agent) as client:
        assert len(await client.nodes()) == 1


def sasl(place: Place, mechanism: str, password: str, name: str = "alice") -> Cluster:
    """Return a login by password, which lies in a file."""
    file = place.folder / f"password-{len(password)}"
    file.write_text(password)
    return place.cluster(
        "LOGIN", protocol=SecurityProtocol.SASL_SSL, sasl=SaslLogin(mechanism, name, Secret(file=file))
    )


@pytest.fixture
async def scram_user(place: Place) -> str:
    """Have the cluster know a user with a SCRAM password."""
    from confluent_kafka.admin import (
        AdminClient,
        ScramCredentialInfo,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    from agent.kafka.login import settings

    known = UserScramCredentialUpsertion("bob", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"of-bob")
    with AdminClient(dict(settings(place.cluster(), place.agent))) as client:
        await asyncio.wrap_future(client.alter_user_scram_credentials([known])["bob"])
    return "of-bob"


@pytest.mark.slow
@BROKER
async def test_login_by_password_is_another_principal(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """Its name is that of the user, whom the broker denies what it does not allow."""
    async with admin(sasl(place, "PLAIN", SASL_PASSWORD), place.agent) as client:
        assert len(await client.nodes()) == 1
        with pytest.raises(KafkaDeniedError) as caught:
            await client.describe(1)
    assert "--allow-principal 'User:alice' --operation DescribeConfigs --cluster" in caught.value.advice
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@BROKER
async def test_login_by_scram_is_taken(place: Place, scram_user: str) -> None:
    """The password does not cross the wire (RFC 5802)."""
    async with admin(sasl(place, "SCRAM-SHA-256", scram_user, "bob"), place.agent) as client:
        assert len(await client.nodes()) == 1


@pytest.mark.slow
@BROKER
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_wrong_password_is_refused_and_not_tried_again(
    place: Place, mechanism: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One try is enough to know, and more would lock an account; nothing of it is on standard error."""
    refused = place.node.log.count("Failed authentication")
    error = await failure(sasl(place, mechanism, "of-nobody"), place.agent)
    assert isinstance(error, KafkaUnavailableError)
    assert error.reason == "login refused"
    assert "refuses the login: SASL " in error.what
    assert place.node.log.count("Failed authentication") - refused <= 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@BROKER
@pytest.mark.parametrize(
    ("listener", "protocol"), [("LOGIN", SecurityProtocol.SSL), ("MTLS", SecurityProtocol.PLAINTEXT)]
)
async def test_protocol_of_another_listener_is_told(place: Place, listener: str, protocol: SecurityProtocol) -> None:
    """The broker hangs up on what it does not understand."""
    error = await failure(place.cluster(listener, protocol=protocol, within=SOON), place.agent)
    assert "closes the connection before it answers" in error.what
    assert "`security_protocol`" in error.advice


@pytest.mark.slow
@BROKER
async def test_logins_side_by_side_do_not_meet(place: Place) -> None:
    """Each has its own rights and its own failures."""

    async def denied(credentials: Credentials) -> bool:
        async with admin(place.cluster(), credentials) as client:
            try:
                return not await client.describe(1)
            except KafkaDeniedError:
                return True

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(denied(who)) for who in (place.agent, place.servant) * 4]
    assert [answer.result() for answer in answers] == [False, True] * 4


@pytest.mark.slow
@BROKER
async def test_broker_that_does_not_answer_is_given_up_and_found_again(place: Place) -> None:
    """One that hangs between two questions is unavailable, and the same login works once it goes on."""
    async with admin(place.cluster(within=timedelta(seconds=2)), place.agent) as client:
        await client.describe(1)
        place.node.pause()
        try:
            with pytest.raises(KafkaUnavailableError) as caught:
                await client.describe(1)
        finally:
            place.node.resume()
        assert caught.value.reason in {"time-out", "unavailable"}
        assert await _described_at_last(client)


async def _described_at_last(client: Admin) -> Mapping[str, Any]:
    """Ask until a broker that has slept is awake."""
    while True:
        with suppress(KafkaUnavailableError):
            return await client.describe(1)
