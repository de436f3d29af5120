"""Every bad candidate is stopped before the switch, by the rule that should stop it, in Kafka's words where it refuses.

One broker stands for most of it: each test leaves it with the generation that it found.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AclPermissionType
from cryptography import x509
from structlog.testing import capture_logs

from agent.core.certificate import Sans
from agent.core.identity import Usage
from agent.core.proof import Remedy
from agent.core.reload_rules import HANDSHAKE, PRINCIPAL, SANS, SUBJECT, VERDICT
from agent.errors import AgentError
from tests.brokers.host import FILES, LISTENERS, broker_host
from tests.brokers.kafka_words import expect_verdicts
from tests.brokers.liars import (
    DAY,
    a_login,
    allow,
    another_key,
    of_a_stranger,
    says,
    set_values,
    take_rights,
    upside_down,
    without_chain,
)
from tests.brokers.scene import AUTHORIZER, BOTH, OTHER_CASE, SUBJECT_IN_USE, Scene, as_it_was

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from agent.core.status import IdentityStatus
    from tests.brokers.liars import Lie

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Have a broker in use."""
    with broker_host(tmp_path_factory.mktemp("base"), properties=AUTHORIZER) as host:
        scene = Scene(host)
        scene.up()
        yield scene


@pytest.fixture
def scene(base: Scene) -> Iterator[Scene]:
    """Lend out the broker, and take back what a test has changed about it."""
    with as_it_was(base):
        yield base


