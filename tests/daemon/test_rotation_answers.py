"""What people are answered who speak of a CA rotation, and what the log tells them of it unasked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from agent.core.anchors import ca_id
from agent.core.files import Access, PemFiles
from agent.core.generation import Damage, FileDamage
from agent.core.rotation import Stage
from agent.core.testimony import FRESH
from agent.errors import AgentError
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.memory_broker import TRUSTSTORE
from tests.daemon.rotation_world import NEW, OLD, PEER, TURNING, TurningWorld, begun, in_waiting, reissued, with_anchor
from tests.daemon.world import WANTED
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping
    from typing import Any

NEW_TEXT = "CN=New Root,O=MyOrg"
OLD_TEXT = "CN=Test Root,O=MyOrg"
BY_HAND = Ca.root("CN=By Hand", not_before=NOW - DAY)


# --- abort -----------------------------------------------------------------------------------


async def test_an_abort_that_is_said_again_does_not_go_forward_again() -> None:
    """Two people look at the same trouble, or one of them twice: the leaf stays where it went back to."""
    world = await reissued()
    await world.later(HOUR)
    await world.keeper.abort(by="ann")
    assert world.leaf == OLD
    noted, switches = world.store.record.rotation.abort, list(world.switches)
    said = await world.keeper.abort(by="bob")
    assert said.startswith(f"broker is going back to {OLD_TEXT} already")
    await world.later(DAY)
    assert (world.store.record.rotation.abort, world.switches) == (noted, switches)


async def test_an_abort_that_is_said_again_gives_no_notice_again() -> None:
    """Whoever asks twice why it is not there yet would put it off each time."""
    world = await reissued()
    await world.later(DAY - FRESH)
    await world.keeper.abort(by="ann")
    await world.later(FRESH)
    assert (await world.keeper.abort(by="ann")).startswith(f"broker is going back to {OLD_TEXT} already")
    assert world.leaf == NEW
    await world.later(FRESH)
    assert (world.leaf, world.outages) == (OLD, [])


async def test_an_abort_that_lacks_a_leaf_of_the_ca_before_says_what_is_to_be_done() -> None:
    """No generation is kept that it could go to, and the issuer gives leaves of the new CA alone."""
    world = await reissued()
    world.store.generations = {world.current.number: world.current}
    said = await world.keeper.abort(by="ann")
    lacks = (
        f"no generation with a leaf of {OLD_TEXT} is kept to go back to, and ca gives leaves of {NEW_TEXT}:"
        f" have ca give leaves of {OLD_TEXT}"
    )
    assert said.startswith(f"broker: the leaf goes back to {OLD_TEXT}, and away from {NEW_TEXT}; {lacks}; next: ")
    await world.later(HOUR)
    assert world.leaf == NEW
    assert lacks in world.status.concerns
    world.ca.turn_to(world.old)
    world.ca.listed_anchors = (world.new.certificate,)
    await world.later(10 * MINUTE)
    assert (world.leaf, world.outages) == (OLD, [])
    assert lacks not in world.status.concerns


async def test_an_abort_that_has_where_to_go_back_to_asks_for_nothing() -> None:
    """The generation before is kept."""
    world = await reissued()
    assert "have ca give" not in await world.keeper.abort(by="ann")


async def test_an_identity_goes_back_whose_truststores_hold_no_ca_of_its_own() -> None:
    """A client with a keystore alone: its peers say whom they trust, and its own files say nothing of that."""
    keystore = (PemFiles(certificate="tls.crt", key="tls.key", access=Access()),)
    world = TurningWorld(replace(WANTED, files=keystore, trust=(), rotation=TURNING.rotation))
    world.trust_both()
    await world.later(MINUTE)
    world.flip()
    await world.later(10 * MINUTE)
    assert (world.leaf, world.trusted) == (NEW, set())
    said = await world.keeper.abort(by="ann")
    assert said.startswith(f"broker: the leaf goes back to {OLD_TEXT}")
    await world.later(HOUR)
    assert world.leaf == OLD


# --- pause and resume ------------------------------------------------------------------------


async def test_to_resume_ends_the_pause_first_and_an_abort_when_it_is_said_once_more() -> None:
    """Whoever ends a colleague's pause has not thought of another one's way back."""
    world = await in_waiting()
    await world.keeper.abort(by="ann")
    await world.keeper.pause(by="bob")
    world.trust_both()
    said = await world.keeper.resume(by="cid")
    assert said.startswith(
        f"broker goes on: the pause by bob has ended; its leaf still goes back to {OLD_TEXT}, by the word of ann:"
        " `cert-agent ca resume` once more ends that"
    )
    await world.later(DAY)
    assert (world.leaf, world.rotation.paused) == (OLD, "")
    assert world.rotation.aborted
    said = await world.keeper.resume(by="cid")
    assert said.startswith(f"broker goes on: its leaf need not go back to {OLD_TEXT} any more")
    await world.later(10 * MINUTE)
    assert (world.leaf, world.rotation.aborted) == (NEW, "")


async def test_a_pause_that_ends_with_nothing_else_to_end_says_so() -> None:
    """It is named whose pause it was."""
    world = await begun()
    await world.keeper.pause(by="bob")
    said = await world.keeper.resume(by="cid")
    assert said.startswith("broker goes on: the pause by bob has ended; next: ")


# --- retire ----------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
async def test_an_old_certificate_of_a_ca_that_stays_is_not_let_go(force: bool) -> None:
    """The renewed certificate of the same key is the same CA: to retire the old one would be to retire both."""
    world = await begun()
    renewed = Ca.root(key=world.old.key, not_before=NOW - HOUR)
    assert ca_id(renewed.certificate) == world.ids[OLD]
    world.ca.extra_anchors = (renewed.certificate,)
    world.list_new()
    await world.later(MINUTE)
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    await world.later(MINUTE)
    held = set(world.current.anchors)
    assert {world.old.certificate, renewed.certificate} <= held
    with pytest.raises(AgentError, match="is the same CA, and accepted") as caught:
        await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=force)
    assert "leaves by itself when its source shows it no more" in caught.value.advice
    await world.later(DAY)
    assert set(world.current.anchors) == held


async def test_who_forces_a_retirement_is_told_all_that_it_breaks() -> None:
    """The first reason may be the least of them; the log keeps each with the name."""
    world = await reissued()
    world.witness.unknown = "the cluster is away"
    await world.later(HOUR)
    reasons = f"who the peers are is not known: the cluster is away; {PEER} is not shown to use no leaf of {OLD_TEXT}"
    with structlog.testing.capture_logs() as logs:
        said = await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=True)
    assert said.startswith(f"broker: {OLD_TEXT} is to leave the truststores, by force, although {reasons}; next: ")
    told = next(one for one in logs if one["event"] == "an anchor is let go by force")
    assert (told["by"], told["breaks"]) == ("ann", reasons)
    assert world.trusted == {NEW}


async def test_a_forced_retirement_that_breaks_nothing_says_nothing_of_the_kind() -> None:
    """Only the soak is cut short."""
    world = await reissued()
    world.peer.uses = {world.ids[NEW]}
    await world.later(6 * MINUTE)
    with structlog.testing.capture_logs() as logs:
        said = await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=True)
    assert said.startswith(f"broker: {OLD_TEXT} is to leave the truststores; next: ")
    assert not any(one["event"] == "an anchor is let go by force" for one in logs)
    assert world.trusted == {NEW}


# --- renew -----------------------------------------------------------------------------------


async def test_a_renewal_whose_leaf_is_held_says_by_what() -> None:
    """The leaf has come: what keeps it is no failure of the CA, and no other one helps."""
    world = await in_waiting()
    with pytest.raises(AgentError) as caught:
        await world.keeper.renew()
    assert caught.value.what == (
        f"broker is not renewed yet: a leaf of {NEW_TEXT} is in hand, and held: {PEER} is not shown to trust {NEW_TEXT}"
    )
    assert "`cert-agent ca status broker`" in caught.value.advice


async def test_a_renewal_of_what_is_paused_says_who_has_paused_it() -> None:
    """It comes when the pause has ended."""
    world = await begun()
    await world.keeper.pause(by="bob")
    first = world.current.leaf
    with pytest.raises(AgentError, match="it is paused by bob: `cert-agent ca resume` ends that"):
        await world.keeper.renew()
    assert world.current.leaf == first
    await world.keeper.resume(by="bob")
    assert world.current.leaf != first


# --- edits that are taken back ---------------------------------------------------------------


def edit(world: TurningWorld, *anchors: Ca) -> None:
    """Have a person edit the truststore so that it holds these."""
    world.store.damages = (FileDamage(TRUSTSTORE.name, Damage.EDITED_TRUSTSTORE),)
    world.store.edited = ((TRUSTSTORE.name, tuple(one.certificate for one in anchors)),)


@pytest.mark.parametrize("is_known", [False, True])
async def test_an_edit_that_has_a_peer_taken_is_not_taken_back(is_known: bool) -> None:
    """The peer would be refused; of a CA that no source shows its name is what its leaf tells."""
    world = await begun()
    edit(world, world.old, BY_HAND)
    await world.keeper.turn()
    world.peer.uses = {ca_id(BY_HAND.certificate)} if is_known else set()
    world.peer.ahead = "" if is_known else "CN=By Hand"
    leaf, switches = world.current.leaf, list(world.switches)
    with pytest.raises(AgentError, match=f"{PEER} uses a leaf of CN=By Hand") as caught:
        await world.keeper.renew(discard_edits=True)
    assert "name a file with CN=By Hand in `trust` first" in caught.value.advice
    assert (world.current.leaf, world.switches) == (leaf, switches)
    assert not world.store.record.demanded
    world.ca.extra_anchors = (BY_HAND.certificate,)
    await world.keeper.renew(discard_edits=True)
    assert {world.old.certificate, BY_HAND.certificate} <= set(world.current.anchors)
    assert world.store.edited == ()


async def test_an_anchor_that_may_not_enter_yet_counts_as_one_that_goes() -> None:
    """It is named in the settings, and a pause keeps it out: taken back the edit would leave nothing of it."""
    world = await begun()
    edit(world, world.old, BY_HAND)
    await world.keeper.pause(by="bob")
    world.ca.extra_anchors = (BY_HAND.certificate,)
    world.peer.uses = {ca_id(BY_HAND.certificate)}
    with pytest.raises(AgentError, match=f"{PEER} uses a leaf of CN=By Hand"):
        await world.keeper.renew(discard_edits=True)


async def test_what_goes_with_an_edit_that_nobody_is_seen_to_need_is_logged() -> None:
    """By name and fingerprint, for whoever comes to ask."""
    world = await begun()
    edit(world, world.old, BY_HAND)
    with structlog.testing.capture_logs() as logs:
        await world.keeper.renew(discard_edits=True)
    told = next(one for one in logs if one["event"].startswith("anchors go with the edit"))
    assert (told["anchors"], told["log_level"]) == ([f"CN=By Hand ({BY_HAND.certificate.fingerprint})"], "warning")
    assert world.store.edited == ()


async def test_an_edit_that_adds_nothing_is_taken_back_without_a_word() -> None:
    """It lacks something, and that comes again."""
    world = await with_anchor()
    edit(world, world.new)
    with structlog.testing.capture_logs() as logs:
        await world.keeper.renew(discard_edits=True)
    assert not any(one["event"].startswith("anchors go") for one in logs)
    assert (world.trusted, world.store.edited) == ({OLD, NEW}, ())


# --- the log ---------------------------------------------------------------------------------


def warned(logs: Iterable[MutableMapping[str, Any]]) -> list[str]:
    """Return what the log has warned of in the rotation."""
    return [one["concern"] for one in logs if one["event"] == "of the CA rotation" and one["log_level"] == "warning"]


def stages(logs: Iterable[MutableMapping[str, Any]]) -> list[str]:
    """Return the stages that the log has told of."""
    return [one["stage"] for one in logs if one["event"] == "the CA rotation" and one["log_level"] == "info"]


async def turn_on(world: TurningWorld, times: int = 5) -> None:
    """Let time pass in a process that goes on."""
    for _ in range(times):
        await world.later(10 * MINUTE)


async def test_the_log_tells_once_of_an_anchor_that_waits() -> None:
    """With its source and its whole fingerprint; once more when it has gone and come again."""
    world = await begun()
    world.list_new()
    told = (
        f"issuer ca shows a new CA, {NEW_TEXT}: `cert-agent ca approve {world.new.certificate.fingerprint}` lets it in"
    )
    with structlog.testing.capture_logs() as logs:
        await turn_on(world)
    assert warned(logs) == [told]
    world.ca.listed_anchors = ()
    await turn_on(world)
    world.list_new()
    with structlog.testing.capture_logs() as logs:
        await turn_on(world)
    assert warned(logs) == [told]


async def test_the_log_tells_of_a_leaf_that_is_held_and_of_each_stage() -> None:
    """From the anchor to the leaf: one line a stage, and one for what holds it."""
    world = await with_anchor()
    world.flip()
    with structlog.testing.capture_logs() as logs:
        await turn_on(world)
        world.trust_both()
        await turn_on(world)
    assert warned(logs) == [f"a leaf of {NEW_TEXT} is in hand, and held: {PEER} is not shown to trust {NEW_TEXT}"]
    assert stages(logs) == [str(Stage.LEAF_REISSUED)]
    told = next(one for one in logs if one["event"] == "the CA rotation")
    assert told["why"] == world.rotation.why


async def test_the_log_tells_of_a_held_leaf_once_however_often_its_evidence_is_dated_anew() -> None:
    """What is known of the peer is an hour old at each look: the sentence holds another moment each time."""
    world = await in_waiting()
    world.peer.lag = HOUR
    with structlog.testing.capture_logs() as logs:
        await turn_on(world)
    assert len(warned(logs)) == 1
    assert "what is known of it is of " in warned(logs)[0]


async def test_the_log_tells_of_a_broken_stage_with_why() -> None:
    """A peer is shut out: a warning, and the change of the stage."""
    world = await reissued()
    world.peer.trusts = {world.ids[OLD]}
    with structlog.testing.capture_logs() as logs:
        await turn_on(world)
    (told,) = warned(logs)
    assert told.startswith(f"the CA rotation is broken, leaf untrusted: {PEER} does not trust the leaf in use")
    assert stages(logs) == [str(Stage.LEAF_UNTRUSTED)]


async def test_the_log_tells_of_an_edit_that_holds_up_all_else() -> None:
    """What it lacks, and the verb that takes it back."""
    world = await with_anchor()
    edit(world, world.new)
    with structlog.testing.capture_logs() as logs:
        await turn_on(world)
    (told,) = warned(logs)
    assert told.startswith(f"a truststore that was edited by hand lacks {OLD_TEXT}: nothing is written beside it")
