"""How often Vault is asked what it has just refused, however many identities want it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from agent.errors import IssuerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.errors import IssuanceError

FIRST = 1.0
LONGEST = 60.0
"""Seconds between tries: the first pause, doubled up to the longest."""

MOST = 9
"""Refusals within a minute; after so many nothing is asked until the first of them is a minute old."""


def refusals() -> deque[float]:
    """Return where the times of the latest refusals are kept; paces that share it share its bound."""
    return deque(maxlen=MOST)


class Pace:
    """What failed is not tried again before its pause is over; who asks meanwhile gets the same error."""

    def __init__(self, monotonic: Callable[[], float], refused: deque[float]) -> None:
        self._monotonic = monotonic
        self._refused = refused
        self._pause = 0.0
        self._until = 0.0
        self._error: IssuanceError | None = None

    @property
    def left(self) -> float:
        """Seconds until the next try; 0 when it may be made now."""
        return max(0.0, self._until - self._monotonic()) if self._error is not None else 0.0

    def check(self) -> None:
        """Raise the error that is stored while its pause lasts."""
        if self._error is not None and self.left > 0:
            raise again(self._error)

    def count(self) -> None:
        """Count a refusal."""
        self._refused.append(self._monotonic())

    def failed(self, error: IssuanceError) -> None:
        """Begin a pause, twice as long as the one before."""
        now = self._monotonic()
        self._pause = min(max(FIRST, 2 * self._pause), LONGEST)
        self._until = now + self._pause
        if isinstance(error, IssuerUnavailableError) and error.retry_after is not None:
            self._until = max(self._until, now + min(error.retry_after.total_seconds(), LONGEST))
        if len(self._refused) == MOST:
            self._until = max(self._until, self._refused[0] + LONGEST)
        self._error = error

    def succeeded(self) -> None:
        """Forget what failed."""
        self._pause, self._error = 0.0, None


def again(error: IssuanceError) -> IssuanceError:
    """Return an error of the same words: one that is raised in several tasks would gather the traces of all."""
    if isinstance(error, IssuerUnavailableError):
        return IssuerUnavailableError(
            error.what, advice=error.advice, reason=error.reason, retry_after=error.retry_after
        )
    return type(error)(error.what, advice=error.advice, reason=error.reason)
