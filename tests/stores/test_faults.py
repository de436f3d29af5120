"""What a kill, a full disk, a lack of rights and a missing fsync do to a store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.keystores import pem, pkcs12, private_key
from tests.stores.shelf import Shelf
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
async def test_a_kill_at_any_moment_leaves_one_whole_generation(tmp_path: Path) -> None:
    """Killed two dozen times, readers find files that belong together, and the next process goes on."""
    shelf = Shelf(tmp_path)
    await shelf.renew()
    chance = random.Random(3)  # noqa: S311 - which moment is hit decides no secret
    for _ in range(24):
        process = start(tmp_path, 1000)
        await asyncio.sleep(0.35 + chance.uniform(0.0, 0.12))
        process.kill()
        _, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == -signal.SIGKILL, errors
        there = (shelf.directory / ".current").resolve()
        key = private_key.from_pem((there / "tls.key").read_bytes())
        chain = pem.decode((there / "tls.crt").read_bytes())
        assert private_key.public_der(key) == chain[0].public_key
        assert pem.decode((shelf.directory / "tls.pem").read_bytes()) == chain
        assert pkcs12.read_keystore((shelf.directory / "keystore.p12").read_bytes(), "changeit")[1] == chain
        disk = await shelf.restart().read()
        assert disk.current is not None
        assert disk.damages == ()
        assert not [name for name in shelf.listing() if ".new-" in name or name.endswith(".tmp")]


def fill(path: Path) -> None:
    """Write until there is no space left."""
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"\0" * 4096):
            pass


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
async def test_a_disk_that_is_full_or_read_only_leaves_what_is_current(tmp_path: Path) -> None:
    """ENOSPC and EROFS are told with advice, nothing half written stays, and with room again it goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)], check=True)  # noqa: ASYNC221
    try:
        shelf = Shelf(disk)
        first = await shelf.renew()
        filler = disk / "filler"
        fill(filler)
        with pytest.raises(StoreError) as caught:
            await shelf.renew()
        assert "space" in caught.value.diagnosis()
        assert shelf.leaf() == first.leaf
        assert not [name for name in shelf.listing() if ".new-" in name or name.endswith(".tmp")]
        filler.unlink()
        second = await shelf.renew()
        assert shelf.leaf() == second.leaf
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: ASYNC221
        with pytest.raises(StoreError) as caught:
            await shelf.renew()
        assert "mount it writable" in caught.value.diagnosis()
        assert shelf.leaf() == second.leaf
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: ASYNC221


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
