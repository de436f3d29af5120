"""A store that was examined, as text for people and as JSON values; nothing of it commands a terminal."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.core.chain import harmless, issuer_of, name_of
from agent.core.inspection import DER, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.core.certificate import Certificate
    from agent.core.inspection import Entry, Examined, Finding
    from agent.stores.verification import Verified

WIDTH = 100
"""Columns; names that are longer are not broken."""

_FORMATS = {"pem": "PEM", "pkcs12": "PKCS12", "jks": "JKS", DER: "a certificate in DER"}
_HEADS = {Severity.WRONG: "wrong", Severity.NOTABLE: "worth knowing"}
_NO_VALUE = "none"

# --- text -----------------------------------------------------------------------------------


def of_file(path: Path, examined: Examined, now: datetime) -> tuple[str, ...]:
    """Return what a store holds: each entry, and each certificate of its chain."""
    count = len(examined.entries)
    lines = [f"{harmless(str(path))}: {_FORMATS[examined.format]}, {count} {'entry' if count == 1 else 'entries'}"]
    for number, entry in enumerate(examined.entries, 1):
        lines += ["", f"{number}. {_of_entry(entry)}"]
        for certificate in entry.chain:
            lines += (f"   {line}" for line in _of_certificate(certificate, now))
    return tuple(lines)


def of_directory(path: Path, verified: Verified, now: datetime) -> tuple[str, ...]:
    """Return what is current in the directory of an identity, and what is wrong there."""
    shown = harmless(str(path))
    lines = [f"{shown}: the directory of an identity, and no current generation can be read"]
    generation = verified.generation
    if generation is not None:
        lines = [f"{shown}: the directory of an identity, at generation {generation.number}", ""]
        lines += _row("cause", generation.cause)
        lines += _row("made", _instant(generation.made_at))
        lines += _row("issued", f"{_instant(generation.issued_at)} by {harmless(generation.issuer) or 'nobody knows'}")
        lines += _row("kept", ", ".join(map(str, verified.kept)) or _NO_VALUE)
        for remark in generation.remarks:
            lines += _row("remark", harmless(remark))
        lines += ["", "files:"]
        for file in verified.files:
            mode = "" if file.mode is None else f", mode {file.mode:04o}"
            edited = ", edited by hand" if file.record.edited else ""
            format_ = _FORMATS.get(file.format, file.format) or "not seen"
            lines += [
                f"  {harmless(file.record.name)}: {format_}{mode}{edited}",
                f"    SHA-256    {file.record.sha256}",
            ]
        lines += ["", "chain, leaf first:"]
        for certificate in generation.chain:
            lines += (f"  {line}" for line in _of_certificate(certificate, now))
    return (*lines, "", *of_findings(verified.findings))


def of_findings(found: Sequence[Finding]) -> tuple[str, ...]:
    """Return what is wrong and what is worth knowing, a paragraph each."""
    lines: list[str] = []
    for severity in Severity:
        those = [one for one in found if one.severity is severity]
        if severity is Severity.WRONG and not those:
            lines.append("nothing is wrong")
        elif those:
            lines.append(f"{_HEADS[severity]}:")
        for one in those:
            lines += _wrapped(f"  - {one}", "    ")
    return tuple(lines)


def _of_entry(entry: Entry) -> str:
    alias = f"{harmless(entry.alias)}: " if entry.alias else ""
    parts: list[str] = [entry.kind]
    if entry.key is not None:
        parts.append(entry.key.type)
        match entry.matches:
            case True:
                parts.append("matches the leaf: yes")
            case False:
                parts.append("matches the leaf: no")
            case None:
                parts.append("without a certificate")
    elif entry.locked:
        parts.append("not unlocked")
    if entry.made_at is not None:
        parts.append(f"made {_instant(entry.made_at)}")
    return alias + ", ".join(parts)


def _of_certificate(certificate: Certificate, now: datetime) -> Iterator[str]:
    yield name_of(certificate)
    span = f"{_instant(certificate.not_before)} to {_instant(certificate.not_after)}, {_left(certificate, now)}"
    yield from _row("issued by", issuer_of(certificate))
    yield from _row("SANs", ", ".join(_sans(certificate)) or _NO_VALUE)
    yield from _row("serial", f"{certificate.serial_number:x}")
    yield from _row("valid", span)
    yield from _row("key", certificate.key_type)
    yield from _row("SHA-256", certificate.fingerprint)


def _sans(certificate: Certificate) -> Iterator[str]:
    for sort, names in (("DNS", certificate.sans.dns), ("IP", certificate.sans.ip), ("URI", certificate.sans.uri)):
        for name in names:
            yield f"{sort} {harmless(name)}"


def _row(label: str, text: str) -> list[str]:
    return _wrapped(f"  {label:<10} {text}", " " * 13)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH - 3, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )  # three columns are the place of what stands within an entry


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%SZ}"


def _left(certificate: Certificate, now: datetime) -> str:
    if now < certificate.not_before:
        return f"begins in {_span(certificate.not_before - now)}"
    left = certificate.not_after - now
    return f"expired {_span(-left)} ago" if left < timedelta(0) else f"{_span(left)} left"


def _span(span: timedelta) -> str:
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(span.total_seconds() // seconds)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "less than a minute"


# --- JSON -----------------------------------------------------------------------------------


def file_values(path: Path, examined: Examined, now: datetime) -> dict[str, Any]:
    """Return what a store holds.

    `path`, `format` (pem, pkcs12, jks or der), and `entries`, each with `alias`, `kind`, `made_at`,
    `private_key` (null, or `unlocked`, `type` and `matches_leaf`) and `chain`, a list of certificates.
    """
    return {
        "path": str(path),
        "format": str(examined.format),
        "entries": [
            {
                "alias": entry.alias,
                "kind": str(entry.kind),
                "made_at": entry.made_at and entry.made_at.isoformat(),
                "private_key": _key_values(entry),
                "chain": [certificate_values(certificate, now) for certificate in entry.chain],
            }
            for entry in examined.entries
        ],
    }


def directory_values(path: Path, verified: Verified, now: datetime) -> dict[str, Any]:
    """Return what is current in a directory: `path`, `generation` (null when none can be read), `kept`, `findings`.

    A generation has `number`, `cause`, `made_at`, `issued_at`, `issuer`, `remarks`, `leaf` (a
    certificate), `chain` (certificates, leaf first), and `files`, each with `name`, `format`, `mode`
    (octal), `sha256` and `edited`.
    """
    generation = verified.generation
    return {
        "path": str(path),
        "generation": generation
        and {
            "number": generation.number,
            "cause": str(generation.cause),
            "made_at": generation.made_at.isoformat(),
            "issued_at": generation.issued_at.isoformat(),
            "issuer": generation.issuer,
            "remarks": list(generation.remarks),
            "leaf": certificate_values(generation.leaf, now),
            "chain": [certificate_values(certificate, now) for certificate in generation.chain],
            "files": [
                {
                    "name": file.record.name,
                    "format": file.format or None,
                    "mode": None if file.mode is None else f"{file.mode:04o}",
                    "sha256": file.record.sha256,
                    "edited": file.record.edited,
                }
                for file in verified.files
            ],
        },
        "kept": list(verified.kept),
        "findings": finding_values(verified.findings),
    }


def certificate_values(certificate: Certificate, now: datetime) -> dict[str, Any]:
    """Return a certificate's facts; `serial` is hex, `days_left` whole days, negative when it has expired."""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "sans": {kind: list(getattr(certificate.sans, kind)) for kind in ("dns", "ip", "uri")},
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_before.isoformat(),
        "not_after": certificate.not_after.isoformat(),
        "days_left": (certificate.not_after - now).days,
        "key_type": certificate.key_type,
        "is_ca": bool(certificate.is_ca),
        "sha256": certificate.fingerprint,
    }


def finding_values(found: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the findings: `severity` (`wrong`, or `notable`: worth knowing), `where` (empty: the whole) and `what`."""
    return [{"severity": str(one.severity), "where": one.where, "what": one.what} for one in found]


def _key_values(entry: Entry) -> dict[str, Any] | None:
    if entry.key is None and not entry.locked:
        return None
    return {
        "unlocked": not entry.locked,
        "type": entry.key and entry.key.type,
        "matches_leaf": entry.matches,
    }
