"""A world in which a CA changes: a broker in memory, one peer that meets it, and a new root beside the old one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.anchors import ca_id
from agent.core.configuration import ReaderProcess, Retirement, RotationPolicy
from agent.core.issuing_ca import ca_of, leads_to
from tests.daemon.broker_world import DAY, MINUTE
from tests.daemon.memory_peers import MemoryPeer
from tests.daemon.world import OF_BROKER, World
from tests.material import NOW, Ca

if TYPE_CHECKING:
    from datetime import timedelta

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.generation import Generation
    from agent.core.rotation import Stage
    from agent.core.status import RotationStatus

TURNING = replace(OF_BROKER, rotation=RotationPolicy(peers=(), soak=DAY, retire=Retirement.ASK))
"""An identity of a broker whose old anchors soak for a day, and leave when a person has said so."""

BY_ITSELF = replace(TURNING, rotation=replace(TURNING.rotation, retire=Retirement.AUTOMATIC))
"""The same, whose old anchors leave when they have soaked."""

PROCESS = ReaderProcess(unit="client.service")
"""The process of a client that reads its files as it starts."""

OLD, NEW, PEER = "old", "new", "kafka2:9093"


class TurningWorld(World):
    """One identity whose CA changes, and a peer that trusts what tests have it trust."""

    def __init__(self, wanted: Wanted = TURNING) -> None:
        super().__init__(wanted)
        self.old, self.new = self.ca.root, Ca.root("CN=New Root,O=MyOrg", not_before=NOW - DAY)
        self.ids = {OLD: ca_id(self.old.certificate), NEW: ca_id(self.new.certificate)}
        self.peer = MemoryPeer(PEER, {self.ids[OLD]}, {self.ids[OLD]})
        self.witness.others = [self.peer]
        self.names = {ca: name for name, ca in self.ids.items()}
        self.forgets = False

    # --- what others do ----------------------------------------------------------------------

    def list_new(self) -> None:
        """Have the issuer list the new CA beside its own."""
        self.ca.listed_anchors = (self.new.certificate,)

    def flip(self) -> None:
        """Have the issuer give leaves of the new CA, and list the old one still."""
        self.ca.turn_to(self.new)
        self.ca.listed_anchors = (self.old.certificate,)

    def trust_both(self, peer: MemoryPeer | None = None) -> None:
        """Have a peer trust both CAs."""
        (peer or self.peer).trusts |= set(self.ids.values())

    async def later(self, span: timedelta) -> None:
        """Let time pass with nobody looking, and look twice: evidence that is stale by then is asked for anew.

        Where it `forgets`, the process has ended in between, and a new one looks.
        """
        self.now += span
        if self.forgets:
            self.restart()
        await self.keeper.turn()
        self.now += MINUTE
        await self.keeper.turn()

    # --- how it is ---------------------------------------------------------------------------

    @property
    def rotation(self) -> RotationStatus:
        """Where it stands, as operators are told."""
        rotation = self.status.rotation
        assert rotation is not None
        return rotation

    @property
    def stage(self) -> Stage:
        """The stage of the rotation."""
        return self.rotation.stage

    @property
    def leaf(self) -> str:
        """Of which CA the current leaf is."""
        return self.named(self.of(self.current))

    @property
    def trusted(self) -> set[str]:
        """The CAs in the current truststores."""
        return {self.named(ca_id(one)) for one in self.current.anchors}

    @property
    def in_hand(self) -> str | None:
        """Of which CA the leaf is that is in hand and not current; None: there is none."""
        pending = self.store.pending
        if pending is None or pending.issued is None:
            return None
        return self.named(ca_of(pending.issued.certificates, self._known))

    def state_of(self, name: str) -> str:
        """Return what becomes of an anchor."""
        return next(one.state for one in self.rotation.anchors if ca_id(one.anchor) == self.ids[name])

    def of(self, generation: Generation) -> CaId:
        """Return the CA that the leaf of a generation is of."""
        return ca_of(generation.chain, self._known)

    def named(self, ca: CaId) -> str:
        """Return a CA by its name in these tests."""
        return self.names.get(ca, ca)

    @property
    def _known(self) -> tuple[Certificate, ...]:
        roots = (self.old, self.new, *(ca.root for ca in self.cas.values()))
        return tuple(dict.fromkeys(root.certificate for root in roots))

    @property
    def outages(self) -> list[str]:
        """Who meets whom in vain at this moment, by what is loaded and not by what lies on disk."""
        found = []
        for name, threads in self.broker.loaded.items():
            for one in threads:
                found += [
                    f"{peer.name} refuses {name}'s leaf of {self.named(self.of(one))}"
                    for peer in self.witness.others
                    if peer.meets and not peer.is_node and not leads_to(one.chain, self._known) & peer.trusts
                ]
                found += [
                    f"{name} refuses a leaf of {self.named(ca)} that {peer.name} shows"
                    for peer in self.witness.others
                    for ca in peer.uses - set(map(ca_id, one.anchors))
                ]
        return found


async def begun(wanted: Wanted = TURNING) -> TurningWorld:
    """Return a world whose broker serves the first generation, of the old CA, which is settled."""
    world = TurningWorld(wanted)
    await world.keeper.turn()
    assert world.broker.start()
    await world.later(MINUTE)
    assert world.status.settled
    return world


async def with_anchor(wanted: Wanted = TURNING) -> TurningWorld:
    """Return a world whose truststores hold both CAs, and whose issuer gives leaves of the old one."""
    world = await begun(wanted)
    world.list_new()
    await world.keeper.turn()
    await world.keeper.approve(world.new.certificate.fingerprint, by="ann")
    await world.later(MINUTE)
    assert world.trusted == {OLD, NEW}
    return world


async def in_waiting(wanted: Wanted = TURNING) -> TurningWorld:
    """Return a world whose issuer has flipped: its leaf of the new CA is in hand, and the peer does not trust that."""
    world = await with_anchor(wanted)
    world.flip()
    await world.later(MINUTE)
    assert (world.leaf, world.in_hand) == (OLD, NEW)
    return world


async def reissued(wanted: Wanted = TURNING) -> TurningWorld:
    """Return a world whose leaf is of the new CA, while the peer's is of the old one."""
    world = await in_waiting(wanted)
    world.trust_both()
    await world.later(6 * MINUTE)
    assert (world.leaf, world.in_hand) == (NEW, None)
    return world
