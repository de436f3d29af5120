"""What goes wrong in the middle of a rotation: what is lost, what turns round, and who falls silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import ca_id
from agent.core.files import Access, PemFiles
from agent.core.rotation import Stage
from agent.core.rotation_record import RotationRecord
from agent.errors import AgentError
from tests.daemon.broker_world import DAY, HOUR, MINUTE
from tests.daemon.rotation_world import (
    BY_ITSELF,
    NEW,
    OLD,
    PEER,
    TurningWorld,
    begun,
    in_waiting,
    reissued,
    with_anchor,
)
from tests.daemon.test_failover import URGENT, two
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.keystores.material import PrivateKey

SIX = timedelta(minutes=6)
"""A little more than peers are asked apart while something moves."""


# --- what is lost ----------------------------------------------------------------------------


async def test_a_lost_key_has_the_leaf_in_hand_asked_about_all_the_same() -> None:
    """The old leaf cannot be shown any more, and the new one that every peer trusts by now is what is needed."""
    world = await in_waiting()
    world.trust_both()
    world.store.lost_key = True
    await world.keeper.turn()
    await world.later(SIX)
    assert world.leaf == NEW


@pytest.mark.parametrize("is_noted", [True, False])
async def test_a_lost_link_leads_back_to_what_was_in_use_and_to_nothing_that_was_turned_away_from(
    is_noted: bool,
) -> None:
    """A person went back to the old CA; the newest generation that is kept is of the new one."""
    world = await reissued()
    await world.keeper.abort(by="ann")
    await world.later(HOUR)
    assert world.leaf == OLD
    world.peer.trusts, number = {world.ids[OLD]}, world.current.number
    if not is_noted:
        rotation = replace(world.store.record.rotation, leaf=None)
        world.store.record = replace(world.store.record, settled=None, rotation=rotation)
        world.restart()
    world.store.current = None
    await world.keeper.turn()
    assert world.current.number == number
    assert world.outages == []


async def test_a_lost_link_leads_to_the_leaf_that_a_person_holds() -> None:
    """They rolled back to it; a newer one is kept."""
    world = await begun()
    await world.keeper.renew()
    await world.keeper.roll_back()
    held = world.current.number
    world.store.record = replace(world.store.record, settled=None)
    world.restart()
    world.store.current = None
    await world.keeper.turn()
    assert world.current.number == held


# --- what turns round ------------------------------------------------------------------------


async def test_a_third_ca_ends_a_way_back_and_nothing_goes_to_and_fro() -> None:
    """The leaf is of neither of the two by then, and each would be paid for."""
    world = await reissued()
    await world.keeper.abort(by="ann")
    await world.later(HOUR)
    third = Ca.root("CN=Third Root,O=MyOrg", not_before=NOW - DAY)
    world.names[ca_id(third.certificate)] = "third"
    world.ca.turn_to(third)
    world.ca.listed_anchors = (world.old.certificate, world.new.certificate)
    world.peer.trusts.add(ca_id(third.certificate))
    at = world.status.renew_at
    assert at is not None
    await world.later(HOUR)
    calls = world.ca.calls
    world.now = world.current.leaf.not_after - HOUR
    for _ in range(25):
        await world.later(SIX)
    assert (world.leaf, world.store.record.rotation.abort) == ("third", None)
    assert world.ca.calls <= calls + 1


async def test_an_issuer_that_turns_to_and_fro_gives_few_leaves() -> None:
    """Replicas of a CA may differ for a day; each leaf may be billed."""
    world = await with_anchor()
    world.trust_both()
    calls = world.ca.calls
    for turn in range(48):
        if turn % 2 == 0:
            world.flip()
        else:
            world.ca.turn_to(world.old)
            world.ca.listed_anchors = (world.new.certificate,)
        await world.later(30 * MINUTE)
    assert world.ca.calls - calls <= 2
    assert world.outages == []
    await world.later(2 * HOUR)
    await world.later(SIX)
    assert world.leaf == OLD


async def test_an_approved_ca_stays_when_the_issuers_own_is_renewed_with_its_key() -> None:
    """The own CA's certificate is the younger one by then, and the CA in waiting is in waiting still."""
    world = await with_anchor(BY_ITSELF)
    again = Ca.root(world.old.certificate.subject.rfc4514_string(), key=world.old.key, not_before=world.now - HOUR)
    world.ca.turn_to(again)
    world.ca.listed_anchors = (world.new.certificate,)
    for _ in range(6):
        await world.later(DAY)
    assert world.new.certificate in world.current.anchors
    assert again.certificate in world.current.anchors
    assert world.old.certificate not in world.current.anchors


