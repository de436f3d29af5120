"""`cert-agent config check --connect`: will credentials, rights, CAs and brokers do? Nothing is issued or written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agent.core.chain import name_of
from agent.core.issuer_status import Examined, Opinion
from agent.errors import StoreError, TrustError
from agent.wiring.adapters import Adapters
from agent.wiring.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.core.certificate import Certificate
    from agent.core.configuration import Configuration, Wanted
    from agent.ports import CertificateIssuer

WITHIN = 60.0
"""Seconds for all that one CA is asked; its own calls have shorter deadlines."""

OTHERS_WITHIN = 15.0
"""Seconds for what else a CA holds."""

MOST_TOLD = 5
"""Other CAs that are told one by one."""

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
            found = await issuer.examine(requests) if requests else await _trusted(issuer)
    except TimeoutError:
        return (Examined("answer", Opinion.BAD, f"it took longer than {WITHIN:.0f} s: see whether the CA is up"),)
    if any(one.opinion is Opinion.BAD for one in found):
        return found  # one trouble is not told twice
    return (*found, *await _others(issuer))


async def _others(issuer: CertificateIssuer) -> tuple[Examined, ...]:
    """Tell which CAs an issuer holds beside its own; nothing where there are none."""
    try:
        async with asyncio.timeout(OTHERS_WITHIN):
            listed = await issuer.listed()
    except (TrustError, TimeoutError) as error:
        told = error.diagnosis() if isinstance(error, TrustError) else f"no answer within {OTHERS_WITHIN:.0f} s"
        sentence = f"whether it holds another CA is not known, and none that waits will be seen: {told}"
        return (Examined("other CAs", Opinion.DOUBTFUL, sentence),)
    if not listed:
        return ()
    more = f", and {len(listed) - MOST_TOLD} more" if len(listed) > MOST_TOLD else ""
    sentence = f"beside its own it holds {', '.join(map(_told_of, listed[:MOST_TOLD]))}{more}"
    return (Examined("other CAs", Opinion.GOOD, sentence),)


def _told_of(anchor: Certificate) -> str:
    return f"{name_of(anchor)} ({anchor.not_before:%Y-%m-%d} to {anchor.not_after:%Y-%m-%d}, {anchor.fingerprint})"
