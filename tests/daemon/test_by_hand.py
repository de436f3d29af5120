"""Signing by hand: the CSR that lasts until its leaf comes, and answers that are right, wrong or brought twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from agent.core.generation import Issued, Order
from agent.core.identity import Usage
from agent.core.record import Record
from agent.core.rotation_record import RotationRecord
from agent.errors import AgentError, IssuerRefusedError, StoreError
from tests.daemon.world import WANTED, World
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.certificate import Certificate
    from agent.core.generation import Pending
    from agent.core.identity import Request

DAY = timedelta(days=1)
REFUSED = IssuerRefusedError("a leaf is to be signed by hand", reason="by hand")


class KilledError(BaseException):
    """What ends a process at once, for a test."""


@pytest.fixture
async def world() -> World:
    """A world whose CA signs nothing by itself after the first leaf, and a key that waits for its leaf."""
    world = World()
    await world.keeper.turn()
    world.ca.script = [REFUSED] * 1000
    await world.keeper.csr()
    return world


def pending(world: World) -> Pending:
    """Return what is pending."""
    assert world.store.pending is not None
    return world.store.pending


def sign(world: World, by: Ca | None = None, request: Request | None = None, **changes: object) -> Certificate:
    """Sign the pending key as a person at a CA does."""
    one = pending(world)
    start = world.now.replace(microsecond=0)
    said: dict[str, object] = {"not_before": start, **changes}
    return (by or world.ca.intermediate).leaf(request or one.request, world.keys[one.token], **said)  # type: ignore[arg-type]


def answer(world: World) -> tuple[Certificate, ...]:
    """Return a good answer: leaf and intermediate."""
    return sign(world), world.ca.intermediate.certificate


# --- the CSR --------------------------------------------------------------------------------


async def test_the_csr_is_that_of_the_same_key_however_often_it_is_printed(world: World) -> None:
    """Nor does a renewal that a CA refuses, or a restart, take the key away that somebody has signed meanwhile."""
    token = pending(world).token
    assert await world.keeper.csr() == pending(world).csr
    world.now = world.current.leaf.not_after - 8 * DAY
    await world.keeper.turn()
    assert world.ca.calls == 2
    world.restart()
    with pytest.raises(AgentError, match="signed by hand"):
        await world.keeper.renew()
    await world.keeper.csr()
    assert pending(world).token == token
    assert len(world.keys) == 2
    assert await world.keeper.take_in(answer(world)) == f"broker is renewed; next: {world.status.sentence}"
    assert world.status.concerns == ()


async def test_a_csr_for_another_identity_is_of_another_key(world: World) -> None:
    """What was printed for the names of yesterday is worth nothing today."""
    token = pending(world).token
    world.restart(replace(WANTED, request=make_request(dns=("kafka2.example.com",))))
    await world.keeper.csr()
    assert pending(world).token != token


async def test_no_csr_throws_a_leaf_away_that_is_in_hand(world: World) -> None:
    """It says so, and `renew` has it used."""
    leaf, *others = answer(world)
    await world.store.keep_answer(pending(world), Issued((leaf, *others), world.now))
    with pytest.raises(AgentError, match=f"has a leaf in hand, {leaf.serial_number:x}") as caught:
        await world.keeper.csr()
    assert "cert-agent renew broker" in caught.value.advice
    assert pending(world).issued is not None
    calls = world.ca.calls
    await world.keeper.renew()
    assert (world.current.leaf, world.ca.calls) == (leaf, calls)


async def test_a_leaf_in_hand_that_has_expired_makes_way(world: World) -> None:
    """Nobody would use it."""
    leaf = sign(world, not_after=world.now + timedelta(hours=1))
    await world.store.keep_answer(pending(world), Issued((leaf,), world.now))
    world.now += timedelta(hours=2)
    await world.keeper.csr()
    assert pending(world).issued is None


# --- the answer -----------------------------------------------------------------------------


async def test_an_answer_is_proven_switched_to_told_and_proven_by_handshake(world: World) -> None:
    """In whatever order the certificates come, the anchor among them and one of them twice."""
    leaf, between = answer(world)
    sentence = await world.keeper.take_in([world.ca.root.certificate, between, leaf, between])
    assert sentence.startswith("broker is renewed; next: ")
    assert world.current.chain == (leaf, between)
    assert world.listener.serves == leaf.fingerprint
    assert world.status.settled
    assert world.store.pending is None
    assert replace(world.store.record, rotation=RotationRecord()) == Record(reloaded=2, settled=2)
    assert world.ca.calls == 1


async def test_a_first_leaf_may_be_brought() -> None:
    """An identity of a CA that cannot be called has no other."""
    world = World()
    world.ca.script = [REFUSED] * 10
    await world.keeper.turn()
    assert world.status.health == "fail"
    await world.keeper.csr()
    await world.keeper.take_in(answer(world))
    assert world.current.number == 1
    assert world.status.health == "pass"


WRONG: list[tuple[str, Callable[[World], tuple[Certificate, ...]], str]] = [
    (
        "another key",
        lambda world: (
            world.ca.intermediate.leaf(make_request(), make_key()),
            world.ca.intermediate.certificate,
        ),
        "no pending key of broker fits this leaf",
    ),
    (
        "other names",
        lambda world: (sign(world, request=make_request(dns=("kafka2",))), world.ca.intermediate.certificate),
        "request: DNS SANs: asked for kafka1.example.com, localhost, got kafka2",
    ),
    (
        "expired",
        lambda world: (
            sign(world, not_before=world.now - 2 * DAY, not_after=world.now - DAY),
            world.ca.intermediate.certificate,
        ),
        "dates: the leaf expired at",
    ),
    (
        "not yet valid",
        lambda world: (sign(world, not_before=world.now + DAY), world.ca.intermediate.certificate),
        "dates: the leaf is valid from",
    ),
    (
        "a CA",
        lambda world: (sign(world, ca=True), world.ca.intermediate.certificate),
        "no CA: the leaf may sign certificates for other hosts",
    ),
    ("without its intermediate", lambda world: (sign(world),), "peer trust: .*CN=Test Intermediate.*no trusted anchor"),
    (
        "of a stranger",
        lambda world: (sign(world, Ca.root("CN=Stranger")),),
        "peer trust: .*CN=Stranger, which is no trusted anchor",
    ),
    (
        "the truststore",
        lambda world: (world.ca.root.certificate, world.ca.intermediate.certificate),
        "there are none but certificates of CAs in it",
    ),
    ("nothing", lambda _: (), "there is no certificate in PEM"),
    (
        "a bundle",
        lambda world: (sign(world), *(Ca.root(f"CN=Root {number}").certificate for number in range(20))),
        "21 certificates are no chain",
    ),
    ("two of them", lambda world: (sign(world), sign(world)), "2 leaves in it are of the pending key"),
]


@pytest.mark.parametrize(("make", "why"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
async def test_a_wrong_answer_is_refused_and_changes_nothing(
    world: World, make: Callable[[World], tuple[Certificate, ...]], why: str
) -> None:
    """The reason is told, the key waits on, and the right answer is taken afterwards."""
    before = world.store.pending, world.store.record, world.store.current, world.store.saves
    with pytest.raises(AgentError, match=why) as caught:
        await world.keeper.take_in(make(world))
    assert caught.value.advice
    assert (world.store.pending, world.store.record, world.store.current, world.store.saves) == before
    await world.keeper.turn()
    assert world.current.number == 1
    await world.keeper.take_in(answer(world))
    assert world.current.number == 2


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with other findings"])
async def test_a_chain_that_breaks_off_is_mended_by_the_missing_ca_and_not_by_trust(
    world: World, *, others: bool
) -> None:
    """Whoever is told that the peers should trust more widens their trust for a file that was forgotten."""
    request = make_request(dns=("kafka2",)) if others else None
    leaf = sign(world, request=request)
    for brought in ([leaf], [world.ca.root.certificate, leaf]):
        with pytest.raises(AgentError, match="peer trust") as caught:
            await world.keeper.take_in(brought)
        rest = "; the rest is mended by a new leaf" if others else ""
        bring = f"bring the certificate of CN=Test Intermediate,O=MyOrg too{rest}; the pending key stays"
        assert caught.value.advice.startswith(bring)
        assert "trust" not in caught.value.advice


async def test_the_ca_that_is_missing_may_be_far_up_and_of_any_name(world: World) -> None:
    """It is the issuer of the last that was brought; its name commands no terminal."""
    upper = world.ca.root.intermediate("CN=Upper\u001b[2J")
    lower = upper.intermediate("CN=Lower")
    with pytest.raises(AgentError, match="peer trust") as caught:
        await world.keeper.take_in([sign(world, lower), lower.certificate])
    assert "bring the certificate of CN=Upper\ufffd[2J too" in caught.value.advice
    await world.keeper.take_in([sign(world, lower), lower.certificate, upper.certificate])
    assert world.current.number == 2


def whole_of_a_stranger(world: World) -> tuple[Certificate, ...]:
    """Return what lacks nothing but the trust of the peers."""
    stranger = Ca.root("CN=Stranger")
    return sign(world, stranger), stranger.certificate


def by_the_roots_namesake(world: World) -> tuple[Certificate, ...]:
    """Return a leaf whose issuer bears the name of an anchor, with another key."""
    return (sign(world, Ca.root(world.ca.root.certificate.subject.rfc4514_string())),)


def self_signed(world: World) -> tuple[Certificate, ...]:
    """Return a leaf that its own key has signed."""
    one = pending(world)
    return (sign(world, Ca.root(one.request.subject.rfc4514_string(), key=world.keys[one.token])),)


def for_other_usages(world: World) -> tuple[Certificate, ...]:
    """Return a leaf without its intermediate, which would be of no use to it."""
    return (sign(world, request=replace(pending(world).request, usages=frozenset({Usage.CLIENT}))),)


@pytest.mark.parametrize("make", [whole_of_a_stranger, by_the_roots_namesake, self_signed, for_other_usages])
async def test_nothing_is_to_be_brought_that_would_not_help(
    world: World, make: Callable[[World], tuple[Certificate, ...]]
) -> None:
    """Where the chain is whole, or fails for another reason, no certificate is asked for."""
    with pytest.raises(AgentError, match="peer trust") as caught:
        await world.keeper.take_in(make(world))
    assert caught.value.advice.startswith("mended by ")
    assert "anchors that the peers are configured to trust" in caught.value.advice


async def test_all_findings_are_told_at_once(world: World) -> None:
    """Whoever asks a person at a CA again should ask once."""
    other = replace(make_request(subject="CN=other"), usages=frozenset())
    with pytest.raises(AgentError) as caught:
        await world.keeper.take_in([sign(world, Ca.root("CN=Stranger"), other, ca=True)])
    for check in ("request: subject", "no CA", "peer trust"):
        assert check in caught.value.what


async def test_a_key_that_the_agent_has_replaced_is_told(world: World) -> None:
    """Its own CA has answered between `csr` and `import`."""
    brought = answer(world)
    world.ca.script = []
    await world.keeper.renew()
    await world.keeper.renew()
    with pytest.raises(AgentError, match="no pending key of broker fits this leaf") as caught:
        await world.keeper.take_in(brought)
    assert "cert-agent csr broker" in caught.value.advice


@pytest.mark.parametrize("wanted", [replace(WANTED, request=make_request(ip=())), replace(WANTED, issuer="other")])
async def test_an_answer_for_what_is_no_longer_wanted_is_refused(world: World, wanted: object) -> None:
    """The settings have changed between `csr` and `import`."""
    brought = answer(world)
    world.restart(wanted)  # type: ignore[arg-type]
    world.ca.name = world.wanted.issuer
    with pytest.raises(AgentError, match=r"IP SANs 127.0.0.1 → none|is meant for ca, and not for other") as caught:
        await world.keeper.take_in(brought)
    assert "cert-agent csr broker" in caught.value.advice
    assert pending(world).issued is None


async def test_without_the_anchors_of_the_peers_nothing_is_proven(world: World) -> None:
    """A source that cannot be read is no leave to skip the proof."""
    brought = answer(world)
    world.ca.anchor_trouble = "connection refused"
    with pytest.raises(AgentError, match="cannot be proven against what the peers trust: connection refused"):
        await world.keeper.take_in(brought)
    assert pending(world).issued is None


async def test_the_leaf_in_use_may_be_brought_again(world: World) -> None:
    """Whoever is not sure whether it went well asks a second time; nothing happens."""
    brought = answer(world)
    await world.keeper.take_in(brought)
    await world.keeper.csr()
    before = world.store.pending, world.store.record, world.listener.reloads
    assert "has this leaf in use already" in await world.keeper.take_in(brought)
    assert (world.store.pending, world.store.record, world.listener.reloads) == before


async def test_a_leaf_of_a_generation_that_is_kept_is_gone_back_to(world: World) -> None:
    """It is not taken in a second time."""
    first = world.current.chain
    await world.keeper.take_in(answer(world))
    with pytest.raises(AgentError, match="generation 1 of broker holds this leaf already") as caught:
        await world.keeper.take_in(first)
    assert "cert-agent rollback broker --to 1" in caught.value.advice


async def test_a_leaf_that_no_listener_serves_is_told_as_by_renew(world: World) -> None:
    """And rolled back from, as any other."""
    world.listener.deaf = True
    with pytest.raises(AgentError, match="rolled back"):
        await world.keeper.take_in(answer(world))
    assert world.current.number == 1


async def test_an_answer_lifts_the_hold_of_a_roll_back(world: World) -> None:
    """Whoever brings a leaf wants it used."""
    await world.keeper.take_in(answer(world))
    await world.keeper.roll_back()
    await world.keeper.csr()
    await world.keeper.take_in(answer(world))
    assert (world.current.number, world.store.record.held_leaf) == (3, None)


async def test_an_order_that_stood_is_remarked_on(world: World) -> None:
    """It may have been paid for, and nobody waits for it any more."""
    await world.store.keep_order(pending(world), Order(asked_at=world.now, receipt="arn:of:a:certificate"))
    await world.keeper.take_in(answer(world))
    assert any("left behind, and may have been paid for: arn:of:a:" in concern for concern in world.status.concerns)


async def test_a_keeper_that_another_has_replaced_touches_nothing(world: World) -> None:
    """The settings were read anew while a person typed."""
    before = world.store.pending
    await world.keeper.step_down()
    with pytest.raises(AgentError, match="configured anew"):
        await world.keeper.take_in(answer(world))
    with pytest.raises(AgentError, match="configured anew"):
        await world.keeper.csr()
    assert world.store.pending == before


# --- disks and ends of the process ----------------------------------------------------------


async def fail(*_: object, **__: object) -> None:
    """Fail as a disk does."""
    raise StoreError("no inode left")


async def test_what_fails_afterwards_is_told_and_not_what_the_ca_refused_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a leaf is to be signed by hand is no news to whoever has brought it."""
    with pytest.raises(AgentError, match="signed by hand"):
        await world.keeper.renew()
    monkeypatch.setattr(world.store, "stage", fail)
    with pytest.raises(AgentError, match="not renewed yet: no inode left"):
        await world.keeper.take_in(answer(world))


