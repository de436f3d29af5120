"""Whole cycles with a store, a CA and a listener in memory, and a clock that stands still between turns."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import RenewalPolicy
from agent.core.generation import Cause, Damage, FileDamage
from agent.core.schedule import EARLIEST, LATEST
from agent.errors import AgentError, IssuerRefusedError, IssuerUnavailableError
from tests.daemon.world import ADDRESS, WANTED, World
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.keystores.material import PrivateKey

DAY = timedelta(days=1)


@pytest.fixture
async def world() -> World:
    """A world whose identity is issued, switched to, served and settled."""
    world = World()
    await world.keeper.turn()
    assert settled(world)
    return world


async def test_a_new_identity_is_issued_switched_told_and_proven() -> None:
    """One turn leads from nothing to a leaf that the listener serves."""
    world = World()
    plan = await world.keeper.turn()
    assert plan.action is None
    assert world.ca.calls == 1
    assert world.current.cause is Cause.LEAF
    assert world.listener.serves == world.current.leaf.fingerprint
    assert world.status.health == "pass"
    assert settled(world)
    assert world.store.pending is None


@pytest.mark.slow
async def test_a_year_is_kept_without_an_expired_moment(world: World) -> None:
    """A leaf of thirty days is renewed in its window, again and again, and is never out of date."""
    seen: list[Certificate] = [world.current.leaf]
    while world.now < NOW + 365 * DAY:
        plan = await world.keeper.turn()
        leaf = world.current.leaf
        assert leaf.not_before <= world.now < leaf.not_after
        if leaf != seen[-1]:
            age = (world.now - seen[-1].not_before) / (seen[-1].not_after - seen[-1].not_before)
            assert EARLIEST <= age <= LATEST + 0.003
            seen.append(leaf)
        world.now = max(plan.wake_at, world.now + timedelta(hours=2))
    assert 365 / 21 <= len(seen) <= 365 / 18 + 1
    assert world.ca.calls == len(seen)


async def test_a_restart_with_a_valid_leaf_issues_nothing(world: World) -> None:
    """The files and the notes tell all that a new process needs."""
    for _ in range(5):
        world.restart()
        await world.keeper.turn()
    assert world.ca.calls == 1
    assert world.store.current == 1
    assert world.listener.reloads == 1


@pytest.mark.slow
async def test_a_ca_that_is_down_is_asked_at_least_ten_times_before_expiry(world: World) -> None:
    """The old leaf stays in use while the ladder is climbed."""
    end = world.current.leaf.not_after
    world.ca.script = [IssuerUnavailableError("connection refused") for _ in range(10_000)]
    world.now += 20 * DAY
    while world.now < end:
        plan = await world.keeper.turn()
        world.now = max(plan.wake_at, world.now + timedelta(minutes=20))
    assert world.ca.calls - 1 >= 10
    assert world.store.current == 1


async def test_the_emergency_lane_asks_every_minute_although_refused(world: World) -> None:
    """In the last twentieth the slow pace after a refusal no longer counts."""
    leaf = world.current.leaf
    world.ca.script = [IssuerRefusedError("role unknown") for _ in range(10_000)]
    world.now = leaf.not_after - timedelta(hours=31)
    await world.live_until(leaf.not_after - timedelta(hours=30))
    calls = world.ca.calls
    await world.live_until(leaf.not_after - timedelta(hours=29))
    assert 55 <= world.ca.calls - calls <= 61


@pytest.mark.slow
async def test_the_emergency_lane_overrides_no_proof(world: World) -> None:
    """A leaf with another name is not switched to, however late it is."""

    def other_name(_pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        leaf = world.ca.intermediate.leaf(make_request(dns=("evil.example.com",)), key, not_before=world.now)
        return leaf, world.ca.intermediate.certificate

    end = world.current.leaf.not_after
    world.ca.script = [other_name for _ in range(10_000)]
    world.now = end - timedelta(hours=1)
    await world.live_until(end - timedelta(minutes=1))
    assert world.store.current == 1
    assert any("DNS SANs" in finding for finding in world.status.findings)
    assert world.status.health == "fail"


def _wrong_key(world: World, pending: Pending, _key: PrivateKey) -> tuple[Certificate, ...]:
    return world.ca.intermediate.leaf(pending.request, make_key(), not_before=world.now), _link(world)


def _other_san(world: World, _pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
    request = make_request(dns=("kafka1.example.com", "localhost", "*.example.com"))
    return world.ca.intermediate.leaf(request, key, not_before=world.now), _link(world)


def _ca_true(world: World, pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
    return world.ca.intermediate.leaf(pending.request, key, not_before=world.now, ca=True), _link(world)


def _expired(world: World, pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
    start = world.now - 20 * DAY
    return world.ca.intermediate.leaf(pending.request, key, not_before=start, not_after=world.now - DAY), _link(world)


def _future(world: World, pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
    return world.ca.intermediate.leaf(pending.request, key, not_before=world.now + DAY), _link(world)


def _stranger(world: World, pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
    return Ca.root("CN=Stranger").leaf(pending.request, key, not_before=world.now), _link(world)


def _link(world: World) -> Certificate:
    return world.ca.intermediate.certificate


@pytest.mark.parametrize("answer", [_wrong_key, _other_san, _ca_true, _expired, _future, _stranger])
async def test_a_wrong_answer_leaves_the_files_as_they_are(world: World, answer: object) -> None:
    """What is refuted before the switch is named, counted and not switched to."""
    world.ca.script = [lambda pending, key: answer(world, pending, key)]  # type: ignore[operator]
    with pytest.raises(AgentError, match="is not renewed yet"):
        await world.keeper.renew()
    assert world.switches == [1]
    assert world.status.findings
    assert world.status.counts.renewals["refuted"] >= 1
    assert any("refuted" in concern for concern in world.status.concerns)


async def test_after_a_wrong_answer_a_good_one_is_asked_for(world: World) -> None:
    """A CA that has been mended is asked again without a person."""
    world.ca.script = [lambda pending, key: _wrong_key(world, pending, key)]
    with pytest.raises(AgentError):
        await world.keeper.renew()
    await world.live_until(world.now + timedelta(minutes=10))
    assert world.switches == [1, 2]
    assert world.status.findings == ()
    assert world.status.health == "pass"


async def test_a_leaf_from_the_future_is_kept_until_its_time_comes(world: World) -> None:
    """A retry uses the candidate that is already issued."""
    world.ca.script = [lambda pending, key: _soon(world, pending, key)]
    with pytest.raises(AgentError):
        await world.keeper.renew()
    await world.live_until(world.now + timedelta(minutes=3))
    assert world.switches == [1, 2]
    assert world.ca.calls == 2


def _soon(world: World, pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
    start = world.now + timedelta(seconds=5)
    return world.ca.intermediate.leaf(pending.request, key, not_before=start), _link(world)


async def test_a_listener_that_ignores_the_reload_is_rolled_back_from(world: World) -> None:
    """What a handshake refutes after the switch returns to the generation before it."""
    world.listener.deaf = True
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.renew()
    assert world.switches == [1, 2, 1]
    assert world.status.counts.rollbacks == {"refuted": 1}
    assert world.status.listeners[0].verdict == "proven"
    assert any("rolled back from" in concern for concern in world.status.concerns)


async def test_a_refuted_generation_is_tried_again_and_not_paid_for_again(world: World) -> None:
    """Once the listener has been mended, the leaf that is already issued comes into use."""
    world.listener.deaf = True
    with pytest.raises(AgentError):
        await world.keeper.renew()
    refuted = world.store.generations[2].leaf
    await world.live_until(world.now + timedelta(hours=1))
    world.listener.deaf = False
    await world.live_until(world.now + timedelta(hours=2))
    assert world.current.leaf == refuted
    assert world.ca.calls == 2
    assert settled(world)
    assert world.status.health == "pass"


async def test_a_refuted_first_generation_is_held_and_told() -> None:
    """With none to go back to the agent holds, says so and goes on telling the listener."""
    world = World()
    world.listener.serves = "0" * 64
    world.listener.deaf = True
    await world.live_until(NOW + timedelta(hours=1))
    assert world.switches == [1]
    assert world.status.health == "fail"
    assert world.listener.reloads > 3
    assert world.ca.calls == 1


async def test_a_listener_that_watches_its_files_is_looked_at_anew() -> None:
    """Without a reload to tell it, what it served before the switch says nothing of the new leaf."""
    world = World(replace(WANTED, reload=()))
    switch = world.store.switch

    async def seen_by_the_listener(number: int) -> None:
        await switch(number)
        world.listener.serves = world.current.leaf.fingerprint

    world.store.switch = seen_by_the_listener  # type: ignore[method-assign]
    await world.keeper.turn()
    await world.keeper.renew()
    assert world.switches == [1, 2]
    assert settled(world)


async def test_a_listener_that_is_down_keeps_the_switch_and_is_asked_again(world: World) -> None:
    """Unknown is no refutation: the new generation stays, is not settled, and is proven later."""
    world.listener.down = True
    with pytest.raises(AgentError, match="not shown to be in use"):
        await world.keeper.renew()
    assert world.switches == [1, 2]
    assert not settled(world)
    assert any(ADDRESS in why for why in world.status.not_ready)
    world.listener.down = False
    await world.live_until(world.now + timedelta(minutes=2))
    assert settled(world)
    assert world.ca.calls == 2


async def test_a_reload_that_fails_is_repeated_and_issues_nothing(world: World) -> None:
    """A renewal is done when its reload succeeded; until then nothing new is asked of the CA."""
    world.listener.reload_trouble = "exit code 3"
    with pytest.raises(AgentError, match="not shown to be in use"):
        await world.keeper.renew()
    assert not settled(world)
    assert world.status.not_ready
    world.listener.reload_trouble = ""
    await world.live_until(world.now + timedelta(minutes=2))
    assert settled(world)
    assert world.ca.calls == 2


async def test_a_lost_file_is_rendered_again_and_not_paid_for(world: World) -> None:
    """Key and leaf are whole, so no CA is asked."""
    world.store.damages = (FileDamage("ca.crt", Damage.MISSING),)
    await world.keeper.turn()
    assert world.current.cause is Cause.FILES
    assert world.current.leaf == world.store.generations[1].leaf
    assert world.ca.calls == 1


@pytest.mark.parametrize("loss", ["lost", "other"])
async def test_a_lost_key_is_replaced_by_a_new_leaf(world: World, loss: str) -> None:
    """A leaf without its key is worth nothing."""
    if loss == "lost":
        world.store.lost_key = True
    else:
        world.store.public[1] = b"another key"
    await world.keeper.turn()
    assert world.ca.calls == 2
    assert world.current.cause is Cause.LEAF
    assert world.status.health == "pass"


async def test_a_changed_identity_is_renewed_at_once(world: World) -> None:
    """The request that is recorded differs from the one that is wanted."""
    world.restart(replace(WANTED, request=make_request(dns=("kafka1.example.com", "kafka.example.com"))))
    await world.keeper.turn()
    assert "kafka.example.com" in world.current.leaf.sans.dns
    assert world.ca.calls == 2


async def test_another_lifetime_alone_renews_nothing(world: World) -> None:
    """A lifetime is a wish for the next leaf."""
    world.restart(replace(WANTED, request=make_request(lifetime=60 * DAY)))
    await world.keeper.turn()
    assert world.ca.calls == 1


async def test_an_edited_truststore_is_held_through_renewals(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What a person wrote is carried along, told of once, and taken back only on demand."""
    world.store.damages = (FileDamage("ca.crt", Damage.EDITED_TRUSTSTORE),)
    await world.keeper.turn()
    await world.keeper.turn()
    assert capsys.readouterr().out.count("ca.crt was edited by hand and is held as it is") == 1
    assert world.switches == [1]
    assert any("edited by hand" in concern for concern in world.status.concerns)
    await world.keeper.renew()
    assert [file.name for file in world.current.files if file.edited] == ["ca.crt"]
    await world.keeper.renew(discard_edits=True)
    assert not any(file.edited for file in world.current.files)


