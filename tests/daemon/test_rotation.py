"""A new CA in whole cycles: from the first sight of a root to the last of the old one, and what each step waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.anchors import Acceptance, ca_id
from agent.core.configuration import FileAnchors, IssuerAnchors
from agent.core.evidence import Verdict
from agent.core.rotation import Stage
from agent.core.testimony import FRESH
from agent.errors import AgentError, IssuerUnavailableError
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.memory_peers import MemoryPeer
from tests.daemon.rotation_world import (
    BY_ITSELF,
    NEW,
    OLD,
    PEER,
    TURNING,
    TurningWorld,
    begun,
    in_waiting,
    reissued,
    with_anchor,
)
from tests.material import NOW, Ca

TEXT = "CN=New Root,O=MyOrg"
OLD_TEXT = "CN=Test Root,O=MyOrg"


# --- from the first sight to the retirement --------------------------------------------------


async def test_a_root_that_is_merely_listed_is_told_of_and_trusted_by_nobody() -> None:
    """Whoever adds an anchor can mint any principal: a person is told its fingerprint, and the truststores stay."""
    world = await begun()
    world.list_new()
    await world.later(HOUR)
    fingerprint = world.new.certificate.fingerprint
    assert world.trusted == {OLD}
    assert world.switches == [1]
    assert any(f"cert-agent ca approve {fingerprint}" in one and TEXT in one for one in world.status.concerns)
    assert world.state_of(NEW) == "waiting"
    assert (world.stage, world.status.health) == (Stage.STEADY, "warn")
    assert world.rotation.why == f"{TEXT} was seen, and waits for `cert-agent ca approve`"


async def test_an_approved_root_enters_the_truststores_and_is_proven_there() -> None:
    """One generation with both anchors and the old leaf, in use before anything else changes."""
    world = await begun()
    world.list_new()
    await world.keeper.turn()
    said = await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    assert said.startswith(f"broker: {TEXT} may enter the truststores; next: ")
    assert (world.trusted, world.leaf, world.switches) == ({OLD, NEW}, OLD, [1, 2])
    assert world.status.settled
    assert {frozenset(one.anchors) for one in world.broker.loaded["CLIENTS"]} == {frozenset(world.current.anchors)}
    assert (world.stage, world.rotation.since) == (Stage.ANCHOR_ADDED, world.now)
    assert world.rotation.why == f"{TEXT} is trusted here, and issues nothing yet"
    assert world.state_of(NEW) == "trusted"
    assert world.status.concerns == ()


async def test_a_flipped_issuer_gives_a_leaf_that_is_kept_in_hand_and_shown_to_the_peers() -> None:
    """It is what they are asked with; the leaf in use stays until all are shown to trust it."""
    world = await in_waiting()
    calls, since = world.ca.calls, world.rotation.since
    candidate = world.status.issued
    await world.later(HOUR)
    assert (world.leaf, world.in_hand, world.ca.calls) == (OLD, NEW, calls)
    assert [one.leaf for one in world.witness.shown] == [world.current.leaf, candidate]
    assert (world.stage, world.rotation.since) == (Stage.ANCHOR_ADDED, since)
    hold = f"{PEER} is not shown to trust {TEXT}"
    assert world.rotation.why == f"the next leaf is of {TEXT}; held: {hold}"
    assert f"a leaf of {TEXT} is in hand, and held: {hold}" in world.status.concerns
    assert world.rotation.awaited == (PEER,)
    assert world.rotation.peers[0].verdicts[f"trusts {TEXT}"] is Verdict.REFUTED
    assert (world.rotation.leaf_ca, world.rotation.target_ca) == (OLD_TEXT, TEXT)


async def test_peers_are_asked_every_five_minutes_while_something_waits_for_them() -> None:
    """A rotation goes on within minutes of the last peer's answer, and nobody is asked at each look."""
    world = await in_waiting()
    asked = world.witness.asked
    await world.live_until(world.now + HOUR)
    assert 11 <= world.witness.asked - asked <= 13
    world.trust_both()
    await world.live_until(world.now + 6 * MINUTE)
    assert world.leaf == NEW


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("is not shown to trust", {}),
        ("connection refused", {"silent": "connection refused"}),
        ("what is known of it is of 2026-", {"lag": FRESH + MINUTE}),
    ],
    ids=["distrusts", "unknown", "stale"],
)
async def test_a_peer_that_is_not_shown_to_trust_the_new_ca_holds_the_leaf(why: str, change: dict[str, object]) -> None:
    """Unknown is never yes, and neither is what was seen long ago."""
    world = await with_anchor()
    if change:
        world.trust_both()
    world.peer = replace(world.peer, **change)  # type: ignore[arg-type]
    world.witness.others = [world.peer]
    world.flip()
    await world.later(HOUR)
    assert (world.leaf, world.in_hand, world.stage) == (OLD, NEW, Stage.ANCHOR_ADDED)
    assert why in world.rotation.why
    world.trust_both()
    world.peer.silent, world.peer.lag = "", timedelta(0)
    await world.later(10 * MINUTE)
    assert world.leaf == NEW


