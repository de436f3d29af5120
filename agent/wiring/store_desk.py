"""The verbs that look into a store, ours or a stranger's, without any configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.core.faults import findings
from agent.core.inspection import is_wrong, merged
from agent.errors import AgentError, MaterialError
from agent.net.secret import read_secret
from agent.stores.atomic import on_disk, read_bounded
from agent.stores.examined import examine, needs_password
from agent.stores.verification import verify as verify_directory
from agent.wiring import store_report
from agent.wiring.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from agent.core.inspection import Examined, Finding
    from agent.core.secret import Secret
    from agent.stores.verification import Verified

HOW_TO_GIVE_IT = "give it with --password-file FILE, or --password-environment NAME"


@dataclass(frozen=True, slots=True)
class Told:
    """What a verb has to say, as lines for people and as JSON values, and whether nothing is wrong."""

    sound: bool
    lines: tuple[str, ...]
    values: dict[str, Any]


def inspect(path: Path, secret: Secret | None, *, clock: Callable[[], datetime] = utc_now) -> Told:
    """Return what a store holds and what is wrong with it; of an identity's directory the current generation.

    It blocks. Raise `AgentError` when it cannot be read or does not open, and for what is no store.
    """
    now = clock()
    if _is_directory(path):
        verified = verify_directory(path, now, _password(secret))
        return Told(
            not is_wrong(verified.findings),
            store_report.of_directory(path, verified, now),
            store_report.directory_values(path, verified, now),
        )
    examined = _examined(path, _password(secret))
    found = merged(findings(examined, now))
    lines = (*store_report.of_file(path, examined, now), "", *store_report.of_findings(found))
    values = store_report.file_values(path, examined, now) | {"findings": store_report.finding_values(found)}
    return Told(not is_wrong(found), lines, values)


def verify(path: Path, secret: Secret | None, *, clock: Callable[[], datetime] = utc_now) -> Told:
    """Return only what is wrong with a store, or with the directory of an identity, and what is worth knowing.

    It blocks. Raise `AgentError` as `inspect` does.
    """
    found = _found(path, _password(secret), clock())
    values = {"path": str(path), "findings": store_report.finding_values(found)}
    return Told(not is_wrong(found), store_report.of_findings(found), values)


def _found(path: Path, password: str | None, now: datetime) -> tuple[Finding, ...]:
    if _is_directory(path):
        verified: Verified = verify_directory(path, now, password)
        return verified.findings
    return merged(findings(_examined(path, password), now))


def _examined(path: Path, password: str | None) -> Examined:
    with on_disk("reading the store", path):
        try:
            content = read_bounded(path)
        except FileNotFoundError:
            raise AgentError(
                f"there is no {path}", advice="name a file that is a store, or a directory that the agent keeps"
            ) from None
        except MaterialError as error:
            raise MaterialError(f"{path}: {error.what}", advice="name a file that is a store") from None
    try:
        return examine(content, password)
    except MaterialError as error:
        lacks_password = password is None and needs_password(content)
        raise AgentError(f"{path}: {error.what}", advice=HOW_TO_GIVE_IT if lacks_password else error.advice) from None


def _is_directory(path: Path) -> bool:
    with on_disk("looking for the store", path):
        return path.is_dir()


def _password(secret: Secret | None) -> str | None:
    return None if secret is None else read_secret(secret)
