"""What a reader says of a generation before it is switched to, in a word."""

from __future__ import annotations

import pytest

from agent.core.judgement import Judgement, Opinion
from agent.core.proof import Finding, Remedy


def found(*remedies: Remedy) -> Judgement:
    """Return a judgement with a finding for each remedy."""
    return Judgement(tuple(Finding("check", "what", remedy) for remedy in remedies))


@pytest.mark.parametrize(
    ("judgement", "opinion"),
    [
        (Judgement(), Opinion.ACCEPTED),
        (Judgement(unknown="down"), Opinion.UNKNOWN),
        (found(Remedy.STORE), Opinion.REFUSED),
        # Our own replay may refuse although the broker cannot be asked.
        (Judgement(found(Remedy.TRUST).findings, unknown="down"), Opinion.REFUSED),
        (Judgement(restart="it takes nothing"), Opinion.ACCEPTED),
        (Judgement(unknown="down", asked=False), Opinion.NOT_ASKED),
    ],
)
def test_the_opinion_in_a_word(judgement: Judgement, opinion: Opinion) -> None:
    """What speaks against a generation counts, and unknown is no yes."""
    assert judgement.opinion is opinion


@pytest.mark.parametrize(
    ("remedies", "mends", "waits"),
    [
        ((), False, False),
        ((Remedy.RESTART,), True, True),
        ((Remedy.RESTART, Remedy.RESTART), True, True),
        ((Remedy.RESTART, Remedy.TRUST), False, False),
        ((Remedy.RECONFIGURE,), False, True),
        ((Remedy.RESTART, Remedy.RECONFIGURE), False, True),
        ((Remedy.RECONFIGURE, Remedy.STORE), False, False),
        ((Remedy.PRINCIPAL,), False, False),
    ],
)
def test_a_restart_mends_what_it_alone_mends(remedies: tuple[Remedy, ...], mends: bool, waits: bool) -> None:
    """One thing that it does not mend is enough; other settings of the broker need a person beside it."""
    assert found(*remedies).restart_mends_it is mends
    assert found(*remedies).waits_for_restart is waits
