"""The guards of a CA rotation: what each of its steps waits for.

A guard looks at a step that is asked about, and names what it waits for, or nothing. The lists are the
whole policy; the first guard that is not content holds the step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from agent.core.evidence import Verdict
from agent.core.testimony import Awaited, Peers, Question

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from agent.core.anchors import CaId


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an identity stands, each CA by its id.

    `identity` is its name. `leaf` is the CA of the current leaf, `end` what its chain leads to where that is
    more than the one CA, `may_use` are those of the leaves that
    readers may have loaded: its own alone once it is shown to be in use. `holds` are the CAs in the
    truststores; `loaded` those that are shown to be in use there, None where nothing is shown. `wanted`
    may be in a truststore, `waiting` wait for a person's approval, `coming` are wanted and will issue one
    day. `target` is the CA that the next leaf is of, None where nobody knows before it comes; `unwanted`
    is one that a person has the leaf go away from. `left_since` says since when no leaf of a CA is known
    to be in use anywhere. `expired`: the current leaf has ended. `edited` are the truststores that a
    person has edited, `silent` says which source of trust cannot be read. `notice_until` is when all who
    might let the target's anchor go have heard that it is wanted again. `names` are the CAs in words.
    """

    leaf: CaId
    end: CaId = ""
    identity: str = ""
    may_use: frozenset[CaId] = frozenset()
    holds: frozenset[CaId] = frozenset()
    loaded: frozenset[CaId] | None = None
    wanted: frozenset[CaId] = frozenset()
    waiting: frozenset[CaId] = frozenset()
    coming: frozenset[CaId] = frozenset()
    target: CaId | None = None
    unwanted: CaId | None = None
    left_since: Mapping[CaId, datetime] = field(default_factory=dict)
    expired: bool = False
    edited: tuple[str, ...] = ()
    silent: str = ""
    notice_until: datetime | None = None
    names: Mapping[CaId, str] = field(default_factory=dict)

    @property
    def taken_as(self) -> CaId:
        """What whoever takes the current leaf trusts."""
        return self.end or self.leaf

    @property
    def entering(self) -> frozenset[CaId]:
        """The CAs that are to enter the truststores."""
        return self.wanted - self.holds

    @property
    def leaving(self) -> frozenset[CaId]:
        """The CAs in the truststores that no source and no approval wants there."""
        return self.holds - self.wanted

    def name(self, ca: CaId) -> str:
        """Return a CA in words for an operator."""
        return self.names.get(ca, f"the CA {ca[:16]}")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a person or the settings allow.

    `soak` is how long no leaf of a CA may be in use before its anchor leaves. `retire` are the CAs
    that may leave, None: each. `forced` are those that a person has leave whatever it breaks.
    """

    soak: timedelta = timedelta(days=1)
    retire: frozenset[CaId] | None = frozenset()
    forced: frozenset[CaId] = frozenset()


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a step is not taken, and what would end that.

    `awaited` are the answers of peers that it waits for, `until` is when it ends by itself.
    """

    guard: str
    why: str
    awaited: tuple[Awaited, ...] = ()
    until: datetime | None = None

    def __str__(self) -> str:
        """Return it as half a sentence."""
        return self.why


@dataclass(frozen=True, slots=True)
class Case:
    """A step that is asked about: a leaf of `ca` that is to become current, or its anchor that is to leave.

    `end` is what the leaf's chain leads to where that is more than the one CA.
    """

    ca: CaId
    standing: Standing
    peers: Peers
    allowed: Allowed
    now: datetime
    end: CaId = ""

    @property
    def name(self) -> str:
        """The CA in words."""
        return self.standing.name(self.ca)


Guard: TypeAlias = "Callable[[Case], Hold | None]"


# --- before a leaf of another CA becomes current --------------------------------------------


def nobody_has_edited(case: Case) -> Hold | None:
    """No truststore here was edited by hand: what it holds is not what the settings say."""
    if not case.standing.edited:
        return None
    names = ", ".join(case.standing.edited)
    why = f"{names} was edited by hand; `cert-agent renew --discard-edits` takes it back"
    return Hold("nobody_has_edited", why)


def anchor_is_accepted(case: Case) -> Hold | None:
    """The CA needs no person's approval any more."""
    if case.ca not in case.standing.waiting:
        return None
    return Hold("anchor_is_accepted", f"{case.name} waits for a person: `cert-agent ca approve` with its fingerprint")


def anchor_is_proven_here(case: Case) -> Hold | None:
    """The truststores here hold the CA, and readers are shown to use them."""
    standing = case.standing
    if case.ca not in standing.wanted and not standing.silent:
        return None  # what this host trusts is another matter than what its peers trust in it
    if standing.loaded is not None and case.ca in standing.loaded:
        return None
    if case.ca not in standing.holds:
        return Hold("anchor_is_proven_here", f"the truststores here do not hold {case.name} yet")
    why = f"the truststores here are not shown to be in use, and they alone hold {case.name}"
    return Hold("anchor_is_proven_here", why, (Awaited(standing.identity, Question.TRUSTS, case.ca),))


def peers_are_known(case: Case) -> Hold | None:
    """It is known who the peers are."""
    if not case.peers.unknown:
        return None
    return Hold("peers_are_known", f"who the peers are is not known: {case.peers.unknown}")


def peers_trust_it(case: Case) -> Hold | None:
    """Every peer that meets our leaf is shown to trust the CA."""
    return _awaited(case, Question.TRUSTS, case.end or case.ca, "peers_trust_it", "is not shown to trust")