async def test_one_peer_of_many_holds_the_leaf() -> None:
    """It becomes current when all trust it, and not when most do."""
    world = await in_waiting()
    world.trust_both()
    late = MemoryPeer("kafka3:9093", {world.ids[OLD]}, set())
    world.witness.others = [world.peer, late]
    await world.later(HOUR)
    assert (world.leaf, world.rotation.awaited) == (OLD, ("kafka3:9093",))
    world.trust_both(late)
    await world.later(10 * MINUTE)
    assert world.leaf == NEW


async def test_peers_of_whom_nobody_has_said_who_they_are_hold_the_leaf() -> None:
    """Settings that say nothing of peers are no word that there are none."""
    unsaid = replace(TURNING, rotation=replace(TURNING.rotation, peers=None))
    world = await with_anchor(unsaid)
    world.trust_both()
    world.flip()
    await world.later(HOUR)
    assert (world.leaf, world.in_hand) == (OLD, NEW)
    assert "who the peers are is not known: nobody has said who they are" in world.rotation.why
    world.restart(TURNING)
    await world.later(MINUTE)
    assert world.leaf == NEW


async def test_a_cluster_that_cannot_say_who_is_there_holds_the_leaf() -> None:
    """The peers that are seen may not be all."""
    world = await in_waiting()
    world.trust_both()
    world.witness.unknown = "the Kafka cluster main does not answer"
    await world.later(HOUR)
    assert (world.leaf, world.in_hand) == (OLD, NEW)
    assert "the Kafka cluster main does not answer" in world.rotation.why


async def test_a_switch_relies_on_answers_of_the_last_minute_alone() -> None:
    """What a peer said five minutes ago may have changed: it is asked once more, right before."""
    world = await in_waiting()
    world.trust_both()
    await world.keeper.pause(by="ann")
    world.now += 6 * MINUTE
    await world.keeper.turn()  # it is known to trust both, and nothing changes during a pause
    world.peer.trusts.discard(world.ids[NEW])
    world.now += 3 * MINUTE
    await world.keeper.resume(by="ann")
    assert (world.leaf, world.outages) == (OLD, [])


async def test_a_leaf_of_the_new_ca_becomes_current_when_all_trust_it() -> None:
    """The old anchor stays, since the peer's leaf is still of the old CA."""
    world = await reissued()
    assert world.trusted == {OLD, NEW}
    assert world.status.settled
    assert world.outages == []
    assert (world.stage, world.rotation.since) == (Stage.LEAF_REISSUED, world.store.switched_at)
    await world.later(10 * DAY)
    assert world.trusted == {OLD, NEW}
    assert world.rotation.why == (
        f"{OLD_TEXT} is to leave the truststores; held: {PEER} is not shown to use no leaf of {OLD_TEXT}"
    )
    assert world.state_of(OLD) == "leaving"
    assert world.rotation.awaited == (PEER,)


