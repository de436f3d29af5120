"""Plain files of an earlier life: taken over as they are, renewed at their time, never asked for anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.generation import Adoptable, Cause
from agent.core.identity import KeyAlgorithm
from agent.core.schedule import EARLIEST, LATEST
from agent.errors import AgentError
from tests.daemon.world import WANTED, World
from tests.material import NOW, Ca, make_key, make_request

DAY = timedelta(days=1)


def found(world: World, *, age: timedelta = DAY, request: object = WANTED.request) -> Adoptable:
    """Put files of the world's CA there, as old as told."""
    leaf = world.ca.intermediate.leaf(request, make_key(), not_before=world.now - age)  # type: ignore[arg-type]
    world.store.adoptable = Adoptable(
        ("tls.crt", "tls.key", "ca.crt"),
        (leaf, world.ca.intermediate.certificate),
        (("ca.crt", (world.ca.root.certificate,)),),
    )
    return world.store.adoptable


async def test_a_valid_certificate_is_taken_over_and_nothing_is_issued() -> None:
    """It becomes the first generation, the readers are told, and it is proven like any other."""
    world = World()
    leaf = found(world).leaf
    plan = await world.keeper.turn()
    assert world.ca.calls == 0
    assert (world.current.number, world.current.cause, world.current.leaf) == (1, Cause.ADOPTED, leaf)
    assert world.current.anchor == world.ca.root.certificate
    assert world.status.health == "pass"
    assert world.listener.serves == leaf.fingerprint
    assert plan.action is None


async def test_it_is_renewed_when_its_time_comes_and_not_before() -> None:
    """Its life counts from its notBefore."""
    world = World()
    leaf = found(world).leaf
    while world.ca.calls == 0:
        plan = await world.keeper.turn()
        world.now = max(plan.wake_at, world.now + timedelta(hours=2))
    age = (world.now - leaf.not_before) / (leaf.not_after - leaf.not_before)
    assert EARLIEST <= age <= LATEST + 0.01
    assert world.current.cause is Cause.LEAF
    assert world.store.generations[1].leaf == leaf


async def test_an_expired_one_is_no_reason_to_wait() -> None:
    """Nothing is taken over that nobody may use any more."""
    world = World()
    found(world, age=timedelta(days=90))
    await world.keeper.turn()
    assert world.ca.calls == 1
    assert world.current.cause is Cause.LEAF


async def test_one_of_another_identity_is_kept_until_the_wanted_one_is_there() -> None:
    """Other SANs: taken over first, so that a CA that is down costs nothing, then replaced at once."""
    world = World()
    other = make_request("CN=kafka1.example.com,OU=Brokers,O=Old")
    leaf = found(world, request=other).leaf
    await world.keeper.turn()
    first, second = world.store.generations[1], world.current
    assert (first.cause, first.leaf, second.cause) == (Cause.ADOPTED, leaf, Cause.LEAF)
    assert world.ca.calls == 1


async def test_a_kind_of_key_that_the_agent_never_makes_is_replaced() -> None:
    """A leaf whose request nobody can write down is not taken over."""
    world = World()
    adoptable = found(world)
    odd = replace(adoptable.leaf, key_type="dsa-1024")
    world.store.adoptable = replace(adoptable, chain=(odd, *adoptable.chain[1:]))
    await world.keeper.turn()
    assert world.current.cause is Cause.LEAF


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.ED25519, KeyAlgorithm.EC_P384])
async def test_another_kind_of_key_is_another_identity(algorithm: KeyAlgorithm) -> None:
    """What is wanted is recorded with what was found, so that the difference is seen and told."""
    world = World()
    request = replace(WANTED.request, key=algorithm)
    leaf = world.ca.intermediate.leaf(request, make_key(algorithm), not_before=NOW)
    world.store.adoptable = Adoptable(("tls.crt", "tls.key"), (leaf, world.ca.intermediate.certificate))
    await world.keeper.turn()
    assert world.store.generations[1].request.key is algorithm
    assert world.current.request.key is WANTED.request.key


async def test_a_truststore_that_holds_more_is_held() -> None:
    """Whoever put another anchor there had a reason that the settings do not know."""
    world = World()
    stranger = Ca.root("CN=Stranger").certificate
    adoptable = found(world)
    world.store.adoptable = replace(adoptable, truststores=(("ca.crt", (*adoptable.anchors, stranger)),))
    await world.keeper.turn()
    assert [file.name for file in world.current.files if file.edited] == ["ca.crt"]


async def test_a_disk_that_refuses_has_nothing_issued() -> None:
    """What is there stays in use, the failure is told, and it is tried again."""
    world = World()
    leaf = found(world).leaf
    world.store.full = "no space left on device"
    await world.keeper.turn()
    assert world.ca.calls == 0
    assert "no space left" in str(world.status)
    world.store.full = ""
    world.now += timedelta(minutes=2)
    await world.keeper.turn()
    assert world.current.leaf == leaf
    assert world.ca.calls == 0


