"""What the probes are told: `/livez` and `/readyz` in the manner of Kubernetes, `/healthz` as health+json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.status import Health
from agent.web.status_json import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.status import AgentStatus, IdentityStatus


def live(status: AgentStatus) -> tuple[bool, str]:
    """Return whether the loop turns, and the text that says so."""
    return status.turning, "ok\n" if status.turning else "the loop does not turn\n"


def ready(status: AgentStatus, *, verbose: bool) -> tuple[bool, str]:
    """Return whether every identity is ready, and the text that says so; `verbose` names each, and why not."""
    if verbose:
        return status.ready, "".join(f"{line}\n" for line in _checks(status))
    if status.ready:
        return True, "ok\n"
    names = [identity.name for identity in status.identities if identity.not_ready]
    failed = ([] if status.turning else ["the loop"]) + names
    return False, f"not ready: {', '.join(failed)}\nsee /readyz?verbose\n"


def _checks(status: AgentStatus) -> Iterator[str]:
    yield "[+]loop ok" if status.turning else "[-]loop failed: it does not turn"
    for identity in status.identities:
        why = "; ".join(map(_one_line, identity.not_ready))
        yield f"[-]{identity.name} failed: {why}" if why else f"[+]{identity.name} ok"
    yield "readyz check passed" if status.ready else "readyz check failed"


def health(status: AgentStatus) -> tuple[bool, dict[str, Any]]:
    """Return whether the agent passes, and the document (draft-inadarei-api-health-check-06).

    `warn` passes: readers are well served, and a person should have a look.
    """
    document = {
        "status": str(status.health),
        "version": status.version.partition(".")[0],
        "releaseId": status.version,
        "serviceId": status.host,
        "description": "keeps the TLS identities of a Kafka host",
        "checks": {
            "loop:lag": [
                {
                    "componentType": "system",
                    "observedValue": round(status.loop_lag_seconds, 3),
                    "observedUnit": "s",
                    "status": str(Health.PASS if status.turning else Health.FAIL),
                    "time": rfc3339(status.now),
                    **({} if status.turning else {"output": "the loop does not turn"}),
                }
            ],
            **{f"{identity.name}:lifetime": [_check(identity, status)] for identity in status.identities},
        },
    }
    return status.health is not Health.FAIL, document


def _check(identity: IdentityStatus, status: AgentStatus) -> dict[str, Any]:
    check: dict[str, Any] = {"componentType": "component", "status": str(identity.health), "time": rfc3339(status.now)}
    if identity.leaf is not None:
        check["observedValue"] = int((identity.leaf.not_after - status.now).total_seconds())
        check["observedUnit"] = "s"
    troubles = (*identity.not_ready, *identity.concerns)
    # The draft asks for no output where all is well.
    if identity.health is not Health.PASS and troubles:
        check["output"] = "; ".join(troubles)
    return check


def _one_line(sentence: str) -> str:
    """Return the sentence without line ends: a line is a check of its own."""
    return " ".join(sentence.split())
