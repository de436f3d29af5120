"""Who the peers of an identity are, and what is asked of each: nobody is left out in silence."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import ca_id
from agent.core.configuration import ReaderProcess, RotationPolicy
from agent.core.evidence import Verdict
from agent.core.identity import Usage
from agent.core.kafka_spec import NodeRole, SaslLogin, SecurityProtocol
from agent.core.secret import Secret
from agent.core.testimony import Question
from agent.errors import KafkaDeniedError, KafkaUnavailableError, StoreError
from agent.kafka.admin import admin
from agent.net.processes import started_at
from agent.peers.witness import AT_ONCE, NO_VISITOR, NOBODY_HAS_SAID
from tests.material import NOW, Ca
from tests.peers.cluster import (
    BROKER,
    CANDIDATE,
    CLUSTER,
    CURRENT,
    KNOWN,
    LISTENERS,
    NEW,
    OLD,
    KnownVisitor,
    Scene,
    by_name,
    credentials_of,
    lines,
)

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

OLD_ID, NEW_ID = ca_id(OLD.certificate), ca_id(NEW.certificate)
PROVEN, REFUTED, UNKNOWN = Verdict.PROVEN, Verdict.REFUTED, Verdict.UNKNOWN
DENIED = KafkaDeniedError("it lacks the right to DescribeConfigs", advice="grant it")

OTHERS = {
    f"kafka{number}:{port} (node {number} {name})"
    for number in (2, 3)
    for port, name in ((9091, "INTERNAL"), (9092, "CLIENTS"))
}
METADATA = {f"kafka{number}:9092 (node {number})" for number in (1, 2, 3)}

TLS_CONTROLLERS = {
    "controller__quorum__voters": "1@kafka1:9094,2@kafka2:9094,100@ctl:9094",
    "listener__security__protocol__map": "INTERNAL:SSL,CLIENTS:SSL,PLAIN:PLAINTEXT,CONTROLLER:SSL",
}


# --- which peers there are ------------------------------------------------------------------


async def test_peers_of_a_broker_are_the_tls_listeners_of_the_others() -> None:
    """Its own are looked at too, and are no peer; what speaks no TLS meets no leaf."""
    scene = Scene.of_broker()
    peers = await scene.testify()
    assert peers.unknown == ""
    assert set(by_name(peers)) == OTHERS
    assert {one.peer for one in peers.own} == {"kafka1:9091 (node 1 INTERNAL)", "kafka1:9092 (node 1 CLIENTS)"}
    assert all(one.trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN} for one in (*peers.testimonies, *peers.own))
    assert all(
        (one.uses, one.at, one.meets, one.is_node) == (frozenset({OLD_ID}), NOW, True, False)
        for one in peers.testimonies
    )
    assert scene.cluster.is_open is False


async def test_own_broker_is_found_as_its_reader_finds_it() -> None:
    """Without a node id the addresses of its listeners tell; where they do not, each broker is another."""
    scene = Scene.of_broker()
    scene.spec = replace(BROKER, node_id=None, listeners=(replace(LISTENERS[1], address="kafka2:9092"),))
    peers = await scene.testify()
    assert not any("node 2" in name for name in by_name(peers))
    assert [one.peer for one in peers.own] == ["kafka2:9092 (node 2 CLIENTS)"]
    scene.spec = replace(BROKER, node_id=None)
    peers = await scene.testify()
    assert {f"node {number}" for number in (1, 2, 3)} == {name.split("(")[1][:6] for name in by_name(peers)}
    assert (peers.own, peers.unknown) == ((), "")


async def test_own_listeners_that_read_no_truststore_are_not_looked_at() -> None:
    """What they take says nothing of the identity's truststores."""
    scene = Scene.of_broker()
    scene.spec = replace(BROKER, listeners=(LISTENERS[0], replace(LISTENERS[1], truststore=None)))
    assert [one.peer for one in (await scene.testify()).own] == ["kafka1:9091 (node 1 INTERNAL)"]


async def test_client_meets_the_endpoints_that_the_metadata_names() -> None:
    """No broker is asked how it is configured, for which a client often lacks the right."""
    scene = Scene.of_client()
    peers = await scene.testify()
    assert (set(by_name(peers)), peers.unknown, peers.own) == (METADATA, "", ())
    assert scene.cluster.described == []
    assert scene.cluster.logins == [CURRENT]


