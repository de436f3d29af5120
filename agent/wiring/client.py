"""The verbs of the command line: through the socket of a running agent, or in its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent.core.status import Health
from agent.errors import AgentError
from agent.web.admin_client import NobodyListensError, ask
from agent.wiring.clock import utc_now
from agent.wiring.standalone import standalone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from agent.core.configuration import Configuration
    from agent.core.status import AgentStatus, IdentityStatus
    from agent.daemon.agent import About
    from agent.wiring.verbs import Verbs

Say = "Callable[[str], None]"
