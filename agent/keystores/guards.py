"""What holds for a store of any format before it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import MaterialError
from agent.keystores import private_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.certificate import Certificate
    from agent.keystores.material import PrivateKey


def check_pair(key: PrivateKey, chain: Sequence[Certificate]) -> None:
    """Raise `MaterialError` for a key that is not that of the leaf, the first of the chain."""
    if not chain or private_key.public_der(key) != chain[0].public_key:
        raise MaterialError("the private key is not that of the leaf")


def check_anchors(anchors: Sequence[Certificate]) -> None:
    """Raise `MaterialError` when there are none: a truststore without an anchor would trust nobody."""
    if not anchors:
        raise MaterialError(
            "there is no trust anchor to put into the truststore", advice="an empty truststore trusts nobody"
        )


def anchor_alias(anchor: Certificate) -> str:
    """Return the alias of an anchor in a truststore: the start of its fingerprint, the same at every renewal."""
    return anchor.fingerprint[:16]
