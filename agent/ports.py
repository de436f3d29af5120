"""What the daemon needs of the world: one Protocol an edge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from agent.core.generation import Order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from agent.core.anchors import CaId, Sighting
    from agent.core.certificate import Certificate
    from agent.core.credentials import Credentials
    from agent.core.evidence import Served
    from agent.core.files import Opened
    from agent.core.generation import Disk, Draft, FileDamage, Generation, Issued, Pending
    from agent.core.identity import Request
    from agent.core.issuer_status import Examined, IssuerStatus
    from agent.core.judgement import Judgement, Look
    from agent.core.record import Record
    from agent.core.testimony import Peers


Note: TypeAlias = Callable[[Order], Awaitable[None]]
"""Puts an order on disk, beside the pending key; raises `StoreError` when the disk fails it."""


class CertificateIssuer(Protocol):
    """A CA that signs what it is asked for; the private key never reaches it."""

    @property
    def name(self) -> str:
        """The name that the settings give it."""

    async def issue(self, pending: Pending, *, note: Note, within: timedelta) -> Issued:
        """Have the CSR signed, in at most the time given.

        `note` puts an order on disk: before a call that is paid for, and when the CA has told what
        it calls the certificate. Raise `IssuerUnavailableError` to be called again with the same
        `pending`, its order included; `OrderLostError` to be called with another;
        `IssuerRefusedError` when a person must act.
        """

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the trust anchors of the CA that it issues under now; raise `TrustError` when there are none."""

    async def listed(self) -> tuple[Certificate, ...]:
        """Return the anchors of the other CAs that it holds: one in waiting, or one that was left behind.

        Raise `TrustError` when that cannot be told. A CA that never holds another returns nothing.
        """

    async def revoke(self, leaf: Certificate, *, within: timedelta) -> None:
        """Have a leaf that this CA gave revoked, as superseded; raise `IssuanceError` when it is not.

        One that is revoked already is well.
        """

    async def tend(self) -> timedelta | None:
        """Do what is due to keep the login alive, and return when to come again; None: there is nothing to tend."""

    async def examine(self, requests: Sequence[Request]) -> tuple[Examined, ...]:
        """Ask whether credentials, rights and CA will do for what is wanted, without having anything issued."""

    def status(self) -> IssuerStatus:
        """Return how the CA was when it was last spoken to."""

    async def close(self) -> None:
        """Give back connections, and logins that nobody else uses; the issuer is not used afterwards."""


class AnchorSource(Protocol):
    """A place where trust anchors come from.

    `silent` says why the last look showed less than it might have, empty where it showed all that there is.
    """

    @property
    def silent(self) -> str:
        """Why the last look may have shown less than there is."""

    def forget(self) -> None:
        """Have the next look see what is so then: there is reason to think that it has changed."""

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return the anchors that it shows now, each once; raise `TrustError` when they cannot be read or are none."""


class Store(Protocol):
    """The directory of one identity.

    Every method raises `StoreError` when the disk fails it, and what is current then stays current.
    """

    @property
    def layout(self) -> str:
        """A digest of the files that are wanted, in all that would have them written otherwise."""

    async def read(self) -> Disk:
        """Read what is there; generations that have not changed since the last call are not read again."""

    async def begin(self, request: Request, issuer: str, *, now: datetime, reuse_key: bool) -> Pending:
        """Make a key (or take the current one), its CSR and a token, and write them before any CA is asked."""

    async def keep_order(self, pending: Pending, order: Order) -> Pending:
        """Write down what is known of the order that a CA was given."""

    async def keep_answer(self, pending: Pending, issued: Issued) -> Pending:
        """Write down what the CA answered, before anything is made of it."""

    async def drop_pending(self) -> None:
        """Forget the pending key and its answer."""

    async def stage(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Write a whole generation that nobody reads yet, read it back and open every store in it.

        What does not read back as it was written is returned as damage: such a generation is
        not to be switched to.
        """

    async def adopt(self, draft: Draft, *, now: datetime) -> tuple[Generation, tuple[FileDamage, ...]]:
        """Write a whole generation of the plain files that `read` found adoptable, and read it back.

        They are kept byte for byte, edited truststores (`carry`) among them; what is missing is rendered.
        """

    async def switch(self, number: int) -> None:
        """Make a written generation current by one rename; prune what is older than the kept ones."""

    async def discard(self, number: int) -> None:
        """Remove a generation that is not current."""

    async def credentials(self, number: int) -> Credentials:
        """Return the key and the chain of a generation."""

    async def candidate(self) -> Credentials | None:
        """Return the pending key and the chain that a CA gave for it; None where there is no such leaf."""

    async def opened(self, number: int, name: str) -> Opened:
        """Return what a store of a generation is, opened with the password that is set now."""

    async def load(self) -> Record:
        """Return what was noted of this identity; an empty record when nothing was or it cannot be read."""

    async def save(self, record: Record) -> None:
        """Note it durably; the same record again writes nothing."""


