"""Evidence of peers, as values: whom each trusts, whose leaves it uses, and what a person says of it.

Who gathers it makes no difference: handshakes from here, what another agent reports, a person's word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.evidence import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.core.anchors import CaId

FRESH = timedelta(minutes=15)
"""How old evidence may be and still count; peers are asked every five minutes while it matters."""


class Question(StrEnum):
    """What is asked about a peer and a CA; each is answered by evidence, or by a person's word."""

    TRUSTS = "trusts"
    """Does it take leaves of the CA?"""
    LEFT = "has left"
    """Does it use no leaf of the CA any more?"""
    RESTARTED_FOR_ANCHOR = "was restarted since it trusts"
    """Was its process started after the CA had come into its truststore?"""
    RESTARTED_FOR_LEAF = "was restarted since its leaf is of"
    """Was its process started after its leaf of the CA had become current?"""


@dataclass(frozen=True, slots=True)
class Testimony:
    """What is known of one peer, as it was at `at`.

    `trusts` are the CAs that it was shown to trust, or not to; of one that is not among them nothing is
    known. `uses` are the CAs that the leaves in use there lead to, None where that is not known; a peer
    that shows no leaf uses none. `meets` says whether it meets our leaf at all: a listener that asks for
    no certificate meets no client's. `is_node` marks a node of a cluster whose Raft client keeps the
    stores of its process's start; `restarted` are answers about that process. `ahead` names a CA that
    is in use there and that no truststore here holds. `why` says what is not known, and why.
    `started_at` is when the process of a node was started, where that can be seen from here. `shows`: we
    meet the leaves that it uses. `passing`: its name is one for want of a better, and nothing to remember.
    """

    peer: str
    at: datetime
    trusts: Mapping[CaId, Verdict] = field(default_factory=dict)
    uses: frozenset[CaId] | None = None
    meets: bool = True
    is_node: bool = False
    restarted: Mapping[tuple[Question, CaId], Verdict] = field(default_factory=dict)
    ahead: str = ""
    why: str = ""
    started_at: datetime | None = None
    shows: bool = False
    passing: bool = False

    def answer(self, question: Question, ca: CaId) -> Verdict:
        """Return what it says to a question."""
        match question:
            case Question.TRUSTS:
                return self.trusts.get(ca, Verdict.UNKNOWN) if self.meets else Verdict.PROVEN
            case Question.LEFT:
                if self.uses is None:
                    return Verdict.UNKNOWN
                return Verdict.REFUTED if ca in self.uses else Verdict.PROVEN
            case _:
                return self.restarted.get((question, ca), Verdict.UNKNOWN) if self.is_node else Verdict.PROVEN


@dataclass(frozen=True, slots=True)
class Word:
    """A person's word on a peer, where nothing else can tell."""

    peer: str
    question: Question
    ca: CaId
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Awaited:
    """An answer of a peer that is waited for: `shown` is what is known so far, and never yes."""

    peer: str
    question: Question
    ca: CaId
    shown: Verdict = Verdict.UNKNOWN
    why: str = ""


@dataclass(frozen=True, slots=True)
class Peers:
    """All that is known of an identity's peers.

    `unknown` says why nobody can tell who they are, empty where that is known. `words` are those that
    people gave. `own` are the identity's own listeners, looked at like a peer's. `staying` are the CAs
    that were to stay in the truststores here when it was found out whose leaves are used.
    """

    testimonies: tuple[Testimony, ...] = ()
    own: tuple[Testimony, ...] = ()
    words: tuple[Word, ...] = ()
    unknown: str = ""
    staying: frozenset[CaId] = frozenset()

    def awaited(self, question: Question, ca: CaId, now: datetime) -> tuple[Awaited, ...]:
        """Return the peers that are not shown to answer yes; evidence that is not fresh answers nothing.

        A word stands in for what nobody can tell, and goes against no evidence.
        """
        found = []
        for one, verdict in zip(self.testimonies, self.verdicts(question, ca, now), strict=True):
            if verdict is not Verdict.PROVEN:
                is_fresh = abs(now - one.at) <= FRESH
                why = one.why if is_fresh else f"what is known of it is of {one.at:%Y-%m-%d %H:%M:%SZ}"
                found.append(Awaited(one.peer, question, ca, verdict, why))
        return tuple(found)

    def verdicts(self, question: Question, ca: CaId, now: datetime) -> tuple[Verdict, ...]:
        """Return what each peer answers, people's words included."""
        given = {word.peer for word in self.words if (word.question, word.ca) == (question, ca)}
        found = []
        for one in self.testimonies:
            verdict = one.answer(question, ca) if abs(now - one.at) <= FRESH else Verdict.UNKNOWN
            is_vouched_for = verdict is Verdict.UNKNOWN and one.peer in given
            found.append(Verdict.PROVEN if is_vouched_for else verdict)
        return tuple(found)


NOT_ASKED = Peers(unknown="they have not been asked yet")
"""What is known of the peers before the first look."""
