"""Vault and OpenBao: a PKI mount signs a CSR, and the private key stays on this host."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.core.generation import Issued
from agent.errors import IssuerRefusedError, IssuerUnavailableError, MaterialError, TrustError
from agent.issuers.vault_answer import Refusal, UnusableAnswerError, is_no, is_yes, self_signed, signed, words
from agent.net.secret import read_secret
from agent.net.session import Answer, CallError, Session, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.configuration import VaultSpec
    from agent.core.generation import Pending
    from agent.core.identity import Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked, wherever it is asked: a path below `/v1/`, a JSON body and a token or neither."""

    method: str
    path: str
    token: str = field(default="", repr=False)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an address did not serve, and when it may be asked again."""

    address: str
    why: str
    after: timedelta | None = None


class Vault:
    """A role of a PKI mount: `POST /v1/<mount>/sign/<role>`.

    The addresses are of one cluster and are asked in their order, beginning with the one that
    served last, each at most once a call and all within one time limit. A redirect is followed
    only to another of them, for the token goes nowhere else. The token is read at each call.
    """

    def __init__(self, spec: VaultSpec, clock: Callable[[], datetime]) -> None:
        self._spec = spec
        self._clock = clock
        self._session = Session(ca_file=spec.ca_file, server_name=spec.server_name)
        self._addresses = tuple(address.rstrip("/") for address in spec.addresses)
        self._first = 0

    @property
    def name(self) -> str:
        """The name that the settings give it."""
        return self._spec.name

    async def issue(self, pending: Pending, *, within: timedelta) -> Issued:
        """Have the role sign the CSR; Vault's warnings become remarks.

        Whether the answer is what was asked for is for the proof to say.
        """
        end = self._end(within)
        body = _sign_body(pending)
        try:
            async with asyncio.timeout_at(end):
                token = await asyncio.to_thread(self._token)
        except MaterialError as error:
            # It may be another process that writes the token, a moment later.
            raise IssuerUnavailableError(f"there is no token for Vault: {error.what}", advice=error.advice) from error
        except TimeoutError:
            raise IssuerUnavailableError(
                f"reading the token from {self._spec.token} took too long", advice="see whether the disk is well"
            ) from None
        path = f"{quote(self._spec.mount.strip('/'))}/sign/{quote(self._spec.role, safe='')}"
        answer, address = await self._ask(_Call("POST", path, token, body), partial(signed, token=token), end)
        if isinstance(answer, Refusal):
            raise IssuerRefusedError(f"Vault at {address} refused: {answer}", advice=answer.advice(self._spec))
        return Issued(answer.certificates, self._clock(), answer.warnings)

    async def anchors(self) -> tuple[Certificate, ...]:
        """Return the self-signed certificates of the mount's CA chain.

        A mount that holds an intermediate alone has no anchor of its own: clients on OpenSSL do
        not accept an intermediate as one.
        """
        path = f"{quote(self._spec.mount.strip('/'))}/ca_chain"
        try:
            anchors, address = await self._ask(_Call("GET", path), self_signed, self._end(self._spec.within))
        except IssuerUnavailableError as error:
            raise TrustError(error.what, advice=error.advice) from error
        if isinstance(anchors, Refusal):
            raise TrustError(
                f"Vault at {address} does not give the CA chain of mount {self._spec.mount!r}: {anchors}",
                advice="see that a PKI engine with a CA is mounted there",
            )
        if not anchors:
            raise TrustError(
                f"the CA chain of mount {self._spec.mount!r} of Vault at {address} holds no self-signed certificate",
                advice=(
                    "import the root's certificate into the mount's chain,"
                    " or name its file in `trust` and `peer_trust` instead of this issuer"
                ),
            )
        return anchors

    async def close(self) -> None:
        """Give back the connections."""
        await self._session.close()

    def _token(self) -> str:
        token = read_secret(self._spec.token)
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise MaterialError(
                f"the token in {self._spec.token} holds characters that no token has",
                advice="write the token alone into the file, on one line",
            )
        return token

    def _end(self, within: timedelta) -> float:
        """Return when a call ends, on the loop's clock."""
        return asyncio.get_running_loop().time() + min(within, self._spec.within).total_seconds()

    async def _ask(self, call: _Call, read: Callable[[Answer], T], end: float) -> tuple[T | Refusal, str]:
        """Return the first answer that is Vault's own yes, as `read` makes it, or no, and the address that gave it.

        Raise `IssuerUnavailableError` when no address gave one in the time that there is.
        """
        headers = self._headers(call)
        waiting = deque((*self._addresses[self._first :], *self._addresses[: self._first]))
        failures: list[_Failure] = []
        while waiting:
            address = waiting.popleft()
            shown = _shown(address)
            # One that hangs may not eat the time of those after it.
            share = timedelta(seconds=max(end - asyncio.get_running_loop().time(), 0) / (len(waiting) + 1))
            try:
                answer = await self._session.call(
                    call.method, f"{address}/v1/{call.path}", headers=headers, body=call.body, within=share
                )
                if 300 <= answer.status < 400:
                    failures.append(_Failure(shown, self._follow(answer, waiting)))
                    continue
                if is_yes(answer):
                    result: T | Refusal = read(answer)
                elif is_no(answer):
                    result = Refusal(answer.status, words(answer, token=call.token))
                else:
                    failures.append(
                        _Failure(shown, words(answer, token=call.token), retry_after(answer, self._clock()))
                    )
                    if answer.status == 429:
                        break  # The limit is the cluster's; to ask its next member would be to go round it.
                    continue
            except (CallError, UnusableAnswerError) as error:
                failures.append(_Failure(shown, str(error)))
                continue
            except TrustError as error:
                raise IssuerUnavailableError(error.what, advice=error.advice) from error
            self._first = self._addresses.index(address)
            return result, shown
        raise _unavailable(failures)

    def _headers(self, call: _Call) -> dict[str, str]:
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
        shown = "{}://{}:{}".format(*target)
        for address in waiting:
            if _origin(address) == target:
                waiting.remove(address)
                waiting.appendleft(address)
                return f"it redirects to {shown}"
        if any(_origin(address) == target for address in self._addresses):
            return f"it redirects to {shown}, which has been asked"
        return f"it redirects to {shown}, which is none of the configured addresses and gets no token"