async def test_other_anchors_make_a_generation_with_the_same_leaf(world: World) -> None:
    """A generation changes anchors or leaf, never both."""
    leaf = world.current.leaf
    world.ca.extra_anchors = (Ca.root("CN=New Root").certificate,)
    await world.keeper.turn()
    assert world.current.cause is Cause.ANCHORS
    assert world.current.leaf == leaf
    assert len(world.current.anchors) == 2
    assert world.ca.calls == 1


async def test_a_renewal_with_other_anchors_takes_two_generations(world: World) -> None:
    """First the anchors, proven, then the leaf."""
    world.now = world.now + 25 * DAY
    world.ca.extra_anchors = (Ca.root("CN=New Root").certificate,)
    await world.keeper.turn()
    causes = [world.store.generations[number].cause for number in sorted(world.store.generations)]
    assert causes == [Cause.LEAF, Cause.ANCHORS, Cause.LEAF]


async def test_a_source_that_cannot_be_read_shrinks_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """An outage of a source is no order to distrust; it is told once, and again when it comes back."""
    world.ca.anchor_trouble = "the CA does not answer"
    await world.keeper.turn()
    await world.keeper.turn()
    assert capsys.readouterr().out.count("a source of trust cannot be read") == 1
    assert world.switches == [1]
    assert any("source of trust" in concern for concern in world.status.concerns)


