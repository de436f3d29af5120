"""What is wrong with a store that was opened.

`wrong` is what some reader refuses, or what cannot be meant; `notable` works, for now or for some
readers. Nothing is known here of what the store is for: one without a private key is judged as
a truststore, unless it begins with a leaf as a file of certificate and chain does.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from agent.core.chain import (
    LONGEST_PATH,
    NoPath,
    find_path,
    flaw,
    flaw_of_leaf,
    flaw_of_signature,
    harmless,
    is_self_signed,
    is_signed_by,
    issuer_of,
    name_of,
    out_of_date,
)
from agent.core.files import StoreFormat
from agent.core.identity import ANY_EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE
from agent.core.inspection import Finding, Kind, Severity, is_wrong
from agent.core.proof import outgrown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.inspection import Entry, Examined, KeyFacts

SOON = timedelta(days=30)
"""What expires within this time is worth knowing of."""


def findings(examined: Examined, now: datetime) -> tuple[Finding, ...]:
    """Return what is wrong with a store at `now`, and what is worth knowing of it, in the order of its parts."""
    found = [_notable(remark) for remark in examined.remarks]
    found += _of_whole(examined)
    for number, entry in enumerate(examined.entries, 1):
        if entry.kind is not Kind.PRIVATE_KEY:
            continue
        where = harmless(entry.alias) or (f"entry {number}" if len(examined.entries) > 1 else "")
        found += (one.at(where) for one in (*_of_key(entry, examined), *_of_chain(entry.chain, entry.key, now)))
    if examined.is_chain:
        found += _of_chain(examined.certificates, None, now)
    elif examined.is_truststore:
        found += _of_anchors(examined.certificates, now)
    else:
        found += _of_companions(examined, now)
    return tuple(dict.fromkeys(found))


# --- the store ------------------------------------------------------------------------------


def _of_whole(examined: Examined) -> Iterator[Finding]:
    is_java = examined.format in (StoreFormat.JKS, StoreFormat.PKCS12)
    if not examined.entries:
        yield _wrong("it holds nothing: as a truststore it would trust nobody")
    if len(examined.keys) > 1:
        yield _notable(
            f"it holds {len(examined.keys)} private keys: Kafka takes the one that fits first, "
            "and refuses a new store at run time that holds more or fewer entries"
        )
    if examined.format == StoreFormat.JKS and examined.keys:
        yield _notable("JKS keeps private keys from view weakly: whoever has the file can try passwords fast")
    if is_java:
        yield from _of_aliases(examined)
    unmarked = sum(1 for entry in examined.entries if entry.kind is Kind.CERTIFICATE)
    if examined.format == StoreFormat.PKCS12 and unmarked and not examined.keys:
        yield _wrong(
            f"{unmarked} of {len(examined.entries)} certificates are not marked as trusted, as OpenSSL leaves them: "
            "Java sees no trusted entry in them"
        )


def _of_aliases(examined: Examined) -> Iterator[Finding]:
    """What Java makes of the names of its entries; a certificate that is none of them has a name for nobody."""
    named = [entry for entry in examined.entries if entry.kind is not Kind.CERTIFICATE]
    for alias, count in Counter(entry.alias.lower() for entry in named).items():
        if count > 1:
            told = "bear one alias" if alias else "have an empty alias"
            yield _wrong(f"{count} entries {told}, and Java sees one of them", alias)
    for entry in named:
        if entry.alias == entry.alias.lower():
            continue
        if examined.format == StoreFormat.JKS:
            yield _wrong("Java finds aliases of a JKS in lower case alone, and this has upper case", entry.alias)
        else:
            yield _notable(f"Java calls it {harmless(entry.alias.lower())}", entry.alias)


def _of_companions(examined: Examined, now: datetime) -> Iterator[Finding]:
    """Certificates beside a private key: anchors, and such as nobody looks at."""
    anchors = tuple(one for entry in examined.entries if entry.kind is Kind.TRUSTED for one in entry.chain)
    if anchors:
        yield from _of_anchors(anchors, now)
    for entry in examined.entries:
        if entry.kind is Kind.CERTIFICATE:
            for one in entry.chain:
                yield _notable(f"{name_of(one)} is in no chain and no anchor: nobody looks at it", entry.alias)


# --- a private key and its chain ------------------------------------------------------------


def _of_key(entry: Entry, examined: Examined) -> Iterator[Finding]:
    is_pem = examined.format == StoreFormat.PEM
    if entry.locked and examined.with_password:
        yield _wrong("the private key does not open with the password, or is of a kind that the agent does not use")
    elif entry.locked:
        yield _notable("without its password it was not seen whether the private key is that of the certificate")
    if not entry.chain:
        severity = Severity.NOTABLE if is_pem else Severity.WRONG
        yield Finding(severity, "there is no certificate with the private key")
    if is_pem and entry.key is not None and entry.key.type == "ed25519":
        yield _notable("Kafka on the JVM reads no Ed25519 key in PEM")


def _of_chain(chain: Sequence[Certificate], key: KeyFacts | None, now: datetime) -> Iterator[Finding]:
    if not chain:
        return
    order = tuple(_of_order(chain, key))
    yield from order
    leaf = _leaf(chain[:LONGEST_PATH], key)
    told = tuple(_of_links(chain, leaf, now))
    yield from told
    if not is_wrong((*order, *told)):
        # What is left of RFC 5280: who may issue, how far down, and for which names.
        path = [
            one for one in chain if one == leaf or not is_self_signed(one) or not (out_of_date(one, now) or flaw(one))
        ]
        verdict = find_path(leaf, path[1:-1], path[-1:], now, frozenset())
        if isinstance(verdict, NoPath):
            yield _wrong(verdict.reason)
    yield from _of_leaf(leaf, chain)


def _of_order(chain: Sequence[Certificate], key: KeyFacts | None) -> Iterator[Finding]:
    if key is not None and all(one.public_key != key.public for one in chain):
        yield _wrong(f"the private key is not that of {name_of(chain[0])}, nor of any other certificate beside it")
    for one, count in Counter(chain).items():
        if count > 1:
            yield _wrong(f"{name_of(one)} stands {count} times in the chain: {_REFUSED}")
    chain = tuple(dict.fromkeys(chain))
    if trouble := outgrown(chain):
        yield _wrong(trouble)
    # What costs time is looked at no further than a path can be long.
    chain = chain[:LONGEST_PATH]
    leaf = _leaf(chain, key)
    linked = all(is_signed_by(one, following) for one, following in pairwise(chain))
    if linked and leaf == chain[0]:
        return
    proper = _walk(leaf, chain)
    if leaf != chain[0]:
        yield _wrong(f"the leaf {name_of(leaf)} does not stand first: {_REFUSED}")
    strangers = [one for one in chain if one not in proper]
    if not strangers and proper != chain:
        yield _wrong(f"the chain is out of order, it has to be {', then '.join(map(name_of, proper))}: {_REFUSED}")
    for one in strangers:
        yield _wrong(_stranger(one, proper[-1]))


_REFUSED = 'Kafka on the JVM refuses that ("Certificate chain is not valid")'


def _stranger(one: Certificate, last: Certificate) -> str:
    if one.subject == last.issuer:
        return f"{name_of(one)} bears the name of who issued {name_of(last)}, and has not signed it"
    told = f"{name_of(one)} belongs to nothing before it: {_REFUSED}"
    if one.is_ca and not is_self_signed(last):
        return f"{told}; who issued {name_of(last)}, {issuer_of(last)}, is missing from the chain"
    return told


def _leaf(chain: Sequence[Certificate], key: KeyFacts | None) -> Certificate:
    """Return the certificate that the others lead on from: that of the key, else one that issued none of them."""
    if key is not None:
        mine = next((one for one in chain if one.public_key == key.public), None)
        if mine is not None:
            return mine
    issued = (one for one in chain if not any(is_signed_by(other, one) for other in chain if other != one))
    return next(issued, chain[0])


def _walk(leaf: Certificate, chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return the leaf and who issued it, and so on, as far as the chain holds them."""
    path = [leaf]
    while True:
        issuer = next((one for one in chain if one not in path and is_signed_by(path[-1], one)), None)
        if issuer is None:
            return tuple(path)
        path.append(issuer)


