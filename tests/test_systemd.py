"""The unit file, judged by systemd's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agent import cli
from tests.tools import need

UNIT = Path(__file__).parents[1] / "systemd" / "cert-agent.service"
PROGRAM = "/opt/cert-agent/bin/cert-agent"

MOST_EXPOSED = 20
"""A bare unit has 96 (`systemd-analyze security`, its levels times ten)."""


def settings() -> dict[str, str]:
    """Return the unit's settings by name."""
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_unit_is_one_that_systemd_reads(tmp_path: Path) -> None:
    """Without a warning; the agent itself is not installed where the tests run, so `true` stands in for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"), encoding="utf-8")
    verified = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    about_it = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, about_it) == (0, [])


def test_unit_leaves_the_agent_little_to_do_harm_with() -> None:
    """The exposure that systemd computes stays low."""
    rated = subprocess.run(
        [need("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout[-300:]


def test_unit_speaks_the_agents_language() -> None:
    """The watchdog is fed through notify, a reload is a SIGHUP, and a wrong configuration ends the starts."""
    unit = settings()
    assert unit["Type"] == "notify"
    assert int(unit["WatchdogSec"]) >= 30
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert unit["RestartPreventExitStatus"] == str(cli.BAD_CONFIGURATION)
    assert unit["ExecStart"] == f"{PROGRAM} run --config {cli.DEFAULT_CONFIGURATION}"


def test_unit_never_gives_up() -> None:
    """An agent that systemd has stopped starting lets certificates expire."""
    unit = settings()
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == ("on-failure", "0")
