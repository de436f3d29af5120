"""What people say of a CA rotation, in whole cycles: retire, confirm, abort, pause; each word outlives the process."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from agent.core.anchors import ca_id
from agent.core.generation import Cause, Damage, FileDamage
from agent.core.rotation import Stage
from agent.core.testimony import FRESH
from agent.errors import AgentError, IssuerUnavailableError, NotConcernedError
from tests.daemon import rotation_world
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.memory_broker import TRUSTSTORE
from tests.daemon.memory_peers import MemoryPeer
from tests.daemon.rotation_world import BY_ITSELF, NEW, OLD, PEER, TURNING, TurningWorld
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.core.configuration import Wanted

TEXT = "CN=New Root,O=MyOrg"
OLD_TEXT = "CN=Test Root,O=MyOrg"


def forgetful(make: Callable[[Wanted], Awaitable[TurningWorld]]) -> Callable[..., Awaitable[TurningWorld]]:
    """Return a world whose process ends whenever time passes: only what is on disk is known by the next."""

    async def made(wanted: Wanted = TURNING) -> TurningWorld:
        world = await make(wanted)
        world.forgets = True
        world.restart()
        await world.keeper.turn()
        return world

    return made


begun = forgetful(rotation_world.begun)
with_anchor = forgetful(rotation_world.with_anchor)
in_waiting = forgetful(rotation_world.in_waiting)
reissued = forgetful(rotation_world.reissued)


# --- approve ---------------------------------------------------------------------------------


async def test_an_anchor_is_approved_by_sixteen_digits_of_its_fingerprint_in_any_spelling() -> None:
    """As tools print it: with colons, in capitals, or its beginning alone."""
    world = await begun()
    world.list_new()
    await world.later(MINUTE)
    digits = world.new.certificate.fingerprint[:16].upper()
    await world.keeper.approve(":".join(digits[at : at + 2] for at in range(0, 16, 2)), by="ann")
    assert world.trusted == {OLD, NEW}
    await world.later(DAY)
    assert world.trusted == {OLD, NEW}


async def test_a_fingerprint_that_names_nothing_or_too_little_approves_nothing() -> None:
    """What nobody shows cannot be let in, and a short prefix can be made to fit by a stranger."""
    world = await begun()
    world.list_new()
    await world.later(MINUTE)
    with pytest.raises(NotConcernedError, match="knows no anchor with the fingerprint") as caught:
        await world.keeper.approve("ab" * 32, by="ann")
    assert "cert-agent ca status" in caught.value.advice
    with pytest.raises(AgentError, match="too short"):
        await world.keeper.approve(world.new.certificate.fingerprint[:15], by="ann")
    await world.later(MINUTE)
    assert world.trusted == {OLD}


async def test_a_fingerprint_that_fits_two_anchors_approves_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two anchors whose fingerprints begin alike: the person is asked for the whole of it."""
    monkeypatch.setattr("agent.daemon.rotating.SHORTEST_PREFIX", 1)
    world = await begun()
    digit = world.new.certificate.fingerprint[0]
    twins = [world.new]
    while len(twins) < 2:
        other = Ca.root("CN=Another", not_before=NOW)
        if other.certificate.fingerprint[0] == digit:
            twins.append(other)
    world.ca.listed_anchors = tuple(one.certificate for one in twins)
    await world.later(MINUTE)
    with pytest.raises(AgentError, match="several anchors begin with"):
        await world.keeper.approve(digit, by="ann")
    assert world.trusted == {OLD}


# --- retire ----------------------------------------------------------------------------------


async def test_a_retirement_is_refused_while_the_leaf_here_is_of_the_ca() -> None:
    """The sentence says what needs it; nothing is noted, so that it does not leave later by itself."""
    world = await with_anchor()
    with pytest.raises(AgentError) as caught:
        await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    assert caught.value.what == f"broker: {OLD_TEXT} stays: the next leaf here is of {OLD_TEXT}"
    assert "--force" in caught.value.advice
    assert world.store.record.rotation.rulings == tuple(
        one for one in world.store.record.rotation.rulings if one.approved
    )
    await world.later(DAY)
    assert world.trusted == {OLD, NEW}


