"""Measure the agent on this machine, and `bao agent` in the same run: `make bench`.

Everything runs on loopback against an OpenBao of its own, in a temporary directory, and is ended
by its pid. Compare the columns of one run, never two days: the machine is part of every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent import __version__
from bench.subjects import (
    BIN,
    bao_agent,
    bao_stores,
    is_valid,
    names,
    our_agent,
    our_stores,
    read_leaf,
    write_bao_configuration,
    write_configuration,
)
from tests.servers.openbao import openbao

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from bench.processes import Process
    from tests.servers.openbao import OpenBao

BAO_POLICY = """
path "pki/issue/kafka" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
"""
"""`bao agent` looks its own token up before it does anything."""

SETTLED = 3.0
"""Seconds after the first store until memory is looked at: reads and imports of the start are over."""


@dataclass(frozen=True)
class Bench:
    """Where and how often it is measured."""

    directory: Path
    bao: OpenBao
    bao_token: str
    runs: int
    window: float
    identities: int
    looks: int

    def vault(self) -> dict[str, Any]:
        """Return the issuer's settings for the OpenBao of this run."""
        auth = {"method": "token", "token_file": str(self.bao.token_file)}
        return {"type": "vault", "addresses": [self.bao.address], "mount": "pki", "role": "kafka", "auth": auth}

    def fresh(self, name: str) -> Path:
        """Return an empty directory."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path


# --- what is measured ------------------------------------------------------------------------


def measure_imports(bench: Bench) -> None:
    """The command line before it does anything, beside the bare interpreter."""
    directory = bench.fresh("imports")
    configuration = write_configuration(directory, bench.vault(), names(1))
    agent = [str(BIN / "cert-agent")]
    subjects = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "cert-agent --version": [*agent, "--version"],
        "cert-agent --help": [*agent, "--help"],
        "cert-agent config check": [*agent, "config", "check", "--config", str(configuration)],
    }
    headline("The command line, from start to exit")
    for name, argv in subjects.items():
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)  # once, for what is compiled and cached
        show(name, [_seconds(argv) * 1000 for _ in range(max(bench.runs, 5))], "ms")


def measure_one(bench: Bench) -> None:
    """One identity of Vault: start, memory, end."""
    headline("One Vault identity, a combined PEM")
    figures: dict[str, list[list[float]]] = {}
    hosts = names(1)
    for _ in range(bench.runs):
        # Turn by turn, so that a busy minute of the machine falls on both.
        ours, theirs = bench.fresh("ours"), bench.fresh("bao")
        with our_agent(write_configuration(ours, bench.vault(), hosts)) as process:
            figures.setdefault("cert-agent", []).append(_one(process, our_stores(ours, hosts)[0]))
        with bao_agent(write_bao_configuration(theirs, bench.bao.address, bench.bao_token, hosts)) as process:
            figures.setdefault("bao agent", []).append(_one(process, bao_stores(theirs, hosts)[0]))
    for name, rows in figures.items():
        starts, sizes, ends = zip(*rows, strict=True)
        show(f"{name}: start to first valid store", starts, "ms")
        show(f"{name}: resident", sizes, "MB")
        show(f"{name}: SIGTERM to exit", ends, "ms")


def _one(process: Process, store: Path) -> list[float]:
    start = process.wait_for(partial(is_valid, store), "the first valid store")
    time.sleep(SETTLED)
    resident = process.resident_mb()
    return [start * 1000, resident, process.stop() * 1000]


def measure_idle(bench: Bench) -> None:
    """Wake-ups and processor time when nothing is due, all subjects side by side."""
    headline(f"Idle and listening, {bench.runs} windows of {bench.window:.0f} s")
    hosts = names(1)
    plain, watching, theirs = bench.fresh("idle"), bench.fresh("watching"), bench.fresh("idle-bao")
    anchors = watching / "anchors"
    anchors.mkdir()
    source = bench.directory / "ca.pem"
    shutil.copy(source, anchors)
    with ExitStack() as stack:
        watched = write_configuration(watching, bench.vault(), hosts, trust=[{"files": str(anchors)}], truststore=True)
        bao = write_bao_configuration(theirs, bench.bao.address, bench.bao_token, hosts)
        processes = {
            "cert-agent": stack.enter_context(our_agent(write_configuration(plain, bench.vault(), hosts))),
            "cert-agent, files watched": stack.enter_context(our_agent(watched)),
            "bao agent": stack.enter_context(bao_agent(bao)),
        }
        stores = [*our_stores(plain, hosts), *our_stores(watching, hosts), *bao_stores(theirs, hosts)]
        for process, store in zip(processes.values(), stores, strict=True):
            process.wait_for(partial(is_valid, store), "the first valid store")
        time.sleep(2 * SETTLED)
        wakes: dict[str, list[float]] = {name: [] for name in processes}
        cpu: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(bench.runs):
            before = {name: (process.wake_ups(), process.cpu_ms()) for name, process in processes.items()}
            time.sleep(bench.window)
            for name, process in processes.items():
                wakes[name].append((process.wake_ups() - before[name][0]) * 60 / bench.window)
                cpu[name].append((process.cpu_ms() - before[name][1]) * 60 / bench.window)
    for name in processes:
        show(f"{name}: wake-ups a minute", wakes[name], "")
        show(f"{name}: processor a minute", cpu[name], "ms")


def measure_restart(bench: Bench) -> None:
    """A restart that finds ten valid certificates: how many are signed again."""
    headline("Restarted with ten valid certificates: signed again")
    hosts = names(10)
    ours, theirs = bench.fresh("restart"), bench.fresh("restart-bao")
    configuration = write_configuration(ours, bench.vault(), hosts)
    bao = write_bao_configuration(theirs, bench.bao.address, bench.bao_token, hosts)
    again: dict[str, list[float]] = {
        "cert-agent": _restarts(bench, lambda: our_agent(configuration), our_stores(ours, hosts)),
        "bao agent": _restarts(bench, lambda: bao_agent(bao), bao_stores(theirs, hosts)),
    }
    for name, counts in again.items():
        show(name, counts, "of 10")


def _restarts(bench: Bench, start: Callable[[], Any], stores: Sequence[Path]) -> list[float]:
    counts: list[float] = []
    before: list[int | None] = []
    for _ in range(bench.runs + 1):
        with start() as process:
            process.wait_for(lambda: all(map(is_valid, stores)), "ten valid stores")
            time.sleep(SETTLED)
        # A serial number is enough here: all come from one CA.
        serials = [leaf.serial_number if (leaf := read_leaf(store)) else None for store in stores]
        if before:
            counts.append(sum(old != new for old, new in zip(before, serials, strict=True)))
        before = serials
    return counts


def measure_publish(bench: Bench) -> None:
    """A generation written, fsynced, read back and switched to, by the formats in it."""
    headline("A publish: staged, read back, switched to")
    directory = bench.fresh("publish")
    done = subprocess.run(
        [sys.executable, "-m", "bench.publish", str(directory)], check=True, stdout=subprocess.PIPE, text=True
    )
    for formats, figures in json.loads(done.stdout).items():
        show(f"{formats}: on the clock", figures["clock"], "ms")
        show(f"{formats}: processor", figures["processor"], "ms")
        show(f"{formats}: the loop late by", figures["lag"], "ms")


def measure_settled(bench: Bench) -> None:
    """Many identities with long lives: until all are on disk, and what a settled one keeps in memory."""
    headline(f"{bench.identities} identities that live thirty days (PEM, embedded CA)")
    sizes = {}
    for count in (1, bench.identities):
        directory, hosts = bench.fresh(f"settled-{count}"), names(count)
        issuer = {"type": "local_ca", "directory": str(directory / "ca")}
        configuration = write_configuration(directory, issuer, hosts)
        stores = our_stores(directory, hosts)
        with our_agent(configuration) as process:
            there = process.wait_for(_all_there(stores), "the first certificate of all", within=300)
            time.sleep(SETTLED)
            sizes[count] = process.resident_mb()
        with our_agent(configuration) as process:
            time.sleep(max(2 * SETTLED, there))
            again = process.resident_mb()
        show(f"{count}: all on disk after the start", [there], "s")
        show(f"{count}: resident", [sizes[count]], "MB")
        show(f"{count}: resident after a restart", [again], "MB")
    share = (sizes[bench.identities] - sizes[1]) * 1024 / max(bench.identities - 1, 1)
    show("a settled identity", [share], "kB")


def _all_there(stores: Sequence[Path]) -> Callable[[], bool]:
    waiting = list(stores)

    def all_there() -> bool:
        while waiting and waiting[-1].exists():
            waiting.pop()
        return not waiting

    return all_there


def measure_fleet(bench: Bench) -> None:
    """Many identities that live ten seconds, with the embedded CA: is one ever found expired?"""
    headline(f"{bench.identities} identities that live ten seconds (PEM, embedded CA)")
    directory, hosts = bench.fresh("fleet"), names(bench.identities)
    issuer = {"type": "local_ca", "directory": str(directory / "ca")}
    configuration = write_configuration(directory, issuer, hosts, lifetime="10s")
    stores = our_stores(directory, hosts)
    with our_agent(configuration) as process:
        there = process.wait_for(_all_there(stores), "the first certificate of all", within=300)
        time.sleep(10)  # one life: what was first issued in one go has spread out
        cpu, numbers, begun = process.cpu_ms(), _generations(stores), time.perf_counter()
        faults, left = _look(stores, bench.looks)
        seconds = time.perf_counter() - begun
        renewals = sum(_generations(stores)) - sum(numbers)
        show("all first on disk", [there], "s")
        show(f"of {bench.looks} looks, expired", [faults["expired"]], "")
        show(f"of {bench.looks} looks, missing or mismatched", [faults["broken"]], "")
        show("life left when looked at", left, "s")
        show("renewals a second", [renewals / seconds], "")
        show("processor a renewal", [(process.cpu_ms() - cpu) / max(renewals, 1)], "ms")
        show("resident", [process.resident_mb()], "MB")


def _look(stores: Sequence[Path], looks: int) -> tuple[dict[str, int], list[float]]:
    """Look a hundred times a second at stores in a random order; count what a client would stumble over."""
    faults, left = {"expired": 0, "broken": 0}, []
    order = random.Random(0)  # noqa: S311 - an order to look in
    next_at = time.perf_counter()
    for _ in range(looks):
        leaf = read_leaf(order.choice(stores))
        if leaf is None:
            faults["broken"] += 1
        else:
            left.append((leaf.not_valid_after_utc - datetime.now(UTC)).total_seconds())
            faults["expired"] += left[-1] <= 0
        next_at += 0.01
        time.sleep(max(0.0, next_at - time.perf_counter()))
    return faults, left


def _generations(stores: Sequence[Path]) -> list[int]:
    return [int((store.parent / ".current").readlink().name) for store in stores]


# --- how it is told --------------------------------------------------------------------------


def headline(text: str) -> None:
    """Print what the next lines are about."""
    print(f"\n{text}", flush=True)


def show(name: str, figures: Sequence[float], unit: str) -> None:
    """Print the median, and the least and the greatest where there are several."""
    spread = f"   {min(figures):.1f} to {max(figures):.1f}, of {len(figures)}" if len(figures) > 1 else ""
    print(f"  {name:<45} {statistics.median(figures):>9.1f} {unit:<5}{spread}", flush=True)


def _seconds(argv: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


MEASURES: dict[str, Callable[[Bench], None]] = {
    "imports": measure_imports,
    "one": measure_one,
    "idle": measure_idle,
    "restart": measure_restart,
    "publish": measure_publish,
    "settled": measure_settled,
    "fleet": measure_fleet,
}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="which; all without a name")
    parser.add_argument("--runs", type=int, default=5, help="runs of each measure, windows of the idle one")
    parser.add_argument("--window", type=float, default=60, help="seconds of one idle window")
    parser.add_argument("--identities", type=int, default=1000, help="identities of the fleet")
    parser.add_argument("--looks", type=int, default=3000, help="looks at the fleet, a hundred a second")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cores = len(os.sched_getaffinity(0))
    print(f"cert-agent {__version__}, Python {platform.python_version()}, {cores} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="cert-agent-bench-") as name, asyncio.Runner() as runner:
        directory = Path(name)
        stack = AsyncExitStack()
        try:
            bao = runner.run(stack.enter_async_context(openbao(directory / "openbao")))
            token = runner.run(bao.make_token(BAO_POLICY))
            root = runner.run(bao.call("GET", "pki-root/cert/ca"))
            (directory / "ca.pem").write_text(root["data"]["certificate"] + "\n", encoding="utf-8")
            bench = Bench(directory, bao, token, options.runs, options.window, options.identities, options.looks)
            for measure in options.measures or MEASURES:
                MEASURES[measure](bench)
        finally:
            runner.run(stack.aclose())


if __name__ == "__main__":
    main()