async def test_names_of_listeners_say_which_are_met() -> None:
    """In any case of letters, and for a broker as for a client."""
    client, broker = Scene.of_client(of_cluster=("internal",)), Scene.of_broker(of_cluster=("Internal",))
    assert set(by_name(await client.testify())) == {f"kafka{one}:9091 (node {one} INTERNAL)" for one in (1, 2, 3)}
    assert set(by_name(await broker.testify())) == {f"kafka{one}:9091 (node {one} INTERNAL)" for one in (2, 3)}


@pytest.mark.parametrize(
    "scene", [Scene.of_client(of_cluster=("INTERN", "PLAIN")), Scene.of_broker(of_cluster=("INTERN", "PLAIN"))]
)
async def test_name_that_no_broker_has_is_told(scene: Scene) -> None:
    """It would vouch for nobody, and so for everything."""
    assert (await scene.testify()).unknown == "no broker has a TLS listener of the name INTERN, PLAIN"


async def test_client_that_logs_in_without_tls_meets_every_tls_listener() -> None:
    """What the metadata names then is nothing that meets a leaf."""
    scene = Scene.of_client(cluster=replace(CLUSTER, protocol=SecurityProtocol.PLAINTEXT))
    names = set(by_name(await scene.testify()))
    assert names == OTHERS | {"kafka1:9091 (node 1 INTERNAL)", "kafka1:9092 (node 1 CLIENTS)"}
    assert scene.cluster.logins == [None]


async def test_client_without_the_right_to_ask_is_left_with_the_metadata() -> None:
    """What more there may be is told where anything is waited for."""
    scene = Scene.of_client(of_cluster=("INTERNAL",))
    scene.cluster.brokers[2] = DENIED
    peers = await scene.testify()
    assert (set(by_name(peers)), peers.unknown) == (METADATA, "")
    assert all(
        "beside it no listener of the broker is known: it lacks the right" in one.why for one in peers.testimonies
    )
    scene.policy = replace(scene.policy, cluster=replace(CLUSTER, protocol=SecurityProtocol.SASL_PLAINTEXT))
    assert (await scene.testify()).unknown == DENIED.diagnosis()


async def test_broker_without_the_right_to_ask_knows_no_peers() -> None:
    """The metadata names one listener of a broker, and that need not be the one where brokers meet."""
    scene = Scene.of_broker()
    scene.cluster.brokers[3] = DENIED
    assert (await scene.testify()).unknown == DENIED.diagnosis()


async def test_broker_that_does_not_answer_is_a_peer_of_which_nothing_is_known() -> None:
    """The others are looked at all the same."""
    scene = Scene.of_broker()
    scene.cluster.brokers[3] = KafkaUnavailableError("broker 3 does not answer", advice="start it")
    peers = await scene.testify()
    silent = by_name(peers)["kafka3:9092 (node 3)"]
    assert (silent.trusts, silent.uses, silent.meets) == ({}, None, True)
    assert silent.why == "broker 3 does not answer: start it"
    assert peers.unknown == ""
    assert len(peers.testimonies) == 3


@pytest.mark.parametrize(
    ("refuses", "unknown"),
    [
        (KafkaUnavailableError("no broker answers", advice="start one"), "no broker answers: start one"),
        (StoreError("the disk is gone", advice="mend it"), "the disk is gone: mend it"),
    ],
)
async def test_cluster_that_cannot_be_asked_leaves_the_peers_unknown(refuses: Exception, unknown: str) -> None:
    """With the diagnosis; what the settings name is looked at all the same."""
    scene = Scene.of_broker(listeners=("other:9093",), peers=("laptop",))
    scene.cluster.refuses = refuses
    peers = await scene.testify()
    assert peers.unknown == unknown
    assert set(by_name(peers)) == {"other:9093", "laptop"}


async def test_cluster_that_names_no_broker_leaves_the_peers_unknown() -> None:
    """An empty answer vouches for nobody."""
    scene = Scene.of_client()
    scene.cluster.brokers = {}
    assert (await scene.testify()).unknown == "the Kafka cluster main names no broker"


async def test_login_without_a_client_of_kafka_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is told with the way to install it, and breaks nothing."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    scene = Scene.of_client()
    witness = scene.witness()
    witness._tools = replace(witness._tools, login=admin)
    peers = await witness.testify((CURRENT,), KNOWN)
    assert "confluent-kafka, the client of Kafka clusters, is not installed" in peers.unknown
    assert "pip install" in peers.unknown


