"""What the CA made otherwise than it was asked: for a person to know, and no reason to go without the leaf."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.issuer_spec import Signing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography import x509

    from agent.core.identity import Request
    from agent.core.issuer_spec import VaultSpec
    from agent.issuers.vault.certificates import Signed

MOST_REMARKS = 5

NO_NEWS = ('the role is set with "use_csr_', "authority information access")
"""Of warnings that names were told twice (in the CSR and beside it: a role reads the one or the other), and that a
mount lacks what nobody asked it for."""

OF_TTL = ("TTL", "maxTTL", "max_ttl", "notAfter", "not_after")
"""What Vault's warnings of a shortened life speak of."""

FIELDS = {
    "O": "organization",
    "OU": "ou",
    "C": "country",
    "L": "locality",
    "ST": "province",
    "STREET": "street_address",
    "2.5.4.17": "postal_code",
}
"""The role's fields that fill the attributes of a subject."""


def remarks(spec: VaultSpec, request: Request, signed: Signed, at: datetime) -> tuple[str, ...]:
    """Return what differs between what was asked for at `at` and what came, a sentence each; few, and stable."""
    warnings = [text for text in signed.warnings if not any(phrase in text for phrase in NO_NEWS)]
    of_ttl = [text for text in warnings if any(word in text for word in OF_TTL)]
    others = [text for text in warnings if text not in of_ttl]
    told = [_of_life(spec, request, signed, at, of_ttl), _of_subject(spec, request, signed)]
    return tuple(dict.fromkeys(one for one in (*told, *others) if one))[:MOST_REMARKS]


def _of_life(spec: VaultSpec, request: Request, signed: Signed, at: datetime, said: list[str]) -> str:
    """Tell of a shortened life, which Vault answers with 200."""
    given = signed.leaf.not_after - at
    if request.lifetime - given <= max(timedelta(minutes=2), request.lifetime / 100):
        return said[0] if said else ""
    what = f"the leaf lives {_span(given)}, not {_span(request.lifetime)} as asked for"
    issuer = signed.issuer
    if issuer is not None and abs(issuer.not_after - signed.leaf.not_after) < timedelta(minutes=1):
        return f"{what}: it ends with its CA, at {issuer.not_after:%Y-%m-%d %H:%MZ}; have the CA's certificate renewed"
    where = f"max_ttl of {spec.mount}/roles/{spec.role}" if spec.role else f"max_lease_ttl of {spec.mount}"
    return f"{what}{f' ({said[0]})' if said else ''}; raise {where}, or ask for a shorter `lifetime`"


def _of_subject(spec: VaultSpec, request: Request, signed: Signed) -> str:
    """Tell which attributes of the subject the role dropped, added or replaced."""
    asked, got = _attributes(request.subject), _attributes(signed.leaf.subject)
    changes, fields = [], []
    for name in dict.fromkeys((*asked, *got)):
        before, after = asked.get(name, []), got.get(name, [])
        if before == after:
            continue
        fields.append(FIELDS.get(name, ""))
        if not after:
            changes.append(f"dropped {_told(name, before)}")
        elif not before:
            changes.append(f"added {_told(name, after)}")
        else:
            changes.append(f"put {_told(name, after)} for {_told(name, before)}")
    if not changes:
        if request.subject == signed.leaf.subject:
            return ""
        changes = [f"put the subject's attributes in another order ({signed.leaf.subject.rfc4514_string()})"]
    settable = " and ".join(dict.fromkeys(field for field in fields if field))
    ways = []
    if spec.signing is Signing.ROLE:
        if settable:
            ways.append(f"set {settable} of {spec.mount}/roles/{spec.role}")
        ways.append("sign with `sign: verbatim`")
    ways.append("change the identity's `subject`")
    return (
        f"Vault {', '.join(changes)}, which changes the principal that Kafka's ACLs see: "
        + ", ".join(ways[:-1])
        + (" or " if len(ways) > 1 else "")
        + ways[-1]
    )


def _attributes(name: x509.Name) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for attribute in name:
        found.setdefault(attribute.rfc4514_attribute_name, []).append(str(attribute.value))
    return found


def _told(name: str, values: Iterable[str]) -> str:
    return "+".join(f"{name}={value}" for value in values)


def _span(span: timedelta) -> str:
    """Return a span in whole days, hours or minutes, so that seconds of delay do not tell it differently each time."""
    minutes = round(span / timedelta(minutes=1))
    for size, unit in ((24 * 60, "d"), (60, "h")):
        if minutes >= 2 * size and abs(minutes - round(minutes / size) * size) <= 2:
            return f"{round(minutes / size)} {unit}"
    return f"{round(minutes / 60)} h" if minutes >= 48 * 60 else f"{max(minutes, 1)} min"
