"""Response wrapping: a token that gives its content once, and tells at which path that was made.

Whoever stole and used it made it useless; whoever put another in its place made that one
elsewhere. So the path is looked at before anything is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from agent.errors import IssuerRefusedError
from agent.issuers.vault.answer import data, document, quoted
from agent.issuers.vault.cluster import Call, RefusedError

if TYPE_CHECKING:
    from agent.issuers.vault.cluster import Cluster
    from agent.net.session import Answer

USED = (
    "if nobody of yours has used it, somebody else may hold what was in it: revoke that, and put a new wrapping there"
)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """The token of a wrapping, the place that it was read at, and the path (or pattern) that it must come from."""

    token: str = field(repr=False)
    place: str
    path: str


async def look_up(cluster: Cluster, wrapping: Wrapping, end: float) -> str:
    """Return the path that the wrapping was made at; raise `IssuerRefusedError` when it is not the right one.

    Nothing is taken out.
    """
    call = Call("POST", "sys/wrapping/lookup", {"token": wrapping.token}, secrets=(wrapping.token,))
    try:
        path = (await cluster.ask(call, _creation_path, end)).value
    except RefusedError as refusal:
        raise _gone(wrapping, refusal) from refusal
    if not fnmatchcase(path.strip("/"), wrapping.path):
        raise IssuerRefusedError(
            f"the wrapping in {wrapping.place} was made at {quoted(path)!r}, not at {wrapping.path!r}; it stays closed",
            advice="find out who put it there; correct `creation_path` if it is yours",
            reason="login",
        )
    return path


async def unwrap(cluster: Cluster, wrapping: Wrapping, end: float) -> dict[str, Any]:
    """Return what is in the wrapping, which is then used up; raise `IssuanceError`."""
    await look_up(cluster, wrapping, end)
    call = Call("POST", "sys/wrapping/unwrap", token=wrapping.token)
    try:
        return (await cluster.ask(call, document, end)).value
    except RefusedError as refusal:
        raise _gone(wrapping, refusal) from refusal


def _creation_path(answer: Answer) -> str:
    return str(data(answer).get("creation_path") or "")


def _gone(wrapping: Wrapping, refusal: RefusedError) -> IssuerRefusedError:
    return IssuerRefusedError(
        f"the wrapping in {wrapping.place} has been used or has ended ({refusal.address}: {refusal.said})",
        advice=USED,
        reason="login",
    )
