"""The remarks that several of the rendered files hold."""

from __future__ import annotations

DO_NOT_EDIT = "Written by cert-agent, which replaces it at each renewal: do not edit."

LEFT_TO_CLIENT = "The SASL half is left to you: sasl.mechanism and sasl.jaas.config."

WITHOUT_KEYSTORE = "If the listener asks for no client certificate, the lines of the keystore may be left out."


def comments(*sentences: str) -> list[str]:
    """Return lines of comment, in the syntax that properties files, YAML and librdkafka's files share."""
    return [f"# {sentence}".rstrip() for sentence in sentences]
