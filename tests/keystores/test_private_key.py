"""Private keys, judged by OpenSSL."""

from __future__ import annotations

import math
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from agent.core.certificate import key_type
from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError
from agent.keystores import private_key
from tests.material import Ca, make_key, make_request
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

QUICK = (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048)
SLOW = (KeyAlgorithm.RSA_3072, KeyAlgorithm.RSA_4096)


def broken_rsa_key() -> bytes:
    """Return the PEM of a key whose private exponents are those of another public exponent."""
    whole = rsa.generate_private_key(65537, 2048).private_numbers()
    exponent = pow(65539, -1, math.lcm(whole.p - 1, whole.q - 1))
    mixed = rsa.RSAPrivateNumbers(
        p=whole.p,
        q=whole.q,
        d=exponent,
        dmp1=rsa.rsa_crt_dmp1(exponent, whole.p),
        dmq1=rsa.rsa_crt_dmq1(exponent, whole.q),
        iqmp=whole.iqmp,
        public_numbers=whole.public_numbers,
    )
    return private_key.to_pem(mixed.private_key(unsafe_skip_rsa_key_validation=True))


@pytest.mark.parametrize("algorithm", [*QUICK, *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW)])
def test_generate_makes_the_algorithm_that_openssl_reads(algorithm: KeyAlgorithm, tmp_path: Path) -> None:
    """Each algorithm of the settings becomes a key of that kind, and OpenSSL reads its file to the same public key."""
    key = private_key.generate(algorithm)
    assert key_type(key.public_key()) == algorithm
    path = tmp_path / "key.pem"
    path.write_bytes(private_key.to_pem(key))

    judged = subprocess.run(
        [need("openssl"), "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True, capture_output=True
    )
    assert judged.stdout == private_key.public_der(key)


@pytest.mark.parametrize("algorithm", QUICK)
def test_to_pem_is_unencrypted_pkcs8_that_from_pem_reads(algorithm: KeyAlgorithm) -> None:
    """What is written is PKCS#8 (RFC 5958) and comes back as the same key."""
    key = private_key.generate(algorithm)
    content = private_key.to_pem(key)
    assert content.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert private_key.to_pem(private_key.from_pem(content)) == content


def test_from_pem_finds_the_key_among_certificates() -> None:
    """In a combined file the key is found before or behind the certificates, with the line ends of Windows too."""
    key = make_key()
    certificate = Ca.root().leaf(make_request(), key)
    chain = certificate.x509.public_bytes(Encoding.PEM)
    pem = private_key.to_pem(key)
    for content in (pem + chain, chain + pem, (chain + pem).replace(b"\n", b"\r\n"), b"# the key\n" + pem):
        assert private_key.public_der(private_key.from_pem(content)) == certificate.public_key


def test_from_pem_reads_the_older_forms() -> None:
    """Keys that an operator wrote with older tools (PKCS#1, SEC 1) are read as well."""
    for algorithm in (KeyAlgorithm.RSA_2048, KeyAlgorithm.EC_P256):
        key = make_key(algorithm)
        old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        assert private_key.public_der(private_key.from_pem(old)) == private_key.public_der(key)


def refused_keys() -> dict[str, bytes]:
    """Return what is no key for us, by what it is."""
    key = make_key()
    pem = private_key.to_pem(key)
    no_encryption = NoEncryption()
    return {
        "empty": b"",
        "text": b"hello",
        "cut short": pem[: len(pem) // 2],
        "garbage within": pem.replace(pem[40:80], b"A" * 40),
        "encrypted": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        "Ed448": ed448.Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, no_encryption),
    }


def test_from_pem_refuses_what_is_no_usable_key_and_quotes_nothing_of_it() -> None:
    """Whatever is not a readable key of a kind that we use is a `MaterialError` without a byte of the content."""
    for what, content in refused_keys().items():
        with pytest.raises(MaterialError) as caught:
            private_key.from_pem(content)
        told = f"{caught.value.diagnosis()} {caught.value.__cause__}"
        body = [line for line in content.decode().splitlines() if line and not line.startswith("-----")]
        assert not any(line in told for line in body), what


def test_from_pem_refuses_an_rsa_key_that_does_not_sign() -> None:
    """An RSA key whose numbers do not belong together is refused, although its public half is whole."""
    with pytest.raises(MaterialError, match="do not belong together"):
        private_key.from_pem(broken_rsa_key())


def test_public_der_is_the_subject_public_key_info_of_the_leaf() -> None:
    """The public half is told in the form in which a certificate carries it, so the two can be compared."""
    for algorithm in QUICK:
        key = make_key(algorithm)
        leaf = Ca.root(key=ec.generate_private_key(ec.SECP256R1())).leaf(make_request(key=algorithm), key)
        assert private_key.public_der(key) == leaf.public_key
