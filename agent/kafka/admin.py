"""A login at a Kafka cluster, for what an admin may ask: who is there, how a broker is configured, to set it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from agent.core.broker import ConfigValue, Node, Source
from agent.errors import KafkaUnavailableError
from agent.kafka import login
from agent.kafka.failures import UNSUPPORTED, Heard, Question, answered, unavailable
from agent.net.threads import in_thread
from agent.net.words import in_one_line, quoted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from concurrent.futures import Future

    from confluent_kafka import KafkaError as KafkaProblem
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.admin._config import ConfigEntry, ConfigResource

    from agent.core.credentials import Credentials
    from agent.core.kafka_spec import Cluster
    from agent.errors import KafkaError
    from agent.kafka.failures import Failure

Answer = TypeVar("Answer")

TICK = 0.1
"""Seconds between two looks at what librdkafka logs while an answer is waited for."""

FUTILE = 3.0
"""Seconds that are waited on once a connection has failed at every address of the settings: librdkafka would go on to
the end of the request, several tries later."""

GRACE = 1.0
"""Seconds after which a request is given up that librdkafka itself should have given up."""

VERIFYING = 3.0
"""Seconds for a handshake that finds out why a broker's certificate cannot be verified."""

CLOSING = 5.0
"""Seconds that the end of a client is waited for; one that looks up a name cannot be stopped at once."""


@asynccontextmanager
async def admin(cluster: Cluster, credentials: Credentials | None) -> AsyncIterator[Admin]:
    """Log in with what the cluster's settings say, else with `credentials`; log out at the end, whatever happens.

    It is made anew for each piece of work: librdkafka reads a certificate once. Nothing is sent
    before the first question. Raise `MaterialError` as `login.settings` does, and
    `KafkaUnavailableError` where librdkafka cannot use it, or is not installed.
    """
    made: list[Admin] = []
    try:
        await in_thread(_log_in, cluster, credentials, made)
        yield made[0]
    finally:
        # Made for somebody who was cancelled meanwhile, it is ended all the same.
        for one in made:
            await one.close()


