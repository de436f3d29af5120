"""What goes when a truststore that was edited by hand is written anew: CAs that a person's edit alone has there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.anchors import by_fingerprint, ca_id
from agent.core.chain import name_of
from agent.core.evidence import Verdict
from agent.core.testimony import FRESH, Question

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.rotation_view import RotationView


def added_by_edits(rotation: RotationView) -> tuple[Certificate, ...]:
    """Return the anchors of edited truststores whose CAs would be gone from them, were the edits taken back now.

    What is accepted and may enter at once is gone for no longer than a switch takes.
    """
    situation = rotation.situation
    opens = situation.changes_from
    enters = rotation.wanted_anchors if opens is not None and opens <= situation.now else ()
    stays = {ca_id(one) for one in (*rotation.current.anchors, *enters)}
    edited = (one for _, anchors in situation.observed.disk.edited for one in anchors)
    return by_fingerprint(one for one in edited if ca_id(one) not in stays)


def user_of(anchor: Certificate, rotation: RotationView) -> str | None:
    """Return a peer that is shown to use a leaf of an anchor's CA; None where none is shown to.

    Of a CA that no source shows the name is all that a peer's leaf tells.
    """
    peers, now = rotation.peers, rotation.situation.now
    for one, left in zip(peers.testimonies, peers.verdicts(Question.LEFT, ca_id(anchor), now), strict=True):
        is_ahead = abs(now - one.at) <= FRESH and one.ahead == name_of(anchor)
        if left is Verdict.REFUTED or is_ahead:
            return one.peer
    return None
