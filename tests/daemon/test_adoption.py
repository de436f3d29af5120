"""Plain files of an earlier life: taken over as they are, renewed at their time, never asked for anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.generation import Adoptable, Cause
from agent.core.identity import KeyAlgorithm
from agent.core.schedule import EARLIEST, LATEST
from tests.daemon.world import WANTED, World
from tests.material import NOW, Ca, make_key, make_request

DAY = timedelta(days=1)


def found(world: World, *, age: timedelta = DAY, request: object = WANTED.request) -> Adoptable:
    """Put files of the world's CA there, as old as told."""
    leaf = world.ca.intermediate.leaf(request, make_key(), not_before=world.now - age)  # type: ignore[arg-type]
    world.store.adoptable = Adoptable(
        ("tls.crt", "tls.key", "ca.crt"),
        (leaf, world.ca.intermediate.certificate),
        (world.ca.root.certificate,),
        ("ca.crt",),
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
    world.store.adoptable = replace(adoptable, anchors=(*adoptable.anchors, stranger))
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