class Admin:
    """One login. Each question has `cluster.within`; its errors are those of `agent.errors` about Kafka."""

    def __init__(self, cluster: Cluster, client: AdminClient, heard: Heard, found: login.Settings) -> None:
        self._cluster = cluster
        self._client: AdminClient | None = client
        self._heard = heard
        self._anchors = login.anchors_of(found)
        self._principal = login.principal_of(cluster, found)
        self._nodes: tuple[Node, ...] = ()

    async def nodes(self) -> tuple[Node, ...]:
        """Return the brokers that are up, each at the endpoint of the listener that was asked."""
        found = await self._ask(
            lambda client, within: client.describe_cluster(request_timeout=within),
            Question(self._principal, "Describe"),
        )
        self._nodes = tuple(Node(node.id, node.host, node.port) for node in found.nodes)
        return self._nodes

    async def describe(self, node_id: int) -> Mapping[str, ConfigValue]:
        """Return what a broker is configured with, by key: its own keys and Kafka's, with the defaults.

        While the broker still applies an alter, a value may be the old one though it is told as dynamic.
        """
        await self._see_that_it_is_up(node_id)
        asked = _resource(node_id, {})
        entries = await self._ask(
            lambda client, within: client.describe_configs([asked], request_timeout=within)[asked],
            Question(self._principal, "DescribeConfigs", node_id),
        )
        return {name: _value(entry) for name, entry in entries.items()}

    async def alter(self, node_id: int, values: Mapping[str, str], *, validate_only: bool = False) -> None:
        """Set dynamic values of one broker, and leave all others as they are (IncrementalAlterConfigs, KIP-339).

        With `validate_only` the broker says whether it would take them, and nothing changes. Raise
        `KafkaRefusedError` where it does not take them.
        """
        await self._see_that_it_is_up(node_id)
        asked = _resource(node_id, values)
        await self._ask(
            lambda client, within: client.incremental_alter_configs(
                [asked], validate_only=validate_only, request_timeout=within
            )[asked],
            Question(self._principal, "AlterConfigs", node_id),
        )

    async def close(self) -> None:
        """End the client and wait for it, for so long as it is sure to end by itself."""
        client, self._client = self._client, None
        if client is None:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            client.__exit__(None, None, None)
            with suppress(RuntimeError):  # nobody waits any more, and the loop is closed
                loop.call_soon_threadsafe(ended.set)

        # None of the loop's own threads, which a process that ends waits for.
        threading.Thread(target=end, name="end of a Kafka client", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await ended.wait()

    async def _see_that_it_is_up(self, node_id: int) -> None:
        """Raise `KafkaUnavailableError` for a broker that the cluster does not name, which would be waited for."""
        if node_id not in {node.id for node in self._nodes or await self.nodes()}:
            up = ", ".join(map(str, self._nodes)) or "none"
            raise KafkaUnavailableError(
                f"broker {node_id} is not among those of the Kafka cluster {self._cluster.name} that are up: {up}",
                advice="start it, or correct `node_id`",
            )

    async def _ask(self, ask: Callable[[AdminClient, float], Future[Answer]], question: Question) -> Answer:
        from confluent_kafka import KafkaException

        client = self._client
        if client is None:
            raise self._closed()
        told: KafkaProblem | None = None
        try:
            return await self._answer(client, ask)
        except KafkaException as error:
            told = error.args[0]
        except TimeoutError:
            pass
        if told is None or (told.code() < 0 and told.code() not in UNSUPPORTED):
            raise await self._unavailable()
        raise answered(self._cluster, question, told.code(), told.str())

    async def _answer(self, client: AdminClient, ask: Callable[[AdminClient, float], Future[Answer]]) -> Answer:
        """Return the answer; raise `KafkaException`, or `TimeoutError` when none came or none will."""
        loop, failed_at = asyncio.get_running_loop(), None
        within = self._cluster.within.total_seconds()
        answer = asyncio.wrap_future(ask(client, within))
        try:
            async with asyncio.timeout(within + GRACE):
                while True:
                    await asyncio.wait([answer], timeout=TICK)
                    if self._client is not client:
                        raise self._closed()
                    client.poll(0)  # hands over what it has logged
                    if answer.done():
                        found = answer.result()
                        self._heard.forget()
                        return found
                    if self._heard.worst and self._heard.worst.is_login:
                        # To try it again and again is what locks an account elsewhere.
                        raise TimeoutError
                    if self._heard.addresses < len(self._cluster.bootstrap):
                        failed_at = None
                    elif loop.time() - (failed_at := failed_at or loop.time()) > FUTILE:
                        raise TimeoutError
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen, so that nobody warns of it

    def _closed(self) -> KafkaError:
        return KafkaUnavailableError(f"the agent has logged out of the Kafka cluster {self._cluster.name}")

    async def _unavailable(self) -> KafkaError:
        failure = self._heard.worst
        why = await self._why_unverified(failure) if failure and failure.is_unverified else ""
        return unavailable(self._cluster, failure, why_unverified=why)

    async def _why_unverified(self, failure: Failure) -> str:
        """Return what a verification of our own says of a broker's certificate; empty where it says nothing."""
        host, _, port = failure.address.rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self._cluster.verify_host_name
        try:
            context.load_verify_locations(cadata=self._anchors)
            async with asyncio.timeout(VERIFYING):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
                writer.close()
                await writer.wait_closed()
        except ssl.SSLCertVerificationError as error:
            return in_one_line(error.verify_message)
        except (OSError, ValueError):
            pass
        return ""


def _log_in(cluster: Cluster, credentials: Credentials | None, made: list[Admin]) -> None:
    """Make a client and put it into `made`, where it is found also by who is cancelled meanwhile."""
    try:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient
    except ImportError as error:
        raise KafkaUnavailableError(
            "confluent-kafka, the client of Kafka clusters, is not installed",
            advice="pip install 'kafka-cert-agent[kafka]'",
            reason="not installed",
        ) from error
    found = login.settings(cluster, credentials)
    secrets = login.secrets_of(found)
    heard = Heard(secrets)
    try:
        client = AdminClient(dict(found), logger=heard)
    except KafkaException as error:
        raise KafkaUnavailableError(
            f"librdkafka cannot log in at the Kafka cluster {cluster.name}: "
            f"{quoted(error.args[0].str(), secrets=secrets)}",
            advice="correct the settings of the cluster",
            reason="login refused",
        ) from None
    made.append(Admin(cluster, client, heard, found))


def _resource(node_id: int, values: Mapping[str, str]) -> ConfigResource:
    """Return a broker, with the values that are to be set; what is not among them is left as it is."""
    from confluent_kafka.admin import (
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in values.items()]
    return ConfigResource(ResourceType.BROKER, str(node_id), incremental_configs=entries)


def _value(entry: ConfigEntry) -> ConfigValue:
    source = _source(entry)
    # What is listed under its own name is the last of several there: what server.properties says, if it says anything.
    below = entry.synonyms.get(entry.name)
    static = entry if source is Source.STATIC else below if below and _source(below) is Source.STATIC else None
    return ConfigValue(entry.value, source, static.value if static else None, sensitive=entry.is_sensitive)


def _source(entry: ConfigEntry) -> Source:
    from confluent_kafka.admin import ConfigSource

    known = {
        ConfigSource.DYNAMIC_BROKER_CONFIG: Source.DYNAMIC,
        ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG: Source.DYNAMIC_DEFAULT,
        ConfigSource.STATIC_BROKER_CONFIG: Source.STATIC,
        ConfigSource.DEFAULT_CONFIG: Source.DEFAULT,
    }
    try:
        return known.get(ConfigSource(entry.source), Source.UNKNOWN)
    except ValueError:  # of a later Kafka
        return Source.UNKNOWN
