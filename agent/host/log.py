"""The log, on standard error: plain words for people, a JSON object a line for machines."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from agent.core.configuration import LogFormat

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any, TextIO

    from structlog.typing import Processor, WrappedLogger

MARKS = {"warning": "!", "error": "!!", "critical": "!!"}
"""What stands before a line that somebody should read."""


def configure(log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Have everything logged to `stream`, by default standard error, as the format says."""
    stream = stream or sys.stderr
    people = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and stream.isatty())
    render: Processor = in_words if people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )


def in_words(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> str:
    """Render one event as `12:00:01 broker: what happened (detail …)`."""
    level, moment = str(event.pop("level")), str(event.pop("timestamp"))
    identity, what = event.pop("identity", ""), _one_line(event.pop("event"))
    advice, trace = _one_line(event.pop("advice", "")), event.pop("exception", "")
    mark = MARKS.get(level, "")
    who = f"{identity}: " if identity else ""
    told = [(name.replace("_", " "), _one_line(value)) for name, value in event.items() if value not in ("", None)]
    details = ", ".join(f"{name} {value}" for name, value in told)
    line = f"{moment[11:19]} {mark + ' ' if mark else ''}{who}{what}"
    line += f" ({details})" if details else ""
    line += f"\n         → {advice}" if advice else ""
    return f"{line}\n{trace}" if trace else line


def _one_line(value: object) -> str:
    """Return a value without what would break the line or command the terminal."""
    return "".join(character if character.isprintable() else " " for character in str(value))
