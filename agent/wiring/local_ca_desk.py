"""The verbs of an embedded CA: a new root, and the end of the old ones' trust.

They work on the CA's folder under its lock, whether an agent runs or not; one that runs notices.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from agent.core.chain import NoPath, find_path
from agent.core.issuer_spec import LocalCaSpec
from agent.errors import AgentError
from agent.issuers.local.folder import AuthorityFolder
from agent.stores.directory import DirectoryStore
from agent.wiring.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.configuration import Configuration
    from agent.issuers.local.authority import Authority

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LOCK_PATIENCE = timedelta(seconds=15)
"""How long another process may hold the lock: some milliseconds, but for RSA keys of 4096 bits."""

AT_NEXT_LOOK = "by themselves within ten minutes, or with `cert-agent once` where no agent runs"
"""An agent looks every five minutes, and what a CA answered holds as long for it."""

WITHIN = timedelta(seconds=60)
"""How long one verb's work on the disk may take, the making of two RSA keys included."""


async def rotate(
    configuration: Configuration, issuer: str | None, *, clock: Callable[[], datetime] = utc_now
) -> tuple[str, ...]:
    """Have a new root made, and an intermediate below it; return what was made and what to do next.

    `issuer` may be left out when only one local CA is configured. Raise `AgentError` when it is
    unclear which one is meant, when there is none on disk yet, or when it cannot be written.
    """
    spec = _spec(configuration, issuer)
    folder = AuthorityFolder(spec.directory, spec.name, spec.key)
    authority = await _in_time(spec, folder.rotate, clock(), within=LOCK_PATIENCE)
    trusted = authority.still_trusted(clock())
    return (
        f"{spec.name}: a new root: {_told(authority.root)}",
        f"{spec.name}: a new intermediate: {_told(authority.intermediate.certificate)}",
        *(f"{spec.name}: still trusted, without its key: {_told(root)}" for root in trusted),
        f"next: truststores learn the new root {AT_NEXT_LOOK}",
        "then: each leaf follows when its peers are shown to trust the root: `cert-agent ca status`",
        f"last: `cert-agent local-ca retire {spec.name}`, when every leaf in use is of the new CA",
    )


async def retire(
    configuration: Configuration, issuer: str | None, *, clock: Callable[[], datetime] = utc_now
) -> tuple[str, ...]:
    """Have the roots forgotten that a rotation has replaced; return which.

    Raise `AgentError` as `rotate` does, when there is nothing to forget, and while an identity of
    this configuration still has a leaf that nobody would trust any more.
    """
    spec = _spec(configuration, issuer)
    folder = AuthorityFolder(spec.directory, spec.name, spec.key)
    found = await _in_time(spec, folder.read)
    if found is None:
        raise folder.none_yet()
    if not found.retired:
        raise AgentError(
            f"{spec.name} has no retired root",
            advice="there is one after `cert-agent local-ca rotate`, until it is retired",
        )
    await _see_that_none_is_needed(configuration, found, clock())
    await _in_time(spec, folder.retire, clock(), within=LOCK_PATIENCE)
    return (
        *(f"{spec.name}: no longer trusted: {_told(root)}" for root in found.retired),
        f"{spec.name}: the root is: {_told(found.root)}",
        f"next: truststores forget the old one {AT_NEXT_LOOK}",
    )


def _spec(configuration: Configuration, issuer: str | None) -> LocalCaSpec:
    """Return the local CA that is meant."""
    known = {name: spec for name, spec in configuration.issuers.items() if isinstance(spec, LocalCaSpec)}
    names = ", ".join(sorted(known))
    if not known:
        raise AgentError("no local CA is configured", advice=f"see `issuers` in {configuration.file}")
    if issuer is None:
        if len(known) > 1:
            raise AgentError("several local CAs are configured", advice=f"name one of {names}")
        return next(iter(known.values()))
    if issuer in known:
        return known[issuer]
    if issuer in configuration.issuers:
        raise AgentError(f"the issuer {issuer} is no local CA", advice=f"name one of {names}")
    raise AgentError(f"no issuer {issuer} is configured", advice=f"name one of {names}")


async def _see_that_none_is_needed(configuration: Configuration, found: Authority, now: datetime) -> None:
    """Raise `AgentError` for the identities of this configuration whose leaf chains to a retired root alone."""
    needed = []
    for name, wanted in sorted(configuration.identities.items()):
        current = (await DirectoryStore(wanted, read_only=True).read()).current
        if current is None:
            continue
        leaf, between, usages = current.chain[0], current.chain[1:], frozenset(current.request.usages)
        if not isinstance(find_path(leaf, between, found.still_trusted(now), now, usages), NoPath):
            needed.append(name)
    if needed:
        raise AgentError(
            f"leaves of a retired root are in use: {', '.join(needed)}",
            advice="have each renewed with `cert-agent renew`, on other hosts too, then retire",
        )


async def _in_time(
    spec: LocalCaSpec, work: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    try:
        async with asyncio.timeout(WITHIN.total_seconds()):
            return await asyncio.to_thread(work, *args, **kwargs)
    except TimeoutError:
        raise AgentError(
            f"the disk below {spec.directory} did not answer in time", advice="see whether the disk is well"
        ) from None


def _told(certificate: Certificate) -> str:
    """Return a CA certificate for a person: subject, end, SHA-256."""
    subject = certificate.subject.rfc4514_string()
    return f"{subject}, until {certificate.not_after:%Y-%m-%d}, SHA-256 {certificate.fingerprint}"
