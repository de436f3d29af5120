"""What is told of an identity and of the agent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import PrincipalPolicy
from agent.core.evidence import Served, Verdict
from agent.core.generation import Cause, Damage, FileDamage, Pending
from agent.core.judgement import Judgement, Look
from agent.core.kafka_spec import NodeRole
from agent.core.plan import decide
from agent.core.proof import Finding, Remedy
from agent.core.record import Failure, Lane, Record, Tries
from agent.core.report import BrokerReport, blinded, report, unseen
from agent.core.restart import RestartDue
from agent.core.secret import Secret
from agent.core.status import AgentStatus, BrokerStatus, Counts, Health, IdentityStatus
from tests.core.test_plan import (
    ANSWERED,
    CLIENTS,
    DEAF,
    DOWN,
    DUE,
    EXPIRED,
    FACTS,
    FIRST,
    INTERNAL,
    LINK,
    OPEN,
    PARTLY,
    REQUEST,
    SECOND,
    generation,
    glance,
    observed,
    of_broker,
)
from tests.daemon.memory_broker import SPEC
from tests.daemon.world import ADDRESS, OF_BROKER, WANTED
from tests.material import NOW, make_key, shown

if TYPE_CHECKING:
    from agent.core.configuration import Wanted
    from agent.core.observed import Observed

FAILED = Tries(3, NOW, Failure("it broke", "mend it", NOW))


def told(seen: Observed, findings: tuple[str, ...] = ()) -> IdentityStatus:
    """Return the status of what is seen."""
    return report(seen, WANTED, decide(seen, WANTED, NOW), NOW, findings=findings, counts=Counts())


def test_a_good_identity_is_ready() -> None:
    """Nothing is wrong, nothing is to be looked at."""
    status = told(observed(SECOND))
    assert (status.health, status.not_ready, status.concerns) == (Health.PASS, (), ())
    assert status.settled
    assert status.listeners[0].verdict is Verdict.PROVEN
    assert [file.trouble for file in status.files] == ["", "", ""]
    assert status.leaf == status.issued == SECOND.leaf
    assert status.renew_at is not None
    assert status.emergency_at is not None
    assert status.renew_at < status.emergency_at


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (observed(None), "no certificate yet"),
        (observed(None, trouble="the manifest cannot be read"), "manifest"),
        (observed(generation(1, EXPIRED)), "expired at"),
        (
            observed(generation(1, LINK.leaf(REQUEST, make_key(), not_before=NOW + timedelta(days=1)))),
            "valid from",
        ),
        (
            observed(generation(1, LINK.leaf(REQUEST, make_key(), not_before=NOW - timedelta(days=29)))),
            "renewed long ago",
        ),
        (observed(SECOND, key=None), "private key is lost"),
        (observed(SECOND, damages=(FileDamage("tls.crt", Damage.MISSING),)), "tls.crt is missing"),
        (observed(SECOND, Record(settling=FAILED)), "could not be told"),
        (observed(SECOND, served=DEAF), "does not use what is on disk: it serves 0000"),
        (observed(SECOND, served=DOWN), "connection refused"),
        (observed(SECOND, served={}), "not looked at yet"),
    ],
)
def test_what_keeps_an_identity_from_being_ready_is_named(seen: Observed, word: str) -> None:
    """Each reason is a sentence, and the health is a failure."""
    status = told(seen)
    assert status.health is Health.FAIL
    assert any(word in why for why in status.not_ready), status.not_ready


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        (observed(SECOND, Record(2, 2, issuing=FAILED)), "issuing failed 3 times in a row: it broke (mend it)"),
        (observed(FIRST, Record(1, 1, refuted=2), kept=(SECOND,)), "rolled back from"),
        (observed(generation(1, DUE), Record(1, 1, held_leaf=DUE.fingerprint)), "person rolled back"),
        (observed(SECOND, damages=(FileDamage("ca.crt", Damage.EDITED_TRUSTSTORE),)), "edited by hand"),
        (observed(SECOND, trust=shown(trouble="gone")), "source of trust cannot be read: gone"),
        (observed(SECOND, peer_trust=shown(trouble="gone")), "what the peers trust"),
    ],
)
def test_what_a_person_should_look_at_is_named(seen: Observed, word: str) -> None:
    """The identity is ready, and there is something to see to."""
    status = told(seen)
    assert status.health is Health.WARN
    assert any(word in concern for concern in status.concerns), status.concerns


def test_a_refuted_candidate_is_named() -> None:
    """The findings of the last proof are part of the status."""
    status = told(observed(SECOND), ("dates: too old",))
    assert status.findings == ("dates: too old",)
    assert "a candidate was refuted: dates: too old" in status.concerns


def test_an_issued_leaf_is_told_before_it_is_current() -> None:
    """Issued, on disk and served are three facts."""
    status = told(observed(generation(1, DUE), pending=ANSWERED))
    assert ANSWERED.issued is not None
    assert status.issued == ANSWERED.issued.certificates[0]
    assert status.leaf == DUE
    assert isinstance(ANSWERED, Pending)


def test_a_generation_that_is_not_settled_is_told_so() -> None:
    """The reload may have succeeded, and the proof be open."""
    assert not told(observed(SECOND, OPEN)).settled


def test_one_that_was_not_looked_at_is_not_ready() -> None:
    """Silence is no health."""
    assert unseen(WANTED).not_ready == ("not looked at yet",)


@pytest.mark.parametrize("advice", ["", "see to the disk"])
def test_one_that_cannot_be_seen_is_not_ready(advice: str) -> None:
    """The last status stands, and that it cannot be read stands above it."""
    status = blinded(told(observed(SECOND)), Failure("EIO", advice, NOW))
    assert status.health is Health.FAIL
    assert "EIO" in status.not_ready[0]
    assert advice in status.sentence
    assert status.leaf == SECOND.leaf


@pytest.mark.parametrize(
    ("healths", "turning", "health"),
    [
        ([Health.PASS, Health.PASS], True, Health.PASS),
        ([Health.PASS, Health.WARN], True, Health.WARN),
        ([Health.FAIL, Health.WARN], True, Health.FAIL),
        ([Health.PASS], False, Health.FAIL),
        ([], True, Health.PASS),
    ],
)
def test_the_agent_is_as_well_as_its_worst_identity(healths: list[Health], health: Health, *, turning: bool) -> None:
    """An agent whose loop does not turn has failed, whatever its identities were."""
    identities = tuple(replace(unseen(WANTED), health=one, not_ready=()) for one in healths)
    status = AgentStatus("0", "host", "x.yaml", NOW, NOW, turning, identities)
    assert status.health is health
    assert status.ready is turning


def test_every_lane_keeps_its_own_tries() -> None:
    """What fails in one lane says nothing of another."""
    record = Record()
    for lane in Lane:
        record = record.with_tries(lane, replace(FAILED, count=len(lane)))
    assert [record.tries(lane).count for lane in Lane] == [len(lane) for lane in Lane]
    status = told(replace(observed(SECOND), record=replace(record, reloaded=2, settled=2)))
    assert set(status.tries) == set(map(str, Lane))


def test_notes_follow_what_happens() -> None:
    """A switch opens reload and proof, a settled generation closes them, a new leaf ends what was refuted."""
    record = Record(1, 1, refuted=2, demanded=True, held_leaf="x", issuing=FAILED, switching=FAILED)
    switched = record.switched(generation(3))
    assert switched == Record()
    files = record.switched(replace(generation(3), cause=Cause.FILES))
    assert (files.settled, files.refuted, files.demanded) == (None, 2, True)
    assert record.returned(1).settled == 1
    assert record.returned(4).settled is None
    assert record.settled_at(2).refuted is None
    assert record.settled_at(1).refuted == 2
    assert record.rolled_back(7, FAILED).refuted == 7


def test_a_look_without_a_handshake_is_unknown() -> None:
    """Unknown never counts as yes."""
    assert Served(ADDRESS, NOW, None).verdict("ab") is Verdict.UNKNOWN
    assert Served(ADDRESS, NOW, "ab").verdict("ab") is Verdict.PROVEN
    assert Served(ADDRESS, NOW, "cd").verdict("ab") is Verdict.REFUTED


def test_a_secret_is_named_by_its_place() -> None:
    """The value is in no setting, so no message can hold it."""
    assert str(Secret(environment="TOKEN")) == "$TOKEN"
    assert "token" in str(Secret(file=WANTED.directory / "token"))


# --- a Kafka broker ----------------------------------------------------------------------------


def told_of_broker(
    seen: Observed,
    broker: BrokerReport | None = None,
    *,
    wanted: Wanted = OF_BROKER,
    findings: tuple[str, ...] = (),
) -> IdentityStatus:
    """Return the status of an identity of a broker."""
    plan = decide(seen, wanted, NOW)
    return report(seen, wanted, plan, NOW, findings=findings, counts=Counts(), broker=broker)


def test_a_good_broker_is_ready_and_told_by_its_listeners_names() -> None:
    """Each listener is proven, under its name, and it is told where it was looked at."""
    seen = of_broker(SECOND, None, replace(glance(), address="localhost:9091"))
    status = told_of_broker(seen, BrokerReport(Judgement(facts=FACTS), Look((), FACTS), timedelta(seconds=4)))
    assert (status.health, status.not_ready, status.concerns, status.restart) == (Health.PASS, (), (), None)
    assert status.settled
    assert [(one.address, one.verdict, one.looked_at) for one in status.listeners] == [
        (INTERNAL, Verdict.PROVEN, "localhost:9091"),
        (CLIENTS, Verdict.PROVEN, CLIENTS),
    ]
    assert status.broker == BrokerStatus("main", "broker", 1, "accepted", took=timedelta(seconds=4))
    assert status.principal == "CN=kafka1.example.com,OU=Brokers,O=MyOrg"


def test_a_listener_that_takes_other_cas_keeps_the_identity_from_being_ready() -> None:
    """It serves the leaf, and would turn clients away that the truststore welcomes."""
    status = told_of_broker(of_broker(SECOND, None, glance(anchors=())))
    (why,) = status.not_ready
    assert why.startswith(f"{INTERNAL} is not shown to serve the leaf: it asks for client certificates, and names none")
    status = told_of_broker(of_broker(SECOND, None, glance(anchors=(LINK.certificate,))))
    (why,) = status.not_ready
    assert why.startswith(f"{INTERNAL} does not use what is on disk: it takes no certificates of CN=Test Root")


def test_a_broker_that_nobody_has_asked_is_told_as_the_settings_have_it() -> None:
    """No opinion, no principal, and the node id of the settings; a controller may have no cluster."""
    status = told_of_broker(of_broker(SECOND, facts=None))
    assert status.broker == BrokerStatus("main", "broker", 1)
    assert status.principal is None
    alone = replace(SPEC, cluster=None, node_id=None, role=NodeRole.CONTROLLER)
    controller = told_of_broker(of_broker(SECOND, facts=None), wanted=replace(OF_BROKER, reload=(alone,)))
    assert controller.broker == BrokerStatus("", "controller")
    assert told_of_broker(observed(SECOND), wanted=WANTED).broker is None


def test_the_principal_is_told_by_the_rules_of_the_settings_where_there_are_some() -> None:
    """With a leaf; before the first there is none."""
    wanted = replace(WANTED, principal=PrincipalPolicy("RULE:^CN=([^,]*),.*$/$1/"))
    assert told_of_broker(observed(SECOND), wanted=wanted).principal == "kafka1.example.com"
    assert told_of_broker(observed(None), wanted=wanted).principal is None


def test_what_a_broker_did_not_say_and_what_is_remarked_on_it_are_told() -> None:
    """The remarks of the last look go before those of an older question."""
    unknown = Judgement(unknown="it is down", remarks=("of the question",))
    status = told_of_broker(of_broker(SECOND), BrokerReport(unknown))
    assert status.broker == BrokerStatus("main", "broker", 1, "unknown", "it is down", ("of the question",))
    assert status.concerns == ("of the broker: of the question",)
    looked = told_of_broker(of_broker(SECOND), BrokerReport(unknown, Look((), remarks=("of the look",))))
    assert looked.health is Health.WARN
    assert looked.concerns == ("of the broker: of the look",)
    assert told_of_broker(of_broker(SECOND), BrokerReport()).concerns == ()


def test_a_restart_that_is_due_is_a_concern_with_its_date() -> None:
    """The identity is ready until then."""
    status = told_of_broker(of_broker(SECOND, Record(2, 2, restart=PARTLY)))
    assert (status.restart, status.health) == (PARTLY, Health.WARN)
    assert status.concerns == (f"the broker is to be restarted by {PARTLY.by.isoformat()}: the Raft client",)


LOST = Finding("Kafka's SANs", "it lacks SANs that are in use", Remedy.RESTART)
REFUSED = Judgement((LOST,))


def test_a_generation_that_waits_for_a_restart_has_one_due_when_the_leaf_in_use_ends() -> None:
    """It is held back, and nothing but a restart brings it in."""
    status = told_of_broker(of_broker(SECOND), BrokerReport(REFUSED), findings=(str(LOST),))
    why = f"a new generation waits for it: {LOST}"
    assert status.restart == RestartDue(2, NOW, SECOND.leaf.not_after, why)
    assert status.concerns == (
        f"a candidate was refuted: {LOST}",
        f"the broker is to be restarted by {SECOND.leaf.not_after.isoformat()}: {why}",
    )
    assert status.broker is not None
    assert status.broker.opinion == "refused"


@pytest.mark.parametrize(
    ("seen", "judgement", "findings"),
    [
        (of_broker(SECOND), None, (str(LOST),)),
        (of_broker(SECOND), Judgement(), (str(LOST),)),
        (of_broker(SECOND), Judgement((replace(LOST, remedy=Remedy.TRUST),)), (str(LOST),)),
        (of_broker(SECOND), REFUSED, ()),
        (of_broker(SECOND), REFUSED, (str(LOST), "dates: too old")),
        (observed(None, facts=FACTS), REFUSED, (str(LOST),)),
    ],
    ids=["never asked", "accepted", "no restart mends it", "of the past", "of another candidate", "nothing in use"],
)
def test_no_restart_is_due_for_what_does_not_wait_for_it(
    seen: Observed, judgement: Judgement | None, findings: tuple[str, ...]
) -> None:
    """What was once refused is no reason to restart a broker for ever."""
    assert told_of_broker(seen, BrokerReport(judgement), findings=findings).restart is None
