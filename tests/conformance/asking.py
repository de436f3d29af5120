"""What a CA is asked for, and what is made of its answer before the switch."""

from __future__ import annotations

import itertools
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from agent.core.chain import order
from agent.core.generation import Pending
from agent.core.proof import Candidate, prove
from agent.keystores import private_key, signing_request
from tests.material import make_key, make_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.certificate import Certificate
    from agent.core.generation import Issued
    from agent.core.identity import KeyAlgorithm, Request
    from agent.core.proof import Finding
    from agent.errors import IssuanceError
    from agent.keystores.material import PrivateKey

LONGEST_SENTENCE = 1000
"""Characters of what happened and what to do; a stranger's words are cut."""

_numbers = itertools.count()


@lru_cache
def key_of(algorithm: KeyAlgorithm) -> PrivateKey:
    """Make a key of each kind once: a large RSA key takes a second."""
    return make_key(algorithm)


def pending_for(request: Request | None = None) -> Pending:
    """Make a pending order with a token of its own and its CSR, as the store does."""
    request = request or make_request()
    key = key_of(request.key)
    return Pending(
        request=request,
        issuer="ca",
        token=f"{next(_numbers):032x}",
        made_at=datetime.now(UTC),
        public_key=private_key.public_der(key),
        csr=signing_request.make(key, request),
    )


def chain_of(issued: Issued) -> tuple[Certificate, ...]:
    """Return the chain that would be written, the leaf first."""
    leaf, *others = issued.certificates
    return order(leaf, others)


def refuted(
    pending: Pending, issued: Issued, anchors: Sequence[Certificate], now: datetime | None = None
) -> tuple[Finding, ...]:
    """Return what the proof has against an answer; nothing: it would become current."""
    candidate = Candidate(pending.request, chain_of(issued), pending.public_key, tuple(anchors))
    return prove(candidate, now or datetime.now(UTC))


def assert_telling(error: IssuanceError, secrets: Sequence[str]) -> None:
    """Assert that an error can be shown: a reason, a short line, and no secret, in its causes neither."""
    told = error.diagnosis()
    assert error.reason
    assert told.isprintable(), repr(told[:LONGEST_SENTENCE])
    assert len(told) < LONGEST_SENTENCE
    everything = "".join(traceback.format_exception(error))
    assert not [number for number, secret in enumerate(secrets) if secret in everything]