async def test_without_knowing_what_peers_trust_nothing_new_is_switched_to(world: World) -> None:
    """A leaf that cannot be proven waits, and is not paid for again."""
    world.ca.anchor_trouble = "the CA does not answer"
    with pytest.raises(AgentError, match="cannot be proven"):
        await world.keeper.renew()
    assert world.switches == [1]
    world.ca.anchor_trouble = ""
    await world.live_until(world.now + timedelta(minutes=3))
    assert world.switches == [1, 2]
    assert world.ca.calls == 2


async def test_a_rollback_by_hand_holds_the_leaf_until_its_emergency(world: World) -> None:
    """What a person went back to is not renewed behind their back."""
    await world.keeper.renew()
    sentence = await world.keeper.roll_back()
    assert "generation 1" in sentence
    assert world.current.number == 1
    end = world.current.leaf.not_after
    for _ in range(28):
        await world.keeper.turn()
        world.now += DAY
    assert world.ca.calls == 2
    assert any("person rolled back" in concern for concern in world.status.concerns)
    world.now = end - timedelta(hours=35)
    await world.keeper.turn()
    assert world.ca.calls == 3
    assert world.status.health == "pass"


async def test_a_rollback_needs_a_generation_that_still_proves(world: World) -> None:
    """There is no way back to what is not kept, or has expired."""
    with pytest.raises(AgentError, match="is not kept"):
        await world.keeper.roll_back()
    with pytest.raises(AgentError, match="is not kept"):
        await world.keeper.roll_back(17)
    first = world.current.leaf
    world.now = first.not_after - DAY
    await world.keeper.turn()
    world.now = first.not_after + DAY
    with pytest.raises(AgentError, match="no longer proves"):
        await world.keeper.roll_back(1)