async def test_a_person_may_ask_for_a_new_one_at_once() -> None:
    """`renew` on a host that was just taken over."""
    world = World()
    found(world)
    await world.keeper.renew()
    assert [generation.cause for generation in world.store.generations.values()] == [Cause.ADOPTED, Cause.LEAF]
    assert world.ca.calls == 1


async def test_an_adoption_that_never_succeeds_holds_no_renewal_up() -> None:
    """When the found leaf is due, a new one is asked for, whatever keeps the files from being taken over."""
    world = World()
    leaf = found(world).leaf
    world.store.refuses_to_adopt = "tls.pem is a link that the agent has not made"
    await world.keeper.turn()
    assert world.ca.calls == 0
    assert "has not made" in str(world.status)
    world.now = leaf.not_after - (leaf.not_after - leaf.not_before) * 0.25
    await world.keeper.turn()
    assert world.ca.calls == 1
    assert world.current.cause is Cause.LEAF


async def test_a_person_gets_a_leaf_although_nothing_is_taken_over() -> None:
    """`renew` does not wait for what fails."""
    world = World()
    found(world)
    world.store.refuses_to_adopt = "tls.pem is a link that the agent has not made"
    await world.keeper.turn()
    await world.keeper.renew()
    assert world.current.cause is Cause.LEAF


@pytest.mark.parametrize(("ahead", "calls"), [(timedelta(minutes=2), 0), (timedelta(days=2), 1)])
async def test_a_clock_that_lags_is_no_reason_to_ask(ahead: timedelta, calls: int) -> None:
    """Readers use the leaf by now, so two minutes are the clock's fault; two days are not."""
    world = World()
    found(world, age=-ahead)
    await world.keeper.turn()
    assert world.ca.calls == calls


async def test_what_readers_see_comes_before_what_is_kept() -> None:
    """A copy that a killed adoption left behind is not preferred to newer files that were laid down since."""
    world = World()
    await world.keeper.turn()
    world.store.current = None
    leaf = found(world).leaf
    await world.keeper.turn()
    assert world.current.leaf == leaf
    assert world.current.cause is Cause.ADOPTED


async def test_only_a_truststore_that_holds_more_is_held() -> None:
    """Each is compared on its own with the sources."""
    world = World()
    adoptable = found(world)
    stranger = Ca.root("CN=Stranger").certificate
    root = world.ca.root.certificate
    world.store.adoptable = replace(adoptable, truststores=(("ca.crt", (root,)), ("tls.crt", (stranger,))))
    await world.keeper.turn()
    assert [file.name for file in world.current.files if file.edited] == ["tls.crt"]
    assert world.current.anchors == (root,)


async def test_what_the_sources_cannot_tell_is_taken_from_the_truststores() -> None:
    """A host whose source of trust is away keeps the anchors that it has."""
    world = World()
    adoptable = found(world)
    world.ca.anchor_trouble = "connection refused"
    await world.keeper.turn()
    assert world.current.anchors == adoptable.anchors
    assert world.current.issued_at == adoptable.leaf.not_before


async def test_the_remarks_on_what_was_found_are_kept() -> None:
    """They are told as long as that leaf is in use."""
    world = World()
    world.store.adoptable = replace(found(world), remarks=("keystore.jks holds 2 entries",))
    await world.keeper.turn()
    assert "holds 2 entries" in str(world.status)


async def test_a_roll_back_to_another_identity_is_refused() -> None:
    """It would be replaced at once, and the answer would be a lie."""
    world = World()
    found(world, request=make_request("CN=kafka1.example.com,OU=Brokers,O=Old"))
    await world.keeper.turn()
    with pytest.raises(AgentError, match="of another identity") as caught:
        await world.keeper.roll_back(1)
    assert "put the settings back" in caught.value.diagnosis()
    assert world.current.number == 2


async def test_a_generation_that_was_never_switched_to_is_not_paid_for_again() -> None:
    """A kill between writing and switching: the next process switches, and asks nobody."""
    world = World()
    await world.keeper.turn()
    first = world.current
    world.store.fails_to_switch = 1
    with pytest.raises(RuntimeError, match="killed"):
        await world.keeper.renew()
    staged = max(world.store.generations)
    waiting = world.store.pending
    assert waiting is not None
    assert world.current == first
    world.restart()
    world.now += timedelta(minutes=5)
    await world.keeper.turn()
    assert world.current.number == staged
    assert world.ca.calls == 2
    assert world.store.pending is None
    assert not world.store.record.demanded
