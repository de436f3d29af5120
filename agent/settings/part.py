"""What every part of the settings has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of the settings; a key that it does not know is a mistake."""

    # Only what is used is built: no Vault without one, and the whole for its schema alone.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
