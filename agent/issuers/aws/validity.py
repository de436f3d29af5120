"""How long a leaf of AWS Private CA is asked for: the `Validity` of `IssueCertificate`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agent.core.issuer_spec import NearEnd
from agent.errors import IssuerRefusedError

DAY = timedelta(days=1)

SHORT_LIVED = timedelta(days=7)
"""The longest life of a leaf of a CA in the mode SHORT_LIVED_CERTIFICATE."""

BEFORE_THE_END = timedelta(seconds=1)
"""How far before the CA's own end a shortened leaf ends."""


@dataclass(frozen=True, slots=True)
class Validity:
    """What is put into the call, and what there is to remark on it."""

    kind: str
    value: int
    remarks: tuple[str, ...] = ()

    def parameter(self) -> dict[str, Any]:
        """Return it as the call wants it."""
        return {"Type": self.kind, "Value": self.value}


def validity(
    lifetime: timedelta, now: datetime, ca_end: datetime | None, policy: NearEnd, *, short_lived: bool
) -> Validity:
    """Return days for whole days, else the instant of the end in seconds of the epoch.

    A relative validity is one day at least, and hours cut down to days would be none. Where the
    CA ends first, or gives no more than a week, the leaf is shortened or refused, by `policy`.
    Raise `IssuerRefusedError` for the latter, and for a CA that has ended.
    """
    if ca_end is not None and ca_end <= now:
        raise IssuerRefusedError(
            f"the CA's own certificate ended at {ca_end:%Y-%m-%d %H:%M:%SZ}",
            advice="have a new certificate imported for the CA, or name another CA",
            reason="authority",
        )
    end, why = now + lifetime, ""
    if ca_end is not None and end > ca_end - BEFORE_THE_END:
        end, why = ca_end - BEFORE_THE_END, f"the CA itself ends at {ca_end:%Y-%m-%d %H:%M:%SZ}"
    if short_lived and end > now + SHORT_LIVED:
        end, why = now + SHORT_LIVED, "the CA is of the mode SHORT_LIVED_CERTIFICATE, which gives seven days at most"
    if not why:
        if lifetime >= DAY and lifetime % DAY == timedelta():
            return Validity("DAYS", lifetime // DAY)
        return Validity("ABSOLUTE", _second(end))
    wish = f"{lifetime.total_seconds() / 86400:.3g} days are wanted"
    if policy is NearEnd.REFUSE:
        raise IssuerRefusedError(
            f"no leaf is asked for: {wish}, and {why}",
            advice="ask for a shorter `lifetime`, have the CA renewed, or set `near_end: shorten`",
            reason="authority",
        )
    if why.startswith("the CA is of"):
        return Validity("DAYS", SHORT_LIVED // DAY, (f"the leaf is shortened: {wish}, and {why}",))
    return Validity("ABSOLUTE", _second(end), (f"the leaf is shortened: {wish}, and {why}",))


def _second(moment: datetime) -> int:
    """Return whole seconds of the epoch; a begun one is given in full, so that the lifetime is kept."""
    return -int(-moment.timestamp() // 1)