def nodes_have_its_anchor(case: Case) -> Hold | None:
    """Every node whose Raft client keeps the stores of its start was started after the anchor had come."""
    question = Question.RESTARTED_FOR_ANCHOR
    return _awaited(case, question, case.ca, "nodes_have_its_anchor", "is not shown to be restarted since it trusts")


def nobody_goes_back(case: Case) -> Hold | None:
    """No person has the leaf go away from the CA."""
    if case.ca != case.standing.unwanted:
        return None
    return Hold("nobody_goes_back", f"a person has the leaf go away from {case.name}: `cert-agent ca resume` ends that")


def notice_was_given(case: Case) -> Hold | None:
    """Whoever may let the anchor go has heard that it is wanted again."""
    until = case.standing.notice_until
    if until is None or case.ca != case.standing.target or until <= case.now:
        return None
    why = f"the way back to {case.name} was asked for, and older evidence counts until {until:%Y-%m-%d %H:%M:%SZ}"
    return Hold("notice_was_given", why, until=until)


LEAF_GUARDS: tuple[Guard, ...] = (
    nobody_has_edited,
    anchor_is_accepted,
    anchor_is_proven_here,
    peers_are_known,
    peers_trust_it,
    nodes_have_its_anchor,
    nobody_goes_back,
    notice_was_given,
)


# --- before an anchor leaves ----------------------------------------------------------------


def sources_speak(case: Case) -> Hold | None:
    """Every source of trust can be read: silence is no wish that anything should leave."""
    return (
        Hold("sources_speak", f"a source of trust is silent: {case.standing.silent}") if case.standing.silent else None
    )


def another_stays(case: Case) -> Hold | None:
    """Another anchor that is wanted stays: a truststore of nothing trusts nobody."""
    if (case.standing.holds - {case.ca}) & case.standing.wanted:
        return None
    return Hold("another_stays", "the sources of trust show nothing that would stay in the truststores")


def nothing_more_of_it_comes(case: Case) -> Hold | None:
    """The next leaf here is not of the CA."""
    if case.ca != case.standing.target:
        return None
    return Hold("nothing_more_of_it_comes", f"the next leaf here is of {case.name}")


def own_leaf_has_left(case: Case) -> Hold | None:
    """No leaf of the CA is in use here, and not only on no disk."""
    if case.ca == case.standing.leaf:
        return Hold("own_leaf_has_left", f"the leaf here is of {case.name}")
    if case.ca in case.standing.may_use:
        why = f"the new leaf here is not shown to be in use, and one of {case.name} may be"
        return Hold("own_leaf_has_left", why, (Awaited(case.standing.identity, Question.LEFT, case.ca),))
    return None


def peers_have_left(case: Case) -> Hold | None:
    """No peer is left that uses a leaf of the CA, or of which that is not known."""
    return _awaited(case, Question.LEFT, case.ca, "peers_have_left", "is not shown to use no leaf of")


def nodes_have_the_leaf(case: Case) -> Hold | None:
    """Every node whose Raft client keeps the stores of its start was started after its leaf had come."""
    leaf = case.standing.leaf
    what = "is not shown to be restarted since its leaf is of"
    return _awaited(case, Question.RESTARTED_FOR_LEAF, leaf, "nodes_have_the_leaf", what)


def soak_is_over(case: Case) -> Hold | None:
    """No leaf of the CA has been in use for so long that whoever changes their mind has been heard of."""
    since, soak = case.standing.left_since.get(case.ca), case.allowed.soak
    if since is None:
        return Hold("soak_is_over", f"since when no leaf of {case.name} is in use is not noted yet")
    if since + soak <= case.now and since <= case.now:
        return None
    until = since + soak
    return Hold("soak_is_over", f"it soaks until {until:%Y-%m-%d %H:%M:%SZ}", until=until)


def retirement_is_allowed(case: Case) -> Hold | None:
    """The settings let anchors leave by themselves, or a person has said that this one may."""
    if case.allowed.retire is None or case.ca in case.allowed.retire:
        return None
    return Hold("retirement_is_allowed", f"nothing needs {case.name} any more: `cert-agent ca retire` lets it go")


RETIREMENT_GUARDS: tuple[Guard, ...] = (
    nobody_has_edited,
    sources_speak,
    another_stays,
    nothing_more_of_it_comes,
    own_leaf_has_left,
    peers_are_known,
    peers_have_left,
    nodes_have_the_leaf,
    soak_is_over,
    retirement_is_allowed,
)
"""All but the last two say that nothing uses the CA any more, which is what has to last for the soak."""

FORCED_GUARDS: tuple[Guard, ...] = (nobody_has_edited, another_stays)
"""What holds an anchor that a person has leave by force: a switch would bring an edit into use that nobody has read."""

NOT_OF_USE: frozenset[Guard] = frozenset({soak_is_over, retirement_is_allowed})


def _awaited(case: Case, question: Question, ca: CaId, guard: str, what: str) -> Hold | None:
    awaited = case.peers.awaited(question, ca, case.now)
    if not awaited:
        return None
    return Hold(guard, f"{_told(awaited)} {what} {case.standing.name(ca)}", awaited)


def _told(awaited: Sequence[Awaited]) -> str:
    """Name peers that are waited for, those that are shown to answer no first, and why of the first."""
    ordered = sorted(awaited, key=lambda one: one.shown is not Verdict.REFUTED)
    names = ", ".join(one.peer for one in ordered[:MOST_NAMED])
    more = f" and {len(ordered) - MOST_NAMED} more" if len(ordered) > MOST_NAMED else ""
    why = f" ({ordered[0].why})" if ordered[0].why else ""
    return f"{names}{more}{why}"


MOST_NAMED = 5
"""Peers that a sentence names."""