# --- the table ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A candidate that is not to become current.

    `change` is what a person does; `refusals` are the rules that stop it, with how many listeners
    each speaks for; `words` are Kafka's. `leaves` are paid for.
    """

    change: Callable[[Scene], None]
    refusals: Mapping[str, int]
    words: str
    remedies: frozenset[Remedy]
    leaves: int = 1


def _sees_elsewhere(scene: Scene) -> None:
    """Name a path that the broker does not see, and want a name more."""
    reads = {"keystore": "/elsewhere/keystore", "truststore": "/elsewhere/truststore"}
    listeners = {"INTERNAL": reads, "MTLS": {"keystore": "keystore", "truststore": "truststore"}}
    scene.want(reload=[scene.host.reload(listeners=listeners, within="30s")], sans=MORE)


def _for_servers_alone(scene: Scene) -> None:
    """Want a leaf that no client may use, and log in with the one that is there."""
    login = scene.host.folder / "login.pem"
    login.write_bytes((scene.host.directory / "tls.pem").read_bytes())
    scene.host.settings["clusters"]["test"] |= {"certificate": str(login), "key": str(login)}
    scene.want(usages=["server"])


def _another_password(scene: Scene) -> None:
    (scene.host.folder / "password").write_text("another one")


MORE = {"dns": ["localhost", "kafka1.example.com", "kafka.example.com"], "ip": ["127.0.0.1"]}

BAD: dict[str, Bad] = {
    "fewer SANs": Bad(
        lambda scene: scene.want(sans={"dns": ["localhost"]}),
        {SANS: 2, VERDICT: 2},
        "Keystore SubjectAltNames do not match:  existing={alias=kafka, SAN=[",
        frozenset({Remedy.RESTART}),
    ),
    "another subject": Bad(
        lambda scene: scene.want(subject="CN=kafka9,OU=Brokers,O=MyOrg"),
        {SUBJECT: 2, VERDICT: 2, PRINCIPAL: 2},
        "Keystore DistinguishedName does not match:  existing={alias=kafka, DN=CN=kafka1, OU=Brokers, O=MyOrg}, "
        "new={alias=kafka, DN=CN=kafka9, OU=Brokers, O=MyOrg}",
        frozenset({Remedy.RESTART, Remedy.PRINCIPAL}),
    ),
    "another principal that Kafka takes": Bad(
        lambda scene: scene.want(subject=OTHER_CASE),
        {PRINCIPAL: 2},
        f"the principal changes from User:{SUBJECT_IN_USE} to User:{OTHER_CASE}",
        frozenset({Remedy.PRINCIPAL}),
    ),
    "a leaf of a CA that brokers do not trust": Bad(
        lambda scene: scene.want(
            issuer="other",
            sans=MORE,
            trust=[{"issuer": "local"}],
            peer_trust=[{"issuer": "local"}, {"issuer": "other"}],
        ),
        {HANDSHAKE: 1, VERDICT: 1},
        "listener INTERNAL: Empty client certificate chain",
        frozenset({Remedy.TRUST}),
    ),
    "another store password": Bad(
        _another_password,
        {VERDICT: 2},
        "Failed to load SSL keystore",
        frozenset({Remedy.RECONFIGURE}),
        leaves=0,
    ),
    "another store type": Bad(
        lambda scene: scene.want(files=FILES["PEM"]),
        {VERDICT: 2},
        "keystore of type PKCS12",
        frozenset({Remedy.RECONFIGURE}),
        leaves=0,
    ),
    "a path that the broker does not see": Bad(
        _sees_elsewhere,
        {VERDICT: 1},
        "Failed to load SSL keystore /elsewhere/.generations/",
        frozenset({Remedy.READABLE}),
    ),
    "for servers alone": Bad(
        _for_servers_alone,
        {HANDSHAKE: 1, VERDICT: 1},
        "listener INTERNAL: Extended key usage does not permit use for TLS client authentication",
        frozenset({Remedy.NEW_LEAF}),
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_candidate_is_stopped_before_the_switch(scene: Scene, name: str) -> None:
    """Nothing is switched, the leaf that is paid for waits, all is told; put back, it settles without another leaf."""
    bad, host = BAD[name], scene.host
    wanted = copy.deepcopy(host.settings)
    calls, on_disk, served = scene.calls, scene.on_disk, scene.served
    bad.change(scene)
    with capture_logs() as log:
        keeper = host.keeper()
        await keeper.turn()
    status = host.status(keeper)
    assert scene.on_disk == on_disk
    assert scene.served == served
    assert scene.calls == calls + bad.leaves
    assert scene.has_pending == bool(bad.leaves)
    assert status.leaf is not None
    assert status.leaf.fingerprint in served.values()
    assert_told(status, bad)
    warned = [entry for entry in log if entry["log_level"] == "warning" and bad.words in entry["event"]]
    assert len(warned) == 1
    assert warned[0]["lane"] == "publishing"

    host.settings = wanted
    (host.folder / "password").write_text(host.password)
    keeper = host.keeper()
    status = await host.settled(keeper)
    assert scene.on_disk == on_disk
    assert scene.calls == calls + bad.leaves
    assert (status.health, status.findings, status.concerns) == ("pass", (), ())


def assert_told(status: IdentityStatus, bad: Bad) -> None:
    """Assert that a refusal is told with its rule, its words, and what mends it."""
    assert dict(status.counts.refusals) == dict(bad.refusals)
    assert dict(status.counts.preflights) == {"refused": 1}
    assert status.broker is not None
    assert status.broker.opinion == "refused"
    assert any(bad.words in finding for finding in status.findings), status.findings
    assert len(status.findings) == sum(bad.refusals.values())
    assert {finding.partition(":")[0] for finding in status.findings} == set(bad.refusals)
    for finding in status.findings:
        assert f"a candidate was refuted: {finding}" in status.concerns
    failure = status.tries["publishing"].failure
    assert failure is not None
    assert failure.refused
    assert bad.words in failure.what
    assert failure.advice == "mended by " + ", ".join(sorted(bad.remedies))


async def test_refusals_that_are_tried_again_cost_no_leaf_and_no_disk(scene: Scene) -> None:
    """The same leaf is offered again, under the same number, at the slow pace of refusals."""
    host, on_disk, calls = scene.host, scene.on_disk, scene.calls
    scene.want(sans={"dns": ["localhost"]})
    keeper = host.keeper()
    await keeper.turn()
    for _ in range(2):
        await keeper.turn()
        host.skew += timedelta(hours=7)
        await keeper.turn()
    status = host.status(keeper)
    assert status.counts.preflights == {"refused": 3}
    assert status.tries["publishing"].count == 3
    assert status.issued not in {None, status.leaf}
    assert (scene.on_disk, scene.calls) == (on_disk, calls + 1)


async def test_refusal_is_forgotten_once_its_cause_has_gone(scene: Scene) -> None:
    """Who puts the password back while the agent runs has nothing more to be told of."""
    host, on_disk = scene.host, scene.on_disk
    keeper = host.keeper()
    await keeper.turn()
    _another_password(scene)
    await keeper.turn()
    assert host.status(keeper).findings
    (host.folder / "password").write_text(host.password)
    await keeper.turn()
    status = host.status(keeper)
    assert (status.not_ready, status.concerns, status.findings) == ((), (), ())
    assert status.restart is None
    assert scene.on_disk == on_disk


# --- what Kafka would take, and nobody should -----------------------------------------------


def _changed(**changes: Any) -> Lie:
    return says(lambda asked: replace(asked, request=replace(asked.request, **changes)))


LIES: dict[str, tuple[Lie, str]] = {
    "another key": (another_key, "key"),
    "the CA in the leaf's place": (upside_down, "key"),
    "expired": (says(lambda asked: replace(asked, starts=-2 * DAY, lasts=-DAY)), "dates"),
    "not valid yet": (says(lambda asked: replace(asked, starts=DAY)), "dates"),
    "for servers alone": (_changed(usages=frozenset({Usage.SERVER})), "request"),
    "a CA": (says(lambda asked: replace(asked, ca=True)), "no CA"),
    "another subject": (_changed(subject=x509.Name.from_rfc4514_string("CN=admin")), "request"),
    "fewer names": (_changed(sans=Sans.of(dns=("localhost",))), "request"),
    "of a stranger": (of_a_stranger, "peer trust"),
    "without its chain": (without_chain, "peer trust"),
}
"""What a CA may answer, and our own rule that finds it: a listener that clients meet would serve most of these."""


@pytest.mark.parametrize("name", LIES)
async def test_leaf_that_is_not_what_was_asked_for_never_reaches_the_broker(scene: Scene, name: str) -> None:
    """Our own proof stops it, and says which rule it was."""
    host, (scene.local.lie, check) = scene.host, LIES[name]
    calls, on_disk, served = scene.calls, scene.on_disk, scene.served
    keeper = host.keeper()
    with pytest.raises(AgentError, match="the issued leaf is refuted") as caught:
        await keeper.renew()
    assert check in str(caught.value)
    await keeper.turn()
    status = host.status(keeper)
    assert status.findings
    assert check in {finding.partition(":")[0] for finding in status.findings}
    assert any(status.findings[0] in concern for concern in status.concerns)
    assert status.counts.renewals == {"issued": 1, "refuted": 1}
    assert (status.counts.preflights, status.counts.refusals) == ({}, {})
    assert (scene.calls, scene.on_disk, scene.served) == (calls + 1, on_disk, served)


async def test_other_principal_that_kafka_takes_goes_in_where_it_may_change(scene: Scene) -> None:
    """X.500 names are equal in any case of letters and ACLs are not: the operator has said that he knows."""
    scene.want(subject=OTHER_CASE, principal={"allow_change": True})
    keeper = scene.host.keeper()
    status = await scene.host.settled(keeper)
    assert status.principal == OTHER_CASE
    assert status.counts.preflights == {"accepted": 1}
    assert status.leaf is not None
    assert set(scene.served.values()) == {status.leaf.fingerprint}


async def test_new_anchors_and_a_leaf_of_theirs_are_two_generations(scene: Scene) -> None:
    """Kafka refuses both at once between brokers, and the leaf alone: it is taken, unpaid, once its CA is trusted."""
    host, current, calls = scene.host, scene.host.current, scene.calls
    scene.want(issuer="other", trust=[{"issuer": "local"}], peer_trust=BOTH)
    with pytest.raises(AgentError, match="Empty client certificate chain"):
        await host.keeper().renew()
    assert scene.host.current == current

    scene.want(trust=BOTH)
    keeper = host.keeper()
    host.skew += timedelta(hours=7)
    await keeper.turn()
    status = await host.settled(keeper)
    assert status.counts.publications == {"anchors": 1, "leaf": 1}
    assert status.counts.preflights == {"accepted": 2}
    assert status.generation == current + 2
    assert status.leaf is not None
    assert status.leaf.issuer == scene.other.intermediate.certificate.subject
    assert set(scene.served.values()) == {status.leaf.fingerprint}
    assert scene.calls == calls + 1


async def test_broker_refuses_a_truststore_without_the_ca_of_its_leaf_even_by_force(scene: Scene) -> None:
    """A person may go against our guards, and the broker's verdict still stands before the switch."""
    scene.want(trust=BOTH)
    keeper = scene.host.keeper()
    await scene.host.settled(keeper)
    served, root = scene.served, (await scene.local.anchors())[0]
    with pytest.raises(AgentError, match="leaf here is of"):
        await keeper.retire(root.fingerprint, by="alice", force=False)
    await keeper.retire(root.fingerprint, by="alice", force=True)
    status = scene.host.status(keeper)
    assert set(status.counts.refusals) == {HANDSHAKE, VERDICT}
    assert any("PKIX path building failed" in finding for finding in status.findings)
    assert root in status.anchors
    assert scene.served == served