async def test_the_old_anchor_soaks_from_the_last_use_of_its_leaves_and_leaves_when_a_person_lets_it() -> None:
    """The soak is counted from when no leaf of it is in use anywhere, and a person has the last word."""
    world = await reissued()
    world.peer.uses = {world.ids[NEW]}
    await world.later(3 * DAY)
    world.now -= MINUTE  # the instant of the first look, which is when it was noted
    until = world.now + DAY
    world.now += MINUTE
    assert f"it soaks until {until:%Y-%m-%d %H:%M:%SZ}" in world.rotation.why
    assert world.trusted == {OLD, NEW}
    await world.later(DAY)
    assert world.trusted == {OLD, NEW}
    assert f"nothing needs {OLD_TEXT} any more: `cert-agent ca retire` lets it go" in world.rotation.why
    said = await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    assert said.startswith(f"broker: {OLD_TEXT} is to leave the truststores; next: ")
    assert (world.trusted, world.leaf, world.outages) == ({NEW}, NEW, [])
    assert world.status.settled
    assert (world.stage, world.rotation.why) == (Stage.STEADY, "one CA, and nothing to change")
    assert world.state_of(OLD) == "gone"


async def test_an_anchor_that_may_leave_by_itself_leaves_after_its_soak() -> None:
    """With `retire: automatic` nobody need say anything."""
    world = await reissued(BY_ITSELF)
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    await world.later(DAY - HOUR)
    assert world.trusted == {OLD, NEW}
    await world.later(HOUR)
    assert (world.trusted, world.stage, world.outages) == ({NEW}, Stage.STEADY, [])


async def test_a_soak_begins_anew_when_a_leaf_of_the_old_ca_is_used_again() -> None:
    """A peer that goes back to its old leaf is one that has not left."""
    world = await reissued(BY_ITSELF)
    world.peer.uses = {world.ids[NEW]}
    await world.later(DAY / 2)
    world.peer.uses = {world.ids[OLD]}
    await world.later(HOUR)
    world.peer.uses = {world.ids[NEW]}
    await world.later(DAY / 2)
    await world.later(DAY / 2)
    assert world.trusted == {OLD, NEW}
    await world.later(DAY)
    assert world.trusted == {NEW}


async def test_a_peer_that_is_silent_for_a_while_begins_no_soak_anew_and_holds_the_anchor() -> None:
    """What is merely unknown is no return, and no leave either."""
    world = await reissued(BY_ITSELF)
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    world.peer.silent = "connection refused"
    await world.later(2 * DAY)
    assert world.trusted == {OLD, NEW}
    assert "connection refused" in world.rotation.why
    world.peer.silent = ""
    await world.later(10 * MINUTE)
    assert world.trusted == {NEW}


async def test_the_old_anchor_stays_until_the_new_leaf_is_shown_to_be_in_use_here() -> None:
    """In use, and not only on disk: a broker that cannot be told serves the old leaf still."""
    world = await in_waiting(BY_ITSELF)
    world.trust_both()
    world.peer.uses = {world.ids[NEW]}
    world.broker.drops = "java.io.IOException: keystore was tampered with"
    await world.later(10 * MINUTE)
    assert world.named(world.of(world.broker.loaded["CLIENTS"][0])) == OLD
    await world.later(10 * DAY)
    assert OLD in world.trusted
    assert world.outages == []


async def test_a_peer_that_is_named_no_more_is_waited_for() -> None:
    """One that is down is in no cluster's metadata, and comes back with the stores that it had."""
    world = await in_waiting()
    world.witness.others = []
    for _ in range(3):
        world.restart()
        await world.later(HOUR)
    assert (world.leaf, world.rotation.awaited) == (OLD, (PEER,))
    assert f"{PEER} (it was met on 2026-11-24, and is named no more) is not shown to trust" in world.rotation.why
    await world.keeper.confirm(PEER, by="ann")
    assert world.leaf == NEW


