"""What is noted of CA rotations: written and read back, older notes, and notes that nobody wrote."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.anchors import Ruling
from agent.core.record import Record
from agent.core.rotation_record import Abort, Met, Pause, RotationRecord, Since
from agent.core.testimony import Question, Word
from agent.errors import MaterialError
from agent.stores import journal
from tests.material import NOW
from tests.stores.shelf import Shelf

if TYPE_CHECKING:
    from pathlib import Path

INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(max_size=10)
SINCES = st.builds(Since, TEXTS, INSTANTS)
SEVERAL = st.lists(SINCES, max_size=2).map(tuple)
RECORDS = st.builds(
    RotationRecord,
    rulings=st.lists(
        st.builds(Ruling, TEXTS, approved=st.booleans(), by=TEXTS, at=INSTANTS, force=st.booleans()), max_size=2
    ).map(tuple),
    words=st.lists(st.builds(Word, TEXTS, st.sampled_from(Question), TEXTS, TEXTS, INSTANTS), max_size=2).map(tuple),
    pause=st.none() | st.builds(Pause, TEXTS, INSTANTS),
    abort=st.none() | st.builds(Abort, TEXTS, TEXTS, TEXTS, INSTANTS),
    entered=SEVERAL,
    left=SEVERAL,
    leaf=st.none() | SINCES,
    own=st.none() | SINCES,
    away=SEVERAL,
    stage=st.none() | SINCES,
    owned=SEVERAL,
    doubtful=st.lists(TEXTS, max_size=2).map(tuple),
    ended=st.none() | SINCES,
    leaving=st.lists(TEXTS, max_size=2).map(tuple),
    forgotten=st.booleans(),
    met=st.lists(st.builds(Met, TEXTS, INSTANTS, st.booleans()), max_size=2).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
WHOLE = RotationRecord(
    rulings=(Ruling("ab" * 32, approved=False, by="ann", at=NOW, force=True),),
    words=(Word("b2", Question.RESTARTED_FOR_LEAF, "ca", "ann", NOW),),
    pause=Pause("bob", NOW),
    abort=Abort("new", "old", "ann", NOW),
    entered=(Since("old", NOW), Since("new", NOW)),
    left=(Since("old", NOW),),
    leaf=Since("new", NOW),
    own=Since("new", NOW),
    away=(Since("old", NOW),),
    stage=Since("leaf reissued", NOW),
    owned=(Since("old", NOW),),
    doubtful=("old",),
    ended=Since("leaf", NOW),
    leaving=("old",),
    forgotten=True,
    met=(Met("b3", NOW, is_node=True),),
)


def read_back(rotation: RotationRecord) -> RotationRecord:
    """Return the notes of a rotation after they were written and read."""
    return journal.decode(journal.encode(Record(rotation=rotation))).rotation


@pytest.mark.slow
@given(RECORDS)
def test_notes_are_read_back(rotation: RotationRecord) -> None:
    """Whatever people said, and since when things are so, lasts over a restart."""
    assert read_back(rotation) == rotation


def test_every_note_is_read_back() -> None:
    """One of each sort, none of them at its default."""
    assert read_back(WHOLE) == WHOLE
    assert read_back(RotationRecord()) == RotationRecord()


@pytest.mark.parametrize("question", Question)
def test_a_word_is_noted_by_the_name_of_its_question(question: Question) -> None:
    """A sentence for people may be put better one day; the notes are to be read all the same."""
    rotation = RotationRecord(words=(Word("b2", question, "ca", "ann", NOW),))
    assert read_back(rotation) == rotation
    assert question.name in journal.encode(Record(rotation=rotation)).decode()


async def test_notes_are_on_disk_for_the_next_process(tmp_path: Path) -> None:
    """The file is written durably, beside all else that is noted."""
    shelf = Shelf(tmp_path)
    record = Record(reloaded=1, rotation=WHOLE)
    await shelf.store.save(record)
    assert await shelf.restart().load() == record


def test_notes_of_an_agent_that_knew_of_no_rotation_are_read() -> None:
    """An upgrade loses no back-off and no hold; what is not noted is not there."""
    values = json.loads(journal.encode(Record(reloaded=3, settled=3)))
    del values["rotation"]
    assert journal.decode(json.dumps(values).encode()) == Record(reloaded=3, settled=3)
    for name in json.loads(journal.encode(Record(rotation=WHOLE)))["rotation"]:
        fewer = json.loads(journal.encode(Record(rotation=WHOLE)))
        del fewer["rotation"][name]
        assert isinstance(journal.decode(json.dumps(fewer).encode()).rotation, RotationRecord)


def changed(**parts: object) -> bytes:
    """Return notes whose rotation has other values in some places."""
    values = json.loads(journal.encode(Record(rotation=WHOLE)))
    values["rotation"] |= parts
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    "broken",
    [
        {"rulings": [{"fingerprint": "ab"}]},
        {"rulings": {"fingerprint": "ab"}},
        {"rulings": 7},
        {"words": [{"peer": "b2", "question": "TRUSTS", "ca": "x", "by": "ann"}]},
        {"words": ["b2"]},
        {"pause": "ann"},
        {"pause": {"by": "ann", "at": "2026-11-24T12:00:00"}},
        {"abort": {"by": "ann", "at": NOW.isoformat()}},
        {"entered": [{"what": "x", "at": "yesterday"}]},
        {"leaf": [1]},
        {"left": None},
        {"met": [{"peer": "b3"}]},
    ],
)
def test_notes_that_nobody_wrote_are_told(broken: dict[str, Any]) -> None:
    """Nothing is guessed of what people said: the file is set aside, and a person hears of it."""
    with pytest.raises(MaterialError, match="notes cannot be read"):
        journal.decode(changed(**broken))


def test_an_answer_to_a_question_of_a_later_agent_is_passed_over() -> None:
    """A downgrade loses that word and nothing else."""
    later = {"peer": "b2", "question": "IS_NICE", "ca": "x", "by": "ann", "at": NOW.isoformat()}
    words = json.loads(journal.encode(Record(rotation=WHOLE)))["rotation"]["words"]
    assert journal.decode(changed(words=[later, *words])).rotation == WHOLE


@given(st.sampled_from([*WHOLE.__dataclass_fields__]), JSON)
def test_garbage_in_place_of_a_note_is_read_or_told(name: str, value: object) -> None:
    """It is never crashed on."""
    with contextlib.suppress(MaterialError):
        assert isinstance(journal.decode(changed(**{name: value})).rotation, RotationRecord)