@pytest.mark.parametrize("name", ["GHOST", "CONTROLLER"])
async def test_listener_that_the_broker_does_not_judge_is_no_verdict(scene: Scene, name: str) -> None:
    """Kafka says yes to anything about a listener that it does not have, or not over TLS: our own replay counts."""
    host, on_disk = scene.host, scene.on_disk
    listener = {"keystore": "keystore", "address": host.node.address("MTLS")}
    scene.want(
        reload=[host.reload(node_id=host.node.number, listeners={name: listener})],
        sans={"dns": ["localhost"]},
    )
    keeper = host.keeper()
    await keeper.turn()
    status = host.status(keeper)
    assert status.counts.refusals == {SANS: 1}
    assert status.broker is not None
    assert f"no TLS listener {name}" in status.broker.unknown
    (remark,) = status.broker.remarks
    assert name in remark
    assert scene.on_disk == on_disk


async def test_lost_key_is_replaced_with_a_login_by_the_candidate(scene: Scene) -> None:
    """Nobody can log in with a leaf whose key is gone; that keeps neither the look nor the renewal."""
    host, calls = scene.host, scene.calls
    current = host.directory / ".generations" / f"{host.current:06d}"
    for name in ("keystore", "tls.pem"):
        (current / name).unlink()
    status = await host.settled(host.keeper())
    assert status.counts.preflights == {"accepted": 1}
    assert scene.calls == calls + 1
    assert status.leaf is not None
    assert set(scene.served.values()) == {status.leaf.fingerprint}


