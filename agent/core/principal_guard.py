"""ACLs hang on the principal: a renewal that would change it is refused, unless the operator allows it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509

from agent.core.distinguished_name import java_name, java_releases_disagree
from agent.core.proof import Finding, Remedy
from agent.core.reload_rules import PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.broker import BrokerFacts
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted
    from agent.core.principal import Rules


def guard(
    wanted: Wanted, facts: BrokerFacts | None, before: Certificate | None, after: Certificate
) -> tuple[Finding, ...]:
    """Return why a new leaf would be another principal than the one in use, or why nobody can tell; nothing: it is not.

    The rules are those of the settings, else those of each TLS listener of the broker; where there is
    neither a broker nor a rule, nobody's ACLs are known to hang on the identity.
    """
    if before is None or wanted.principal.may_change:
        return ()
    from agent.core.principal import Effect, principal_change

    findings = []
    for whose, text, builder in _mappings(wanted, facts):
        change = principal_change(_rules(text), builder, before, after)
        if change.effect is not Effect.SAME:
            findings.append(Finding(PRINCIPAL, f"{whose}{change.what}", Remedy.PRINCIPAL))
    return tuple(dict.fromkeys(findings))


def principal_of(wanted: Wanted, facts: BrokerFacts | None, leaf: Certificate) -> str | None:
    """Return what Kafka makes of a leaf's subject; None where no rules are known, or listeners or Java differ on it."""
    # Each status asks for it: nothing is read where there are no rules, and what was told of a name once stays.
    found = {
        None if text is None or builder else _principal(text, leaf.subject.public_bytes())
        for _, text, builder in _mappings(wanted, facts)
    }
    return found.pop() if len(found) == 1 else None


def _mappings(wanted: Wanted, facts: BrokerFacts | None) -> Iterator[tuple[str, str | None, str]]:
    """Yield whose rules there are, the rules (None: not known), and a principal builder that heeds none."""
    if wanted.principal.rules is not None:
        yield "", wanted.principal.rules, ""
    elif wanted.broker is None:
        return
    elif facts is None:
        yield "", None, ""
    else:
        for listener in facts.listeners:
            if listener.protocol.is_tls:
                yield f"listener {listener.name}: ", listener.principal_rules, listener.principal_builder


LONGEST_RULES = 4000
"""Characters of rules that are previewed: those of a broker that sends more are not known."""


@lru_cache(maxsize=64)
def _rules(text: str | None) -> Rules | None:
    """Return rules as Kafka reads them, None where nobody here knows how it does."""
    from agent.core.principal import InvalidRulesError, Rules

    if text is None or len(text) > LONGEST_RULES:
        return None
    try:
        return Rules.parse(text)
    except InvalidRulesError:
        return None  # a broker runs with them all the same: it is not known how it reads them


@lru_cache(maxsize=1024)
def _principal(text: str, subject: bytes) -> str | None:
    """Return what rules make of a subject in DER."""
    name, rules = x509.Name.from_bytes(subject), _rules(text)
    if rules is None or java_releases_disagree(name):
        return None
    return rules.principal(java_name(name)).principal
