"""Run by a test: a verb of the agent that is killed before one of its steps.

Arguments: the identity's directory, how many steps pass, the verb and its arguments. A step is whatever
Python's audit hooks tell of: a file below the directory that is opened to be written, a rename, a link,
a removal, a mode, a connection. Ends with 7 when the verb came to its end before that many steps.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from agent.cli import main

STEPS = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink"})
WHOLE = 7


class Killer:
    """An audit hook that lets some steps pass and kills the process before the next."""

    def __init__(self, folder: str, steps: int) -> None:
        self._folder = folder
        self._left = steps

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count a step."""
        if event == "open":
            counts = str(arguments[0]).startswith(self._folder) and bool(int(arguments[2]) & os.O_ACCMODE)
        elif event == "socket.connect":
            counts = isinstance(arguments[1], tuple)
        else:
            counts = event in STEPS and any(str(one).startswith(self._folder) for one in arguments)
        if not counts:
            return
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


if __name__ == "__main__":
    sys.addaudithook(Killer(sys.argv[1], int(sys.argv[2])))
    code = main(sys.argv[3:])
    sys.exit(WHOLE if code == 0 else code)
