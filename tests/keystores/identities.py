"""Identities for the tests of stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.core.identity import KeyAlgorithm
from tests.material import Ca, make_key, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.keystores.material import PrivateKey

PASSWORD = "correct horse battery"  # noqa: S105 - made up for the tests

ALGORITHMS = (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519)


@dataclass(frozen=True)
class Identity:
    """A key with its leaf, two intermediates and two anchors."""

    key: PrivateKey = field(repr=False)
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]


def make_identity(algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> Identity:
    """Make key, chain and anchors."""
    root = Ca.root()
    intermediate = root.intermediate()
    lower = intermediate.intermediate("CN=Test Lower,O=MyOrg")
    key = make_key(algorithm)
    leaf = lower.leaf(make_request(key=algorithm), key)
    anchors = (root.certificate, Ca.root("CN=Other Root,O=Elsewhere").certificate)
    return Identity(key, (leaf, lower.certificate, intermediate.certificate), anchors)
