"""ACLs hang on the principal: a renewal that would change it is refused, unless the operator allows it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from agent.core.distinguished_name import java_name, java_releases_disagree
from agent.core.principal import Effect, InvalidRulesError, Rules, principal_change
from agent.core.proof import Finding, Remedy
from agent.core.reload_rules import PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.broker import BrokerFacts
    from agent.core.certificate import Certificate
    from agent.core.configuration import Wanted


def guard(
    wanted: Wanted, facts: BrokerFacts | None, before: Certificate | None, after: Certificate
) -> tuple[Finding, ...]:
    """Return why a new leaf would be another principal than the one in use, or why nobody can tell; nothing: it is not.

    The rules are those of the settings, else those of each TLS listener of the broker; where there is
    neither a broker nor a rule, nobody's ACLs are known to hang on the identity.
    """
    if before is None or wanted.principal.may_change:
        return ()
    findings = []
    for whose, rules, builder in _mappings(wanted, facts):
        change = principal_change(rules, builder, before, after)
        if change.effect is not Effect.SAME:
            findings.append(Finding(PRINCIPAL, f"{whose}{change.what}", Remedy.PRINCIPAL))
    return tuple(dict.fromkeys(findings))


def principal_of(wanted: Wanted, facts: BrokerFacts | None, leaf: Certificate) -> str | None:
    """Return what Kafka makes of a leaf's subject; None where no rules are known, or listeners or Java differ on it."""
    if java_releases_disagree(leaf.subject):
        return None
    name = java_name(leaf.subject)
    found = {
        rules.principal(name).principal if rules is not None and not builder else None
        for _, rules, builder in _mappings(wanted, facts)
    }
    return found.pop() if len(found) == 1 else None


def _mappings(wanted: Wanted, facts: BrokerFacts | None) -> Iterator[tuple[str, Rules | None, str]]:
    """Yield whose rules there are, the rules (None: not known), and a principal builder that heeds none."""
    if wanted.principal.rules is not None:
        yield "", _rules(wanted.principal.rules), ""
    elif wanted.broker is None:
        return
    elif facts is None:
        yield "", None, ""
    else:
        for listener in facts.listeners:
            if listener.protocol.is_tls:
                whose = f"listener {listener.name}: "
                yield whose, _rules(listener.principal_rules), listener.principal_builder


LONGEST_RULES = 4000
"""Characters of rules that are previewed: those of a broker that sends more are not known."""


@lru_cache(maxsize=64)
def _rules(text: str) -> Rules | None:
    """Return rules as Kafka reads them, once for each text: each status asks for them."""
    if len(text) > LONGEST_RULES:
        return None
    try:
        return Rules.parse(text)
    except InvalidRulesError:
        return None  # a broker runs with them all the same: it is not known how it reads them