class Reloader(Protocol):
    """Tells a reader of the files that they have changed."""

    async def reload(self, generation: Generation) -> None:
        """Tell it and wait until it has taken note; raise `ReloadError` when it has not."""


class Broker(Reloader, Protocol):
    """A reader that is asked before a switch, told after it, and looked at: a node of Kafka."""

    async def judge(self, candidate: Generation, current: Generation | None) -> Judgement:
        """Say whether it would take a written generation in place of the current one; nothing is changed.

        A node that cannot be asked is no failure: its verdict is unknown then.
        """

    async def look(self, current: Generation, before: Generation | None, *, closely: bool) -> Look:
        """Look at its listeners until they use the generation or their time is over; nothing is raised.

        `before` is the generation before with other anchors. `closely`: a proof is wanted, and not only
        a look at what was proven before.
        """

    async def restart(self, generation: Generation) -> None:
        """Run the restart command, where one is configured; raise `ReloadError` when it fails."""


class Prober(Protocol):
    """Looks at what a listener serves."""

    async def look(self, address: str, *, wanted: str, within: timedelta) -> Served:
        """Handshake until the leaf with the fingerprint `wanted` is served or the time is over.

        Return what the last handshake showed; nothing is raised for a listener that is down.
        """


class Visitor(Protocol):
    """Looks closely at what a broker's listener serves and takes."""

    async def visit(  # noqa: PLR0913 - what is looked at, for what, how often, how long, and what is shown
        self,
        listener: str,
        address: str,
        *,
        proven: Callable[[Served], bool],
        times: int,
        within: timedelta,
        shown: Credentials | None,
    ) -> Served:
        """Handshake until it is proven so often in a row or the time is over; nothing is raised for one that is down.

        `shown` is the certificate that is offered to it.
        """


class Witness(Protocol):
    """Finds the peers of an identity, and asks each whom it trusts and whose leaves it uses."""

    async def testify(
        self, shown: Sequence[Credentials], anchors: Sequence[Certificate], staying: frozenset[CaId]
    ) -> Peers:
        """Ask every peer that can be asked; nothing is raised, and no word of a person is among the answers.

        `shown` are offered to each that asks for a certificate: the leaf in use, and one of another CA
        before it is current. `anchors` are all that are known, wanted or not. `staying` are the CAs that
        stay in the truststores here: a leaf that verifies by one of them uses no other.
        """

    async def reader_started_at(self) -> datetime | None:
        """Return when the process was started that reads the files as it starts; None where nobody can tell."""


class Notifier(Protocol):
    """Tells the service manager how the agent is."""

    def ready(self, sentence: str) -> None:
        """The agent has come up."""

    def alive(self) -> None:
        """The loop turns and its tasks are whole."""

    def stopping(self) -> None:
        """The agent is going down."""