async def test_a_retirement_is_refused_while_a_peer_uses_the_old_leaf() -> None:
    """A person who is in a hurry is told who would be shut out."""
    world = await reissued()
    await world.later(2 * DAY)
    with pytest.raises(AgentError, match=f"{PEER} is not shown to use no leaf of {OLD_TEXT}"):
        await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    assert (world.trusted, world.outages) == ({OLD, NEW}, [])


async def test_a_forced_retirement_goes_and_the_log_says_what_breaks() -> None:
    """Somebody has the last word; it is written down whose, and what it cost."""
    world = await reissued()
    with structlog.testing.capture_logs() as logs:
        await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=True)
    assert world.trusted == {NEW}
    told = next(one for one in logs if one["event"] == "an anchor is let go by force")
    assert (told["by"], told["anchor"], told["log_level"]) == ("ann", OLD_TEXT, "warning")
    assert told["breaks"] == f"{PEER} is not shown to use no leaf of {OLD_TEXT}"
    await world.later(DAY)
    assert world.trusted == {NEW}


async def test_not_even_force_takes_the_last_anchor() -> None:
    """A truststore of nothing trusts nobody, and no store of Java opens without an entry."""
    world = await begun()
    for force in (False, True):
        with pytest.raises(AgentError, match="nothing that would stay in the truststores"):
            await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=force)
    await world.later(DAY)
    assert world.trusted == {OLD}


async def test_a_retirement_that_only_the_soak_holds_is_noted_and_comes_to_pass_by_itself() -> None:
    """The person need not come back tomorrow."""
    world = await reissued()
    world.peer.uses = {world.ids[NEW]}
    await world.later(6 * MINUTE)
    until = f"{world.now - MINUTE + DAY:%Y-%m-%d %H:%M:%SZ}"
    said = await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    assert f"is to leave the truststores; it soaks until {until}" in said
    assert world.trusted == {OLD, NEW}
    await world.later(DAY - 10 * MINUTE)
    assert world.trusted == {OLD, NEW}
    await world.later(10 * MINUTE)
    assert (world.trusted, world.stage) == ({NEW}, Stage.STEADY)


async def test_a_process_that_has_just_been_started_looks_before_it_judges() -> None:
    """Listeners and peers were seen by the one before it: nobody is told that nothing is known."""
    world = await reissued()
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    await world.later(DAY)
    world.restart()
    await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    assert world.trusted == {NEW}
    waiting = await in_waiting()
    waiting.trust_both()
    waiting.witness.others = [waiting.peer, MemoryPeer("batch-7", silent="nobody here can look at it")]
    waiting.restart()
    await waiting.keeper.confirm("batch-7", by="ann")
    assert waiting.leaf == NEW


async def test_an_anchor_that_waits_is_turned_away_by_retiring_it() -> None:
    """A root that nobody wants is told of no more."""
    world = await begun()
    world.list_new()
    await world.later(MINUTE)
    await world.keeper.retire(world.new.certificate.fingerprint, by="ann", force=True)
    await world.later(DAY)
    assert (world.trusted, world.state_of(NEW)) == ({OLD}, "gone")
    assert not any("new CA" in one for one in world.status.concerns)


# --- confirm ---------------------------------------------------------------------------------


async def test_a_persons_word_stands_in_for_what_nobody_can_see() -> None:
    """A host without an agent is vouched for by name, for the one question that is asked of it."""
    world = await in_waiting()
    world.trust_both()
    world.witness.others = [world.peer, MemoryPeer("batch-7", silent="nobody here can look at it")]
    await world.later(10 * MINUTE)
    assert world.rotation.awaited == ("batch-7",)
    said = await world.keeper.confirm("batch-7", by="ann")
    assert said.startswith(f"broker: by the word of ann, batch-7 trusts {TEXT}; next: ")
    assert world.leaf == NEW
    await world.later(HOUR)
    world.peer.uses = {world.ids[NEW]}
    await world.later(2 * DAY)
    await world.later(DAY)
    assert world.rotation.awaited == ("batch-7",)
    assert "batch-7 (nobody here can look at it) is not shown to use no leaf" in world.rotation.why
    said = await world.keeper.confirm("batch-7", by="ann")
    assert f"batch-7 has left {OLD_TEXT}" in said
    await world.later(DAY + HOUR)
    await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    assert world.trusted == {NEW}


