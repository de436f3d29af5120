"""A process that has the agent imported, and forks a child for each verb that is asked of it; see `harness.py`.

The children are the real agent: `agent.cli.main` in a process of its own, which may be traced, stopped
and killed. What they save is the start of Python. Two things are arranged for whoever traces them:
all blocking work, and so every call that touches the store, is done by one thread, and that thread
waits at a gate until it is told to go.

Commands come as JSON, one a line, and each is answered by one line.
`{"verb": […], "output": path, "errors": path, "gate": bool}` starts a child → `{"pid": …, "thread": …}`;
`{"go": pid}` opens its gate → `{}`; `{"wait": pid}` waits for its end → `{"status": …}`, a signal as a negative number.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from agent.cli import main


class OneThread(asyncio.DefaultEventLoopPolicy):
    """Loops whose blocking work is done by one thread that is there already."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self._pool = pool

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make a loop."""
        loop = super().new_event_loop()
        loop.set_default_executor(self._pool)
        return loop


class Server:
    """The children that are alive, and how each is told to go."""

    def __init__(self) -> None:
        self._gates: dict[int, int] = {}

    def serve(self) -> None:
        """Do as told until nobody tells any more, and leave no child behind."""
        try:
            for line in sys.stdin:
                sys.stdout.write(json.dumps(self._answer(json.loads(line))) + "\n")
                sys.stdout.flush()
        finally:
            for child in self._gates:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def _answer(self, command: dict[str, Any]) -> dict[str, int]:
        if "verb" in command:
            return self._start(command)
        if "go" in command:
            os.write(self._gates[command["go"]], b"g")
            return {}
        _, status = os.waitpid(command["wait"], 0)
        os.close(self._gates.pop(command["wait"]))
        return {"status": os.waitstatus_to_exitcode(status)}

    def _start(self, command: dict[str, Any]) -> dict[str, int]:
        told, telling = os.pipe()
        gate, opening = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told)
            _be_the_agent(command, gate, telling)
        os.close(telling)
        os.close(gate)
        self._gates[child] = opening
        if not command["gate"]:
            os.write(opening, b"g")
        with open(told, "rb", closefd=True) as stream:  # noqa: PTH123 - of a descriptor
            return {"pid": child, "thread": int(stream.readline())}


def _be_the_agent(command: dict[str, Any], gate: int, telling: int) -> NoReturn:
    """Run the verb and end; nothing of the server's own is done on the way out."""
    code = 70
    try:
        for path, stream in ((command["output"], 1), (command["errors"], 2)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(descriptor, stream)
            os.close(descriptor)
        pool = ThreadPoolExecutor(1)
        pool.submit(_wait_at, gate, telling)
        asyncio.set_event_loop_policy(OneThread(pool))
        code = main(command["verb"])
    except BaseException:  # noqa: BLE001 - a bug of the agent, for whoever reads the errors
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait_at(gate: int, telling: int) -> None:
    os.write(telling, b"%d\n" % threading.get_native_id())
    os.close(telling)
    os.read(gate, 1)
    os.close(gate)


def warm_up() -> None:
    """Have everything imported that a renewal needs, by renewing once in a folder that is thrown away."""
    from tests.e2e.host import Host

    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
        host = Host(Path(folder))
        host.write()
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for verb in ("once", "renew", "rollback", "once"):
                main([verb, "--config", str(host.config)])


if __name__ == "__main__":
    warm_up()
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    Server().serve()