async def test_a_rotation_without_any_peer_needs_nobody() -> None:
    """Settings that say that nobody meets the identity leave the soak and the person."""
    world = TurningWorld(BY_ITSELF)
    world.witness.others = []
    await in_use(world)
    world.flip()
    await world.later(10 * MINUTE)
    assert world.leaf == NEW
    await world.later(DAY + HOUR)
    assert world.trusted == {NEW}


# --- which anchors may enter, and which leave ------------------------------------------------


def of_folder(accept: Acceptance | None = None, issuer: Acceptance | None = None) -> TurningWorld:
    """Return a world that trusts a folder beside its issuer; the old root lies in it."""
    trust = (IssuerAnchors("ca", issuer), FileAnchors(TURNING.directory / "ca.d", accept=accept))
    world = TurningWorld(replace(BY_ITSELF, trust=trust))
    world.folder.anchors = [world.old.certificate]
    return world


async def in_use(world: TurningWorld) -> TurningWorld:
    """Return the world once its first generation is served."""
    await world.keeper.turn()
    assert world.broker.start()
    await world.later(MINUTE)
    assert world.status.settled
    return world


@pytest.mark.parametrize("accept", [None, Acceptance.AUTOMATIC, Acceptance.ASK])
async def test_a_ca_in_a_watched_folder_enters_unless_its_source_asks(accept: Acceptance | None) -> None:
    """A configuration tool drops it in; where the settings say `ask`, a person is asked first."""
    world = await in_use(of_folder(accept))
    world.folder.anchors.append(world.new.certificate)
    await world.later(MINUTE)
    asks = accept is Acceptance.ASK
    assert world.trusted == ({OLD} if asks else {OLD, NEW})
    assert world.state_of(NEW) == ("waiting" if asks else "trusted")


@pytest.mark.parametrize("accept", [None, Acceptance.AUTOMATIC, Acceptance.ASK])
async def test_the_issuers_own_new_ca_enters_unless_its_source_asks(accept: Acceptance | None) -> None:
    """A flip with nothing listed before: the anchor comes first, and the leaf waits for a person where one is asked."""
    trust = (IssuerAnchors("ca", accept),)
    world = TurningWorld(replace(TURNING, trust=trust))
    await world.keeper.turn()
    if accept is Acceptance.ASK:
        await world.keeper.approve(world.old.certificate.fingerprint, by="ann")
    await world.later(MINUTE)
    world.broker.start()
    await world.later(MINUTE)
    world.trust_both()
    world.flip()
    calls = world.ca.calls
    await world.later(MINUTE)
    if accept is Acceptance.ASK:
        assert (world.trusted, world.leaf, world.ca.calls) == ({OLD}, OLD, calls)
        assert "waits for a person: `cert-agent ca approve`" in world.rotation.why
        assert world.state_of(NEW) == "waiting"
    else:
        assert (world.trusted, world.leaf, world.ca.calls) == ({OLD, NEW}, NEW, calls + 1)


async def test_what_an_issuer_lists_enters_by_itself_only_where_the_settings_say_so() -> None:
    """`accept: automatic` of an issuer covers its CA in waiting."""
    trust = (IssuerAnchors("ca", Acceptance.AUTOMATIC),)
    world = await in_use(TurningWorld(replace(TURNING, trust=trust)))
    world.list_new()
    await world.later(MINUTE)
    assert world.trusted == {OLD, NEW}


@pytest.mark.parametrize("accept", [None, Acceptance.AUTOMATIC])
async def test_an_older_ca_that_an_issuer_lists_never_enters_by_itself(accept: Acceptance | None) -> None:
    """It was left behind: nobody is asked about it, and nobody trusts it."""
    trust = (IssuerAnchors("ca", accept),)
    world = TurningWorld(replace(TURNING, trust=trust))
    older = Ca.root("CN=Older Root", not_before=NOW - 1000 * DAY)
    world.ca.listed_anchors = (older.certificate,)
    await in_use(world)
    await world.later(DAY)
    assert world.trusted == {OLD}
    assert next(one for one in world.rotation.anchors if one.anchor == older.certificate).state == "left behind"
    assert not any("new CA" in one for one in world.status.concerns)
    await world.keeper.approve(older.certificate.fingerprint, by="ann")
    await world.later(MINUTE)
    assert len(world.current.anchors) == 2


