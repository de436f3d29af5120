"""What is no mistake, and could be better."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.configuration import LocalCaSpec, PemFiles, Pkcs12Files
from agent.core.identity import KeyAlgorithm, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.configuration import Configuration, Wanted

SHORT = timedelta(hours=1)
LONG = timedelta(days=398)


def advise(configuration: Configuration) -> tuple[str, ...]:
    """Return a sentence for each thing that works and could be better."""
    return tuple(
        f"identities.{name}: {sentence}"
        for name, wanted in configuration.identities.items()
        for sentence in _of(wanted, configuration)
    )


def _of(wanted: Wanted, configuration: Configuration) -> Iterator[str]:
    request = wanted.request
    if not request.sans and Usage.SERVER in request.usages:
        yield "a leaf without SANs passes no check of host names; add `sans`"
    if wanted.prove and Usage.SERVER in request.usages and not wanted.reload:
        yield "a listener is to be proven and nothing tells it of new files; add `reload`, unless it watches them"
    if wanted.reload and not wanted.prove:
        yield "nothing proves that a reload succeeded; add `prove`"
    if request.lifetime < SHORT:
        yield "a life of less than an hour leaves little time to mend a CA that is down"
    if request.lifetime > LONG:
        yield "a life of more than 398 days is long for a key that is renewed by itself"
    if wanted.reuse_key:
        yield "a reused key is as old as its first leaf; leave `key.reuse` out unless something pins it"
    if any(isinstance(one, PemFiles) and one.certificate and not one.combined for one in wanted.files):
        yield "who opens split PEM files at two moments can straddle a switch; prefer `combined` where it is read"
    if request.key is KeyAlgorithm.ED25519 and any(isinstance(one, Pkcs12Files) for one in wanted.files):
        yield "Java before 15 reads no Ed25519 key"
    if isinstance(configuration.issuers[wanted.issuer], LocalCaSpec):
        yield "the embedded CA keeps its keys on this host; use Vault where hosts must trust one another"
