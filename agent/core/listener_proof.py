"""Does a broker's listener use a generation: its leaf, and its anchors? From one look, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.anchors import ca_id
from agent.core.evidence import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.certificate import Certificate
    from agent.core.evidence import Served
    from agent.core.generation import Generation
    from agent.core.kafka_spec import BrokerListener


def verdict(
    served: Served, listener: BrokerListener, current: Generation, before: Generation | None, *, asks: bool | None
) -> tuple[Verdict, str]:
    """Return whether the listener is shown to use the current generation, and why not where it is not.

    `before` is the generation before, whose anchors it may still have loaded. `asks` says whether the
    listener asks for client certificates (`ssl.client.auth`), None where nobody knows.
    """
    of_leaf = leaf_verdict(served, current.leaf.fingerprint)
    if of_leaf[0] is Verdict.UNKNOWN or (of_leaf[0] is Verdict.REFUTED and listener.keystore is not None):
        return of_leaf
    if listener.truststore is None or current.is_edited(listener.truststore.name):
        return Verdict.PROVEN, ""
    return _anchors(served, current, before, asks=asks)


def leaf_verdict(served: Served, wanted: str) -> tuple[Verdict, str]:
    """Return whether the leaf with the fingerprint `wanted` was served, and why not where it was not."""
    verdict = served.verdict(wanted)
    if verdict is Verdict.REFUTED:
        return verdict, f"it serves {(served.fingerprint or '')[:16]}, not {wanted[:16]}"
    return verdict, served.trouble if verdict is Verdict.UNKNOWN else ""


def _anchors(
    served: Served, current: Generation, before: Generation | None, *, asks: bool | None
) -> tuple[Verdict, str]:
    if served.acceptable is None:
        # Nobody meets the truststore of a listener that asks for no certificate; brokers meet it as clients.
        if asks:
            return Verdict.UNKNOWN, "it asks for client certificates, and has not named the CAs that it takes"
        return Verdict.PROVEN, ""
    wanted = {_name(anchor): anchor for anchor in current.anchors}
    missing = [wanted[name] for name in wanted.keys() - served.acceptable]
    if missing and not served.acceptable:
        # No truststore is empty; a listener that names none asks for any certificate (RFC 5246, 7.4.4).
        return Verdict.UNKNOWN, "it asks for client certificates, and names none of the CAs that it takes"
    if missing:
        return Verdict.REFUTED, f"it takes no certificates of {_names(missing)}, which the truststore holds"
    if served.acceptable - wanted.keys():
        return Verdict.REFUTED, "it still takes certificates of a CA that the truststore holds no more"
    return _namesakes(served, current, before)


def _namesakes(served: Served, current: Generation, before: Generation | None) -> tuple[Verdict, str]:
    """A name does not tell two CAs apart that share it: a leaf of the new one must be taken.

    A certificate that was renewed with the same key is of the same CA, and whoever takes the one takes the other.
    """
    old = before.anchors if before is not None else ()
    old_names, old_cas = set(map(_name, old)), set(map(ca_id, old))
    alike = [one for one in current.anchors if ca_id(one) not in old_cas and _name(one) in old_names]
    if not alike:
        return Verdict.PROVEN, ""
    if alike != [current.anchor]:
        return Verdict.UNKNOWN, f"its names of CAs do not tell {_names(alike)} from one that it knew before"
    if served.took_leaf is Verdict.PROVEN:
        return Verdict.PROVEN, ""
    if served.took_leaf is Verdict.REFUTED:
        return Verdict.REFUTED, f"it does not take a leaf of {_names(alike)}, which the truststore holds"
    return Verdict.UNKNOWN, f"whether it takes a leaf of {_names(alike)} is not known"


def _name(certificate: Certificate) -> bytes:
    return certificate.subject.public_bytes()


def _names(anchors: Iterable[Certificate]) -> str:
    return ", ".join(sorted(anchor.subject.rfc4514_string() for anchor in anchors))