def _sign_body(pending: Pending) -> bytes:
    """Return the parameters of `sign/<role>`."""
    request: Request = pending.request
    try:
        csr = x509.load_der_x509_csr(pending.csr).public_bytes(Encoding.PEM).decode()
    except ValueError as error:
        raise IssuerRefusedError(f"the pending CSR cannot be read: {error}", advice="have a new key made") from error
    body: dict[str, object] = {
        "csr": csr,
        "format": "pem",
        # Vault counts whole seconds; a begun one is asked for in full.
        "ttl": f"{max(1, math.ceil(request.lifetime.total_seconds()))}s",
        "alt_names": ",".join(request.sans.dns),
        "ip_sans": list(request.sans.ip),
        "uri_sans": list(request.sans.uri),
        # The names are all told above; Vault would add the common name to them unasked.
        "exclude_cn_from_sans": True,
    }
    common_names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if common_names:
        body["common_name"] = str(common_names[-1].value)
    return json.dumps(body).encode()


def _unavailable(failures: list[_Failure]) -> IssuerUnavailableError:
    told = "; ".join(f"{failure.address}: {failure.why}" for failure in failures)
    waits = [failure.after for failure in failures if failure.after is not None]
    return IssuerUnavailableError(
        f"Vault did not answer ({told})",
        advice=f"{_remedy(told)}; it is tried again",
        retry_after=max(waits, default=None),
    )


def _remedy(told: str) -> str:
    for phrase, what in (
        ("sealed", "unseal it"),
        ("none of the configured", "add the address that it redirects to, if it is a node of the cluster"),
        ("HTTP request to an HTTPS server", "write https:// in `addresses`"),
        ("HTTP 429", "have Vault's rate limit raised if this lasts"),
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


def _shown(address: str) -> str:
    """Return an address for messages, without a password that somebody may have put into it."""
    origin = _origin(address)
    return "{}://{}:{}".format(*origin) if origin else "an address that is no URL"
