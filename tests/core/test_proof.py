"""The ordered checks of a candidate, and what would mend each finding."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.generation import Damage, FileDamage
from agent.core.proof import CHECKS, Candidate, Remedy, prove, still_proves
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Ca.root()
LINK = ROOT.intermediate()
KEY = make_key()
REQUEST = make_request()
HUGE = make_request(dns=tuple(f"kafka{number}.a-long-name-of-a-host.example.com" for number in range(800)))
LEAF = LINK.leaf(REQUEST, KEY)
GOOD = Candidate(REQUEST, (LEAF, LINK.certificate), LEAF.public_key, (ROOT.certificate,))


def with_leaf(make: Callable[[], object]) -> Candidate:
    """Return the good candidate with another leaf."""
    leaf = make()
    return replace(GOOD, chain=(leaf, LINK.certificate))  # type: ignore[arg-type]


def test_a_good_candidate_is_proven() -> None:
    """Nothing refutes it."""
    assert prove(GOOD, NOW) == ()
    assert still_proves(GOOD, NOW)


@pytest.mark.parametrize(
    ("candidate", "check", "remedy"),
    [
        (replace(GOOD, key=b"another"), "key", Remedy.NEW_LEAF),
        (replace(GOOD, request=make_request(dns=("x.example.com",))), "request", Remedy.NEW_LEAF),
        (with_leaf(lambda: LINK.leaf(REQUEST, KEY, ca=True)), "no CA", Remedy.NEW_LEAF),
        (with_leaf(lambda: LINK.leaf(REQUEST, KEY, not_after=NOW - timedelta(seconds=1))), "dates", Remedy.NEW_LEAF),
        (with_leaf(lambda: LINK.leaf(REQUEST, KEY, not_before=NOW + timedelta(hours=1))), "dates", Remedy.TIME),
        (replace(GOOD, peer_anchors=()), "peer trust", Remedy.TRUST),
        (replace(GOOD, chain=(LEAF,)), "peer trust", Remedy.TRUST),
        (replace(GOOD, chain=(LEAF, *[LINK.certificate] * 8)), "size", Remedy.NEW_LEAF),
        (replace(with_leaf(lambda: LINK.leaf(HUGE, KEY)), request=HUGE), "size", Remedy.NEW_LEAF),
        (replace(GOOD, damages=(FileDamage("tls.pem", Damage.ALTERED),)), "stores", Remedy.FILES),
    ],
)
def test_each_check_refutes_alone(candidate: Candidate, check: str, remedy: Remedy) -> None:
    """One thing wrong is one finding, with what would mend it."""
    (finding,) = prove(candidate, NOW)
    assert (finding.check, finding.remedy) == (check, remedy)
    assert str(finding).startswith(f"{check}: ")
    assert not still_proves(candidate, NOW)


def test_all_that_is_wrong_is_told_in_the_order_of_the_checks() -> None:
    """An operator reads the whole of it at once."""
    candidate = replace(
        GOOD,
        key=b"another",
        request=make_request("CN=x"),
        peer_anchors=(),
        damages=(FileDamage("a", Damage.MISSING),),
    )
    assert [finding.check for finding in prove(candidate, NOW)] == ["key", "request", "peer trust", "stores"]


def test_every_check_asks_a_question() -> None:
    """The policy reads as a list of questions."""
    assert all((check.__doc__ or "").endswith("?") for check in CHECKS)
