"""What Vault's answers mean: yes, no, or nothing of Vault's; and its words, safe to repeat."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from agent.net.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.net.session import Answer

UNKNOWN_ISSUER = "unable to find PKI issuer"
FOREIGN_LEAF = "unable to verify signature on presented cert"
"""A reference to an issuer that is none, and a leaf of no CA of the mount: Vault answers both with 500, and they
will not pass."""


class UnusableAnswerError(Exception):
    """An answer is not what Vault sends; its text says what it is instead."""


def is_yes(answer: Answer) -> bool:
    """Whether Vault did what it was asked."""
    return answer.status in (200, 204)


def is_no(answer: Answer) -> bool:
    """Whether it is Vault itself that refuses, and would do so again.

    412 is a node that lags behind, 429 a limit, 472 and 473 are standbys; each 5xx is sealed,
    starting, without a leader, or a balancer that has nobody behind it. A 4xx without Vault's
    list of errors is another server's.
    """
    said = _errors(answer)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return any(UNKNOWN_ISSUER in text or FOREIGN_LEAF in text for text in said or ())
    if not 400 <= answer.status < 500 or answer.status in (408, 412, 425, 429, 472, 473):
        return False
    return said is not None


def reason(answer: Answer) -> str:
    """Return the sort of an answer that is neither yes nor no, in one or two words."""
    said = " ".join(_errors(answer) or ())
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return "throttled"
    if "not initialized" in said:
        return "uninitialised"
    if "sealed" in said:
        return "sealed"
    if answer.status in (472, 473):
        return "standby"
    return "malformed answer" if answer.status < 400 or _errors(answer) is None else "server"


def words(answer: Answer, *, secrets: Iterable[str] = ()) -> str:
    """Return what a failed answer says, in one bounded line of printable text, without what was sent in secret."""
    errors = _errors(answer)
    if errors is not None:
        said = "; ".join(errors)
    elif answer.headers.get("Content-Type", "text/plain").startswith("text/plain"):
        # Go's own server answers so, for plain HTTP on its HTTPS port.
        said = answer.body.decode(errors="replace")
    else:
        said = "not an answer of Vault's; is something else at this address?"
    try:
        status = HTTPStatus(answer.status).phrase
    except ValueError:
        status = "unknown status"
    return f"HTTP {answer.status} {status}" + (f": {quoted(said, secrets=secrets)}" if said.strip() else "")


def document(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer; raise `UnusableAnswerError` when it is none."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise UnusableAnswerError(f"it answered with no JSON ({len(answer.body)} bytes)") from None
    if not isinstance(found, dict):
        raise UnusableAnswerError("it answered with JSON that is no object")
    return found


def data(answer: Answer, *, part: str = "data") -> dict[str, Any]:
    """Return the `data` (or `auth`) of an answer; raise `UnusableAnswerError` when there is none."""
    found = document(answer).get(part)
    if not isinstance(found, dict):
        raise UnusableAnswerError(f"it answered without `{part}`")
    return found


def nothing(_answer: Answer) -> None:
    """Read nothing: that it is a yes is all that matters."""


def _errors(answer: Answer) -> list[str] | None:
    """Return Vault's list of errors; None when the answer holds none and so is not Vault's."""
    try:
        errors = document(answer).get("errors")
    except UnusableAnswerError:
        return None
    return [text for text in errors if isinstance(text, str)] if isinstance(errors, list) else None
