"""The addresses of one cluster: asked in turn, each at most once a call, all within one time limit."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from agent.errors import IssuerUnavailableError, TrustError
from agent.issuers.vault.answer import UnusableAnswerError, is_no, is_yes, reason, words
from agent.net.session import CallError, Session, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from agent.core.issuer_spec import VaultSpec
    from agent.net.session import Answer

T = TypeVar("T")

MOST_TELLING = ("throttled", "sealed", "uninitialised", "TLS", "server", "standby", "malformed answer", "time-out")
"""Which failure of several addresses names that of the whole; the network's otherwise."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked, wherever it is asked: a path below `/v1/`, and a JSON body, a token, both or neither.

    `secrets` are what the body says in confidence, which no message repeats.
    """

    method: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What was read from a yes, and the address that gave it."""

    value: T
    address: str


class RefusedError(Exception):
    """Vault's own no: the status, its words in one line, and the address that gave it."""

    def __init__(self, status: int, said: str, address: str) -> None:
        super().__init__(said)
        self.status = status
        self.said = said
        self.address = address


class LostAnswerError(IssuerUnavailableError):
    """What can be done once had no answer, and may all the same have been done."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an address did not serve, when it may be asked again, and whether it may have done what it was asked."""

    address: str
    why: str
    reason: str
    after: timedelta | None = None
    lost: bool = False


class Cluster:
    """The addresses of a cluster, the one that served last asked first.

    A redirect is followed only to another of them, for the token goes nowhere else.
    """

    def __init__(self, spec: VaultSpec, clock: Callable[[], datetime]) -> None:
        self._spec = spec
        self._clock = clock
        self.session = Session(
            ca_file=spec.ca_file,
            server_name=spec.server_name,
            client_certificates=spec.client_certificates,
            clock=clock,
        )
        self._addresses = tuple(address.rstrip("/") for address in spec.addresses)
        self._first = 0

    def end(self, within: timedelta | None = None) -> float:
        """Return when a call ends, on the loop's clock: within the limit of the settings or a shorter one."""
        limit = self._spec.within if within is None else min(within, self._spec.within)
        return asyncio.get_running_loop().time() + limit.total_seconds()

    async def ask(self, call: Call, read: Callable[[Answer], T], end: float, *, only: str = "") -> Told[T]:
        """Return the first answer that is Vault's own yes, as `read` makes it.

        `only` is the one address that is asked, as `Told` tells it: for what can be done once.

        Raise `RefusedError` for Vault's own no, which is the cluster's, and
        `IssuerUnavailableError` when no address gave either in the time that there is.
        """
        headers, body = self._headers(call), None if call.body is None else json.dumps(call.body).encode()
        secrets = (call.token, *call.secrets)
        waiting = deque((*self._addresses[self._first :], *self._addresses[: self._first]))
        if only:
            waiting = deque([address for address in waiting if shown(address) == only][:1])
        failures: list[_Failure] = []
        while waiting:
            address = waiting.popleft()
            at = shown(address)
            # One that hangs may not eat the time of those after it.
            share = timedelta(seconds=max(end - asyncio.get_running_loop().time(), 0) / (len(waiting) + 1))
            try:
                answer = await self.session.call(
                    call.method, f"{address}/v1/{call.path}", headers=headers, body=body, within=share
                )
                if 300 <= answer.status < 400:
                    failures.append(_Failure(at, self._follow(answer, waiting), "standby"))
                    continue
                if is_no(answer):
                    self._first = self._addresses.index(address)
                    raise RefusedError(answer.status, words(answer, secrets=secrets), at)
                if not is_yes(answer):
                    after = retry_after(answer, self._clock())
                    lost = reason(answer) in ("server", "malformed answer")
                    failures.append(_Failure(at, words(answer, secrets=secrets), reason(answer), after, lost))
                    if answer.status == 429:
                        break  # The limit is the cluster's; to ask its next member would be to go round it.
                    continue
                result = read(answer)
            except CallError as error:
                failures.append(_Failure(at, str(error), error.reason, lost=error.sent))
                continue
            except UnusableAnswerError as error:
                failures.append(_Failure(at, str(error), "malformed answer", lost=True))
                continue
            except TrustError as error:
                raise IssuerUnavailableError(error.what, advice=error.advice, reason="TLS") from error
            self._first = self._addresses.index(address)
            return Told(result, at)
        raise _unavailable(failures, once=bool(only))

    async def health(self, end: float) -> list[tuple[str, Answer | str]]:
        """Ask each address how it is (`sys/health`); return the answer of each, or why there is none."""

        async def ask(address: str) -> Answer | str:
            left = timedelta(seconds=max(end - asyncio.get_running_loop().time(), 0))
            headers = {"X-Vault-Request": "true"}  # and no namespace: in one there is no such path
            try:
                return await self.session.call("GET", f"{address}/v1/sys/health", headers=headers, within=left)
            except CallError as error:
                return str(error)
            except TrustError as error:
                return error.diagnosis()

        answers = await asyncio.gather(*map(ask, self._addresses))
        return list(zip(map(shown, self._addresses), answers, strict=True))

    async def close(self) -> None:
        """Give back the connections."""
        await self.session.close()

    def _headers(self, call: Call) -> dict[str, str]:
        # Vault's own agent, as a proxy, can be set to want the first one.
        headers = {"X-Vault-Request": "true"}
        if call.token:
            headers["X-Vault-Token"] = call.token
        if self._spec.namespace:
            headers["X-Vault-Namespace"] = self._spec.namespace
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _follow(self, answer: Answer, waiting: deque[str]) -> str:
        """Have the address that a standby points to asked next, if it is one of ours; return what to tell of it."""
        target = _origin(answer.headers.get("Location", ""))
        if target is None:
            return "it redirects to nowhere"
        there = "{}://{}:{}".format(*target)
        for address in waiting:
            if _origin(address) == target:
                waiting.remove(address)
                waiting.appendleft(address)
                return f"it redirects to {there}"
        if any(_origin(address) == target for address in self._addresses):
            return f"it redirects to {there}, which has been asked"
        return f"it redirects to {there}, which is none of the configured addresses and gets no token"