async def test_only_what_is_waited_for_can_be_confirmed() -> None:
    """A word for a host that nobody asked about would be a word for a later day."""
    world = await in_waiting()
    with pytest.raises(NotConcernedError, match="waits for nothing of kafka9:9093") as caught:
        await world.keeper.confirm("kafka9:9093", by="ann")
    assert f"it waits for {PEER}" in caught.value.advice
    steady = await begun()
    with pytest.raises(NotConcernedError, match="waits for nothing of") as caught:
        await steady.keeper.confirm(PEER, by="ann")
    assert "nobody" in caught.value.advice


async def test_no_word_goes_against_what_is_seen() -> None:
    """The peer has just refused the new CA: whoever vouches for it is mistaken."""
    world = await in_waiting()
    with pytest.raises(AgentError, match="no word goes against that"):
        await world.keeper.confirm(PEER, by="ann")
    await world.later(HOUR)
    assert (world.leaf, world.store.record.rotation.words) == (OLD, ())


async def test_a_word_counts_no_more_once_the_peer_is_seen_to_be_otherwise() -> None:
    """A vouched-for host that shows up and refuses the leaf is believed before the person."""
    world = await in_waiting()
    world.peer.silent = "connection refused"
    await world.later(HOUR)
    await world.keeper.pause(by="bob")
    await world.keeper.confirm(PEER, by="ann")
    world.peer.silent = ""
    world.now += 10 * MINUTE
    await world.keeper.turn()
    await world.keeper.resume(by="bob")
    await world.later(HOUR)
    assert (world.leaf, world.outages) == (OLD, [])


async def test_a_person_vouches_for_the_identity_itself_where_nothing_shows_its_stores_in_use() -> None:
    """A client that nobody can look at: its name is what is confirmed, once for the anchor and once for the leaf."""
    unseen = replace(BY_ITSELF, reload=(), prove=())
    world = TurningWorld(unseen)
    world.forgets = True
    world.trust_both()
    await world.later(MINUTE)
    world.flip()
    await world.later(MINUTE)
    assert (world.trusted, world.leaf, world.in_hand) == ({OLD, NEW}, OLD, NEW)
    assert world.rotation.awaited == ("broker",)
    await world.keeper.confirm("broker", by="ann")
    await world.later(MINUTE)
    assert world.leaf == NEW
    world.peer.uses = {world.ids[NEW]}
    await world.later(10 * DAY)
    assert OLD in world.trusted
    assert "the new leaf here is not shown to be in use" in world.rotation.why
    await world.keeper.confirm("broker", by="ann")
    await world.later(DAY + HOUR)
    assert world.trusted == {NEW}


async def test_a_process_that_was_started_after_the_switch_shows_its_stores_in_use() -> None:
    """Its pid file or unit tells when it was started: before the switch is no proof, after it is one."""
    unseen = replace(BY_ITSELF, reload=(), prove=())
    unseen = replace(unseen, rotation=replace(unseen.rotation, process=rotation_world.PROCESS))
    world = TurningWorld(unseen)
    world.trust_both()
    world.witness.started_at = NOW - DAY
    await world.later(MINUTE)
    world.flip()
    await world.later(HOUR)
    assert (world.trusted, world.leaf) == ({OLD, NEW}, OLD)
    world.witness.started_at = world.now
    await world.later(MINUTE)
    assert world.leaf == NEW
    world.peer.uses = {world.ids[NEW]}
    await world.later(3 * DAY)
    assert OLD in world.trusted
    world.witness.started_at = world.now
    await world.later(MINUTE)
    await world.later(DAY)
    assert world.trusted == {NEW}


# --- abort, and back -------------------------------------------------------------------------


