"""`generation.json`: what a generation was made for, what the CA answered, and the sums of its files."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.core.certificate import Certificate
from agent.core.generation import Cause, FileRecord, Generation, Issued, Order, Pending
from agent.core.identity import Request
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAME = "generation.json"
FORMAT = 1
"""A manifest of a later format was written by a later agent, and is not read by this one."""

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, MaterialError, RecursionError)
"""What comes of values that are not those that were written."""


def encode(generation: Generation) -> bytes:
    """Return the manifest."""
    return _dump(
        {
            "format": FORMAT,
            "number": generation.number,
            "cause": generation.cause,
            "request": generation.request.as_json(),
            "issuer": generation.issuer,
            "issued_at": generation.issued_at.isoformat(),
            "made_at": generation.made_at.isoformat(),
            "layout": generation.layout,
            "chain": texts(generation.chain),
            "anchors": texts(generation.anchors),
            "files": [
                {"name": file.name, "sha256": file.sha256} | ({"edited": True} if file.edited else {})
                for file in generation.files
            ],
            "remarks": list(generation.remarks),
            "anchor": generation.anchor and texts([generation.anchor])[0],
        }
    )


def decode(content: bytes) -> Generation:
    """Read a manifest; raise `MaterialError` when it is none."""
    try:
        values = _load(content)
        chain = certificates(values["chain"])
        if not chain:
            raise ValueError("no leaf")
        return Generation(
            number=int(values["number"]),
            cause=Cause(values["cause"]),
            request=Request.from_json(values["request"]),
            issuer=str(values["issuer"]),
            chain=chain,
            anchors=certificates(values["anchors"]),
            issued_at=_instant(values["issued_at"]),
            made_at=_instant(values["made_at"]),
            layout=str(values["layout"]),
            files=tuple(
                FileRecord(_plain(file["name"]), str(file["sha256"]), bool(file.get("edited")))
                for file in values["files"]
            ),
            remarks=tuple(map(str, values.get("remarks", ()))),
            anchor=certificates([values["anchor"]])[0] if values.get("anchor") else None,
        )
    except UNREADABLE as error:
        raise MaterialError(f"the manifest cannot be read: {error}") from error


def encode_pending(pending: Pending, key: bytes) -> bytes:
    """Return what is noted of a pending key, the key (PEM) with it: the file is for the agent alone."""
    answer = None
    if pending.issued is not None:
        answer = {
            "certificates": texts(pending.issued.certificates),
            "at": pending.issued.at.isoformat(),
            "remarks": list(pending.issued.remarks),
        }
    return _dump(
        {
            "format": FORMAT,
            "request": pending.request.as_json(),
            "issuer": pending.issuer,
            "token": pending.token,
            "made_at": pending.made_at.isoformat(),
            "key": key.decode(),
            "csr": base64.b64encode(pending.csr).decode(),
            "order": {
                "asked_at": pending.order.asked_at and pending.order.asked_at.isoformat(),
                "receipt": pending.order.receipt,
            },
            "answer": answer,
        }
    )


def decode_pending(content: bytes) -> tuple[bytes, Callable[[bytes], Pending]]:
    """Return the pending key (PEM), and what makes the notes once the key's public half (DER) is known.

    Raise `MaterialError` when they cannot be read.
    """
    try:
        values = _load(content)
        answer = values["answer"]
        issued = None
        if answer is not None:
            issued = Issued(
                certificates=certificates(answer["certificates"]),
                at=_instant(answer["at"]),
                remarks=tuple(map(str, answer["remarks"])),
            )
            if not issued.certificates:
                raise ValueError("an answer without a certificate")
        key = str(values["key"]).encode()
        order = values.get("order") or {}
        asked_at = order.get("asked_at")
        notes = partial(
            Pending,
            request=Request.from_json(values["request"]),
            issuer=str(values["issuer"]),
            token=str(values["token"]),
            made_at=_instant(values["made_at"]),
            csr=base64.b64decode(values["csr"], validate=True),
            order=Order(None if asked_at is None else _instant(asked_at), str(order.get("receipt", ""))),
            issued=issued,
        )
    except UNREADABLE as error:
        # The content holds a key: nothing of it is quoted.
        raise MaterialError(f"the notes of a pending key cannot be read ({type(error).__name__})") from None
    return key, lambda public_key: notes(public_key=public_key)


def _dump(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _load(content: bytes) -> dict[str, Any]:
    values = json.loads(content)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"it is not of format {FORMAT}")
    return values


def texts(chain: Iterable[Certificate]) -> list[str]:
    """Return certificates as base64 of their DER."""
    return [base64.b64encode(certificate.der).decode() for certificate in chain]


def certificates(encoded: list[str]) -> tuple[Certificate, ...]:
    """Read what `texts` wrote; raise one of `UNREADABLE` for anything else."""
    return tuple(Certificate.from_der(base64.b64decode(text, validate=True)) for text in encoded)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("a time without a zone")
    return instant


def _plain(name: str) -> str:
    if "/" in name or name in ("", ".", ".."):
        raise ValueError("a file name that leaves the directory")
    return name