async def test_written_files_that_do_not_read_back_are_not_switched_to(world: World) -> None:
    """The staged generation is thrown away, and the leaf is used at the next try."""
    world.store.staged_damages = [(FileDamage("tls.crt", Damage.ALTERED),)]
    with pytest.raises(AgentError, match="do not read back"):
        await world.keeper.renew()
    assert world.switches == [1]
    await world.live_until(world.now + timedelta(minutes=2))
    assert len(world.switches) == 2
    assert world.ca.calls == 2


async def test_a_full_disk_is_told_and_costs_no_second_leaf(world: World) -> None:
    """The CA's answer is held in memory until it can be written."""

    def fill(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        world.store.full = "no space left on device"
        return world.ca.sign(pending, key)

    world.ca.script = [fill]
    with pytest.raises(AgentError, match="no space left"):
        await world.keeper.renew()
    await world.live_until(world.now + timedelta(minutes=5))
    assert world.ca.calls == 2
    assert world.switches == [1]
    world.store.full = ""
    await world.live_until(world.now + timedelta(minutes=20))
    assert world.ca.calls == 2
    assert world.switches == [1, 2]


async def test_a_disk_that_cannot_be_read_decides_nothing(world: World) -> None:
    """Nothing is issued for what was not seen; the status says so, until the disk can be read again."""
    world.store.blind = "input/output error"
    keeping = asyncio.create_task(world.keeper.keep())
    await turns()
    assert world.ca.calls == 1
    assert "input/output error" in world.status.not_ready[0]
    assert world.status.health == "fail"
    world.store.blind = ""
    world.keeper.wake()
    await turns()
    assert world.status.health == "pass"
    keeping.cancel()


def settled(world: World) -> bool:
    """Return whether the current generation is shown to be in use."""
    return world.status.settled


async def turns() -> None:
    """Let other tasks come as far as they can without a clock."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_clock_that_was_far_ahead_holds_nothing_up(world: World) -> None:
    """A back-off that was noted under a wrong clock counts for nothing once it has been put right."""
    world.ca.script = [IssuerUnavailableError("down")]
    world.now += 365 * DAY
    await world.keeper.turn()
    world.now = NOW + timedelta(minutes=1)
    world.store.record = replace(world.keeper.record, demanded=True)
    world.restart()
    await world.keeper.turn()
    assert world.switches[-1] == 2


async def test_an_expired_leaf_is_renewed_after_a_long_sleep(world: World) -> None:
    """A host that slept for a month has a valid leaf one turn after it woke."""
    world.now += 45 * DAY
    await world.keeper.turn()
    assert world.current.leaf.not_after > world.now
    assert world.status.health == "pass"


async def test_renew_at_sets_the_share() -> None:
    """`renew_at` names the share of the lifetime outright."""
    world = World(replace(WANTED, renewal=RenewalPolicy(at=0.25)))
    await world.keeper.turn()
    assert world.status.renew_at == NOW + 30 * DAY * 0.25


async def test_a_crash_between_answer_and_switch_uses_the_answer(world: World) -> None:
    """A new process finds the pending leaf and asks no CA."""
    world.ca.anchor_trouble = "gone"  # the proof cannot be made, so the answer stays pending
    with pytest.raises(AgentError):
        await world.keeper.renew()
    assert world.store.pending is not None
    world.ca.anchor_trouble = ""
    world.restart()
    await world.live_until(world.now + timedelta(minutes=3))
    assert world.switches == [1, 2]
    assert world.ca.calls == 2


async def test_a_crash_between_switch_and_clean_up_is_tidied(world: World) -> None:
    """A pending leaf that has become a generation is forgotten, not published again."""
    dropped = world.store.drop_pending

    async def crash() -> None:
        raise RuntimeError("killed")

    world.store.drop_pending = crash  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await world.keeper.renew()
    world.store.drop_pending = dropped  # type: ignore[method-assign]
    world.restart()
    await world.keeper.turn()
    assert world.store.pending is None
    assert world.switches == [1, 2]
    assert world.ca.calls == 2


async def test_the_anchor_of_a_chain_is_known_although_the_peers_cannot_be_asked(world: World) -> None:
    """Files that carry it are written again when the CA is down."""
    root = world.ca.root.certificate
    assert world.current.anchor == root
    world.ca.anchor_trouble = "connection refused"
    world.store.layout = "other"
    await world.keeper.turn()
    assert world.current.cause is Cause.FILES
    assert world.current.anchor == root
