"""A token of Vault's: who it stands for, when it ends, and when to do something about that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.errors import IssuerUnavailableError, MaterialError
from agent.issuers.vault.answer import UnusableAnswerError
from agent.net.secret import read_secret
from agent.net.words import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.secret import Secret

TENDED_AT = 2 / 3
"""The part of a token's life after which it is renewed, or replaced where that cannot be."""

WHOLE = 0.9
"""A renewal that gives less than this part of the life at login has met the token's maximum."""

TELLING = ("role_name", "username", "service_account_name", "cert_name", "common_name", "canonical_arn", "role")
"""What the auth methods call whom they have let in, in `metadata`."""

LONGEST_LIFE = 10 * 366 * 86400
"""Seconds; a token that lives longer does not end."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """The time for people, and the steady one that spans are measured on (seconds)."""

    wall: Callable[[], datetime]
    monotonic: Callable[[], float]


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """A token; `ends`, `due` and `made_at` are on the steady clock, None where nothing is known or nothing ends.

    `life` is what it was given at login, in seconds; at `due` it is renewed if it is `renewable`,
    else replaced. `certificate` is the fingerprint of the client certificate that it was made with.
    Not `known` is a given token that has not been looked up.
    """

    value: str = field(repr=False)
    made_at: float
    whom: str = ""
    known: bool = True
    life: float = 0.0
    ends: float | None = None
    due: float | None = None
    until: datetime | None = None
    renewable: bool = False
    batch: bool = False
    certificate: str = ""

    def lives(self, now: float) -> bool:
        """Whether it has not ended, as far as is known."""
        return self.ends is None or now < self.ends

    def renewed(self, auth: Mapping[str, Any], clocks: Clocks) -> Token:
        """Return it with the life that a renewal gave; one that was cut short is not to be renewed again."""
        seconds = _seconds(auth.get("lease_duration"))
        renewable = auth.get("renewable") is True and seconds >= WHOLE * self.life
        return replace(self, renewable=renewable, **_spans(seconds, seconds, clocks))


def granted(auth: Mapping[str, Any], method: str, clocks: Clocks, *, certificate: str = "") -> Token:
    """Return the token of a login's `auth`; raise `UnusableAnswerError` when there is none."""
    value = auth.get("client_token")
    if not isinstance(value, str) or not is_token(value):
        raise UnusableAnswerError("it answered the login without a token")
    seconds = _seconds(auth.get("lease_duration"))
    batch = auth.get("token_type") == "batch"
    return Token(
        value=value,
        made_at=clocks.monotonic(),
        whom=_whom(method, auth.get("metadata"), auth.get("policies")),
        life=seconds,
        renewable=auth.get("renewable") is True and not batch,
        batch=batch,
        certificate=certificate,
        **_spans(seconds, seconds, clocks),
    )


def looked_up(value: str, data: Mapping[str, Any], place: str, clocks: Clocks) -> Token:
    """Return a given token with what `lookup-self` tells of it; it may have lived for some time."""
    left = _seconds(data.get("ttl"))
    life = _seconds(data.get("period")) or max(_seconds(data.get("creation_ttl")), left)
    batch = data.get("type") == "batch"
    name = data.get("display_name")
    return Token(
        value=value,
        made_at=clocks.monotonic(),
        whom=_whom(f"the token in {place}", {"role": name} if isinstance(name, str) else None, data.get("policies")),
        life=life,
        renewable=data.get("renewable") is True and not batch,
        batch=batch,
        **_spans(left, life, clocks),
    )


def is_token(value: str) -> bool:
    """Whether a text may stand in a header as a token."""
    return value.isascii() and value.isprintable() and " " not in value and bool(value)


def read_token(place: Secret) -> str:
    """Return the token that stands somewhere now; raise `IssuerUnavailableError`; it blocks."""
    value = read(place, "token")
    if not is_token(value):
        raise IssuerUnavailableError(
            f"the token in {place} holds characters that no token has",
            advice="write the token alone there, on one line",
            reason="login",
        )
    return value


def read(place: Secret, what: str) -> str:
    """Return a secret for a login; raise `IssuerUnavailableError`; it blocks."""
    try:
        return read_secret(place)
    except MaterialError as error:
        # It may be another process that writes it, a moment later.
        raise IssuerUnavailableError(
            f"there is no {what} for Vault: {error.what}", advice=error.advice, reason="login"
        ) from error


def _spans(left: float, life: float, clocks: Clocks) -> dict[str, Any]:
    """Return end and due of a token that has so many seconds left of its life; 0 left is for ever."""
    if left <= 0:
        return {"ends": None, "due": None, "until": None}
    now = clocks.monotonic()
    return {
        "ends": now + left,
        "due": now + max(0.0, left - life * (1 - TENDED_AT)),
        "until": clocks.wall() + timedelta(seconds=left),
    }


def _seconds(value: object) -> float:
    """Return a number of seconds as Vault tells it; 0 for what is none, or is too many to matter."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LONGEST_LIFE:
        return 0.0
    return float(value)


def _whom(method: str, metadata: object, policies: object) -> str:
    """Return as whom one is logged in, for an operator: the method, the name and the policies."""
    told = metadata if isinstance(metadata, dict) else {}
    name = next((told[key] for key in TELLING if isinstance(told.get(key), str) and told[key]), "")
    held = [one for one in policies if isinstance(one, str)] if isinstance(policies, list) else []
    sentence = method + (f" as {name}" if name else "") + (f", policies {', '.join(held[:8])}" if held else "")
    return quoted(sentence)
