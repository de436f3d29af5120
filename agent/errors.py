"""The failures of the agent, split by what the caller does next.

`core` returns findings; edges raise these.
Anything else that is raised is a bug and stops the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


class AgentError(Exception):
    """Something failed, and an operator can be told what to do about it.

    `what` is one sentence on what happened; `advice` is one sentence on what to do.
    Neither ever holds a key, a token or a password.
    """

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice

    def diagnosis(self) -> str:
        """Return what happened and what to do, in one line."""
        return f"{self.what}: {self.advice}" if self.advice else self.what


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the configuration: where it stands and what to write instead."""

    file: str
    key: str
    what: str

    def __str__(self) -> str:
        """Return the mistake as one line: the file, the key's path, what to write."""
        return f"{self.file}: {self.key}: {self.what}" if self.key else f"{self.file}: {self.what}"


class ConfigurationError(AgentError):
    """The configuration is wrong; `mistakes` holds every one of them."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(map(str, mistakes)), advice="")
        self.mistakes = mistakes


class IssuanceError(AgentError):
    """A CA did not issue; `reason` is its sort in one word or two, for metrics."""

    def __init__(self, what: str, *, advice: str = "", reason: str = "") -> None:
        super().__init__(what, advice=advice)
        self.reason = reason


class IssuerUnavailableError(IssuanceError):
    """The CA could not be asked or could not answer now: try again.

    `retry_after` is the CA's own wish, if it named one (RFC 9110, 10.2.3).
    """

    def __init__(
        self, what: str, *, advice: str = "", reason: str = "unavailable", retry_after: timedelta | None = None
    ) -> None:
        super().__init__(what, advice=advice, reason=reason)
        self.retry_after = retry_after


class OrderLostError(IssuerUnavailableError):
    """The CA took the order and will never fulfil it: ask again with another key and token."""


class IssuerRefusedError(IssuanceError):
    """The CA understood and said no: a person must act; it is asked again at a slow pace."""

    def __init__(self, what: str, *, advice: str = "", reason: str = "refused") -> None:
        super().__init__(what, advice=advice, reason=reason)


class MaterialError(AgentError):
    """Bytes are not the key, certificate or store that they should be."""


class StoreError(AgentError):
    """Files could not be read, written or switched; the current generation is as it was."""


class NotConcernedError(AgentError):
    """What a person says is of something that this identity knows nothing of; another one may."""


class BusyError(StoreError):
    """Another process holds the lock of an identity's directory."""


class TrustError(AgentError):
    """A source of trust anchors could not be read, or holds none."""


class ReloadError(AgentError):
    """A reload did not succeed; the files are switched, the reader has not been told."""


class ReaderRefusedError(AgentError):
    """A reader would not take a generation that is written and not current: what it reads stays as it is."""


class KafkaError(AgentError):
    """A Kafka cluster was asked and did not do it; `reason` is its sort in a word or two, for metrics."""

    def __init__(self, what: str, *, advice: str = "", reason: str) -> None:
        super().__init__(what, advice=advice)
        self.reason = reason


class KafkaUnavailableError(KafkaError):
    """There was no answer, or the login was refused: nothing is known of what was asked."""

    def __init__(self, what: str, *, advice: str = "", reason: str = "unavailable") -> None:
        super().__init__(what, advice=advice, reason=reason)


class KafkaDeniedError(KafkaUnavailableError):
    """The agent's principal lacks the right to ask: nothing is known of what was asked either."""

    def __init__(self, what: str, *, advice: str = "", reason: str = "denied") -> None:
        super().__init__(what, advice=advice, reason=reason)


class KafkaRefusedError(KafkaError):
    """The broker understood and said no; `words` are its own."""

    def __init__(self, what: str, *, words: str, advice: str = "", reason: str = "refused") -> None:
        super().__init__(what, advice=advice, reason=reason)
        self.words = words