async def test_an_abort_before_the_leaf_keeps_the_old_leaf_and_drops_the_new_one() -> None:
    """The anchors stay, and nothing of the new CA becomes current, whoever trusts it by then."""
    world = await in_waiting()
    said = await world.keeper.abort(by="ann")
    assert said.startswith(f"broker: the leaf goes back to {OLD_TEXT}, and away from {TEXT}; next: ")
    assert (world.leaf, world.in_hand, world.trusted) == (OLD, None, {OLD, NEW})
    world.trust_both()
    calls = world.ca.calls
    await world.later(DAY)
    await world.later(DAY)
    assert (world.leaf, world.trusted, world.ca.calls) == (OLD, {OLD, NEW}, calls)
    assert world.rotation.aborted.startswith("by ann at ")
    assert world.rotation.aborted.endswith(f": back to {OLD_TEXT}")
    assert world.stage is Stage.ANCHOR_ADDED


async def test_an_aborted_rotation_goes_on_when_a_person_resumes_it() -> None:
    """Another leaf of the new CA is asked for, and shown to the peers."""
    world = await in_waiting()
    await world.keeper.abort(by="ann")
    world.trust_both()
    await world.later(DAY)
    said = await world.keeper.resume(by="ann")
    assert said.startswith("broker goes on")
    await world.later(MINUTE)
    assert (world.leaf, world.rotation.aborted, world.outages) == (NEW, "", [])


async def test_a_renewal_that_falls_due_after_an_abort_is_held_and_told_when_the_issuer_gives_nothing_else() -> None:
    """The issuer has turned for good: the person is told that the leaf in hand is what they turned away from."""
    world = await in_waiting()
    world.trust_both()
    await world.keeper.abort(by="ann")
    world.now = world.current.leaf.not_after - 5 * DAY
    await world.later(MINUTE)
    assert (world.leaf, world.in_hand) == (OLD, NEW)
    told = f"a person has the leaf go away from {TEXT}: `cert-agent ca resume` ends that"
    assert any(told in one for one in world.status.concerns)
    await world.keeper.resume(by="ann")
    await world.later(MINUTE)
    assert world.leaf == NEW


async def test_an_abort_after_the_leaf_goes_back_to_the_kept_generation_at_once_within_the_soak() -> None:
    """No leaf is asked for: the one before is kept, whole, and trusted by all that still hold both anchors."""
    world = await reissued()
    before = world.store.generations[2]
    calls = world.ca.calls
    await world.later(HOUR)
    await world.keeper.abort(by="ann")
    assert (world.current, world.leaf, world.ca.calls) == (before, OLD, calls)
    assert (world.trusted, world.outages) == ({OLD, NEW}, [])
    assert world.status.settled
    await world.later(10 * DAY)
    assert (world.leaf, world.trusted) == (OLD, {OLD, NEW})
    assert world.stage is Stage.ANCHOR_ADDED


async def test_an_abort_after_the_leaf_asks_the_peers_as_the_way_there_did() -> None:
    """A peer that has let the old anchor go already holds it."""
    world = await reissued()
    world.peer.trusts, world.peer.uses = {world.ids[NEW]}, {world.ids[NEW]}
    await world.later(HOUR)
    await world.keeper.abort(by="ann")
    await world.later(HOUR)
    assert (world.leaf, world.outages) == (NEW, [])
    assert f"{PEER} is not shown to trust {OLD_TEXT}" in world.rotation.why
    world.trust_both()
    await world.later(HOUR)
    assert world.leaf == OLD


async def test_an_abort_late_in_the_soak_gives_others_notice_first() -> None:
    """Somebody may let the old anchor go by evidence of a moment ago: it waits until that counts no more."""
    world = await reissued()
    await world.later(DAY - FRESH)
    await world.keeper.abort(by="ann")
    asked = world.now
    assert world.leaf == NEW
    assert f"older evidence counts until {asked + 2 * FRESH:%Y-%m-%d %H:%M:%SZ}" in world.rotation.why
    await world.later(2 * FRESH - 2 * MINUTE)
    assert world.leaf == NEW
    await world.later(2 * MINUTE)
    assert (world.leaf, world.outages) == (OLD, [])


async def test_an_abort_is_refused_once_the_old_anchor_is_gone() -> None:
    """There is no way back to a CA that this host no longer trusts."""
    world = await reissued(BY_ITSELF)
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    await world.later(DAY + HOUR)
    assert world.trusted == {NEW}
    with pytest.raises(AgentError, match="there is no CA to go back to") as caught:
        await world.keeper.abort(by="ann")
    assert "cert-agent rollback" in caught.value.advice
    await world.later(MINUTE)
    assert (world.leaf, world.rotation.aborted) == (NEW, "")