def _of_links(chain: Sequence[Certificate], leaf: Certificate, now: datetime) -> Iterator[Finding]:
    """Dates, keys and signatures, of each certificate by itself."""
    for one in dict.fromkeys(chain):
        is_anchor = one != leaf and is_self_signed(one)
        severity = Severity.NOTABLE if is_anchor else Severity.WRONG
        for trouble in (out_of_date(one, now), flaw(one), "" if is_anchor else flaw_of_signature(one)):
            if trouble:
                yield Finding(severity, trouble)
        yield from _soon(one, now)


def _of_leaf(leaf: Certificate, chain: Sequence[Certificate]) -> Iterator[Finding]:
    name = name_of(leaf)
    trouble = flaw_of_leaf(leaf)
    if trouble:
        yield _wrong(trouble)
    if leaf.is_ca:
        yield _notable(f"{name} is a CA: whoever holds its key can issue certificates for others")
    if not leaf.sans:
        yield _notable(f"{name} has no SAN: clients that verify the host name by the book refuse it")
    allowed = leaf.extended_key_usage
    if allowed is not None and ANY_EXTENDED_KEY_USAGE not in allowed:
        usages = sorted(usage for usage, oid in EXTENDED_KEY_USAGE.items() if oid in allowed)
        if not usages:
            yield _wrong(f"{name} may be used as neither server nor client (extended key usage)")
        elif len(usages) < len(EXTENDED_KEY_USAGE):
            yield _notable(f"{name} may be used as {usages[0]} alone; a broker that talks to brokers is both")
    if is_self_signed(leaf):
        yield _notable(f"{name} is self-signed: its peers have to trust it itself")
    for one in dict.fromkeys(chain):
        if one != leaf and is_self_signed(one):
            yield _notable(f"the chain carries its anchor {name_of(one)}, which readers need not be sent")


# --- anchors --------------------------------------------------------------------------------


def _of_anchors(anchors: Sequence[Certificate], now: datetime) -> Iterator[Finding]:
    """One anchor that does not hold spoils none beside it, so it is a fault only where none is left."""
    usable = 0
    for one in dict.fromkeys(anchors):
        troubles = [trouble for trouble in (out_of_date(one, now), flaw(one)) if trouble]
        usable += not troubles
        yield from map(_notable, troubles)
        yield from _soon(one, now)
        is_old_root = one.version == 1 and one.self_issued
        if not one.is_ca and not is_old_root:
            yield _notable(f"{name_of(one)} is no CA: trusted for itself, it is of no use after its next renewal")
    if not usable:
        yield _wrong("none of its certificates can be an anchor now: it would trust nobody")


# --- what they share ------------------------------------------------------------------------


def _soon(certificate: Certificate, now: datetime) -> Iterator[Finding]:
    if not out_of_date(certificate, now) and certificate.not_after - now <= SOON:
        yield _notable(
            f"{name_of(certificate)} expires within {SOON.days} days, at {certificate.not_after.isoformat()}"
        )


def _wrong(what: str, where: str = "") -> Finding:
    return Finding(Severity.WRONG, what, harmless(where))


def _notable(what: str, where: str = "") -> Finding:
    return Finding(Severity.NOTABLE, what, harmless(where))
