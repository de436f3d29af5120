"""What the keeper does when one of its edges fails it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import FileAnchors
from agent.core.generation import Cause, Damage, FileDamage
from agent.daemon import orders
from agent.errors import AgentError, IssuerUnavailableError
from tests.daemon.world import WANTED, World
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.certificate import Certificate
    from agent.core.generation import Issued, Pending
    from agent.keystores.material import PrivateKey
    from agent.ports import Note


@pytest.fixture
async def world() -> World:
    """A world whose identity is issued and settled."""
    world = World()
    await world.keeper.turn()
    return world


@pytest.mark.slow
async def test_a_ca_that_never_answers_costs_one_try(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that keeps no deadline of its own is cut off by ours."""
    monkeypatch.setattr(orders, "LONGEST_CALL", timedelta(milliseconds=1))

    async def hang(pending: Pending, *, note: Note, within: timedelta) -> Issued:  # noqa: ARG001 - as the port has it
        await asyncio.sleep(60 + within.total_seconds())
        raise AssertionError(pending)

    world.ca.issue = hang  # type: ignore[method-assign]
    with pytest.raises(AgentError, match="did not answer within"):
        await world.keeper.renew()
    assert world.switches == [1]
    assert world.status.counts.renewals["unavailable"] == 1


async def test_what_the_ca_remarks_is_passed_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A shortened life is issued and told."""
    good: Callable[..., object] = world.ca.issue

    async def remark(pending: Pending, *, note: Note, within: timedelta) -> Issued:
        issued: Issued = await good(pending, note=note, within=within)  # type: ignore[misc]
        return replace(issued, remarks=("the TTL was shortened",))

    world.ca.issue = remark  # type: ignore[method-assign]
    await world.keeper.renew()
    assert world.switches == [1, 2]
    assert "the TTL was shortened" in capsys.readouterr().out
    assert any("the TTL was shortened" in concern for concern in world.status.concerns)


async def test_a_chain_that_peers_do_not_trust_is_asked_for_anew_in_the_end(world: World) -> None:
    """The paid leaf waits for the peers' anchors for a while; a CA that left a link out is asked again."""

    def without_link(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        return (world.ca.sign(pending, key)[0],)

    world.ca.script = [without_link]
    with pytest.raises(AgentError, match="no trusted anchor"):
        await world.keeper.renew()
    await world.live_until(world.now + timedelta(seconds=5))
    assert world.ca.calls == 2
    await world.live_until(world.now + timedelta(minutes=30))
    assert world.ca.calls == 3
    assert world.switches == [1, 2]


async def test_a_leaf_of_an_unknown_ca_has_the_sources_asked_anew(world: World) -> None:
    """The CA may be a new one, and what the sources answered minutes ago is of the old one."""
    stranger = Ca.root("CN=New Root").intermediate("CN=New Link")

    def of_new(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        return stranger.leaf(pending.request, key, not_before=world.now.replace(microsecond=0)), stranger.certificate

    world.now = world.current.leaf.not_after - timedelta(days=8)
    world.ca.script = [of_new]
    await world.keeper.turn()
    assert world.switches == [1]
    assert world.ca.forgets == 2  # as a source of trust, and as one of what the peers trust


async def test_peers_that_are_put_right_use_the_leaf_that_waits(world: World) -> None:
    """Anchors that come while it waits make the same leaf current."""
    new = Ca.root("CN=New Root")
    link = new.intermediate("CN=New Link")

    def of_new(pending: Pending, key: PrivateKey) -> tuple[Certificate, ...]:
        return link.leaf(pending.request, key, not_before=world.now.replace(microsecond=0)), link.certificate

    world.ca.script = [of_new]
    with pytest.raises(AgentError, match="no trusted anchor"):
        await world.keeper.renew()
    world.ca.extra_anchors = (new.certificate,)
    await world.live_until(world.now + timedelta(minutes=1))
    assert world.ca.calls == 2
    assert world.current.leaf.issuer == link.certificate.subject
    assert world.current.anchors[0] in (new.certificate, world.ca.root.certificate)


@pytest.mark.parametrize("damage", [Damage.MISSING, Damage.WRONG_LINK])
async def test_a_disk_that_refuses_a_repair_is_asked_again(world: World, damage: Damage) -> None:
    """The failure is noted with its advice, backed off from and mended by itself."""
    world.store.damages = (FileDamage("tls.crt", damage),)
    world.store.full = "no space left on device"
    await world.keeper.turn()
    assert any("no space left" in concern for concern in world.status.concerns)
    world.store.full = ""
    await world.live_until(NOW + timedelta(minutes=1))
    assert world.status.health == "pass"
    assert world.ca.calls == 1


async def test_a_roll_back_that_the_disk_refuses_is_made_later(world: World) -> None:
    """What a listener refutes goes back as soon as the disk allows it."""
    world.listener.deaf = True
    good = world.store.switch
    refused = 0

    async def once(number: int) -> None:
        nonlocal refused
        if number == 1 and not refused:
            refused += 1
            world.store.full = "read-only file system"
        try:
            await good(number)
        finally:
            world.store.full = ""

    world.store.switch = once  # type: ignore[method-assign]
    with pytest.raises(AgentError, match="not shown to be in use"):
        await world.keeper.renew()
    assert world.switches == [1, 2]
    await world.live_until(world.now + timedelta(seconds=10))
    assert refused == 1
    assert world.switches[:3] == [1, 2, 1]


async def test_a_first_start_without_any_anchor_writes_no_empty_truststore() -> None:
    """A truststore of nothing trusts nobody: the leaf waits until the sources can be read."""
    world = World(replace(WANTED, trust=(FileAnchors(WANTED.directory),)))
    world.folder.trouble = "no such file"
    await world.keeper.turn()
    assert world.switches == []
    assert any("truststores" in concern or "peers" in concern for concern in world.status.concerns)
    world.folder.trouble, world.folder.anchors = "", [world.ca.root.certificate]
    await world.live_until(NOW + timedelta(minutes=2))
    assert world.switches == [1]
    assert world.ca.calls == 1


async def test_discarding_edits_takes_the_truststore_back_at_once(world: World) -> None:
    """The files are written anew before the CA is asked, so they are ours although it is down."""
    world.store.damages = (FileDamage("ca.crt", Damage.EDITED_TRUSTSTORE),)
    world.ca.script = [IssuerUnavailableError("down")]
    with pytest.raises(AgentError, match="is not renewed yet: down"):
        await world.keeper.renew(discard_edits=True)
    assert world.current.cause is Cause.FILES
    assert not any(file.edited for file in world.current.files)
    assert not any("edited" in concern for concern in world.status.concerns)


async def test_notes_that_cannot_be_written_lose_no_back_off(world: World) -> None:
    """The record in memory counts: a full disk is no storm of questions to the CA."""
    world.now += timedelta(days=25)
    world.store.full = "no space left on device"
    await world.live_until(world.now + timedelta(hours=1))
    assert world.ca.calls == 1
    assert world.keeper.record.issuing.count < 30