async def test_what_was_refuted_before_does_not_count_against_what_a_person_brings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA's own answer leads to no anchor, the person's does, and the disk fails at first: `renew` has it used."""
    stranger = Ca.root("CN=Stranger")
    world.ca.script = [lambda pending, key: (stranger.leaf(pending.request, key),)]
    with pytest.raises(AgentError, match="refuted: peer trust"):
        await world.keeper.renew()
    brought = answer(world)
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "stage", fail)
        with pytest.raises(AgentError, match="not renewed yet: no inode left"):
            await world.keeper.take_in(brought)
    calls = world.ca.calls
    await world.keeper.renew()
    assert (world.current.leaf, world.ca.calls) == (brought[0], calls)


async def test_a_full_disk_leaves_the_key_for_another_try(world: World) -> None:
    """Neither is the answer half kept nor a leaf asked for."""
    brought = answer(world)
    world.store.full = "no space left on device"
    with pytest.raises(AgentError, match="no space left"):
        await world.keeper.take_in(brought)
    assert pending(world).issued is None
    assert not world.store.record.demanded
    world.store.full = ""
    await world.keeper.take_in(brought)
    assert world.current.leaf == brought[0]


async def test_an_end_between_answer_and_note_loses_nothing(world: World) -> None:
    """The answer is used when a leaf is due, and at once when the person asks again."""
    brought = answer(world)
    await world.store.keep_answer(pending(world), Issued(brought, world.now))
    world.restart()
    await world.keeper.turn()
    assert world.current.number == 1
    await world.keeper.take_in(brought)
    assert world.current.leaf == brought[0]


async def test_an_answer_that_was_kept_and_not_asked_for_is_used_when_a_leaf_is_due(world: World) -> None:
    """Without a question to the CA."""
    brought = sign(world, not_after=world.now + 300 * DAY), world.ca.intermediate.certificate
    await world.store.keep_answer(pending(world), Issued(brought, world.now))
    world.restart()
    world.now = world.current.leaf.not_after - 8 * DAY
    await world.keeper.turn()
    assert (world.current.leaf, world.ca.calls) == (brought[0], 1)


@pytest.mark.parametrize("brings", [True, False], ids=["import", "renew"])
async def test_an_end_between_switch_and_note_asks_for_no_other_leaf(
    world: World, monkeypatch: pytest.MonkeyPatch, brings: bool
) -> None:
    """What a person wanted is in use, whether that was noted or not."""
    save = world.store.save

    async def end(record: Record) -> None:
        if world.store.current != 1:
            raise KilledError
        await save(record)

    world.ca.script = []
    with monkeypatch.context() as patch:
        patch.setattr(world.store, "save", end)
        with pytest.raises(KilledError):
            await (world.keeper.take_in(answer(world)) if brings else world.keeper.renew())
    assert (world.store.current, world.store.record.demanded) == (2, True)
    calls = world.ca.calls
    world.restart()
    await world.keeper.turn()
    assert (world.ca.calls, world.current.number) == (calls, 2)
    assert world.listener.serves == world.current.leaf.fingerprint
    assert world.store.pending is None
    assert replace(world.store.record, rotation=RotationRecord()) == Record(reloaded=2, settled=2)


async def test_a_leaf_in_use_that_is_brought_again_answers_the_demand(world: World) -> None:
    """Whoever brings it wants no other."""
    brought = answer(world)
    await world.keeper.take_in(brought)
    with pytest.raises(AgentError, match="signed by hand"):
        await world.keeper.renew()
    assert "in use already" in await world.keeper.take_in(brought)
    assert not world.store.record.demanded
    assert world.status.concerns == ()


async def test_a_reused_key_takes_its_next_leaf_and_not_the_one_in_use(world: World) -> None:
    """With one key for all leaves the key alone tells nothing."""
    await world.keeper.take_in(answer(world))
    old = world.current.leaf
    world.restart(replace(WANTED, reuse_key=True))
    await world.keeper.csr()
    assert pending(world).public_key == old.public_key
    assert "in use already" in await world.keeper.take_in([old])
    assert pending(world).issued is None
    world.now += DAY
    leaf = sign(world)
    await world.keeper.take_in([old, leaf, world.ca.intermediate.certificate])
    assert world.current.leaf == leaf


def test_the_world_signs_what_a_csr_would_say() -> None:
    """The names of a request are those that these tests sign."""
    assert make_request().subject == x509.Name.from_rfc4514_string("CN=kafka1.example.com,OU=Brokers,O=MyOrg")
