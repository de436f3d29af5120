"""Reload commands as they are: good, failing, loud, hanging, stubborn, with children of their own."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from agent.core.command import CommandReload
from agent.core.generation import Cause, Generation
from agent.errors import ReloadError
from agent.reload import command
from agent.reload.command import CommandReloader
from tests.material import NOW, Ca, make_key, make_request


@pytest.fixture
def generation() -> Generation:
    """Make a generation as the store would hand it over."""
    request = make_request()
    leaf = Ca.root().leaf(request, make_key())
    return Generation(42, Cause.LEAF, request, "ca", (leaf,), (), NOW, NOW, "layout", ())


def _reloader(folder: Path, *argv: str, seconds: float = 20) -> CommandReloader:
    return CommandReloader("broker", folder / "ssl", CommandReload(argv, folder, timedelta(seconds=seconds)))


def _shell(folder: Path, script: str, seconds: float = 20) -> CommandReloader:
    return _reloader(folder, "/bin/sh", "-c", script, seconds=seconds)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


async def _has_ended(pid: int) -> bool:
    for _ in range(100):
        if not _is_alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def _number_in(file: Path) -> int:
    for _ in range(500):
        if (text := _read(file)).endswith("\n"):
            return int(text)
        await asyncio.sleep(0.02)
    raise TimeoutError(f"{file} was not written")


def _open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_reload_tells_the_command_what_has_changed(
    tmp_path: Path, generation: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names identity and generation, and holds nothing else of the agent's but what programs need."""
    monkeypatch.setenv("VAULT_TOKEN", "a secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    await _shell(tmp_path, "env > seen").reload(generation)
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    ours = {name.removeprefix("CERT_AGENT_"): value for name, value in seen.items() if name.startswith("CERT_AGENT_")}
    assert ours == {
        "IDENTITY": "broker",
        "DIRECTORY": str(tmp_path / "ssl"),
        "GENERATION": "42",
        "FINGERPRINT": generation.leaf.fingerprint,
        "CAUSE": "leaf",
    }
    assert (seen["LANG"], seen["PATH"]) == ("C.UTF-8", os.environ["PATH"])
    assert "VAULT_TOKEN" not in seen


async def test_reload_runs_without_a_shell(tmp_path: Path, generation: Generation) -> None:
    """Arguments reach the program as they stand, whatever a shell would make of them."""
    program = "import sys, pathlib; pathlib.Path('seen').write_text(repr(sys.argv[1:]))"
    await _reloader(tmp_path, sys.executable, "-c", program, "$HOME; *", "a b").reload(generation)
    assert (tmp_path / "seen").read_text() == "['$HOME; *', 'a b']"


async def test_reload_seeks_a_path_from_its_folder(tmp_path: Path, generation: Generation) -> None:
    """A program with a slash counts from the configuration's folder, which the command runs in."""
    script = tmp_path / "bin" / "tell"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\npwd > seen\n")
    script.chmod(0o755)
    await _reloader(tmp_path, "bin/tell").reload(generation)
    assert (tmp_path / "seen").read_text().strip() == str(tmp_path)


async def test_reload_gives_no_input(tmp_path: Path, generation: Generation) -> None:
    """A command that asks a question finds nobody to answer, and does not wait."""
    await _shell(tmp_path, "read answer && exit 1 || exit 0").reload(generation)


async def test_reload_says_what_a_failed_command_said(tmp_path: Path, generation: Generation) -> None:
    """The exit code and the last words, from both streams, stand in the error, in one line that steers no terminal."""
    script = r"echo first; printf 'no \033[31mlistener\033[0m\n' >&2; exit 3"
    with pytest.raises(ReloadError) as caught:
        await _shell(tmp_path, script).reload(generation)
    assert caught.value.what == (
        "the reload command /bin/sh of broker ended with exit code 3; it said: first | no  [31mlistener [0m"
    )
    assert caught.value.advice


async def test_reload_keeps_the_end_of_much_output(tmp_path: Path, generation: Generation) -> None:
    """A command that writes megabytes does not stand still, and only the end of it is told."""
    program = "import sys; sys.stdout.write('x' * 3_000_000 + ' the end'); sys.exit(1)"
    with pytest.raises(ReloadError) as caught:
        await _reloader(tmp_path, sys.executable, "-c", program).reload(generation)
    said = caught.value.what.partition("it said: ")[2]
    assert said.endswith("x the end")
    assert len(said) == command.MOST_OUTPUT


async def test_reload_names_the_signal_that_ended_the_command(tmp_path: Path, generation: Generation) -> None:
    """A command that a signal ends has not reloaded."""
    with pytest.raises(ReloadError, match="was ended by SIGKILL"):
        await _shell(tmp_path, "kill -9 $$").reload(generation)


@pytest.mark.parametrize("program", ["no-such-program", "./no-such-program", "."])
async def test_reload_cannot_start_what_is_no_program(tmp_path: Path, generation: Generation, program: str) -> None:
    """A program that is missing or none is said, with the folder and what to do."""
    with pytest.raises(ReloadError, match=f"of broker cannot be started in {tmp_path}: ") as caught:
        await _reloader(tmp_path, program).reload(generation)
    assert "give `command` a program" in caught.value.advice


async def test_reload_cannot_start_what_may_not_be_executed(tmp_path: Path, generation: Generation) -> None:
    """A file without the right to execute it is said."""
    (tmp_path / "tell").write_text("#!/bin/sh\n")
    with pytest.raises(ReloadError, match="Permission denied"):
        await _reloader(tmp_path, "./tell").reload(generation)


async def test_reload_ends_a_command_that_takes_too_long(tmp_path: Path, generation: Generation) -> None:
    """After its time the command is ended with all that it started, and what it said is told."""
    script = "echo waiting; sleep 60 & echo $! > child; wait"
    with pytest.raises(ReloadError, match=r"was killed after 0\.5 s; it said: waiting") as caught:
        await _shell(tmp_path, script, seconds=0.5).reload(generation)
    assert "within" in caught.value.advice
    assert await _has_ended(int((tmp_path / "child").read_text()))


@pytest.mark.slow
async def test_reload_kills_whom_sigterm_does_not_move(tmp_path: Path, generation: Generation) -> None:
    """A command that ignores SIGTERM is killed after the grace, with its children."""
    script = "trap '' TERM; sleep 60 & echo $! > child; while true; do sleep 60; done"
    started = time.monotonic()
    with pytest.raises(ReloadError, match="was killed"):
        await _shell(tmp_path, script, seconds=0.3).reload(generation)
    assert command.GRACE <= time.monotonic() - started < 20
    assert await _has_ended(int((tmp_path / "child").read_text()))


async def test_reload_does_not_wait_for_a_daemon(tmp_path: Path, generation: Generation) -> None:
    """A child that lives on and holds the output open keeps nobody waiting, and lives on."""
    await _shell(tmp_path, "sleep 60 & echo $! > child").reload(generation)
    child = int((tmp_path / "child").read_text())
    try:
        assert _is_alive(child)
    finally:
        os.kill(child, 9)


async def test_reload_that_is_cancelled_leaves_no_process(tmp_path: Path, generation: Generation) -> None:
    """When the agent stops, the command's whole group ends with it."""
    task = asyncio.create_task(
        _shell(tmp_path, "echo $$ > parent; sleep 60 & echo $! > child; wait").reload(generation)
    )
    parent, child = await _number_in(tmp_path / "parent"), await _number_in(tmp_path / "child")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _has_ended(parent)
    assert await _has_ended(child)


async def test_reload_gives_its_descriptors_back(tmp_path: Path, generation: Generation) -> None:
    """A thousand renewals must not use up what a process may open."""
    good, bad = _reloader(tmp_path, "true"), _reloader(tmp_path, "no-such-program")
    await good.reload(generation)
    before = _open_descriptors()
    for _ in range(5):
        await good.reload(generation)
        with suppress(ReloadError):
            await bad.reload(generation)
    assert _open_descriptors() == before
