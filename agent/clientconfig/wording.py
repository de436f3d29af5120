"""The remarks that several of the rendered files hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.files import ReaderConfiguration

DO_NOT_EDIT = "Written by cert-agent, which replaces it at each renewal: do not edit."

LEFT_TO_CLIENT = "The SASL half is left to you: sasl.mechanism and sasl.jaas.config."

WITHOUT_KEYSTORE = "If the listener asks for no client certificate, the lines of the keystore may be left out."


def head(wanted: ReaderConfiguration, left_to_user: str) -> list[str]:
    """Return the comments that a client's file begins with; with SASL they say what is left to the user."""
    lines = comments(DO_NOT_EDIT)
    if wanted.sasl:
        lines += comments(left_to_user)
        if wanted.keystore is not None:
            lines += comments(WITHOUT_KEYSTORE)
    return lines


def protocol(wanted: ReaderConfiguration) -> str:
    """Return the security protocol as Kafka names it."""
    return "SASL_SSL" if wanted.sasl else "SSL"


def comments(*sentences: str) -> list[str]:
    """Return lines of comment, in the syntax that properties files, YAML and librdkafka's files share."""
    return [f"# {sentence}".rstrip() for sentence in sentences]
