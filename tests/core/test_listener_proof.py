"""Whether one look at a broker's listener shows that it uses a generation: its leaf, and its anchors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.evidence import Served, Verdict
from agent.core.generation import Cause, FileRecord, Generation
from agent.core.kafka_spec import BrokerListener, StoreFile
from agent.core.listener_proof import verdict
from tests.material import NOW, Ca, make_key, make_request

ROOT, TWIN, OTHER, THIRD = Ca.root(), Ca.root(), Ca.root("CN=Other"), Ca.root("CN=Third")
ANCHORS = [one.certificate for one in (ROOT, TWIN, OTHER, THIRD)]
KEY = make_key()
LEAVES = [ROOT.leaf(make_request(), KEY), TWIN.leaf(make_request(), KEY), OTHER.leaf(make_request(), KEY)]
KEYSTORE, TRUSTSTORE = (StoreFile(name, PurePosixPath("/ssl") / name) for name in ("tls.pem", "ca.crt"))
WHOLE = BrokerListener("CLIENTS", KEYSTORE, TRUSTSTORE)
CURRENT = Generation(
    number=2,
    cause=Cause.LEAF,
    request=make_request(),
    issuer="ca",
    chain=(LEAVES[0],),
    anchors=(ROOT.certificate, OTHER.certificate),
    issued_at=NOW,
    made_at=NOW,
    layout="layout",
    files=(FileRecord("tls.pem", "00"), FileRecord("ca.crt", "00")),
    anchor=ROOT.certificate,
)
BEFORE = replace(CURRENT, number=1, anchors=(ROOT.certificate,))
TWINS = replace(CURRENT, chain=(LEAVES[1],), anchors=(TWIN.certificate,), anchor=TWIN.certificate)


def names(*anchors: object) -> frozenset[bytes]:
    """Return what a listener names when it takes certificates of these CAs."""
    return frozenset(anchor.subject.public_bytes() for anchor in anchors)  # type: ignore[attr-defined]


def served(current: Generation = CURRENT, **changes: object) -> Served:
    """Return a look at a listener that uses the generation, but for the changes."""
    leaf = current.leaf
    look = Served("CLIENTS", NOW, leaf.fingerprint, leaf.not_after, leaf=leaf, acceptable=names(*current.anchors))
    return replace(look, **changes)  # type: ignore[arg-type]


GOOD = served()
BARE = served(acceptable=None)
EDITED = replace(CURRENT, files=(FileRecord("tls.pem", "00"), FileRecord("ca.crt", "00", edited=True)))
TWIN_SERVED = served(TWINS)


@pytest.mark.parametrize(
    ("look", "listener", "current", "before", "asks", "wanted", "words"),
    [
        (GOOD, WHOLE, CURRENT, BEFORE, True, Verdict.PROVEN, ""),
        (GOOD, WHOLE, CURRENT, None, None, Verdict.PROVEN, ""),
        (served(fingerprint=None, trouble="refused"), WHOLE, CURRENT, None, True, Verdict.UNKNOWN, "refused"),
        (served(fingerprint="0" * 64), WHOLE, CURRENT, None, True, Verdict.REFUTED, "it serves 0000000000000000, not"),
        # Another's keystore may serve anything.
        (served(fingerprint="0" * 64), replace(WHOLE, keystore=None), CURRENT, None, True, Verdict.PROVEN, ""),
        # Another's truststore may take anything.
        (served(acceptable=names()), replace(WHOLE, truststore=None), CURRENT, None, True, Verdict.PROVEN, ""),
        (served(acceptable=names()), WHOLE, EDITED, None, True, Verdict.PROVEN, ""),
        # Nobody meets the truststore of a listener that asks for no certificate.
        (BARE, WHOLE, CURRENT, BEFORE, False, Verdict.PROVEN, ""),
        (BARE, WHOLE, CURRENT, BEFORE, None, Verdict.PROVEN, ""),
        (BARE, WHOLE, CURRENT, BEFORE, True, Verdict.UNKNOWN, "has not named the CAs"),
        # Names that are missing, or are there still.
        (served(acceptable=names()), WHOLE, CURRENT, BEFORE, True, Verdict.UNKNOWN, "names none of the CAs"),
        (
            served(acceptable=names(ANCHORS[0])),
            WHOLE,
            CURRENT,
            BEFORE,
            True,
            Verdict.REFUTED,
            "no certificates of CN=Other",
        ),
        (served(acceptable=names(ANCHORS[3])), WHOLE, CURRENT, BEFORE, True, Verdict.REFUTED, "CN=Other, CN=Test Root"),
        (served(acceptable=names(*ANCHORS)), WHOLE, CURRENT, BEFORE, True, Verdict.REFUTED, "still takes certificates"),
        # One name, two CAs.
        (TWIN_SERVED, WHOLE, TWINS, None, True, Verdict.PROVEN, ""),
        (TWIN_SERVED, WHOLE, TWINS, TWINS, True, Verdict.PROVEN, ""),
        (TWIN_SERVED, WHOLE, TWINS, BEFORE, True, Verdict.UNKNOWN, "is not known"),
        (replace(TWIN_SERVED, took_leaf=Verdict.PROVEN), WHOLE, TWINS, BEFORE, True, Verdict.PROVEN, ""),
        (
            replace(TWIN_SERVED, took_leaf=Verdict.REFUTED),
            WHOLE,
            TWINS,
            BEFORE,
            True,
            Verdict.REFUTED,
            "does not take a leaf",
        ),
        # A leaf of one CA says nothing of its namesake's.
        (
            served(replace(TWINS, anchor=ANCHORS[0]), took_leaf=Verdict.PROVEN),
            WHOLE,
            replace(TWINS, anchor=ANCHORS[0]),
            BEFORE,
            True,
            Verdict.UNKNOWN,
            "do not tell CN=Test Root",
        ),
    ],
)
def test_the_verdict_on_a_look(
    *,
    look: Served,
    listener: BrokerListener,
    current: Generation,
    before: Generation | None,
    asks: bool | None,
    wanted: Verdict,
    words: str,
) -> None:
    """Unknown is no yes, and whatever is not proven says why."""
    found, why = verdict(look, listener, current, before, asks=asks)
    assert found is wanted
    assert words in why
    assert bool(why) == (wanted is not Verdict.PROVEN)


SOME = st.lists(st.sampled_from(ANCHORS), max_size=4, unique=True).map(tuple)
GENERATIONS = st.builds(
    lambda leaf, anchors: replace(CURRENT, chain=(leaf,), anchors=anchors), st.sampled_from(LEAVES), SOME
)
LISTENERS = st.builds(
    BrokerListener, st.just("CLIENTS"), st.sampled_from([None, KEYSTORE]), st.sampled_from([None, TRUSTSTORE])
)
ASKS = st.sampled_from([None, True, False])


@given(GENERATIONS, st.none() | GENERATIONS, LISTENERS, ASKS, st.sampled_from([Verdict.PROVEN, Verdict.UNKNOWN]))
def test_a_listener_that_serves_the_leaf_and_names_the_anchors_is_never_refuted(
    current: Generation, before: Generation | None, listener: BrokerListener, asks: bool | None, took: Verdict
) -> None:
    """Exactly what is current: unknown at worst, and proven where the names tell."""
    found, _ = verdict(served(current, took_leaf=took), listener, current, before, asks=asks)
    assert found is not Verdict.REFUTED
    if before is None or {one.subject for one in before.anchors}.isdisjoint(one.subject for one in current.anchors):
        assert found is Verdict.PROVEN


@given(
    current=GENERATIONS,
    before=st.none() | GENERATIONS,
    asks=ASKS,
    named=SOME,
    leaf=st.sampled_from(LEAVES),
    took=st.sampled_from(Verdict),
)
def test_nothing_is_proven_that_is_not_shown(
    *,
    current: Generation,
    before: Generation | None,
    asks: bool | None,
    named: tuple[object, ...],
    leaf: object,
    took: Verdict,
) -> None:
    """Another leaf, or other names, are never a proof."""
    shown = served(current, fingerprint=leaf.fingerprint, acceptable=names(*named), took_leaf=took)  # type: ignore[attr-defined]
    found, _ = verdict(shown, WHOLE, current, before, asks=asks)
    if leaf != current.leaf:
        assert found is Verdict.REFUTED
    if names(*named) != names(*current.anchors):
        assert found is not Verdict.PROVEN