async def test_looks_without_pyopenssl_are_unknown() -> None:
    """The peers are known, and nothing of them."""
    scene = Scene.of_client()
    scene.visitor = None
    peers = await scene.testify()
    assert {(one.why, one.uses) for one in peers.testimonies} == {(NO_VISITOR, None)}
    assert all(one.answer(Question.TRUSTS, OLD_ID) is UNKNOWN for one in peers.testimonies)


async def test_login_needs_a_certificate_unless_something_else_is_shown() -> None:
    """An identity without one yet cannot ask; a password or files of the cluster's own can."""
    scene = Scene.of_client(cluster=replace(CLUSTER, identity="agent"))
    scene.store.current = None
    peers = await scene.testify()
    assert "the identity agent, which the agent logs in with, has no certificate yet" in peers.unknown
    login = SaslLogin("PLAIN", "agent", Secret(environment="PASSWORD"))
    scene.policy = replace(scene.policy, cluster=replace(CLUSTER, protocol=SecurityProtocol.SASL_SSL, sasl=login))
    assert (await scene.testify()).unknown == ""
    assert scene.cluster.logins == [None]


async def test_peers_that_nobody_has_named_are_not_none() -> None:
    """Whether there are others is unknown until the settings say so; the evidence that there is counts."""
    peers = await Scene.of_client(peers=None).testify()
    assert peers.unknown == NOBODY_HAS_SAID
    assert set(by_name(peers)) == METADATA


async def test_hosts_without_an_agent_are_peers_that_a_person_vouches_for() -> None:
    """Nothing is known of them, and the sentence says what to do; each is one, whatever it is called."""
    peers = await Scene(RotationPolicy(peers=("laptop", "laptop", "x\n\x1b[31m"))).testify()
    assert [one.peer for one in peers.testimonies] == ["laptop", r"x\n\x1b[31m"]
    laptop = peers.testimonies[0]
    assert (laptop.trusts, laptop.uses, laptop.meets) == ({}, None, True)
    assert laptop.why == "nobody here can look at it: `cert-agent ca confirm laptop`"
    assert peers.unknown == ""


async def test_listeners_of_the_settings_are_peers_once() -> None:
    """One that the cluster names too is known by the name that says whose it is."""
    scene = Scene.of_broker(listeners=("kafka2:9091", "other:9093", "other:9093"))
    assert set(by_name(await scene.testify())) == OTHERS | {"other:9093"}


async def test_broker_is_a_client_of_what_the_settings_name() -> None:
    """A leaf there of a CA that nobody here knows is one that it may meet; a broker's clients' listener is none."""
    strange = credentials_of(Ca.root("CN=Strange")).leaf
    scene = Scene.of_broker(listeners=("other:9093",))
    scene.visitor = KnownVisitor({at: {"leaf": strange} for at in ("other:9093", "kafka2:9092", "kafka2:9091")})
    found = by_name(await scene.testify())
    assert found["other:9093"].ahead == found["kafka2:9091 (node 2 INTERNAL)"].ahead == "CN=Strange"
    assert found["kafka2:9092 (node 2 CLIENTS)"].ahead == ""


async def test_broker_behind_a_listener_meets_the_leaf_whoever_names_it() -> None:
    """A listener where brokers meet asks for nothing: that it is named in the settings too vouches for nobody."""
    scene = Scene.of_broker(listeners=("kafka2:9091", "other:9093"))
    scene.visitor = KnownVisitor({at: {"acceptable": None} for at in ("kafka2:9091", "other:9093")})
    scene.cluster.brokers[2] = lines(2, ssl__client__auth="none")
    found = by_name(await scene.testify())
    assert found["kafka2:9091 (node 2 INTERNAL)"].meets
    assert "`cert-agent ca confirm 'kafka2:9091 (node 2 INTERNAL)'`" in found["kafka2:9091 (node 2 INTERNAL)"].why
    assert not found["other:9093"].meets


