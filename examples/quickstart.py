"""What `make run` does: keep a certificate fresh on this machine, and see it served.

A CA of its own issues certificates that live two minutes; a small TLS listener serves them and is
told of each new one. Everything lies below var/quickstart and goes with it.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "quickstart"
IDENTITY = FOLDER / "ssl"
PASSWORD = FOLDER / "password"
PID_FILE = FOLDER / "listener.pid"
CONFIGURATION = ROOT / "config" / "quickstart.yaml"
LISTENER = ROOT / "examples" / "tls_listener.py"
ADDRESS = "localhost:9843"

GRACE = 15
"""Seconds that a child has to end before it is killed."""

WORDS = f"""
The agent starts; it keeps one broker identity, with a certificate that lives two minutes.

  what it does     {CONFIGURATION}
  the files        {IDENTITY}
  the password     {PASSWORD} (of the PKCS12 stores)
  the listener     https://{ADDRESS} (serves the identity; reloaded at each renewal)

Open, while it runs:

  http://127.0.0.1:9847/status           what it knows, and when it acts next
  http://127.0.0.1:9847/readyz?verbose   whether all is well, and why not
  http://127.0.0.1:9847/metrics          the same for Prometheus

Ctrl-C ends both. `make clean` removes the files.
"""


class StopSignal(Exception):  # noqa: N818 - what a person asks for is no error
    """A person or a service manager wants an end."""


def main() -> int:
    """Run the listener and the agent until a signal comes or the agent ends; return the agent's exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    children: list[subprocess.Popen[bytes]] = []
    try:
        prepare()
        listener = start(
            children, str(LISTENER), "serve", "--directory", IDENTITY, "--address", ADDRESS, "--pid-file", PID_FILE
        )
        if not comes_up(listener):
            print("The listener did not start, see above: does an earlier `make run` still run?", file=sys.stderr)
            return 1
        print(WORDS, flush=True)
        return start(children, "-m", "agent", "run", "--config", CONFIGURATION).wait()
    except StopSignal:
        return 0
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        # The agent first: while it rolls to its end it may still want the listener.
        for child in reversed(children):
            end(child)


def stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave whatever is being done."""
    raise StopSignal


def prepare() -> None:
    """Make the folder and, once, a random password for the PKCS12 stores."""
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        descriptor = os.open(PASSWORD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")


def start(children: list[subprocess.Popen[bytes]], *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a Python program in a group of its own, so that Ctrl-C reaches it through us alone, and once."""
    # Nothing but our own paths stands in the arguments.
    child = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, process_group=0)  # noqa: S603 - see above
    children.append(child)
    return child


def comes_up(listener: subprocess.Popen[bytes]) -> bool:
    """Wait until the listener has taken its address and written its number, or has ended."""
    while listener.poll() is None:
        with suppress(FileNotFoundError):
            if PID_FILE.read_text().strip() == str(listener.pid):
                return True
        time.sleep(0.02)
    return False


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and wait for it."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


if __name__ == "__main__":
    sys.exit(main())
