"""Fifty renewals of a broker under steady produce and consume: nothing fails, nothing is lost, each is proven."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.brokers.host import broker_host
from tests.servers.load import java_load, librdkafka_load

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RENEWALS = 50
REPORT = Path(__file__).parents[2] / "var" / "switch-to-served.txt"
"""Where the distribution is left for people; it is printed too."""


async def test_fifty_renewals_under_load_fail_no_send_and_lose_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Java and librdkafka, acks=all and idempotent, whose clients are made anew every few seconds."""
    with broker_host(tmp_path, kind="PEM", quick=False) as host, ExitStack() as loads:
        host.settings["identities"]["broker"]["reload"] = [host.reload(within="45s")]
        host.settings["clusters"]["test"]["timeout"] = "30s"
        keeper = await host.up()
        java = {"bootstrap.servers": host.node.address("MTLS"), "security.protocol": "SSL", **host.lines}
        rd = host.client_settings()
        started = [
            loads.enter_context(java_load(tmp_path / "java", java, "by-java", rate=50, remake=4)),
            loads.enter_context(librdkafka_load(tmp_path / "rd", rd, "by-librdkafka", rate=50, remake=4)),
        ]
        for load in started:
            await asyncio.to_thread(load.wait_until_flowing)
        took = []
        for number in range(2, RENEWALS + 2):
            await keeper.renew()
            status = host.status(keeper)
            assert status.settled
            assert status.generation == number
            assert status.broker is not None
            assert status.broker.took is not None
            took.append(status.broker.took.total_seconds())
        reports = [await asyncio.to_thread(load.stop) for load in started]
        for report in reports:
            assert report.whole, report
        assert status.counts.proofs.keys() <= {"proven"}
        assert not status.counts.rollbacks
        told = _told(took, [report.sent for report in reports])
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(told)
        with capsys.disabled():
            print(f"\n{told}")  # noqa: T201 - a measurement, for whoever reads the log


def _told(took: Sequence[float], sent: Sequence[int]) -> str:
    ordered = sorted(took)
    cuts = {"min": ordered[0], "median": statistics.median(ordered), "p90": ordered[int(len(ordered) * 0.9)]}
    cuts["max"] = ordered[-1]
    shares = ", ".join(f"{name} {seconds:.2f}" for name, seconds in cuts.items())
    return (
        f"seconds from the switch until the last listener was proven, {len(took)} renewals: {shares}; "
        f"{sum(sent)} records sent meanwhile, none failed\n"
    )
