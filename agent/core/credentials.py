"""A certificate and its key, as the agent shows them in handshakes of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the agent shows, and whom it trusts; `key` is PKCS#8 in DER and leaves the process in no form.

    `chain` is leaf first, without the anchor; `anchors` are those of the identity's truststores.
    """

    key: bytes = field(repr=False)
    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...] = ()

    @property
    def leaf(self) -> Certificate:
        """The certificate itself."""
        return self.chain[0]
