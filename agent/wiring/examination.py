"""`cert-agent config check --connect`: will credentials, rights, CAs and brokers do? Nothing is issued or written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.core.issuer_status import Examined, Opinion
from agent.errors import StoreError, TrustError
from agent.wiring.adapters import Adapters
from agent.wiring.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.core.configuration import Configuration, Wanted
    from agent.ports import CertificateIssuer

WITHIN = 60.0
"""Seconds for all that one CA is asked; its own calls have shorter deadlines."""

WORDS = {
    Opinion.GOOD: "good",
    Opinion.DOUBTFUL: "doubtful",
    Opinion.BAD: "bad",
    Opinion.UNKNOWN: "not known",
}


async def connect(configuration: Configuration, say: Callable[[str], None]) -> bool:
    """Examine every CA for the identities that use it, and every broker; say what was found, well is nothing bad."""
    adapters = Adapters(configuration, utc_now, read_only=True)
    try:
        names = sorted({name for wanted in configuration.identities.values() for name in adapters.specs(wanted)})
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(_examine(adapters.issuer(name), name, configuration)) for name in names}
        well = True
        for name, task in tasks.items():
            well = _told(f"issuers.{name}", task.result(), say) and well
        for wanted in configuration.identities.values():
            found = await _of_broker(adapters, wanted)
            well = _told(f"identities.{wanted.name}.reload", found, say) and well
        return well
    finally:
        await adapters.close()


def _told(key: str, examined: Iterable[Examined], say: Callable[[str], None]) -> bool:
    """Say what was found; return whether nothing is bad."""
    well = True
    for found in examined:
        say(f"{key}: {found.what}: {WORDS[found.opinion]}: {found.sentence}")
        well = well and found.opinion is not Opinion.BAD
    return well


async def _of_broker(adapters: Adapters, wanted: Wanted) -> tuple[Examined, ...]:
    """Ask the broker that is told of an identity's stores."""
    if wanted.broker is None:
        return ()
    try:
        async with asyncio.timeout(WITHIN):
            return await adapters.examine_broker(wanted, wanted.broker)
    except TimeoutError:
        return (Examined("login", Opinion.BAD, f"it took longer than {WITHIN:.0f} s: see whether the broker is up"),)
    except StoreError as error:
        return (Examined("login", Opinion.BAD, error.diagnosis()),)


async def _trusted(issuer: CertificateIssuer) -> tuple[Examined, ...]:
    """Look at a CA that is a source of trust and issues nothing here."""
    try:
        anchors = await issuer.anchors()
    except TrustError as error:
        return (Examined("anchors", Opinion.BAD, error.diagnosis()),)
    ends = min(anchor.not_after for anchor in anchors)
    return (Examined("anchors", Opinion.GOOD, f"there are {len(anchors)}, and the first of them ends {ends:%Y-%m-%d}"),)


async def _examine(issuer: CertificateIssuer, name: str, configuration: Configuration) -> tuple[Examined, ...]:
    requests = [wanted.request for wanted in configuration.identities.values() if wanted.issuer == name]
    try:
        async with asyncio.timeout(WITHIN):
            return await issuer.examine(requests) if requests else await _trusted(issuer)
    except TimeoutError:
        return (Examined("answer", Opinion.BAD, f"it took longer than {WITHIN:.0f} s: see whether the CA is up"),)