async def test_broker_or_controller_without_a_cluster_knows_no_peers() -> None:
    """Nobody says which nodes there are; a client that names no cluster has none that it has not named."""
    scene = Scene.of_broker()
    scene.spec = replace(
        BROKER, cluster=None, role=NodeRole.CONTROLLER, listeners=(replace(LISTENERS[0], address="kafka1:9091"),)
    )
    peers = await scene.testify()
    assert "its settings name no cluster" in peers.unknown
    assert [one.peer for one in peers.own] == ["kafka1:9091 (node 1 INTERNAL)"]
    assert (await Scene(RotationPolicy(peers=(), listeners=("other:9093",))).testify()).unknown == ""


async def test_broker_that_is_named_no_more_is_a_peer_still() -> None:
    """A cluster names only those that are up; one that is down comes back with the stores that it had."""
    scene = Scene.of_broker()
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (1, 2, 3)}
    witness = scene.witness()
    before = await witness.testify((CURRENT,), KNOWN)
    del scene.cluster.brokers[3]
    assert scene.visitor is not None
    scene.visitor.shows = {at: {"down": True} for at in ("kafka3:9091", "kafka3:9092")}
    after = await witness.testify((CURRENT,), KNOWN)
    assert set(by_name(after)) == set(by_name(before))
    assert "node 3" in by_name(after)
    gone = by_name(after)["kafka3:9091 (node 3 INTERNAL)"]
    assert (gone.trusts, gone.uses) == ({}, None)
    assert gone.why == "its cluster names it no more; nothing listens there"
    scene.cluster.brokers[3] = lines(3)
    scene.visitor.shows = {}
    assert by_name(await witness.testify((CURRENT,), KNOWN))["kafka3:9091 (node 3 INTERNAL)"].why == ""


async def test_host_that_a_broker_leaves_out_is_that_of_the_metadata() -> None:
    """Kafka fills in one name for every listener without a host; for one of another host nobody knows where it is."""
    scene = Scene.of_broker()
    scene.cluster.brokers = {
        number: {key: value for key, value in lines(number).items() if key != "advertised.listeners"}
        for number in (1, 2)
    }
    assert set(by_name(await scene.testify())) == {name for name in OTHERS if "node 2" in name}
    for broker in scene.cluster.brokers.values():
        assert isinstance(broker, dict)
        broker["listeners"] = "INTERNAL://:9091,CLIENTS://10.0.0.2:9092"
    found = by_name(await scene.testify())
    assert set(found) == {"kafka2 (node 2 INTERNAL)", "10.0.0.2:9092 (node 2 CLIENTS)"}
    assert found["kafka2 (node 2 INTERNAL)"].why == "the broker does not say where the listener is advertised"
    assert found["kafka2 (node 2 INTERNAL)"].answer(Question.TRUSTS, OLD_ID) is UNKNOWN


async def test_what_a_broker_calls_itself_commands_no_terminal() -> None:
    """A name is whatever its settings say."""
    scene = Scene.of_broker()
    scene.cluster.brokers[2] = lines(
        2, advertised__listeners="INTERNAL://k\x1b[31m\n:9091", listeners="INTERNAL://:9091"
    )
    assert all(one.peer.isprintable() and one.why.isprintable() for one in (await scene.testify()).testimonies)


# --- nodes whose process matters ------------------------------------------------------------


async def test_nodes_are_peers_where_controllers_speak_tls() -> None:
    """Each broker and each controller, and the controllers' listeners; nobody else's start can be seen from here."""
    scene = Scene.of_broker()
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (1, 2, 3)}
    peers = await scene.testify()
    found = by_name(peers)
    nodes = {name for name, one in found.items() if one.is_node}
    assert nodes == {"node 1", "node 2", "node 3", "node 100"}
    controllers = {"kafka2:9094 (node 2 CONTROLLER)", "ctl:9094 (node 100 CONTROLLER)"}
    assert set(found) - nodes == OTHERS | controllers
    assert found["node 3"].why.endswith("its process was started: `cert-agent ca confirm 'node 3'`")
    assert found["node 3"].started_at is None
    for name in nodes:
        assert (found[name].meets, found[name].uses, found[name].restarted) == (False, frozenset(), {})
        assert found[name].answer(Question.RESTARTED_FOR_ANCHOR, NEW_ID) is UNKNOWN
    assert peers.unknown == ""