async def test_a_retired_anchor_does_not_come_back_by_itself() -> None:
    """A person let it go; that its source shows it still, or again, changes nothing."""
    world = await in_use(of_folder())
    world.folder.anchors.append(world.new.certificate)
    await world.later(MINUTE)
    world.flip()
    world.trust_both()
    await world.later(10 * MINUTE)
    assert world.leaf == NEW
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    await world.keeper.retire(world.old.certificate.fingerprint, by="ann", force=False)
    await world.later(DAY)
    await world.later(DAY)
    assert world.trusted == {NEW}
    assert world.old.certificate in world.folder.anchors
    world.restart()
    await world.later(DAY)
    assert (world.trusted, world.state_of(OLD)) == ({NEW}, "gone")
    await world.keeper.approve(world.old.certificate.fingerprint, by="ann")
    assert world.trusted == {OLD, NEW}


@pytest.mark.parametrize("what", ["empty", "unreadable", "shrunken"])
async def test_a_source_that_shows_less_shrinks_no_truststore(what: str) -> None:
    """An empty folder is no wish that anything should leave; one that lacks a CA in use is refused what it asks."""
    world = await in_use(of_folder())
    extra = Ca.root("CN=Partner Root", not_before=NOW - DAY)
    world.folder.anchors = [world.old.certificate, extra.certificate]
    world.peer.uses = {ca_id(extra.certificate)}
    await world.later(MINUTE)
    both = {OLD, ca_id(extra.certificate)}
    assert world.trusted == both
    if what == "empty":
        world.folder.anchors = []
    elif what == "unreadable":
        world.folder.trouble = "permission denied"
    else:
        world.folder.anchors = [world.old.certificate]
    await world.later(DAY)
    await world.later(DAY)
    assert (world.trusted, world.outages) == (both, [])
    expected = {"empty": "holds no certificate", "unreadable": "permission denied", "shrunken": "CN=Partner Root"}
    assert expected[what] in " ".join((*world.status.concerns, world.rotation.why))


async def test_a_silent_source_holds_the_old_anchor_of_a_finished_rotation() -> None:
    """Nothing ever leaves because of silence, be it of another source than the anchor's own."""
    world = await in_use(of_folder())
    world.flip()
    world.trust_both()
    world.folder.anchors = [world.new.certificate]
    await world.later(10 * MINUTE)
    assert world.leaf == NEW
    world.peer.uses = {world.ids[NEW]}
    world.folder.trouble = "permission denied"
    await world.later(2 * DAY)
    assert world.trusted == {OLD, NEW}
    assert "a source of trust is silent" in world.rotation.why
    world.folder.trouble = ""
    await world.later(HOUR)
    await world.later(DAY)
    assert world.trusted == {NEW}


async def test_an_anchor_enters_while_another_source_is_silent() -> None:
    """What can be read counts: a folder that fails must not keep the new root out."""
    world = await in_use(of_folder())
    world.folder.trouble = "permission denied"
    world.flip()
    await world.later(MINUTE)
    assert world.trusted == {OLD, NEW}


async def test_a_root_that_is_deleted_at_the_issuer_stays_in_the_truststores_while_leaves_live_under_it() -> None:
    """The chain of a mount loses it in the moment of the deletion; the peer's leaf does not."""
    world = await in_waiting(BY_ITSELF)
    world.ca.listed_anchors = ()
    await world.later(DAY)
    assert (world.trusted, world.leaf) == ({OLD, NEW}, OLD)
    world.trust_both()
    await world.later(DAY)
    assert (world.trusted, world.leaf, world.outages) == ({OLD, NEW}, NEW, [])


