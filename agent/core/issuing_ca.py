"""Which CA a chain is of, whatever it is trusted by."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from agent.core.anchors import ca_id
from agent.core.chain import NoPath, find_path, name_of, order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate


def ca_of(chain: tuple[Certificate, ...], known: tuple[Certificate, ...]) -> CaId:
    """Return the CA that a chain, leaf first, leads to in the fewest steps; of an unknown CA its name alone counts.

    A cross-signed CA leads to its own anchor rather than to the one that signed for it.
    """
    return next(iter(_paths(chain, known)))


def leads_to(chain: tuple[Certificate, ...], known: tuple[Certificate, ...]) -> frozenset[CaId]:
    """Return every CA that alone has a chain verify: two where a CA is cross-signed, or trusted beside its root."""
    return frozenset(_paths(chain, known))


def end_of(chain: tuple[Certificate, ...], known: tuple[Certificate, ...]) -> CaId:
    """Return what a chain leads to, as what whoever takes it trusts: its CA, or one of several as one value.

    Who takes a leaf that verifies by either of two CAs trusts one of them, and nobody knows which.
    """
    cas = leads_to(chain, known)
    if len(cas) == 1:
        return next(iter(cas))
    return hashlib.sha256(b"one of" + "".join(sorted(cas)).encode()).hexdigest()


def needed(cas: frozenset[CaId], staying: frozenset[CaId]) -> frozenset[CaId]:
    """Return which of the CAs that each alone have a chain verify must stay: one that stays anyway, else all."""
    kept = cas & staying
    return frozenset({min(kept)}) if kept else cas


@lru_cache(1024)
def _paths(chain: tuple[Certificate, ...], known: tuple[Certificate, ...]) -> Mapping[CaId, int]:
    """Return the CAs that a chain leads to, the nearest first, with the lengths of their paths.

    It is asked for the middle of the leaf's life, since an expired leaf is of its CA too, and a new CA may
    have begun after a leaf that is dated back.
    """
    leaf, *intermediates = chain
    at = leaf.not_before + (leaf.not_after - leaf.not_before) / 2
    paths = [find_path(leaf, intermediates, (anchor,), at, frozenset()) for anchor in known]
    found = sorted(
        (path.certificates for path in paths if not isinstance(path, NoPath)),
        key=lambda path: (len(path), -path[-1].not_before.timestamp()),
    )
    if found:
        return _nearest_first(found)
    last = order(leaf, intermediates)[-1]
    return {hashlib.sha256(b"unknown" + last.issuer.public_bytes()).hexdigest(): 0}


def _nearest_first(paths: Iterable[tuple[Certificate, ...]]) -> dict[CaId, int]:
    found: dict[CaId, int] = {}
    for path in paths:
        found.setdefault(ca_id(path[-1]), len(path))
    return found


@lru_cache(64)
def names_of(known: tuple[Certificate, ...]) -> Mapping[CaId, str]:
    """Return CAs in words; two of one name are told apart by their fingerprints."""
    found = {ca_id(anchor): anchor for anchor in known}
    texts = {ca: name_of(anchor) for ca, anchor in found.items()}
    often = Counter(texts.values())
    return {ca: text if often[text] == 1 else f"{text} ({found[ca].fingerprint[:16]})" for ca, text in texts.items()}
