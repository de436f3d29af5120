"""What key material is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.certificate import Certificate

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
"""The private keys that the agent makes and reads."""


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One entry of a store: a key with its chain, leaf first, or a certificate.

    `trusted` says that a reader takes the certificate as an anchor, `locked` that there is a key
    which could not be decrypted (`key` is None then). `made_at` is the date that the store gives.
    """

    alias: str
    key: PrivateKey | None = field(repr=False)
    chain: tuple[Certificate, ...]
    trusted: bool = False
    made_at: datetime | None = None
    locked: bool = False