async def test_an_abort_with_no_rotation_is_refused() -> None:
    """One CA, one leaf: nothing to go back to."""
    world = await begun()
    with pytest.raises(AgentError, match="there is no CA to go back to"):
        await world.keeper.abort(by="ann")


async def test_an_anchor_is_not_retired_while_a_person_goes_back_to_its_ca() -> None:
    """The soak is over in mid-abort: the way back stays open."""
    world = await reissued(BY_ITSELF)
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    world.peer.trusts = {world.ids[NEW]}
    await world.later(HOUR)
    await world.keeper.abort(by="ann")
    await world.later(2 * DAY)
    assert (world.trusted, world.leaf) == ({OLD, NEW}, NEW)
    world.trust_both()
    await world.later(HOUR)
    assert world.leaf == OLD


# --- pause -----------------------------------------------------------------------------------


async def test_a_pause_holds_anchors_leaves_and_renewals() -> None:
    """Nothing that readers use changes while somebody works on the cluster."""
    world = await with_anchor()
    await world.keeper.pause(by="ann")
    assert world.rotation.paused.startswith("by ann at ")
    assert any("ann has paused it: `cert-agent ca resume` ends that" in one for one in world.status.concerns)
    world.trust_both()
    world.flip()
    other = Ca.root("CN=Another", not_before=NOW - HOUR)
    world.ca.extra_anchors = (other.certificate,)
    switches, calls = list(world.switches), world.ca.calls
    await world.later(HOUR)
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.later(HOUR)
    assert (world.switches, world.ca.calls) == (switches, calls)
    await world.keeper.resume(by="ann")
    await world.later(MINUTE)
    assert world.trusted == {OLD, NEW, ca_id(other.certificate)}
    assert (world.leaf, world.rotation.paused) == (NEW, "")


async def test_a_pause_does_not_hold_the_emergency_lane() -> None:
    """A leaf that ends breaks more than any change."""
    world = await with_anchor()
    await world.keeper.pause(by="ann")
    first = world.current.leaf
    world.now = first.not_after - timedelta(hours=35)
    await world.later(MINUTE)
    assert world.current.leaf != first
    assert world.rotation.paused


async def test_a_pause_holds_no_repair() -> None:
    """A file that was lost is put back: what readers use stays what it was."""
    world = await with_anchor()
    await world.keeper.pause(by="ann")
    world.store.damages = (FileDamage("ca.crt", Damage.MISSING),)
    await world.later(MINUTE)
    assert world.current.cause is Cause.FILES
    assert not world.store.damages


async def test_to_resume_what_is_not_paused_says_so() -> None:
    """It is no error, and changes nothing."""
    world = await begun()
    assert (await world.keeper.resume(by="ann")).startswith("broker is not paused")


# --- notes, and first certificates -----------------------------------------------------------


@pytest.mark.parametrize("verb", ["approve", "retire", "confirm", "abort", "pause", "resume"])
async def test_a_word_that_cannot_be_written_down_is_an_error_to_who_gave_it(verb: str) -> None:
    """A person must not rely on what the next process will not know."""
    world = await in_waiting()
    world.peer.silent = "connection refused"
    await world.later(HOUR)
    await world.keeper.pause(by="bob")
    if verb == "abort":
        await world.store.drop_pending()  # which the full disk would refuse first
    world.store.full = "no space left on device"
    fingerprint = (world.old if verb == "retire" else world.new).certificate.fingerprint
    keeper = world.keeper
    verbs: dict[str, Callable[[], Awaitable[str]]] = {
        "approve": lambda: keeper.approve(fingerprint, by="ann"),
        "retire": lambda: keeper.retire(fingerprint, by="ann", force=True),
        "confirm": lambda: keeper.confirm(PEER, by="ann"),
        "abort": lambda: keeper.abort(by="ann"),
        "pause": lambda: keeper.pause(by="ann"),
        "resume": lambda: keeper.resume(by="ann"),
    }
    with pytest.raises(AgentError, match="it holds until the agent ends, and is not on disk"):
        await verbs[verb]()


