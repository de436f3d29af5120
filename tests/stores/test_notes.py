"""Manifests, pending notes and the journal: what is written is read back, garbage is told."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.generation import Cause, FileRecord, Generation, Issued, Pending
from agent.core.record import Failure, Lane, Record, Tries
from agent.core.restart import RestartDue
from agent.errors import MaterialError
from agent.stores import journal, manifest
from tests.material import NOW, make_key, make_request
from tests.stores.shelf import INTERMEDIATE, ROOT

REQUEST = make_request()
LEAF = INTERMEDIATE.leaf(REQUEST, make_key())
NUMBERS = st.none() | st.integers(1, 10**6)
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
FAILURES = st.builds(Failure, st.text(), st.text(), INSTANTS, st.booleans())
TRIES = st.builds(Tries, st.integers(0, 1000), st.none() | INSTANTS, st.none() | FAILURES)
DUES = st.recursive(
    st.builds(RestartDue, st.integers(1, 10**6), INSTANTS, INSTANTS, st.text(), st.booleans()),
    lambda inner: st.builds(
        RestartDue, st.integers(1, 10**6), INSTANTS, INSTANTS, st.text(), st.booleans(), st.none() | inner
    ),
    max_leaves=3,
)
RECORDS = st.builds(
    Record,
    reloaded=NUMBERS,
    settled=NUMBERS,
    refuted=NUMBERS,
    demanded=st.booleans(),
    held_leaf=st.none() | st.just(LEAF.fingerprint),
    issuing=TRIES,
    publishing=TRIES,
    settling=TRIES,
    switching=TRIES,
    restart=st.none() | DUES,
    restarted=NUMBERS,
)
NAMES = st.text(min_size=1, max_size=20).filter(lambda name: "/" not in name and name not in (".", ".."))
GENERATIONS = st.builds(
    Generation,
    number=st.integers(1, 10**6),
    cause=st.sampled_from(Cause),
    request=st.just(REQUEST),
    issuer=st.text(),
    chain=st.just((LEAF, INTERMEDIATE.certificate)),
    anchors=st.sampled_from([(), (ROOT.certificate,)]),
    issued_at=INSTANTS,
    made_at=INSTANTS,
    layout=st.text(),
    files=st.lists(st.builds(FileRecord, NAMES, st.just("ab" * 32), st.booleans())).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.slow
@given(RECORDS)
def test_a_record_is_read_back(record: Record) -> None:
    """Whatever is noted lasts over a restart."""
    assert journal.decode(journal.encode(record)) == record


@pytest.mark.slow
@given(GENERATIONS)
def test_a_manifest_is_read_back(generation: Generation) -> None:
    """A generation is known again, its request and its chain included."""
    assert manifest.decode(manifest.encode(generation)) == generation


@given(st.none() | st.lists(st.text()).map(tuple), INSTANTS)
def test_a_pending_key_is_read_back(remarks: tuple[str, ...] | None, at: datetime) -> None:
    """With and without an answer; the key comes back as it was written."""
    issued = None if remarks is None else Issued((LEAF,), at, remarks)
    pending = Pending(REQUEST, "ca", "token", NOW, LEAF.public_key, b"csr", issued)
    key, notes = manifest.decode_pending(manifest.encode_pending(pending, b"the key"))
    assert key == b"the key"
    assert notes(LEAF.public_key) == pending


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_told_and_nothing_else_raised(content: bytes) -> None:
    """Bytes that nobody wrote are no notes of ours."""
    for decode in (journal.decode, manifest.decode, manifest.decode_pending):
        with pytest.raises(MaterialError):
            decode(content)


@given(st.data())
def test_notes_with_a_wrong_value_are_told(data: st.DataObject) -> None:
    """Each value of a manifest may be anything: it is read or told, never crashed on."""
    generation = Generation(1, Cause.LEAF, REQUEST, "ca", (LEAF,), (), NOW, NOW, "x", (FileRecord("a", "b"),))
    values = json.loads(manifest.encode(generation))
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(JSON)
    try:
        manifest.decode(json.dumps(values).encode())
    except MaterialError:
        return


def test_a_file_of_a_manifest_never_leaves_the_directory() -> None:
    """A name with a slash would have another file read, or written."""
    generation = Generation(1, Cause.LEAF, REQUEST, "ca", (LEAF,), (), NOW, NOW, "x", (FileRecord("a", "b"),))
    values = json.loads(manifest.encode(generation))
    for name in ("../a", "/etc/shadow", "..", ""):
        values["files"][0]["name"] = name
        with pytest.raises(MaterialError, match="leaves the directory"):
            manifest.decode(json.dumps(values).encode())


def test_a_moment_without_a_zone_is_no_moment() -> None:
    """A local time would be another on another host."""
    record = Record(issuing=Tries(1, NOW, Failure("x", "y", NOW)))
    content = journal.encode(record).replace(b"+00:00", b"")
    with pytest.raises(MaterialError, match="without a zone"):
        journal.decode(content)


def test_a_restart_that_is_due_is_read_back() -> None:
    """What only a restart mends, and for which generation the command has run, outlive the process."""
    earlier = RestartDue(1, NOW, NOW, "the Raft client")
    record = Record(restart=RestartDue(2, NOW, NOW, "its password", whole=True, before=earlier), restarted=2)
    assert journal.decode(journal.encode(record)) == record


def test_notes_of_an_agent_that_knew_of_no_restart_are_read() -> None:
    """Those of an earlier version have nothing of it, and neither has what they tell."""
    values = json.loads(journal.encode(Record(reloaded=3, settled=3)))
    del values["restart"], values["restarted"]
    assert journal.decode(json.dumps(values).encode()) == Record(reloaded=3, settled=3)
    due = json.loads(journal.encode(Record(restart=RestartDue(2, NOW, NOW, "x"))))
    del due["restart"]["before"]
    assert journal.decode(json.dumps(due).encode()) == Record(restart=RestartDue(2, NOW, NOW, "x"))


@given(st.sampled_from(["restart", "restarted"]), JSON)
def test_garbage_in_place_of_a_restart_is_told(name: str, value: object) -> None:
    """It is read or told, never crashed on."""
    values = json.loads(journal.encode(Record(restart=RestartDue(2, NOW, NOW, "x"))))
    values[name] = value
    with contextlib.suppress(MaterialError):
        record = journal.decode(json.dumps(values).encode())
        assert record.restart is None or isinstance(record.restart, RestartDue)


def test_notes_of_a_later_agent_are_read_as_far_as_they_are_known() -> None:
    """What a later version added is passed over."""
    values = json.loads(journal.encode(Record(settled=3)))
    values["later"] = {"thing": 1}
    values["lanes"]["later lane"] = {}
    assert journal.decode(json.dumps(values).encode()) == Record(settled=3)


DUE = RestartDue(3, NOW, NOW, "the Raft client keeps its stores", before=RestartDue(2, NOW, NOW, "x"))


@pytest.mark.parametrize(
    "broken",
    [
        {"restart": "soon"},
        {"restart": [1]},
        {"restart": {"generation": None}},
        {"restart": {"generation": "x"}},
        {"restart": {"since": "2026-11-24T12:00:00"}},
        {"restart": {"by": 7}},
        {"restart": {"before": {"generation": 1}}},
        {"restart": {"before": "the first"}},
        {"restarted": "x"},
        {"restarted": [1]},
    ],
)
def test_a_restart_that_cannot_be_read_is_told(broken: dict[str, Any]) -> None:
    """The notes are set aside as any others that are broken; nothing is guessed."""
    values = json.loads(journal.encode(Record(restart=DUE, restarted=3)))
    for name, value in broken.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    with pytest.raises(MaterialError, match="notes cannot be read"):
        journal.decode(json.dumps(values).encode())


def test_nothing_of_a_pending_key_is_quoted() -> None:
    """The file holds a private key: an error names none of its content."""
    with pytest.raises(MaterialError) as caught:
        manifest.decode_pending(b'{"format": 1, "key": "secret", "answer": null}')
    assert "secret" not in str(caught.value)


def test_every_lane_is_noted() -> None:
    """No lane's back-off is lost."""
    for lane in Lane:
        record = Record().with_tries(lane, Tries(2, NOW, Failure("a", "b", NOW, refused=True)))
        assert journal.decode(journal.encode(record)).tries(lane).count == 2
