"""The JSON document of `/status`, and that it is documented."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from agent.core.evidence import Verdict
from agent.core.record import Failure, Tries
from agent.core.rotation import Stage
from agent.core.status import Health, IdentityStatus
from agent.web.status_json import FEW, render, rfc3339, status_document
from tests.material import NOW
from tests.web.statuses import NEW, make_identity, make_rotation, make_status

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "status.md"


def test_document_tells_of_an_identity() -> None:
    """Leaf, listeners, tries and counts stand where the documentation has them."""
    identity = make_identity()
    assert identity.leaf is not None
    document = status_document(make_status(identity))
    told = document["identities"][0]
    assert (document["ready"], document["health"], document["now"]) == (True, "pass", "2026-11-24T12:00:00Z")
    assert told["leaf"]["fingerprint"] == identity.leaf.fingerprint
    assert int(told["leaf"]["serial_number"], 16) == identity.leaf.serial_number
    assert told["leaf"]["subject"] == "CN=kafka1.example.com,OU=Brokers,O=MyOrg"
    assert told["leaf"]["sans"] == {"dns": ["kafka1.example.com", "localhost"], "ip": ["127.0.0.1"], "uri": []}
    assert [listener["verdict"] for listener in told["listeners"]] == [Verdict.PROVEN, Verdict.UNKNOWN]
    assert told["tries"]["issuing"] == {
        "failures": 3,
        "next_at": "2026-11-24T12:04:00Z",
        "failure": {
            "what": "the CA is away",
            "advice": "start it",
            "at": "2026-11-24T12:00:00Z",
            "refused": False,
            "reason": "",
        },
    }
    assert told["counts"]["renewals"] == {"issued": 2}
    assert told["principal"] == "kafka1"
    assert told["restart"] == {
        "by": "2026-11-29T12:00:00Z",
        "since": "2026-11-24T12:00:00Z",
        "why": "the Raft client lags",
    }
    assert told["broker"] == {
        "cluster": "prod",
        "role": "broker",
        "node_id": 1,
        "opinion": "accepted",
        "unknown": "",
        "remarks": ["a shadow", "a name"],
        "switch_to_proof_seconds": 0.75,
    }


def test_document_of_what_is_not_known_has_nulls() -> None:
    """An identity that was not looked at yet has every field all the same."""
    bare = IdentityStatus("broker", "/d", "vault", Health.FAIL, "not looked at yet", not_ready=("not looked at yet",))
    told = status_document(make_status(bare))["identities"][0]
    assert told.keys() == status_document(make_status(make_identity()))["identities"][0].keys()
    assert [told[field] for field in ("leaf", "issued", "generation", "renew_at")] == [None] * 4
    assert told["ready"] is False


def test_document_tells_of_a_rotation() -> None:
    """Where it stands, every anchor and every peer; verdicts are a list, since a question holds a CA's name."""
    told = status_document(make_status(make_identity()))["identities"][0]["rotation"]
    anchors, peers = told.pop("anchors"), told.pop("peers")
    assert told == {
        "stage": "anchor added",
        "broken": False,
        "why": "the next leaf is of CN=New CA; held: orders-1 is not shown to trust CN=New CA",
        "since": "2026-11-22T12:00:00Z",
        "leaf_ca": "CN=Old CA",
        "target_ca": "CN=New CA",
        "awaited": [
            {
                "peer": "orders-1",
                "question": "trusts CN=New CA",
                "verdict": "unknown",
                "why": "nobody here can look at it",
            }
        ],
        "paused": "alice, 2026-11-24 11:00:00Z",
        "aborted": "",
        "opens_at": "2026-11-24T18:00:00Z",
    }
    assert anchors[1] == {
        "subject": "CN=New CA",
        "fingerprint": NEW.certificate.fingerprint,
        "not_before": rfc3339(NEW.certificate.not_before),
        "not_after": rfc3339(NEW.certificate.not_after),
        "state": "waiting",
        "sources": ["vault", "/etc/kafka/ca.d"],
        "held": "",
    }
    assert peers[1] == {
        "peer": "orders-1",
        "at": "2026-11-24T09:00:00Z",
        "verdicts": [{"question": "trusts CN=New CA", "verdict": "unknown"}],
        "why": "nobody here can look at it",
    }


def test_document_tells_which_stages_are_broken() -> None:
    """A script need not know their names."""
    broken = {stage for stage in Stage if _rotation_in(stage)["broken"]}
    assert broken == {Stage.LEAF_UNTRUSTED, Stage.PEER_AHEAD, Stage.STORE_EDITED}


def _rotation_in(stage: Stage) -> dict[str, Any]:
    status = make_status(make_identity(rotation=make_rotation(stage=stage)))
    rotation: dict[str, Any] = status_document(status)["identities"][0]["rotation"]
    return rotation


def test_document_of_tries_that_did_not_fail_has_no_failure() -> None:
    """A lane at rest is told too."""
    told = status_document(make_status(make_identity(tries={"issuing": Tries()})))["identities"][0]
    assert told["tries"] == {"issuing": {"failures": 0, "next_at": None, "failure": None}}


def test_render_is_one_document_whatever_its_length() -> None:
    """For eyes or for programs, the values are the same."""
    few, many = make_status(make_identity()), make_status(*[make_identity()] * (FEW + 1))
    for status in (few, many):
        assert json.loads(render(status)) == json.loads(json.dumps(status_document(status)))
    assert (render(few).count(b"\n") > 20, render(many).count(b"\n")) == (True, 1)


def test_every_field_is_documented() -> None:
    """docs/status.md names each field between backticks."""
    documented = set(re.findall(r"`([a-z_]+)`", DOCUMENTATION.read_text(encoding="utf-8")))
    failing = Tries(1, NOW, Failure("what", "advice", NOW, refused=True))
    lanes = dict.fromkeys(("issuing", "publishing", "settling", "switching", "revoking"), failing)
    document = status_document(make_status(make_identity(tries=lanes)))
    assert set(_fields(document)) - documented == set()


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for name, inner in value.items():
            # What is counted is keyed by results and checks, which are no fields.
            yield from inner if name == "counts" else _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9990, 1, 1)), st.integers(-720, 720))  # noqa: DTZ001 - made aware below
def test_rfc3339_is_utc_and_loses_less_than_a_millisecond(moment: datetime, offset: int) -> None:
    """Any zone comes out in UTC, and reads back as the same moment."""
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    text = rfc3339(aware)
    assert text.endswith("Z")
    read_back = datetime.fromisoformat(text)
    assert read_back.tzinfo == UTC
    assert timedelta(0) <= aware - read_back < timedelta(milliseconds=1)
