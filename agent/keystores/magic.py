"""The first bytes that tell Java's own formats, apart from the readers, which are imported where they are needed."""

from __future__ import annotations

JKS = bytes.fromhex("feedfeed")
JCEKS = bytes.fromhex("cececece")
"""JKS with stronger keys, which the agent does not read."""
