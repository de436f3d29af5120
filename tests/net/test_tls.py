"""What the agent trusts when it asks over HTTPS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.errors import TrustError
from agent.net.tls import client_context
from tests.material import Ca

if TYPE_CHECKING:
    from pathlib import Path


def test_client_context_trusts_the_file_and_nothing_else(tmp_path: Path) -> None:
    """With a file the system's bundle is not loaded beside it."""
    root = Ca.root()
    file = tmp_path / "ca.pem"
    file.write_bytes(root.certificate.x509.public_bytes(Encoding.PEM))
    context = client_context(file)
    assert context.get_ca_certs(binary_form=True) == [root.certificate.der]
    assert context.verify_mode is ssl.VerifyMode.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_client_context_tells_a_file_without_a_ca(tmp_path: Path, content: bytes) -> None:
    """An empty file, text and a broken certificate are told with the path."""
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(TrustError, match=r"ca\.pem holds no CA certificate in PEM"):
        client_context(file)