async def test_names_of_listeners_leave_every_node_in() -> None:
    """A Raft client keeps the stores of its start, whichever listeners are looked at."""
    scene = Scene.of_broker(of_cluster=("INTERNAL",))
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (1, 2)}
    found = by_name(await scene.testify())
    assert {name for name, one in found.items() if one.is_node} == {"node 1", "node 2", "node 100"}
    assert set(found) - {"node 1", "node 2", "node 100"} == {"kafka2:9091 (node 2 INTERNAL)"}
    scene = replace(scene, policy=replace(scene.policy, of_cluster=("CONTROLLER",)))
    assert {name for name in by_name(await scene.testify()) if "CONTROLLER" in name} == {
        "kafka2:9094 (node 2 CONTROLLER)",
        "ctl:9094 (node 100 CONTROLLER)",
    }


async def test_client_has_no_nodes() -> None:
    """It meets no controller, and its leaf is in no node's stores."""
    scene = Scene.of_client(of_cluster=("INTERNAL",))
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (1, 2, 3)}
    assert not any(one.is_node for one in (await scene.testify()).testimonies)


async def test_controllers_that_are_known_by_address_are_nodes_too() -> None:
    """A combined node is known by its own listener; another is called by its address, and it is told where none is."""
    changes = {key: value for key, value in TLS_CONTROLLERS.items() if "voters" not in key}
    changes["controller__quorum__bootstrap__servers"] = "kafka1:9094,kafka2:9094,ctl:9094"
    scene = Scene.of_broker()
    scene.cluster.brokers = {
        number: lines(
            number,
            **changes,
            process__roles="broker,controller",
            listeners="INTERNAL://:9091,CLIENTS://:9092,CONTROLLER://:9094",
        )
        for number in (1, 2)
    }
    found = by_name(await scene.testify())
    assert {name for name, one in found.items() if one.is_node} == {"node 1", "node 2", "controller ctl:9094"}
    assert {name for name in found if "CONTROLLER" in name} == {
        "kafka2:9094 (node 2 CONTROLLER)",
        "ctl:9094 (CONTROLLER)",
    }
    del changes["controller__quorum__bootstrap__servers"]
    scene.cluster.brokers = {number: lines(number, **changes) for number in (1, 2)}
    assert "do not say who those are" in (await scene.testify()).unknown


async def test_voter_without_an_address_is_not_taken_for_this_machine() -> None:
    """Kafka writes 0.0.0.0 for one that has no address yet, and whoever listens here is another."""
    scene = Scene.of_broker()
    changes = TLS_CONTROLLERS | {"controller__quorum__voters": "1@kafka1:9094,100@0.0.0.0:9094"}
    scene.cluster.brokers = {number: lines(number, **changes) for number in (1, 2)}
    found = by_name(await scene.testify())["0.0.0.0:9094 (node 100 CONTROLLER)"]
    assert (found.trusts, found.why) == ({}, "the voters of the quorum do not tell where the controller is")


async def test_start_of_the_own_process_is_told(tmp_path: Path) -> None:
    """By the pid file of the broker, or by what the settings of the rotation name; another's pid file is not read."""
    scene = Scene.of_broker()
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (1, 2)}
    path = tmp_path / "kafka.pid"
    scene.spec = replace(BROKER, pid_file=path)
    own = by_name(await scene.testify())["node 1"]
    assert own.started_at is None
    assert "cannot be seen from here" in own.why
    path.write_text(str(os.getpid()))
    for policy in (scene.policy, replace(scene.policy, process=ReaderProcess(pid_file=path))):
        scene.policy = policy
        found = by_name(await scene.testify())
        assert found["node 1"].started_at is not None
        assert abs(found["node 1"].started_at - _start()) < timedelta(seconds=1)
        assert found["node 1"].why == ""
        assert found["node 2"].started_at is None
        scene.spec = BROKER


async def test_own_node_is_a_node_while_its_broker_is_down() -> None:
    """It comes up one day with the stores that it finds; the other nodes' starts stay unknown."""
    scene = Scene.of_broker()
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (2, 3)}
    scene.spec = replace(BROKER, node_id=7)
    found = by_name(await scene.testify())
    assert "cannot be seen from here" in found["node 7"].why


async def test_node_that_may_be_our_own_is_told_where_that_is_not_known() -> None:
    """A person reads why nobody looks at the process on this very host."""
    scene = Scene.of_broker()
    scene.cluster.brokers = {number: lines(number, **TLS_CONTROLLERS) for number in (2, 3)}
    scene.spec = replace(BROKER, node_id=None)
    assert (
        "which node is this host's own is not known (none of the brokers"
        in by_name(await scene.testify())["node 2"].why
    )


