"""A close look at a real broker: the CAs that it names, our leaf taken or refused, and nothing in its log of it."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.evidence import Verdict
from agent.keystores import pem
from agent.wire.visit import Visitor
from tests.servers.kafka import Listener, started_broker, stores
from tests.wire.listeners import NOW, Identity, combined, make_ca

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.evidence import Served
    from tests.servers.kafka import KafkaNode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

OLD_CA, NEW_CA, NAMESAKE = make_ca("CN=Old Root,O=Prüfstelle"), make_ca("CN=New Root"), make_ca("CN=New Root")
BROKER, OLD, NEW = Identity.of(OLD_CA), Identity.of(OLD_CA), Identity.of(NEW_CA)
STRANGER = Identity.of(make_ca("CN=Nobody"))
BOTH_NAMES = frozenset({OLD_CA.certificate.subject.public_bytes(), NEW_CA.certificate.subject.public_bytes()})

THREADS = 3


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """A broker that trusts two CAs, with a listener for each version of TLS and each way to ask for certificates."""
    folder = tmp_path_factory.mktemp("visited")
    truststore = folder / "ca.pem"
    truststore.write_bytes(pem.encode([OLD_CA.certificate, NEW_CA.certificate]))
    lines = stores("PEM", combined(BROKER, folder), truststore)
    tls12, tls13 = lines | {"ssl.enabled.protocols": "TLSv1.2"}, lines | {"ssl.enabled.protocols": "TLSv1.3"}
    listeners = [
        Listener("MUTUAL12", tls12),
        Listener("MUTUAL13", tls13),
        Listener("ASKING12", tls12, client_auth="requested"),
        Listener("ASKING13", tls13, client_auth="requested"),
        Listener("ONEWAY12", tls12, client_auth="none"),
        Listener("ONEWAY13", tls13, client_auth="none"),
        Listener("SASL13", tls13, protocol="SASL_SSL"),
        # No rule knows our name, so that no principal comes of it, which Kafka finds out once TLS is done.
        Listener("NAMELESS12", tls12 | {"ssl.principal.mapping.rules": "RULE:^CN=nobody$/x/"}),
        Listener("NAMELESS13", tls13 | {"ssl.principal.mapping.rules": "RULE:^CN=nobody$/x/"}),
    ]
    plain = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_one="two";'
    properties = {
        "num.network.threads": str(THREADS),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl13.plain.sasl.jaas.config": plain,
    }
    with started_broker(folder / "kafka", listeners, properties=properties) as node:
        yield node


async def _visit(node: KafkaNode, listener: str, shown: Identity | None) -> Served:
    return await Visitor(lambda: NOW).visit(
        listener,
        node.address(listener),
        proven=lambda served: served.fingerprint == BROKER.fingerprint,
        times=3 * THREADS,
        within=timedelta(seconds=30),
        shown=shown.credentials if shown else None,
    )


@pytest.mark.parametrize("version", ["12", "13"])
@pytest.mark.parametrize("kind", ["MUTUAL", "ASKING"])
async def test_visit_reads_what_a_broker_takes(broker: KafkaNode, kind: str, version: str) -> None:
    """Both CAs of the truststore are named, leaves of both are taken, and the broker's log knows of no failure."""
    said = len(broker.log)
    for shown in (OLD, NEW):
        served = await _visit(broker, kind + version, shown)
        assert (served.fingerprint, served.leaf) == (BROKER.fingerprint, BROKER.leaf)
        assert served.acceptable == BOTH_NAMES
        assert served.took_leaf is Verdict.PROVEN
    assert not re.search("(?i)fail|error|exception", broker.log[said:])


@pytest.mark.parametrize("version", ["12", "13"])
@pytest.mark.parametrize("kind", ["MUTUAL", "ASKING"])
async def test_visit_sees_a_broker_refuse(broker: KafkaNode, kind: str, version: str) -> None:
    """A leaf of a CA that the truststore lacks is refused, also where one of the same name is in it; the log tells."""
    said = len(broker.log)
    for shown in (STRANGER, Identity.of(NAMESAKE)):
        served = await _visit(broker, kind + version, shown)
        assert (served.fingerprint, served.took_leaf) == (BROKER.fingerprint, Verdict.REFUTED)
        assert served.acceptable == BOTH_NAMES
    async with asyncio.timeout(10):
        while broker.log.count("Failed authentication", said) < 2 * 3 * THREADS:  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("listener", ["ONEWAY12", "ONEWAY13"])
async def test_visit_sees_that_a_broker_asks_for_nothing(broker: KafkaNode, listener: str) -> None:
    """A listener without client authentication names no CA and is shown nothing."""
    served = await _visit(broker, listener, NEW)
    assert (served.fingerprint, served.acceptable) == (BROKER.fingerprint, None)
    assert served.took_leaf is Verdict.UNKNOWN


@pytest.mark.parametrize("listener", ["MUTUAL12", "MUTUAL13"])
async def test_visit_sees_the_leaf_of_a_broker_that_refuses_us_for_want_of_one(
    broker: KafkaNode, listener: str
) -> None:
    """Without a certificate of our own the leaf and the names are seen all the same."""
    served = await _visit(broker, listener, None)
    assert (served.fingerprint, served.acceptable) == (BROKER.fingerprint, BOTH_NAMES)
    assert served.took_leaf is Verdict.UNKNOWN


async def test_visit_is_answered_before_a_login(broker: KafkaNode) -> None:
    """A listener where clients log in by SASL answers the question all the same."""
    served = await _visit(broker, "SASL13", NEW)
    assert (served.fingerprint, served.took_leaf) == (BROKER.fingerprint, Verdict.PROVEN)


@pytest.mark.parametrize("listener", ["NAMELESS12", "NAMELESS13"])
async def test_visit_sees_a_broker_refuse_our_name(broker: KafkaNode, listener: str) -> None:
    """Where no principal comes of our name the broker hangs up after the handshake, which is a refusal too."""
    served = await _visit(broker, listener, NEW)
    assert (served.fingerprint, served.took_leaf) == (BROKER.fingerprint, Verdict.REFUTED)


async def test_visit_is_unknown_while_a_broker_hangs(broker: KafkaNode) -> None:
    """A broker that is stopped in its tracks proves and refutes nothing, and is proven once it goes on."""
    broker.pause()
    try:
        served = await Visitor(lambda: NOW).visit(
            "MUTUAL13",
            broker.address("MUTUAL13"),
            proven=lambda _: True,
            times=1,
            within=timedelta(seconds=1),
            shown=NEW.credentials,
        )
    finally:
        broker.resume()
    assert (served.fingerprint, served.acceptable, served.took_leaf) == (None, None, Verdict.UNKNOWN)
    assert served.trouble.startswith("no TLS handshake within")
    assert (await _visit(broker, "MUTUAL13", NEW)).took_leaf is Verdict.PROVEN