async def test_kafka_says_why_on_each_listener(scene: Scene) -> None:
    """Its words are those that the remedies are told by; where clients alone come it takes what it should not."""
    await expect_verdicts(scene)


# --- what the broker is configured with ------------------------------------------------------


async def test_dynamic_values_that_go_before_the_agent_s_are_told(scene: Scene) -> None:
    """Another location, a type and a password, each with the command that deletes it; the password is not shown."""
    host, elsewhere = scene.host, scene.host.folder / "elsewhere"
    elsewhere.write_bytes((host.directory / "keystore").read_bytes())
    values = {
        "listener.name.mtls.ssl.keystore.location": str(elsewhere),
        "listener.name.internal.ssl.keystore.type": "PKCS12",
        "listener.name.internal.ssl.keystore.password": host.password,
    }
    await set_values(host, values)
    keeper = host.keeper()
    await keeper.turn()
    status = host.status(keeper)
    assert status.broker is not None
    told = dict(zip(sorted(values), sorted(status.broker.remarks), strict=True))
    for key, remark in told.items():
        assert f"--delete-config {key}`" in remark
        assert f"of the broker: {remark}" in status.concerns
        assert host.password not in remark
    assert f"dynamically to {elsewhere}, which is not the agent's {host.directory}/keystore" in "".join(told.values())
    assert "dynamically (PKCS12)" in "".join(told.values())

    await set_values(host, dict.fromkeys(values))
    host.skew += timedelta(minutes=6)
    await keeper.turn()
    status = host.status(keeper)
    assert status.broker is not None
    assert status.broker.remarks == ()
    assert status.concerns == ()


