"""Certificates in PEM: read whatever is around them, written as OpenSSL reads them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError
from agent.keystores import pem, private_key
from tests.material import Ca, make_key, make_request
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.certificate import Certificate


@pytest.fixture(scope="module")
def certificates() -> tuple[Certificate, ...]:
    """Return a leaf, its intermediate and the root."""
    root = Ca.root()
    intermediate = root.intermediate()
    return (intermediate.leaf(make_request(), make_key()), intermediate.certificate, root.certificate)


def test_encode_is_what_openssl_writes(certificates: tuple[Certificate, ...]) -> None:
    """The bytes are those of OpenSSL, line for line: lines of 64, one line end."""
    for certificate in certificates:
        judged = subprocess.run(
            [need("openssl"), "x509", "-inform", "DER"], input=certificate.der, capture_output=True, check=True
        )
        assert pem.encode((certificate,)) == judged.stdout


@settings(deadline=None, max_examples=50)
@given(
    order=st.lists(st.integers(0, 2), max_size=5),
    around=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="-"), max_size=40), min_size=6),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
)
def test_decode_reads_the_certificates_in_their_order_whatever_text_is_around(
    certificates: tuple[Certificate, ...], order: list[int], around: list[str], line_end: bytes
) -> None:
    """Comments, subject lines, blank lines and the line ends of Windows change nothing."""
    wanted = tuple(certificates[index] for index in order)
    content = around[0].encode()
    for certificate, text in zip(wanted, around[1:], strict=False):
        content += b"\n" + pem.encode((certificate,)) + text.encode()
    assert pem.decode(content.replace(b"\n", line_end)) == wanted


def test_decode_passes_over_keys(certificates: tuple[Certificate, ...]) -> None:
    """In a combined file only the certificates are taken."""
    key = private_key.to_pem(make_key(KeyAlgorithm.EC_P256))
    assert pem.decode(key + pem.encode(certificates) + key) == certificates


def test_decode_reads_files_joined_without_a_line_end(certificates: tuple[Certificate, ...]) -> None:
    """What `cat` makes of files without a last line end loses no certificate."""
    joined = b"".join(pem.encode((certificate,)).rstrip() for certificate in certificates)
    assert pem.decode(joined) == certificates


def test_decode_reads_what_openssl_prints(certificates: tuple[Certificate, ...], tmp_path: Path) -> None:
    """A bundle with OpenSSL's text before each certificate is read."""
    path = tmp_path / "text.pem"
    judged = subprocess.run(
        [need("openssl"), "x509", "-inform", "DER", "-text", "-out", path], input=certificates[0].der, check=True
    )
    assert judged.returncode == 0
    assert pem.decode(path.read_bytes()) == certificates[:1]


def test_decode_of_no_certificate_is_empty() -> None:
    """A file without a certificate holds none; whether that is wrong, the caller knows."""
    assert pem.decode(b"") == ()
    assert pem.decode(b"# nothing here yet\n") == ()


def test_decode_names_the_block_that_is_wrong(certificates: tuple[Certificate, ...]) -> None:
    """Garbage in the second block is told as the second, and the first is not taken alone."""
    first, second = (pem.encode((certificate,)) for certificate in certificates[:2])
    lines = second.splitlines(keepends=True)
    with pytest.raises(MaterialError, match="certificate 2: "):
        pem.decode(first + lines[0] + b"".join(lines[3:]))
    with pytest.raises(MaterialError, match="certificate 2 is no base64"):
        pem.decode(first + lines[0] + b"=" + b"".join(lines[1:]))
    with pytest.raises(MaterialError, match="cut short"):
        pem.decode(first + b"".join(lines[:5]))
    with pytest.raises(MaterialError, match="no base64"):
        pem.decode(first + lines[0] + b"!" + b"".join(lines[1:]))


def test_decode_refuses_a_trusted_certificate_with_advice(certificates: tuple[Certificate, ...]) -> None:
    """OpenSSL's own format carries conditions that nobody here would heed, so it is not read as if it had none."""
    trusted = subprocess.run(
        [need("openssl"), "x509", "-inform", "DER", "-trustout", "-addreject", "serverAuth"],
        input=certificates[2].der,
        capture_output=True,
        check=True,
    ).stdout
    with pytest.raises(MaterialError) as caught:
        pem.decode(pem.encode(certificates[:1]) + trusted)
    assert "openssl x509" in caught.value.advice


def test_decode_refuses_a_file_beyond_all_measure() -> None:
    """A file of many megabytes is refused before it is taken apart."""
    with pytest.raises(MaterialError, match="larger than"):
        pem.decode(b"-----BEGIN CERTIFICATE-----\n" + b"A" * pem.LARGEST_FILE)