async def test_reader_s_start_is_that_of_its_pid_file_or_unit(tmp_path: Path) -> None:
    """Nothing is known where the settings name neither."""
    group = tmp_path / "system.slice" / "app.service"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
    path = tmp_path / "app.pid"
    path.write_text(str(os.getpid()))
    for process in (ReaderProcess(pid_file=path), ReaderProcess(unit="app.service")):
        scene = Scene(RotationPolicy(process=process), cgroup=tmp_path)
        found = await scene.witness().reader_started_at()
        assert found is not None
        assert abs(found - _start()) < timedelta(seconds=1)
    assert await Scene(RotationPolicy(process=ReaderProcess(unit="none.service"))).witness().reader_started_at() is None
    assert await Scene().witness().reader_started_at() is None


def _start() -> datetime:
    found = started_at(os.getpid())
    assert found is not None
    return found


# --- what is shown to them ------------------------------------------------------------------


async def test_leaf_in_use_and_candidate_are_shown_to_each_that_asks() -> None:
    """Whoever takes the one and refuses the other is told apart, without a word of its names."""
    scene = Scene.of_client()
    shows = {"acceptable": frozenset[bytes](), "takes": (OLD,)}
    visitor = scene.visitor = KnownVisitor(
        {"kafka1:9092": shows, "kafka2:9092": {"acceptable": None}, "kafka3:9092": {"down": True}}
    )
    found = by_name(await scene.testify(CURRENT, CANDIDATE))
    assert visitor.shown_to("kafka1:9092") == [CURRENT.leaf, CANDIDATE.leaf]
    assert found["kafka1:9092 (node 1)"].trusts == {OLD_ID: PROVEN, NEW_ID: REFUTED}
    assert found["kafka1:9092 (node 1)"].why == "it has refused a leaf of CN=New"
    # Who asks for none, or is not there, is not visited again.
    assert visitor.shown_to("kafka2:9092") == visitor.shown_to("kafka3:9092") == [CURRENT.leaf]
    assert found["kafka2:9092 (node 2)"].meets is False
    assert found["kafka3:9092 (node 3)"].why == "nothing listens there"


async def test_leaf_that_nobody_takes_of_a_client_is_not_shown() -> None:
    """A refusal would say nothing of its CA; what the listener names is read all the same."""
    scene = Scene.of_client()
    server = credentials_of(OLD, usages=frozenset({Usage.SERVER}))
    peers = await scene.testify(server)
    assert scene.visitor is not None
    assert {leaf for _, leaf in scene.visitor.visits} == {None}
    assert all(one.trusts == {OLD_ID: PROVEN, NEW_ID: PROVEN} for one in peers.testimonies)


async def test_peers_are_looked_at_side_by_side() -> None:
    """Many at a time, and no more than a host has room for."""
    scene = Scene(RotationPolicy(peers=(), listeners=tuple(f"kafka{number}:9092" for number in range(3 * AT_ONCE))))
    visitor = scene.visitor = KnownVisitor(slow=0.01)
    assert len((await scene.testify()).testimonies) == 3 * AT_ONCE
    assert visitor.most_at_once == AT_ONCE


async def test_peer_that_is_not_reached_in_time_is_unknown() -> None:
    """What was seen of the others by then counts."""
    listeners = tuple(f"kafka{number}:9092" for number in range(AT_ONCE + 1))
    scene = Scene(RotationPolicy(peers=(), listeners=listeners), within=timedelta(seconds=0.5))
    scene.visitor = KnownVisitor(slow=0.3)
    peers = await scene.testify()
    late = [one for one in peers.testimonies if one.trusts == {}]
    assert [one.why for one in late] == ["it was not reached within 0.5 s"]
    assert len(peers.testimonies) == AT_ONCE + 1


async def test_cluster_that_hangs_leaves_time_for_the_looks() -> None:
    """Half of the time is for the question who there is."""
    scene = Scene.of_broker(listeners=("other:9093",))
    scene.within, scene.cluster.hangs = timedelta(seconds=0.4), True
    peers = await scene.testify()
    assert peers.unknown == "the Kafka cluster main has not answered in time"
    assert by_name(peers)["other:9093"].trusts[OLD_ID] is PROVEN
