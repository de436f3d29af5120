"""Will the login, the right to sign, the role and the CA do? Asked without having anything issued."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.issuer_spec import AppRoleLogin, CertificateLogin, TokenLogin
from agent.core.issuer_status import Examined, Opinion
from agent.errors import AgentError, IssuanceError
from agent.issuers.answered import roots
from agent.issuers.vault import paths
from agent.issuers.vault.advice import advice, policy
from agent.issuers.vault.answer import data, nothing
from agent.issuers.vault.cluster import Call, RefusedError
from agent.issuers.vault.deadline import within
from agent.issuers.vault.role import judge
from agent.issuers.vault.wrapping import UsedWrappingError
from agent.net.words import quoted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.identity import Request
    from agent.core.issuer_spec import VaultSpec
    from agent.issuers.vault.cluster import Cluster
    from agent.issuers.vault.gate import Holder
    from agent.issuers.vault.login import Login
    from agent.issuers.vault.token import Token
    from agent.net.session import Answer

STATES = {
    200: (Opinion.GOOD, "active"),
    429: (Opinion.GOOD, "a standby"),
    472: (Opinion.DOUBTFUL, "a secondary for disasters, which does not sign"),
    473: (Opinion.GOOD, "a standby that reads"),
    501: (Opinion.BAD, "not initialised: initialise it"),
    503: (Opinion.BAD, "sealed: unseal it"),
}
"""What the statuses of `sys/health` mean."""

EMPTY = '"csr" is empty'
"""What Vault says to a call that it would have signed, had there been something to sign."""

OPENED_BY_WHOM = (
    "an agent that runs and is logged in (see `cert-agent status`) has opened it itself, and all is well until its"
    " restart, which needs a new one; if none runs, put a new one there, and find out whether somebody else holds"
    " what was in this one"
)

COUNTED = "; this check was one login more, which counts if the secret id has a limited number of uses"


@dataclass(frozen=True, slots=True)
class Examination:
    """One examination of a Vault."""

    spec: VaultSpec
    cluster: Cluster
    holder: Holder
    login: Login
    chain: Callable[[float], Awaitable[tuple[Certificate, ...]]]

    async def run(self, requests: Sequence[Request], now: datetime, end: float) -> tuple[Examined, ...]:
        """Ask all there is to ask; nothing is raised, nothing issued and no wrapping opened.

        The login is a real one all the same: it counts as a use of a secret id, which may have a
        limited number of them. Its token is revoked with the others when the issuer is closed.
        """
        found = [*await self._addresses(end), *await self._client_certificate(end)]
        token, login = await self._login(end)
        found.append(login)
        if token is not None:
            found.append(await self._right(token, end))
            found += await self._role(token, requests, end)
        found += await self._authority(requests, now, end)
        return tuple(found)

    async def _addresses(self, end: float) -> list[Examined]:
        """Tell how each address is; one that is down is doubtful where others are not."""
        found = []
        for address, answer in await self.cluster.health(end):
            if isinstance(answer, str):
                opinion, sentence = Opinion.BAD, answer
            else:
                opinion, sentence = STATES.get(
                    answer.status, (Opinion.DOUBTFUL, f"it answers sys/health with HTTP {answer.status}")
                )
                sentence += _version(answer)
            found.append(Examined("address", opinion, f"{address}: {sentence}"))
        if any(one.opinion is Opinion.GOOD for one in found):
            return [
                Examined(one.what, Opinion.DOUBTFUL, one.sentence) if one.opinion is Opinion.BAD else one
                for one in found
            ]
        return found

    async def _client_certificate(self, end: float) -> list[Examined]:
        if not self.spec.client_certificates:
            return []
        try:
            async with within(end, "reading the client certificate"):
                shown = await self.cluster.session.shown()
        except AgentError as error:
            return [Examined("client certificate", Opinion.BAD, error.diagnosis())]
        troubles = "; ".join(shown.troubles)
        if shown.certificate is None:
            needed = isinstance(self.spec.login, CertificateLogin)
            return [Examined("client certificate", Opinion.BAD if needed else Opinion.DOUBTFUL, f"none: {troubles}")]
        sentence = (
            f"{shown.certificate.subject.rfc4514_string()} until {shown.certificate.not_after:%Y-%m-%d %H:%MZ}"
            + (f" (passed over: {troubles})" if troubles else "")
        )
        return [Examined("client certificate", Opinion.GOOD, sentence)]

    async def _login(self, end: float) -> tuple[Token | None, Examined]:
        """Log in, unless that would use up a wrapping."""
        spec = self.spec.login
        counts = isinstance(spec, AppRoleLogin) and spec.secret_id is not None and self.holder.current is None
        token, found = await self._logged_in(end)
        if counts and token is not None:
            found = Examined(found.what, found.opinion, found.sentence + COUNTED)
        return token, found

    async def _logged_in(self, end: float) -> tuple[Token | None, Examined]:
        try:
            path = await self.login.look(end) if self.holder.current is None else ""
            if path:
                sentence = f"the wrapping was made at {quoted(path)} and is whole; to log in would use it up"
                return None, Examined("login", Opinion.UNKNOWN, sentence)
            token = await self.holder.look(end)
        except UsedWrappingError as error:
            return None, Examined("login", Opinion.UNKNOWN, f"{error.what}: {OPENED_BY_WHOM}")
        except IssuanceError as error:
            return None, Examined("login", Opinion.BAD, error.diagnosis())
        if token.until is None:
            if not token.known:
                sentence = f"{token.whom}: it may not look itself up, so its end is not known"
                return token, Examined("login", Opinion.UNKNOWN, sentence)
            return token, Examined("login", Opinion.GOOD, f"{token.whom}; it does not end")
        renewed = "is renewed" if token.renewable else "is not renewable"
        lasts = f"{token.whom}; it ends at {token.until:%Y-%m-%d %H:%M:%SZ} and {renewed}"
        given = isinstance(self.spec.login, TokenLogin) and not self.spec.login.wrapped
        doubtful = given and not token.renewable
        return token, Examined("login", Opinion.DOUBTFUL if doubtful else Opinion.GOOD, lasts)

    async def _right(self, token: Token, end: float) -> Examined:
        """Have nothing signed: who may sign is told that there is nothing to sign, who may not that it is denied."""
        path = paths.sign(self.spec)
        try:
            await self.cluster.ask(Call("POST", path, {"csr": ""}, token=token.value), nothing, end)
        except RefusedError as refusal:
            if EMPTY in refusal.said:
                return Examined("right to sign", Opinion.GOOD, f"a call of {path} is allowed")
            if refusal.status == 403:
                sentence = f"{refusal.said}: a policy of the token must hold {policy(path)}"
                return Examined("right to sign", Opinion.BAD, sentence)
            sentence = f"{refusal.said}: {advice(self.spec, path, refusal)}"
            return Examined("right to sign", Opinion.BAD, sentence)
        except IssuanceError as error:
            return Examined("right to sign", Opinion.UNKNOWN, error.diagnosis())
        return Examined("right to sign", Opinion.DOUBTFUL, "it took a call without a CSR: is it Vault?")

    async def _role(self, token: Token, requests: Sequence[Request], end: float) -> tuple[Examined, ...]:
        if not self.spec.role:
            return ()
        path = paths.role(self.spec)
        try:
            told = await self.cluster.ask(Call("GET", path, token=token.value), data, end)
        except RefusedError as refusal:
            if refusal.status == 404:
                return (Examined("role", Opinion.BAD, f"there is no {path}: make it, or correct `role`"),)
            sentence = f'what it allows cannot be told without path "{path}" {{ capabilities = ["read"] }}'
            return (Examined("role", Opinion.UNKNOWN, sentence),)
        except IssuanceError as error:
            return (Examined("role", Opinion.UNKNOWN, error.diagnosis()),)
        return judge(self.spec, told.value, requests)

    async def _authority(self, requests: Sequence[Request], now: datetime, end: float) -> list[Examined]:
        try:
            chain = await self.chain(end)
        except AgentError as error:
            return [Examined("CA", Opinion.BAD, error.diagnosis())]
        if not chain:
            return [Examined("CA", Opinion.BAD, f"mount {self.spec.mount!r} has no CA: make one or import it")]
        authority = chain[0]
        sentence = f"{authority.subject.rfc4514_string()} until {authority.not_after:%Y-%m-%d %H:%MZ}"
        found = [Examined("CA", Opinion.GOOD, sentence)]
        longest = max((request.lifetime for request in requests), default=None)
        if authority.not_after <= now:
            found = [Examined("CA", Opinion.BAD, f"{sentence}, which is over: have it renewed")]
        elif longest is not None and authority.not_after < now + longest:
            what = f"{sentence}, before a leaf of {longest} would end: have it renewed, or ask for a shorter `lifetime`"
            found = [Examined("CA", Opinion.DOUBTFUL, what)]
        if not roots(chain):
            what = (
                "the chain holds no self-signed certificate, so this CA cannot serve as `trust`: name the root's file"
            )
            found.append(Examined("anchor", Opinion.DOUBTFUL, what))
        return found


def _version(answer: Answer) -> str:
    try:
        version = json.loads(answer.body).get("version")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return f" ({quoted(version)[:40]})" if isinstance(version, str) else ""