async def test_a_cross_signed_chain_proves_only_that_one_of_its_cas_is_trusted() -> None:
    """The peer trusts the old CA alone; a leaf of the new one without the link to it is another matter."""
    world = await begun()
    crossed = world.old.intermediate("CN=New Root,O=MyOrg", key=world.new.key)
    bare = False

    def sign(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        leaf = world.new.leaf(pending.request, key, not_before=world.now.replace(microsecond=0))
        return (leaf,) if bare else (leaf, crossed.certificate)

    world.flip()
    world.ca.sign = sign  # type: ignore[method-assign]
    for _ in range(3):
        await world.later(SIX)
    assert crossed.certificate in world.current.chain
    assert world.outages == []
    bare = True
    with pytest.raises(AgentError, match=f"{PEER}.* is not shown to trust"):
        await world.keeper.renew()
    await world.later(HOUR)
    assert crossed.certificate in world.current.chain
    world.trust_both()
    await world.later(SIX)
    assert world.current.chain == (world.current.leaf,)


# --- what a person says ----------------------------------------------------------------------


async def test_a_pause_counts_although_a_leaf_was_asked_for_before() -> None:
    """Nothing that readers use changes, whatever was wished for earlier."""
    world = await in_waiting()
    with pytest.raises(AgentError):
        await world.keeper.renew()
    await world.keeper.pause(by="ann")
    world.trust_both()
    for _ in range(3):
        await world.later(SIX)
    assert world.leaf == OLD
    await world.keeper.resume(by="ann")
    await world.later(MINUTE)
    assert world.leaf == NEW


# --- what nobody can see ---------------------------------------------------------------------


async def test_what_readers_may_have_loaded_is_not_forgotten_with_its_generation() -> None:
    """Nothing shows that the new leaf is in use; renewals push the old one's generation out of those that are kept."""
    files = (PemFiles(combined="tls.pem", truststore="ca.crt", access=Access()),)
    world = TurningWorld(replace(BY_ITSELF, files=files, reload=(), prove=()))
    world.trust_both()
    world.peer.uses = {world.ids[NEW]}
    await world.keeper.turn()
    await world.later(MINUTE)
    world.list_new()
    await world.later(MINUTE)
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    await world.later(MINUTE)
    world.flip()
    await world.later(MINUTE)
    await world.keeper.confirm("broker", by="ann")
    await world.later(SIX)
    assert world.leaf == NEW
    for _ in range(3):
        await world.keeper.renew()
        await world.later(HOUR)
    assert OLD not in {world.named(world.of(one)) for one in world.store.generations.values()}
    await world.later(2 * DAY)
    assert world.trusted == {OLD, NEW}
    assert world.rotation.why.endswith("is not shown to be in use, and one of CN=Test Root,O=MyOrg may be")
    await world.keeper.confirm("broker", by="ann")
    await world.later(DAY)
    await world.later(SIX)
    assert world.trusted == {NEW}


async def test_a_source_that_is_silent_for_a_while_makes_no_rotation_of_a_steady_host() -> None:
    """Nothing was to leave before, and silence is no wish that anything should."""
    world = await begun()
    asked = world.witness.asked
    world.ca.anchor_trouble = "connection refused"
    for _ in range(5):
        await world.later(SIX)
    assert world.stage is Stage.STEADY
    assert world.state_of(OLD) == "trusted"
    assert world.witness.asked <= asked + 1


async def test_a_peer_whose_ca_waits_for_approval_here_is_ahead() -> None:
    """It is known what it uses, and nobody here trusts that."""
    world = await begun()
    world.list_new()
    await world.later(MINUTE)
    world.peer.uses = {world.ids[NEW]}
    await world.later(HOUR)
    await world.later(HOUR)
    assert world.stage is Stage.PEER_AHEAD
    assert f"{PEER} uses a leaf of CN=New Root,O=MyOrg" in world.rotation.why


async def test_a_held_leaf_of_the_second_issuer_does_not_shut_out_the_first() -> None:
    """A peer falls silent between the question and the answer, and then the first issuer is back."""
    world = await two()
    world.trust_both()
    world.go_down()
    world.now = world.current.leaf.not_after - URGENT
    sign = world.second.sign

    def while_the_peer_goes(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        world.now += 2 * MINUTE
        world.peer.silent = "connection refused"
        return sign(pending, key)

    world.second.script = [while_the_peer_goes]
    for _ in range(15):
        await world.later(2 * MINUTE)
        if world.second.calls:
            break
    await world.later(MINUTE)
    assert world.second.calls == 1
    assert world.leaf == OLD
    end = world.current.leaf.not_after
    world.ca.script = []
    world.peer.trusts = {world.ids[OLD]}
    for _ in range(4):
        await world.later(HOUR)
    assert world.current.issuer == "ca"
    assert world.current.leaf.not_after > end
    assert world.outages == []


async def test_notes_that_were_lost_hold_a_rotation_and_no_renewal() -> None:
    """A way back or an anchor that was let go may have been among them; who resumes has said what there was to say."""
    world = await with_anchor()
    world.store.record = replace(world.store.record, rotation=RotationRecord(forgotten=True))
    world.restart()
    await world.keeper.renew()
    assert world.leaf == OLD
    other = Ca.root("CN=Other Root")
    world.ca.extra_anchors = (other.certificate,)
    world.flip()
    world.trust_both()
    await world.later(HOUR)
    assert (world.leaf, world.in_hand, len(world.current.anchors)) == (OLD, NEW, 2)
    assert any("its notes could not be read" in one for one in world.status.concerns)
    assert "goes on without its earlier notes" in await world.keeper.resume(by="ann")
    await world.later(SIX)
    assert world.leaf == NEW
    assert other.certificate in world.current.anchors


async def test_notes_that_were_lost_let_no_anchor_go() -> None:
    """Whatever is allowed by itself."""
    world = await reissued(BY_ITSELF)
    world.peer.uses = {world.ids[NEW]}
    lost = replace(world.store.record.rotation, forgotten=True)
    world.store.record = replace(world.store.record, rotation=lost)
    world.restart()
    await world.later(2 * DAY)
    await world.later(2 * DAY)
    assert world.trusted == {OLD, NEW}
    await world.keeper.resume(by="ann")
    await world.later(SIX)
    await world.later(2 * DAY)
    assert world.trusted == {NEW}