# --- rights ------------------------------------------------------------------------------


AGENT = "CN=agent,O=MyOrg"


async def test_missing_rights_are_told_and_never_a_done(scene: Scene) -> None:
    """Nobody judges and nobody is told: one right after the other is asked for, and then it settles."""
    host, served, calls = scene.host, scene.served, scene.calls
    patient = host.settings["identities"]["broker"]["reload"]
    _log_in_as_agent(scene)
    scene.want(reload=[host.reload(within="2s")])
    keeper = host.keeper()
    with pytest.raises(AgentError, match="is renewed on disk, and not shown to be in use"):
        await keeper.renew()
    for right, name in (("DescribeConfigs", "DESCRIBE_CONFIGS"), ("AlterConfigs", "ALTER_CONFIGS")):
        status = host.status(keeper)
        assert not status.settled
        assert status.not_ready
        failure = status.tries["settling"].failure
        assert failure is not None
        assert f"--add --allow-principal 'User:{AGENT}' --operation {right} --cluster" in failure.advice
        assert any(failure.what in concern for concern in status.concerns)
        assert status.broker is not None
        assert status.broker.opinion == "unknown"
        assert "Cluster authorization failed" in status.broker.unknown
        assert scene.served == served
        await allow(host, AGENT, name)
        host.skew += timedelta(hours=1)
        if right == "AlterConfigs":
            scene.want(reload=patient)
            keeper = host.keeper()
        await keeper.turn()
    status = await host.settled(keeper)
    assert (status.health, status.concerns) == ("pass", ())
    assert scene.calls == calls + 1
    assert status.leaf is not None
    assert set(scene.served.values()) == {status.leaf.fingerprint}
    await take_rights(host)


async def test_without_describe_configs_the_verdict_counts_and_the_right_is_told(scene: Scene) -> None:
    """What the settings tell of the broker is enough for a verdict and a proof."""
    host = scene.host
    _log_in_as_agent(scene)
    reads = {"keystore": "keystore", "truststore": "truststore"}
    listeners = {name: reads | {"address": host.node.address(name)} for name in LISTENERS}
    scene.want(
        reload=[host.reload(within="30s", node_id=host.node.number, listeners=listeners)],
        principal={"rules": "DEFAULT"},
    )
    await allow(host, AGENT, "ALTER_CONFIGS")
    await allow(host, AGENT, "DESCRIBE_CONFIGS", may=AclPermissionType.DENY)
    keeper = host.keeper()
    await keeper.renew()
    status = host.status(keeper)
    assert status.settled
    assert status.counts.preflights == {"accepted": 1}
    assert status.broker is not None
    (remark,) = status.broker.remarks
    assert f"--allow-principal 'User:{AGENT}' --operation DescribeConfigs --cluster" in remark

    on_disk = scene.on_disk
    listeners["GHOST"] = listeners["MTLS"]
    scene.want(sans={"dns": ["localhost"]})
    keeper = host.keeper()
    await keeper.turn()
    status = host.status(keeper)
    assert status.counts.refusals == {SANS: 3, VERDICT: 2}
    assert status.broker is not None
    assert "no TLS listener GHOST" in status.broker.unknown
    assert scene.on_disk == on_disk
    await take_rights(host)


def _log_in_as_agent(scene: Scene) -> None:
    """Have the agent log in with a leaf of its own, which has no right yet."""
    login = scene.host.folder / "agent.pem"
    login.write_bytes(a_login(scene.local, AGENT))
    scene.host.settings["clusters"]["test"] |= {"certificate": str(login), "key": str(login)}