def renewed(root: Ca) -> Ca:
    """Return a root's certificate made anew with the same name and key."""
    return Ca.root(OLD_TEXT, key=root.key, not_before=NOW - HOUR, not_after=NOW + 7300 * DAY)


async def test_a_ca_certificate_renewed_with_the_same_key_replaces_the_old_one_and_is_no_rotation() -> None:
    """It is the same CA: no guard, no soak, no new leaf; the truststores are refreshed."""
    world = await begun()
    again = renewed(world.old)
    world.ca.root = again
    await world.later(MINUTE)
    assert world.current.anchors == (again.certificate,)
    assert (world.leaf, world.ca.calls, world.stage) == (OLD, 1, Stage.STEADY)
    assert world.status.settled


async def test_a_renewed_ca_certificate_replaces_nothing_while_a_source_is_silent_or_before_it_is_valid() -> None:
    """One that is valid from tomorrow only would leave the truststore without a valid anchor today."""
    world = await in_use(of_folder())
    early = Ca.root(OLD_TEXT, key=world.old.key, not_before=NOW + DAY, not_after=NOW + 7300 * DAY)
    world.ca.root = early
    world.folder.anchors = [early.certificate]
    await world.later(MINUTE)
    assert set(world.current.anchors) == {world.old.certificate, early.certificate}
    world.folder.trouble = "permission denied"
    await world.later(DAY)
    assert set(world.current.anchors) == {world.old.certificate, early.certificate}
    world.folder.trouble = ""
    await world.later(MINUTE)
    assert world.current.anchors == (early.certificate,)


async def test_two_cas_of_one_name_are_two() -> None:
    """A namesake with another key is told apart by its fingerprint, and names in a handshake prove nothing of it."""
    world = await begun()
    namesake = Ca.root(OLD_TEXT, not_before=NOW - DAY)
    world.ca.listed_anchors = (namesake.certificate,)
    await world.later(MINUTE)
    assert world.trusted == {OLD}
    name = f"{OLD_TEXT} ({namesake.certificate.fingerprint[:16]})"
    assert any(name in one for one in world.status.concerns)
    world.ca.turn_to(namesake)
    world.ca.listed_anchors = (world.old.certificate,)
    await world.later(MINUTE)
    assert world.trusted == {OLD, ca_id(namesake.certificate)}
    assert world.leaf == OLD
    assert f"the truststores here are not shown to be in use, and they alone hold {name}" in world.rotation.why
    await world.keeper.confirm("broker", by="ann")
    await world.later(MINUTE)
    assert f"{PEER} is not shown to trust {name}" in world.rotation.why
    world.peer.trusts.add(ca_id(namesake.certificate))
    await world.later(6 * MINUTE)
    assert world.leaf == ca_id(namesake.certificate)


# --- broken states ---------------------------------------------------------------------------


async def test_a_peer_that_does_not_trust_the_leaf_in_use_is_a_broken_state_with_two_ways_out() -> None:
    """The peer is to be given the anchor, or the leaf goes back; either ends it."""
    world = await reissued()
    world.peer.trusts.discard(world.ids[NEW])
    await world.later(10 * MINUTE)
    assert world.stage is Stage.LEAF_UNTRUSTED
    told = f"{PEER} does not trust the leaf in use: give it the anchor of {TEXT}, or go back with `cert-agent ca abort`"
    assert world.rotation.why == told
    assert f"the CA rotation is broken, leaf untrusted: {told}" in world.status.concerns
    assert world.trusted == {OLD, NEW}
    world.trust_both()
    await world.later(10 * MINUTE)
    assert world.rotation.stage is Stage.LEAF_REISSUED