@pytest.mark.parametrize("verb", ["retire", "confirm", "abort"])
async def test_an_identity_without_a_certificate_takes_part_in_no_rotation(verb: str) -> None:
    """There is nothing yet that could go forward or back."""
    world = TurningWorld()
    world.ca.script = [IssuerUnavailableError("connection refused")] * 5
    keeper = world.keeper
    verbs: dict[str, Callable[[], Awaitable[str]]] = {
        "retire": lambda: keeper.retire("ab" * 32, by="ann", force=False),
        "confirm": lambda: keeper.confirm(PEER, by="ann"),
        "abort": lambda: keeper.abort(by="ann"),
    }
    with pytest.raises(NotConcernedError, match="has no certificate yet"):
        await verbs[verb]()


# --- truststores that were edited by hand ----------------------------------------------------


def edit(world: TurningWorld, *anchors: Ca) -> None:
    """Have a person edit the truststore so that it holds these."""
    name = TRUSTSTORE.name
    world.store.damages = (FileDamage(name, Damage.EDITED_TRUSTSTORE),)
    world.store.edited = ((name, tuple(one.certificate for one in anchors)),)


async def test_a_truststore_edited_by_hand_takes_part_in_no_rotation_until_the_edit_is_taken_back() -> None:
    """What it holds is not what the settings say: the leaf stays, and the person is told how it goes on."""
    world = await in_waiting()
    edit(world, world.old, world.new)
    world.trust_both()
    await world.later(DAY)
    assert (world.leaf, world.stage) == (OLD, Stage.STORE_EDITED)
    assert world.rotation.why == (
        "ca.crt was edited by hand and takes part in no rotation: `cert-agent renew --discard-edits` takes it back"
    )
    assert any("ca.crt was edited by hand and is held as it is" in one for one in world.status.concerns)
    await world.keeper.renew(discard_edits=True)
    await world.later(10 * MINUTE)
    assert (world.leaf, world.stage, world.outages) == (NEW, Stage.LEAF_REISSUED, [])


async def test_beside_an_edit_that_lacks_a_ca_in_use_nothing_is_written() -> None:
    """Any switch would bring the edit into use: renewals and repairs wait, and the person is told."""
    world = await with_anchor()
    edit(world, world.new)
    switches = list(world.switches)
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.later(HOUR)
    assert world.switches == switches
    assert any(
        f"a truststore that was edited by hand lacks {OLD_TEXT}: nothing is written beside it" in one
        for one in world.status.concerns
    )
    await world.keeper.renew(discard_edits=True)
    assert (world.trusted, world.store.edited) == ({OLD, NEW}, ())
    assert world.status.settled


async def test_beside_an_edit_that_lacks_a_ca_in_use_no_other_anchor_enters() -> None:
    """A new root is accepted; its truststores would bring the edit into use."""
    world = await begun()
    edit(world, Ca.root("CN=By Hand", not_before=NOW - DAY))
    switches = list(world.switches)
    world.list_new()
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    await world.later(HOUR)
    assert (world.switches, world.trusted, world.stage) == (switches, {OLD}, Stage.STORE_EDITED)
    await world.keeper.renew(discard_edits=True)
    await world.later(MINUTE)
    assert (world.trusted, world.stage) == ({OLD, NEW}, Stage.ANCHOR_ADDED)


async def test_an_edit_that_lacks_nothing_in_use_holds_no_renewal() -> None:
    """The edit is carried along, as it always was."""
    world = await begun()
    extra = Ca.root("CN=By Hand", not_before=NOW - DAY)
    edit(world, world.old, extra)
    first = world.current.leaf
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.later(MINUTE)
    assert world.current.leaf != first
    assert world.current.is_edited(TRUSTSTORE.name)


async def test_the_emergency_lane_goes_ahead_beside_an_edit() -> None:
    """A leaf that ends breaks more than an edit that somebody made on purpose."""
    world = await with_anchor()
    edit(world, world.new)
    first = world.current.leaf
    world.now = first.not_after - timedelta(hours=35)
    await world.later(MINUTE)
    assert world.current.leaf != first
