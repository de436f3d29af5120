"""One generation of every format, written to the disk that the temporary directory is on: what it costs.

Run as a process of its own, so that nothing else of the measurement is in its figures; prints a JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.core.configuration import Wanted
from agent.core.files import JksFiles, PemFiles, Pkcs12Files, StorePassword
from agent.core.generation import Cause, Draft, Issued
from agent.core.secret import Secret
from agent.stores.directory import DirectoryStore
from tests.material import Ca, make_request

RENEWALS = 50

FORMATS = {
    "PEM": ("pem",),
    "PEM and PKCS12": ("pem", "pkcs12"),
    "PEM, PKCS12 and JKS": ("pem", "pkcs12", "jks"),
}


async def publish(directory: Path, formats: tuple[str, ...]) -> dict[str, list[float]]:
    """Renew so many times; return milliseconds of each: on the clock, on the processor, of the loop's worst lag."""
    password_file = directory / "password"
    password_file.write_text("changeit")
    password = StorePassword(Secret(password_file))
    files = {
        "pem": PemFiles("tls.crt", "tls.key", "tls.pem", "ca.crt"),
        "pkcs12": Pkcs12Files(password, "keystore.p12", "truststore.p12"),
        "jks": JksFiles(password, "keystore.jks", "truststore.jks"),
    }
    wanted = Wanted("broker", directory / "ssl", "ca", make_request(), tuple(files[one] for one in formats))
    store, ca = DirectoryStore(wanted), Ca.root().intermediate()
    figures: dict[str, list[float]] = {"clock": [], "processor": [], "lag": []}
    for number in range(RENEWALS + 5):
        now = datetime.now(UTC)
        await store.read()
        pending = await store.begin(wanted.request, "ca", now=now, reuse_key=False)
        chain = (ca.leaf_for(pending), ca.certificate)
        await store.keep_answer(pending, Issued(chain, now))
        draft = Draft(Cause.LEAF, wanted.request, "ca", chain, (ca.certificate,), now)
        lag = asyncio.create_task(worst_lag())
        await asyncio.sleep(0)
        clock, processor = time.perf_counter(), time.process_time()
        generation, damages = await store.stage(replace(draft), now=now)
        await store.switch(generation.number)
        taken = (time.perf_counter() - clock, time.process_time() - processor)
        lag.cancel()
        assert damages == ()
        await store.drop_pending()
        if number >= 5:  # what is imported and compiled at first is no cost of a renewal
            figures["clock"].append(taken[0] * 1000)
            figures["processor"].append(taken[1] * 1000)
            figures["lag"].append((await lag_of(lag)) * 1000)
    return figures


WORST: dict[str, float] = {}


async def worst_lag() -> None:
    """Note by how much the loop is late for a nap of a millisecond, at its worst."""
    WORST["lag"] = 0.0
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        WORST["lag"] = max(WORST["lag"], time.perf_counter() - before - 0.001)


async def lag_of(task: asyncio.Task[None]) -> float:
    """Return the worst lag once its task has ended."""
    await asyncio.wait([task])
    return WORST["lag"]


def main() -> None:
    """Measure each set of formats in a directory of its own."""
    found = {}
    for name, formats in FORMATS.items():
        directory = Path(sys.argv[1]) / str(len(formats))
        directory.mkdir()
        found[name] = asyncio.run(publish(directory, formats))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
