"""In which order a store syncs, and sets modes; what kills, power cuts and faults do to it, tests/breaking tells."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import need

ROOT = Path(__file__).parents[2]

RENEW_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from tests.stores.shelf import Shelf

async def main():
    shelf = Shelf(Path(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        await shelf.renew()

asyncio.run(main())
"""


def start(folder: Path, renewals: int, *before: str) -> subprocess.Popen[bytes]:
    """Start a process that renews and renews."""
    command = [*before, sys.executable, "-c", RENEW_FOR_EVER, str(folder), str(renewals)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


@pytest.mark.slow
async def test_everything_is_synced_before_the_switch(tmp_path: Path) -> None:
    """By strace: each file of the generation and its folders are fsynced before `.current` is renamed."""
    trace = tmp_path / "trace"
    calls = "trace=openat,open,fsync,rename,renameat,renameat2,fchmod,write"
    process = start(tmp_path, 1, need("strace"), "-f", "-y", "-e", calls, "-o", str(trace))
    _, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, errors
    lines = trace.read_text().splitlines()
    switch = next(number for number, line in enumerate(lines) if re.search(r"rename.*\.new-\.current", line))
    synced = "\n".join(line for line in lines[:switch] if "fsync(" in line)
    folder = f"{tmp_path}/ssl/.generations"
    for name in ("tls.crt", "tls.key", "tls.pem", "ca.crt", "keystore.p12", "truststore.p12", "generation.json"):
        assert f"{folder}/.new-000001/{name}>" in synced
    assert f"{folder}/.new-000001>" in synced
    assert f"{folder}>" in synced
    assert any("fsync(" in line and f"{tmp_path}/ssl>" in line for line in lines[switch:])


@pytest.mark.slow
async def test_nobody_may_read_a_key_before_its_mode_is_set(tmp_path: Path) -> None:
    """By strace: a file is made for its owner alone, and its mode is set before its first byte."""
    trace = tmp_path / "trace"
    process = start(tmp_path, 1, need("strace"), "-f", "-y", "-e", "trace=openat,fchmod,write", "-o", str(trace))
    _, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, errors
    lines = [line for line in trace.read_text().splitlines() if "tls.key" in line and ".generations" in line]
    made = next(line for line in lines if "O_CREAT" in line)
    assert re.search(r"O_EXCL.*, 0[4-7]00\)", made)
    kinds = [re.search(r"(openat|fchmod|write)\(", line) for line in lines]
    order = [kind[1] for kind in kinds if kind]
    assert order.index("fchmod") < order.index("write")
