"""Commands and their arguments, as they come through the admin socket."""

from __future__ import annotations

from typing import Any, TypeVar

from agent.errors import AgentError

OF_A_ROTATION = "ca "
"""What the commands of a CA rotation begin with; a verb of `agent.core.instruction` follows."""

Kind = TypeVar("Kind", str, int, bool)


def take(arguments: dict[str, Any], name: str, kind: type[Kind]) -> Kind | None:
    """Take an argument out; None when it is not given. Raise `AgentError` when it is of another kind."""
    value = arguments.pop(name, None)
    if value is None:
        return None
    # JSON's true is no number, though Python's is.
    if type(value) is kind:
        return value
    raise AgentError(f"the argument {name} is no {kind.__name__}", advice="use cert-agent to ask")


def expect_none(arguments: dict[str, Any]) -> None:
    """Raise `AgentError` when an argument is left that nobody knows."""
    if arguments:
        raise AgentError("the command has arguments that the agent does not know", advice="run the agent's own version")