def shown(address: str) -> str:
    """Return an address for messages, without a password that somebody may have put into it."""
    origin = _origin(address)
    return "{}://{}:{}".format(*origin) if origin else "an address that is no URL"


def _unavailable(failures: list[_Failure], *, once: bool) -> IssuerUnavailableError:
    told = "; ".join(f"{failure.address}: {failure.why}" for failure in failures)
    waits = [failure.after for failure in failures if failure.after is not None]
    reasons = {failure.reason for failure in failures}
    kind = LostAnswerError if once and any(failure.lost for failure in failures) else IssuerUnavailableError
    return kind(
        f"Vault did not answer ({told})",
        advice=f"{_remedy(told)}; it is tried again",
        reason=next((one for one in MOST_TELLING if one in reasons), "network"),
        retry_after=max(waits, default=None),
    )


def _remedy(told: str) -> str:
    for phrase, what in (
        ("not initialized", "initialise it"),
        ("sealed", "unseal it"),
        ("none of the configured", "add the address that it redirects to, if it is a node of the cluster"),
        ("HTTP request to an HTTPS server", "write https:// in `addresses`"),
        ("HTTP 429", "have Vault's rate limit raised if this lasts"),
        ("ALERT_CERTIFICATE_REQUIRED", "Vault wants a client certificate: name one in `client_certificate`"),
        ("_ALERT_", "see that Vault trusts the CA of `client_certificate`, and that it has not expired"),
        ("TLS failed", "see that `ca_file` holds the CA of Vault's certificate and `server_name` a name in it"),
    ):
        if phrase in told:
            return what
    return "see that Vault runs and that this host reaches it"


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an absolute URL; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None
