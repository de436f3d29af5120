"""From what a look at a peer showed to testimony: whom it trusts, and whose leaves it uses."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from agent.core.anchors import ca_id
from agent.core.chain import Path, find_path, harmless, is_signed_by, issuer_of, name_of, order, out_of_date
from agent.core.evidence import Verdict
from agent.core.identity import ANY_EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE, Usage
from agent.core.issuing_ca import end_of, leads_to, needed
from agent.core.testimony import Testimony

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from cryptography.x509 import Name

    from agent.core.anchors import CaId
    from agent.core.certificate import Certificate
    from agent.core.evidence import Served


@dataclass(frozen=True, slots=True)
class PeerLook:
    """What one look at a peer showed, as it was at `at`.

    `asks` says whether its configuration has it ask for client certificates, None where nobody knows;
    `is_inter_broker` that brokers meet there, or that it is the controllers'. `looks` are the visits, each
    with the CA of the leaf that was shown in it, None where none was shown or its CA is not known.
    `trouble` says why nothing was seen, beside what the visits say themselves. `is_node` marks a node
    whose process matters, and no listener; `started_at` is when that was started. `ends` are the CAs that
    each shown leaf verifies by, where that is more than the one that it is known by. `passing`: the peer
    is known by a name for want of a better.
    """

    peer: str
    at: datetime
    asks: bool | None = None
    is_inter_broker: bool = False
    looks: tuple[tuple[CaId | None, Served], ...] = ()
    trouble: str = ""
    is_node: bool = False
    started_at: datetime | None = None
    ends: Mapping[CaId, frozenset[CaId]] = field(default_factory=dict)
    passing: bool = False


def as_testimony(
    look: PeerLook,
    anchors: Sequence[Certificate],
    now: datetime,
    *,
    is_broker: bool,
    staying: frozenset[CaId] = frozenset(),
) -> Testimony:
    """Return what a look says; `anchors` are all that are known, `is_broker` says that our identity is a broker's.

    `staying` are the CAs that stay in the truststores here.

    - A leaf that was shown and taken, or refused, tells for its CA; nothing goes before that.
    - Of other CAs the names tell that the peer gives as acceptable (RFC 8446, 4.2.4; RFC 5246, 7.4.4). A name
      that is there proves the one known CA that bears it; one that is not there refutes a root. An
      intermediate CA may be trusted through the CA above it, and two CAs of one name are not told apart:
      of those nothing is known. Who names none says nothing.
    - A listener that asks for no certificate meets no client's leaf. Where brokers meet, the one behind
      the listener meets a broker's leaf as its client too, and whom it trusts then cannot be seen.
    - The leaf that it serves is of every CA that alone has it verify. A cross-signed one is of both: where
      one of them stays here, the leaf needs no other; else it needs each.
    """
    if look.is_node:
        started_at = look.started_at
        return Testimony(
            look.peer, look.at, uses=frozenset(), meets=False, is_node=True, why=look.trouble, started_at=started_at
        )
    seen = [served for _, served in look.looks if served.fingerprint is not None]
    why = [look.trouble, *_troubles(look, seen)]
    uses, ahead, doubts = _used(seen, anchors, staying, now)
    why += doubts
    asks = _asks(look, seen)
    meets, trusts = True, dict[str, Verdict]()
    if asks:
        trusts = _trusts(look, anchors)
        why += _refusals(look, anchors)
    elif asks is False:
        # A broker's own listener is met by others as clients are by theirs: of its stores nothing shows.
        meets = is_broker and look.is_inter_broker
        if meets:
            asked = confirm(look.peer)
            why.append(f"it asks for no certificate, so that whom it trusts as a client cannot be seen: {asked}")
    else:
        why.append("it is configured to ask for certificates, and has asked for none")
    return Testimony(
        look.peer,
        look.at,
        trusts=trusts,
        uses=uses,
        meets=meets,
        # What brokers do not meet as clients may well be of a CA that no broker needs.
        ahead=ahead if look.is_inter_broker or not is_broker else "",
        shows=look.is_inter_broker or not is_broker,
        passing=look.passing,
        why="; ".join(dict.fromkeys(phrase for phrase in why if phrase)),
    )


def ends_of(chain: Sequence[Certificate], anchors: Sequence[Certificate]) -> tuple[CaId, frozenset[CaId]] | None:
    """Return what a chain of our own, leaf first, leads to, and all CAs that it verifies by; None: none is known."""
    cas = leads_to(tuple(chain), tuple(anchors)) & {ca_id(anchor) for anchor in anchors}
    return (end_of(tuple(chain), tuple(anchors)), cas) if cas else None


def confirm(peer: str) -> str:
    """Return the command with which a person vouches for a peer, for a sentence and for a shell."""
    return f"`cert-agent ca confirm {shlex.quote(peer)}`"


def may_be_shown(leaf: Certificate, now: datetime) -> bool:
    """Return whether a leaf is one that anybody could take of a client; to show another tells nothing of its CA."""
    allowed = leaf.extended_key_usage
    is_client = allowed is None or bool(allowed & {ANY_EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE[Usage.CLIENT]})
    return is_client and not out_of_date(leaf, now)


# --- whom it trusts -------------------------------------------------------------------------


def _asks(look: PeerLook, seen: Sequence[Served]) -> bool | None:
    """Return whether it asks for certificates: what it did goes before what its configuration says.

    None where the two differ in the one way that matters: it asked for none although it should.
    """
    if any(served.acceptable is not None for served in seen):
        return True
    if not seen:
        return look.asks is not False
    return None if look.asks else False


def _trusts(look: PeerLook, anchors: Sequence[Certificate]) -> dict[CaId, Verdict]:
    # Two of its threads may differ while it reads its stores anew: what one of them does not trust is not trusted.
    named = [_by_names(served.acceptable, anchors) for _, served in look.looks if served.acceptable]
    found = {
        ca: verdict for ca in {ca_id(anchor) for anchor in anchors} if (verdict := _least(one.get(ca) for one in named))
    }
    for end, cas in look.ends.items():
        # Who trusts either takes the leaf; who trusts none does not.
        verdicts = {found.get(ca) for ca in cas}
        if Verdict.PROVEN in verdicts:
            found[end] = Verdict.PROVEN
        elif verdicts == {Verdict.REFUTED}:
            found[end] = Verdict.REFUTED
    for ca, served in look.looks:
        if ca is not None and served.took_leaf is not Verdict.UNKNOWN:
            shown = [one.took_leaf for other, one in look.looks if other == ca]
            found[ca] = Verdict.REFUTED if Verdict.REFUTED in shown else Verdict.PROVEN
    return found


def _least(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """Return what several looks come to together, None where that is nothing."""
    shown = set(verdicts)
    if Verdict.REFUTED in shown:
        return Verdict.REFUTED
    return Verdict.PROVEN if shown == {Verdict.PROVEN} else None


def _by_names(named: frozenset[bytes], anchors: Sequence[Certificate]) -> dict[CaId, Verdict]:
    found: dict[CaId, Verdict] = {}
    for name, cas in _known(tuple(anchors)).by_name.items():
        if name not in named:
            found |= dict.fromkeys((ca for ca, is_root in cas.items() if is_root), Verdict.REFUTED)
        elif len(cas) == 1:
            found |= dict.fromkeys(cas, Verdict.PROVEN)
    return found


def _refusals(look: PeerLook, anchors: Sequence[Certificate]) -> list[str]:
    """Return a phrase for each CA of which a leaf was refused, with what else may be the matter."""
    phrases = []
    for ca, served in look.looks:
        if ca is None or served.took_leaf is not Verdict.REFUTED:
            continue
        is_named = _by_names(served.acceptable or frozenset(), anchors).get(ca) is Verdict.PROVEN
        also = ", though it names that CA as acceptable: its log tells why" if is_named else ""
        name = next((name_of(anchor) for anchor in anchors if ca_id(anchor) == ca), f"the CA {ca[:16]}")
        phrases.append(f"it has refused a leaf of {name}{also}")
    return phrases


# --- whose leaves it uses -------------------------------------------------------------------


def _used(
    seen: Sequence[Served], anchors: Sequence[Certificate], staying: frozenset[CaId], now: datetime
) -> tuple[frozenset[CaId] | None, str, list[str]]:
    """Return the CAs of what it serves, the one that nobody here knows, and what keeps them from being known."""
    if not seen:
        return None, "", []
    found: set[CaId] = set()
    ahead, doubts = "", list[str]()
    # Each leaf once: visits a moment apart may meet the old one and the new one.
    for served in {one.fingerprint: one for one in seen}.values():
        if served.leaf is None:
            doubts.append(served.trouble)
            continue
        cas = _leads_to(served.leaf, served.chain[1:], anchors, now)
        found |= needed(cas, staying)
        if not cas:
            unknown, doubt = _unknown_ca(served.leaf, served.chain[1:], anchors, now)
            ahead = ahead or unknown
            doubts.append(doubt)
    return None if doubts else frozenset(found), ahead, doubts


def _leads_to(
    leaf: Certificate, others: Sequence[Certificate], anchors: Sequence[Certificate], now: datetime
) -> frozenset[CaId]:
    """Return the CAs of all anchors that verify a leaf, each of them alone."""
    known = _known(tuple(anchors))
    # The others are no end of a path, and a bundle of the system holds a hundred and more.
    near = [anchor for issuer in {one.issuer for one in (leaf, *others)} for anchor in known.by_subject.get(issuer, ())]
    near += [leaf] if leaf in known.anchors else []
    return frozenset(
        ca_id(anchor) for anchor in near if isinstance(find_path(leaf, others, [anchor], now, frozenset()), Path)
    )


def _unknown_ca(
    leaf: Certificate, others: Sequence[Certificate], anchors: Sequence[Certificate], now: datetime
) -> tuple[str, str]:
    """Return the name of the CA that a leaf without a path is of, empty where we know that CA, and why it has none."""
    expired = out_of_date(leaf, now)
    if expired:
        return "", f"what it serves is of no use: {expired}"
    last = order(leaf, others)[-1]
    if any(is_signed_by(last, anchor) for anchor in anchors):
        path = find_path(leaf, others, anchors, now, frozenset())
        return "", "" if isinstance(path, Path) else f"what it serves does not verify: {path.reason}"
    return issuer_of(last), f"what it serves is of {issuer_of(last)}, which is not known here"


def _troubles(look: PeerLook, seen: Sequence[Served]) -> list[str]:
    return [] if seen else [harmless(served.trouble) for _, served in look.looks]


@dataclass(frozen=True, slots=True)
class _Known:
    """The anchors that are known, by name: by its DER the CAs that bear it, and whether each is only ever a root."""

    anchors: frozenset[Certificate]
    by_subject: Mapping[Name, Sequence[Certificate]]
    by_name: Mapping[bytes, Mapping[CaId, bool]]


@lru_cache(16)
def _known(anchors: tuple[Certificate, ...]) -> _Known:
    by_subject: dict[Name, list[Certificate]] = {}
    by_name: dict[bytes, dict[CaId, bool]] = {}
    for anchor in anchors:
        by_subject.setdefault(anchor.subject, []).append(anchor)
        cas = by_name.setdefault(anchor.subject.public_bytes(), {})
        cas[ca_id(anchor)] = anchor.self_issued and cas.get(ca_id(anchor), True)
    return _Known(frozenset(anchors), by_subject, by_name)
