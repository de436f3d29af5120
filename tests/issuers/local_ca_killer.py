"""Run by a test: break a verb of an embedded CA's folder off before each of its steps, in copies of the folder.

Arguments: the folder, where the copies go, the verb, `kill` (SIGKILL) or `fail` (a full disk), the moment.
A step is whatever Python's audit hooks tell of: opening a file below the copy, a rename, a removal, a mode.
Prints how many steps there are.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.errors import IssuerUnavailableError
from agent.issuers.local.folder import AuthorityFolder

STEPS = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "fcntl.flock"})
WHOLE, FAILED, BUG = 7, 0, 4


class Breaker:
    """An audit hook that lets some steps pass and breaks off before the next."""

    def __init__(self, folder: Path, steps: int, how: str) -> None:
        self._folder = str(folder)
        self._left = steps
        self._how = how
        self.broke = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count a step."""
        is_open = event == "open" and str(arguments[0]).startswith(self._folder)
        if self.broke or not (is_open or event in STEPS):
            return
        if self._left > 0:
            self._left -= 1
            return
        self.broke = True
        if self._how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def attempt(folder: Path, verb: str, how: str, now: datetime, steps: int) -> int:
    """Do the verb in this process, which ends with it; return how it went."""
    authority = AuthorityFolder(folder, "local")
    work = {"rotate": authority.rotate, "retire": authority.retire}.get(verb, authority.make)
    breaker = Breaker(folder, steps, how)
    sys.addaudithook(breaker)
    try:
        work(now, within=timedelta(seconds=5))
    except IssuerUnavailableError:
        return FAILED if breaker.broke else BUG
    return FAILED if breaker.broke else WHOLE


def main() -> int:
    """Break off at one step after another until the verb comes to its end."""
    source, target, verb, how, moment = sys.argv[1:]
    for steps in range(1000):
        copy = Path(target) / str(steps)
        shutil.copytree(source, copy)
        child = os.fork()
        if child == 0:
            code = BUG
            try:
                code = attempt(copy, verb, how, datetime.fromisoformat(moment), steps)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == WHOLE:
            sys.stdout.write(str(steps))
            return 0
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == BUG:
            return 1
    return 1


if __name__ == "__main__":
    sys.exit(main())
