"""The log, for people and for machines."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
import structlog

from agent.core.configuration import LogFormat
from agent.host.log import configure

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Leave no configuration behind."""
    yield
    structlog.reset_defaults()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_people_read_one_line_of_plain_words() -> None:
    """Time, identity, what happened, details, and the advice below it."""
    stream = io.StringIO()
    configure(LogFormat.TEXT, stream)
    structlog.get_logger().bind(identity="broker").warning("the CA is down", advice="start it", failures=3, empty="")
    line, advice = stream.getvalue().splitlines()
    assert line[8:] == " ! broker: the CA is down (failures 3)"
    assert advice == "         → start it"


def test_machines_read_an_object_a_line() -> None:
    """Level and time are in it; what is below info is not written."""
    stream = io.StringIO()
    configure(LogFormat.JSON, stream)
    log = structlog.get_logger()
    log.debug("nothing")
    log.info("switched", generation=3)
    (line,) = stream.getvalue().splitlines()
    values = json.loads(line)
    assert values.pop("timestamp").endswith("Z")
    assert values == {"event": "switched", "generation": 3, "level": "info"}


@pytest.mark.parametrize(("stream", "people"), [(Terminal(), True), (io.StringIO(), False)])
def test_auto_is_words_on_a_terminal(stream: io.StringIO, *, people: bool) -> None:
    """Whoever looks at a terminal is a person."""
    configure(LogFormat.AUTO, stream)
    structlog.get_logger().info("hello")
    assert stream.getvalue().startswith("{") != people


def test_no_field_breaks_a_line() -> None:
    """A CA's words may hold anything: no line of the log is forged, no terminal commanded."""
    stream = io.StringIO()
    configure(LogFormat.TEXT, stream)
    structlog.get_logger().error("refused:\n12:00:00 all is well", advice="a\rb", detail="\x1b[2Jred\x00")
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    assert not set(text) & {"\x1b", "\x00", "\r"}


def test_a_bug_is_told_with_its_trace() -> None:
    """An exception is written as it was raised."""
    stream = io.StringIO()
    configure(LogFormat.TEXT, stream)
    try:
        raise RuntimeError("a bug")  # noqa: TRY301 - a bug is raised here and now
    except RuntimeError:
        structlog.get_logger().exception("it ends")
    assert "Traceback" in stream.getvalue()
    assert "RuntimeError: a bug" in stream.getvalue()
