"""A generation: one directory with every file of an identity, as values.

What stands on disk is read into these by `stores`; `core` compares them with what is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate
    from agent.core.identity import Request


FOLDER = ".generations"
"""Where generations are, below an identity's directory."""


def generation_folder(number: int) -> str:
    """Return the folder of a generation, below an identity's directory."""
    return f"{FOLDER}/{number:06d}"


class Cause(StrEnum):
    """What a generation changed; anchors and leaf never change in one (Kafka refuses both at once)."""

    LEAF = "leaf"
    ANCHORS = "anchors"
    FILES = "files"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a generation: its name below the directory, and the SHA-256 of its bytes (hex).

    `edited` marks a truststore that a person changed by hand and that is carried along as it is.
    """

    name: str
    sha256: str
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """One whole set of files, its material and what it was made for.

    `chain` is leaf first and carries no anchor; `anchor` is the one that it was proven to lead to,
    `anchors` are what the truststores hold. `issuer` is empty where nobody knows it.
    `issued_at` is when the CA answered, `made_at` when the directory was written.
    `layout` tells the wanted files apart: a digest of all that would have them written otherwise.
    `remarks` are what the CA remarked on when it issued the leaf.
    """

    number: int
    cause: Cause
    request: Request
    issuer: str
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]
    issued_at: datetime
    made_at: datetime
    layout: str
    files: tuple[FileRecord, ...]
    remarks: tuple[str, ...] = ()
    anchor: Certificate | None = None

    @property
    def leaf(self) -> Certificate:
        """The certificate of the identity itself."""
        return self.chain[0]

    def is_edited(self, name: str) -> bool:
        """Return whether a person has edited the truststore of that name, which then holds a list of its own."""
        return any(file.name == name and file.edited for file in self.files)


class Damage(StrEnum):
    """What is wrong with a file of the current generation."""

    MISSING = "missing"
    ALTERED = "altered"
    UNREADABLE = "unreadable"
    EDITED_TRUSTSTORE = "edited truststore"
    WRONG_LINK = "not our link"


@dataclass(frozen=True, slots=True)
class FileDamage:
    """A file that is not as the manifest has it, by its name below the identity's directory."""

    name: str
    damage: Damage
    detail: str = ""

    def __str__(self) -> str:
        """Return the damage as a phrase."""
        return f"{self.name} is {self.damage}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Issued:
    """A CA's answer: certificates as they came, and what the CA remarked on (a shortened TTL, say)."""

    certificates: tuple[Certificate, ...]
    at: datetime
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What is known of a question that was put to a CA and has no answer yet.

    `asked_at` is set before a call that may be paid for, and taken back when the CA is known to
    have done nothing: the outcome of that call is open. `receipt` is what the CA calls the
    certificate that it is making (the ARN of AWS Private CA).
    """

    asked_at: datetime | None = None
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A key and its CSR on disk, between asking a CA and the switch.

    `token` makes a repeated call one certificate where a CA knows such a thing;
    `public_key` is the DER of the key's SubjectPublicKeyInfo, `csr` the DER of the request.
    """

    request: Request
    issuer: str
    token: str
    made_at: datetime
    public_key: bytes = field(repr=False)
    csr: bytes = field(repr=False)
    issued: Issued | None = None
    order: Order = Order()


@dataclass(frozen=True, slots=True)
class Adoptable:
    """Plain files of an earlier life, where our links belong, that hold a key and its leaf.

    `names` are those that are kept as they are; `chain` is leaf first and carries no anchor;
    `truststores` are the names of those among them, with what each holds. `remarks` are what a
    person should know.
    """

    names: tuple[str, ...]
    chain: tuple[Certificate, ...]
    truststores: tuple[tuple[str, tuple[Certificate, ...]], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def anchors(self) -> tuple[Certificate, ...]:
        """What its truststores hold together."""
        return tuple(dict.fromkeys(anchor for _, anchors in self.truststores for anchor in anchors))

    @property
    def leaf(self) -> Certificate:
        """The certificate that readers find."""
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class Disk:
    """What an identity's directory holds, as it was just read.

    `current` is None when nothing is current or it cannot be read; `trouble` then says why.
    `key` is the DER of the public half of the current generation's private key, None when the
    key is lost. `kept` are the other whole generations, newest first. `adoptable` is looked for
    only where nothing is current. `switched_at` is when the current generation became current, `edited`
    what the truststores hold that a person has edited, by name.
    """

    current: Generation | None = None
    key: bytes | None = field(default=None, repr=False)
    damages: tuple[FileDamage, ...] = ()
    kept: tuple[Generation, ...] = ()
    pending: Pending | None = None
    trouble: str = ""
    adoptable: Adoptable | None = None
    switched_at: datetime | None = None
    edited: tuple[tuple[str, tuple[Certificate, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation to be written: what it changes and all of its material but the key.

    The key is the pending one when `cause` is `Cause.LEAF`, else the current generation's.
    `carry` names edited truststores whose bytes are taken over as they are. `anchor` is where the
    chain leads to, for files that carry it.
    """

    cause: Cause
    request: Request
    issuer: str
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]
    issued_at: datetime
    carry: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    anchor: Certificate | None = None
