"""What can be made to go wrong at the AWS test server, and the book of what it was asked."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable

OK = "OK"
DROPPED = "dropped"
THROTTLED = frozenset({"ThrottlingException", "Throttling"})

JSON = "application/x-amz-json-1.1"
XML = "text/xml"
STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass
class Clock:
    """The server's time: the machine's, moved by what a test says."""

    offset: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Return the time at the server."""
        return datetime.now(UTC) + self.offset


class RefusedError(Exception):
    """The service answers with this error: its code, its words and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Asked:
    """A call that was understood; `parameters` are those of JSON, or the form's of STS."""

    service: str
    operation: str
    parameters: dict[str, Any] = field(repr=False)
    caller: str = ""
    """The ARN of who asks; empty for what is not signed."""

    @property
    def account(self) -> str:
        """The account of the caller."""
        return self.caller.split(":")[4] if self.caller else ""

    @property
    def resource(self) -> str:
        """What the call is about: a CA or a role."""
        names = ("CertificateAuthorityArn", "ResourceArn", "RoleArn")
        return next((str(self.parameters[name]) for name in names if self.parameters.get(name)), "*")


@dataclass(frozen=True)
class Reply:
    """An answer as it is sent; `code` is that of the error, `OK` without one."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = JSON
    code: str = OK


@dataclass
class Call:
    """A call in the book: its outcome is empty while it runs, then `OK`, the error's code or `dropped`."""

    operation: str
    when: datetime
    outcome: str = ""
    caller: str = ""
    parameters: dict[str, Any] = field(default_factory=dict, repr=False)


def refusal(service: str, refused: RefusedError) -> Reply:
    """Return an error as the service writes it: JSON 1.1 for acm-pca, the query protocol's XML for STS."""
    if service == "sts":
        text = (
            f'<ErrorResponse xmlns="{STS_NAMESPACE}"><Error>'
            f"<Type>{'Sender' if refused.status < 500 else 'Receiver'}</Type><Code>{escape(refused.code)}</Code>"
            f"<Message>{escape(refused.message)}</Message></Error>"
            f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
        return Reply(refused.status, text.encode(), XML, refused.code)
    name = "Message" if refused.code == "AccessDeniedException" else "message"
    body = {"__type": refused.code, name: refused.message}
    return Reply(refused.status, json.dumps(body).encode(), JSON, refused.code)


@dataclass
class Bucket:
    """A token bucket on a steady clock: `rate` calls a second, `burst` of them at once."""

    rate: float
    burst: float
    left: float = field(init=False)
    seen_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Begin full."""
        self.left, self.seen_at = self.burst, time.monotonic()

    def grants(self) -> bool:
        """Take a token if there is one."""
        now = time.monotonic()
        self.left = min(self.burst, self.left + (now - self.seen_at) * self.rate)
        self.seen_at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass
class Fault:
    """Something that goes wrong with `operation` (a pattern); `times` counts down, None is for ever."""

    operation: str
    times: int | None = None
    after: bool = False
    hold: float = 0.0
    drop: bool = False
    error: RefusedError | None = None

    def strikes(self, operation: str, *, after: bool) -> bool:
        """Say whether it is this call's turn to suffer, and count it."""
        if self.times == 0 or self.after != after or not fnmatchcase(operation, self.operation):
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class Faults:
    """Faults, hooks and lies; all of them may be changed while the server runs. Hooks run in its thread.

    `after` is after the operation has had its effect: the certificate is issued, and the client does not learn it.
    """

    standing: list[Fault] = field(default_factory=list)
    before: Callable[[Asked], Reply | None] | None = None
    """Answers instead of the service where it returns something."""
    after: Callable[[Asked, Reply], Reply] | None = None
    """Answers with something else than the service did."""
    lies: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    """By operation (`GetCertificate`): given the members of a good answer, returns those that are sent."""
    buckets: dict[str, Bucket] = field(default_factory=dict, repr=False)

    def fail(
        self,
        operation: str = "*",
        code: str = "InternalFailure",
        status: int = 500,
        *,
        times: int | None = None,
        after: bool = False,
        message: str = "",
    ) -> Fault:
        """Answer with an error: `InternalFailure` 500, `ServiceUnavailable` 503 or any other."""
        return self._add(Fault(operation, times, after, error=RefusedError(code, message, status)))

    def hold(self, operation: str, seconds: float, *, times: int | None = None, after: bool = False) -> Fault:
        """Hold the call, or after its effect the answer, back for so long."""
        return self._add(Fault(operation, times, after, hold=seconds))

    def drop(self, operation: str = "*", *, times: int | None = None, after: bool = False) -> Fault:
        """Cut the connection without an answer."""
        return self._add(Fault(operation, times, after, drop=True))

    def clear(self) -> None:
        """Have everything well again."""
        self.standing.clear()
        self.lies.clear()
        self.buckets.clear()
        self.before = self.after = None

    def throttle(self, rate: float | None, *, burst: float = 1, operation: str = "*") -> None:
        """Grant so many calls a second; `*` is one bucket for all of acm-pca, None lets everything through."""
        if rate is None:
            self.buckets.pop(operation, None)
        else:
            self.buckets[operation] = Bucket(rate, burst)

    def check_pace(self, asked: Asked) -> None:
        """Raise the error of a call that is one too many."""
        keys = (asked.operation, "*") if asked.service == "acm-pca" else (asked.operation,)
        if not all(self.buckets[key].grants() for key in keys if key in self.buckets):
            raise RefusedError("ThrottlingException" if asked.service == "acm-pca" else "Throttling", "Rate exceeded")

    def striking(self, operation: str, *, after: bool) -> list[Fault]:
        """Return the faults that this call meets."""
        return [fault for fault in list(self.standing) if fault.strikes(operation, after=after)]

    def lied(self, asked: Asked, reply: Reply) -> Reply:
        """Return the answer with what lies there are for it."""
        lie = self.lies.get(asked.operation)
        if lie is None or reply.code != OK:
            return reply
        return Reply(reply.status, json.dumps(lie(json.loads(reply.body))).encode())

    def _add(self, fault: Fault) -> Fault:
        self.standing.append(fault)
        return fault