async def test_a_peer_that_is_ahead_is_a_broken_state_that_ends_with_its_ca_in_the_truststores() -> None:
    """Its leaf is of a CA that nothing here trusts: named, and mended by an approval."""
    world = await begun()
    world.peer.ahead, world.peer.uses = TEXT, {world.ids[NEW]}
    world.list_new()
    await world.later(2 * HOUR)
    assert world.stage is Stage.PEER_AHEAD
    assert world.rotation.why == (
        f"{PEER} uses a leaf of {TEXT}, which no truststore here holds: name its CA in `trust`, or"
        " approve it with `cert-agent ca approve`"
    )
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    world.peer.ahead = ""
    await world.later(10 * MINUTE)
    assert (world.stage, world.outages) == (Stage.ANCHOR_ADDED, [])


# --- what an issuer may do -------------------------------------------------------------------


async def test_an_issuer_that_contradicts_itself_is_not_asked_again_and_again() -> None:
    """It shows one CA as its own and gives leaves of another: one leaf is paid for, and the rotation waits."""
    world = await with_anchor()
    world.trust_both()
    signer = world.ca.intermediate
    world.flip()
    world.ca.intermediate = signer
    await world.live_until(world.now + 6 * HOUR)
    assert world.leaf == OLD
    assert world.ca.calls == 2


async def test_a_leaf_in_hand_of_a_ca_that_the_issuer_has_left_again_is_dropped() -> None:
    """It flips back before anything was switched: nothing of the new CA comes into use."""
    world = await in_waiting()
    world.ca.turn_to(world.old)
    world.list_new()
    await world.later(MINUTE)
    assert (world.leaf, world.in_hand, world.outages) == (OLD, None, [])
    world.trust_both()
    await world.later(HOUR)
    assert world.leaf == OLD


# --- when nothing else helps -----------------------------------------------------------------


async def test_the_deadlock_is_held_and_alarmed_and_ends_with_the_old_leaf() -> None:
    """The old issuer is gone and the peer distrusts the new CA: the old leaf serves to its end, then any is better."""
    world = await in_waiting()
    end = world.current.leaf.not_after
    world.now = end - 30 * MINUTE
    await world.later(MINUTE)
    assert (world.leaf, world.in_hand) == (OLD, NEW)
    assert world.status.health == "fail"
    assert any("should have been renewed long ago" in one for one in world.status.not_ready)
    assert any(f"is in hand, and held: {PEER} is not shown to trust" in one for one in world.status.concerns)
    await world.live_until(end)
    assert world.leaf == OLD
    await world.live_until(end + 6 * MINUTE)
    assert world.leaf == NEW


async def test_a_renewal_of_the_same_ca_waits_for_no_peer() -> None:
    """A leaf of the CA in use changes nobody's trust, in the middle of a rotation too."""
    world = await with_anchor()
    world.peer.silent = "connection refused"
    first = world.current.leaf
    at = world.status.renew_at
    assert at is not None
    world.now = at
    await world.keeper.turn()
    assert world.current.leaf != first
    assert (world.leaf, world.trusted) == (OLD, {OLD, NEW})


async def test_an_issuer_that_is_down_in_the_middle_holds_the_rotation_where_it_stands() -> None:
    """Nothing is lost: it goes on when the CA answers."""
    world = await with_anchor()
    world.trust_both()
    world.flip()
    world.ca.script = [IssuerUnavailableError("connection refused")] * 5
    await world.later(MINUTE)
    assert (world.leaf, world.stage) == (OLD, Stage.ANCHOR_ADDED)
    await world.live_until(world.now + HOUR)
    assert (world.leaf, world.outages) == (NEW, [])


async def test_a_person_cannot_roll_back_over_a_guard() -> None:
    """A roll-back to a leaf of the old CA asks the same as a step forward does."""
    world = await reissued()
    world.peer.trusts.discard(world.ids[OLD])
    world.peer.uses = {world.ids[NEW]}
    await world.later(10 * MINUTE)
    with pytest.raises(AgentError, match="is of another CA") as caught:
        await world.keeper.roll_back()
    assert "cert-agent ca abort" in caught.value.advice
    assert world.leaf == NEW
