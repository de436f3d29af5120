"""Certificates in PEM (RFC 7468)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from agent.core.certificate import Certificate
from agent.errors import MaterialError
from agent.keystores import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST_FILE = limits.LARGEST_FILE
"""Bytes; larger files are not taken apart."""

# A block may begin where the one before it ends: files joined without a last line end are read as what they are.
_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_BLOCK = re.compile(_BEGIN.pattern + rb"([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----")


def encode(certificates: Iterable[Certificate]) -> bytes:
    """Return the certificates as PEM blocks, in their order."""
    return b"".join(block("CERTIFICATE", certificate.der) for certificate in certificates)


def block(label: str, der: bytes) -> bytes:
    """Return one block under its label, in lines of 64."""
    text = base64.b64encode(der)
    lines = b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), lines, label.encode())


def decode(content: bytes) -> tuple[Certificate, ...]:
    """Return all certificates of a PEM file, in their order; text around them and keys are passed over.

    Raise `MaterialError` for a block that is none, naming which, and for OpenSSL's own
    `TRUSTED CERTIFICATE`, whose conditions nobody here would heed.
    """
    limits.check_size(content, LARGEST_FILE, "a PEM file")
    if b"-----BEGIN TRUSTED CERTIFICATE-----" in content:
        raise MaterialError(
            "it holds a TRUSTED CERTIFICATE, a format of OpenSSL alone",
            advice="write it as a plain one with `openssl x509 -in old.pem -out new.pem`",
        )
    blocks = _BLOCK.findall(content)
    if len(blocks) != len(_BEGIN.findall(content)):
        raise MaterialError("a certificate block is cut short or holds what is no base64")
    certificates = []
    for number, text in enumerate(blocks, 1):
        try:
            der = base64.b64decode(b"".join(text.split()), validate=True)
            certificates.append(Certificate.from_der(der))
        except binascii.Error:
            raise MaterialError(f"certificate {number} is no base64") from None
        except MaterialError as error:
            raise MaterialError(f"certificate {number}: {error.what}") from error
    return tuple(certificates)
