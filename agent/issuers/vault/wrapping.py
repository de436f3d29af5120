"""Response wrapping: a token that gives its content once, and tells at which path that was made.

Whoever stole and used it made it useless; whoever put another in its place made that one
elsewhere. So the path is looked at before anything is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from agent.errors import IssuerRefusedError, IssuerUnavailableError
from agent.issuers.vault.answer import data, document
from agent.issuers.vault.cluster import Call, LostAnswerError, RefusedError
from agent.issuers.vault.opened import OPENED
from agent.net.words import quoted

if TYPE_CHECKING:
    from agent.issuers.vault.cluster import Cluster, Told
    from agent.net.session import Answer

USED = (
    "it was opened before, by this agent or by somebody else, or it has ended: put a new one there, which a restart"
    " of the agent always needs; if the agent was not restarted since this one was put there, somebody else may hold"
    " what was in it: revoke that"
)
LOST = (
    "this agent asked for what was in it and got no answer of use, so it has most likely used it up itself: put a new"
    " one there; Vault's audit log tells whether it was somebody else"
)


class UsedWrappingError(IssuerRefusedError):
    """A wrapping does not live any more; by whom it was opened, Vault does not say."""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """The token of a wrapping, the place that it was read at, and the path (or pattern) that it must come from.

    In a pattern that is `by_parts` a `*` stands for one part between slashes.
    """

    token: str = field(repr=False)
    place: str
    path: str
    by_parts: bool = False

    def check(self, path: str) -> None:
        """Raise `IssuerRefusedError` when the path that it was made at is not the right one."""
        if not self._fits(path.strip("/")):
            raise IssuerRefusedError(
                f"the wrapping in {self.place} was made at {quoted(path)!r}, not at {self.path!r}; it stays closed",
                advice="find out who put it there; correct `creation_path` if it is yours",
                reason="login",
            )

    def _fits(self, path: str) -> bool:
        if not self.by_parts:
            return fnmatchcase(path, self.path)
        parts, wanted = path.split("/"), self.path.split("/")
        return len(parts) == len(wanted) and all(
            part == want or (want == "*" and part != "") for part, want in zip(parts, wanted, strict=True)
        )


async def look_up(cluster: Cluster, wrapping: Wrapping, end: float) -> Told[str]:
    """Return the path that the wrapping was made at; raise `IssuerRefusedError` when it is not the right one.

    Nothing is taken out.
    """
    call = Call("POST", "sys/wrapping/lookup", {"token": wrapping.token}, secrets=(wrapping.token,))
    try:
        told = await cluster.ask(call, _creation_path, end)
    except RefusedError as refusal:
        raise _gone(wrapping, refusal, lost=OPENED.was_asked_for(wrapping.token)) from refusal
    wrapping.check(told.value)
    return told


async def unwrap(cluster: Cluster, wrapping: Wrapping, end: float) -> tuple[str, dict[str, Any]]:
    """Return the path of the wrapping and what is in it, which is then used up; raise `IssuanceError`.

    One address alone is asked to open it: if that has done so and its answer is lost, the next
    one's no would look like a theft.
    """
    path = await look_up(cluster, wrapping, end)
    before = OPENED.was_asked_for(wrapping.token)
    # Noted before the call: however that ends, by cancellation too, the wrapping may have been used up.
    OPENED.asked_for(wrapping.token)
    call = Call("POST", "sys/wrapping/unwrap", token=wrapping.token)
    try:
        return path.value, (await cluster.ask(call, document, end, only=path.address)).value
    except LostAnswerError as error:
        raise IssuerUnavailableError(
            f"the wrapping in {wrapping.place} was to be opened, and the answer is lost: {error.what}",
            advice="the agent itself may have used it up, and then needs a new one: put that there; it is tried again",
            reason=error.reason,
            retry_after=error.retry_after,
        ) from error
    except RefusedError as refusal:
        if not before:
            OPENED.forget(wrapping.token)
        raise _gone(wrapping, refusal, lost=before) from refusal
    except IssuerUnavailableError:
        if not before:
            OPENED.forget(wrapping.token)
        raise


def _creation_path(answer: Answer) -> str:
    return str(data(answer).get("creation_path") or "")


def _gone(wrapping: Wrapping, refusal: RefusedError, *, lost: bool) -> UsedWrappingError:
    return UsedWrappingError(
        f"the wrapping in {wrapping.place} has been used or has ended ({refusal.address}: {refusal.said})",
        advice=LOST if lost else USED,
        reason="login",
    )
