"""Private keys, judged by OpenSSL."""

from __future__ import annotations

import base64
import math
import subprocess
import time
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
from agent.core.files import Encryption
from agent.core.identity import KeyAlgorithm
from agent.errors import MaterialError
from agent.keystores import der, limits, pem, private_key
from tests.judges.keys import ask
from tests.keystores import parts
from tests.keystores.hostile import DH, DSA, HOURS, discrete_key, rebuilt, rsa_key
from tests.keystores.identities import PASSWORD
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


LONG_KEYS = {
    "RSA of 20,000 bits": (rsa_key(20_000, sound=False), "has 20000 bits"),
    "RSA just too long": (rsa_key(8_200), "has 8200 bits"),
    "RSA with other primes": (rsa_key(2_048, 16_000, sound=False), "do not belong together"),
    "DSA": (discrete_key(DSA, 16_000), "of a kind that the agent does not use"),
    "DH": (discrete_key(DH, 16_000), "of a kind that the agent does not use"),
}


@pytest.mark.parametrize("name", LONG_KEYS)
def test_no_key_is_tried_that_would_take_long(name: str) -> None:
    """Nor one that the library fails at by itself; in DER, and in PEM as PKCS#8, as PKCS#1 and encrypted."""
    content, what = LONG_KEYS[name]
    algorithm, encrypted = parts.locked(content)
    files = {
        "PRIVATE KEY": content,
        "ENCRYPTED PRIVATE KEY": parts.sequence(algorithm, parts.octets(encrypted)),
        "RSA PRIVATE KEY": der.Reader().first(content).child(2).octets,
    }
    if not name.startswith("RSA"):
        del files["RSA PRIVATE KEY"]
    started = time.monotonic()
    with pytest.raises(MaterialError, match=what):
        private_key.from_der(content)
    for label, body in files.items():
        block = pem.block(label, body)
        # In base64 the longest are larger than any key, and so not even decoded.
        told = what if len(block) <= limits.LARGEST_KEY else "is larger than"
        with pytest.raises(MaterialError, match=told):
            private_key.from_pem(block, PASSWORD)
    assert time.monotonic() - started < 1


def test_a_key_of_8192_bits_is_tried() -> None:
    """It is the longest that is: its numbers are looked at, and in this one they are nonsense."""
    with pytest.raises(MaterialError, match="do not belong together"):
        private_key.from_der(rsa_key(8_192))


def openssl_reads(content: bytes) -> bytes:
    """Return the unencrypted PKCS#8 in DER that OpenSSL makes of an encrypted one in PEM."""
    command = [need("openssl"), "pkcs8", "-passin", f"pass:{PASSWORD}", "-outform", "DER"]
    return subprocess.run([*command, "-topk8", "-nocrypt"], input=content, check=True, capture_output=True).stdout


@pytest.mark.parametrize("algorithm", QUICK)
@pytest.mark.parametrize(
    ("encryption", "named"),
    [
        (Encryption.STRONG, ("PBES2", "hmacWithSHA256", "aes-256-cbc")),
        (Encryption.COMPATIBLE, ("pbeWithSHA1And3-Key",)),
    ],
)
def test_to_pem_encrypts_as_openssl_reads(
    algorithm: KeyAlgorithm, encryption: Encryption, named: tuple[str, ...]
) -> None:
    """With a password it is an encrypted PKCS#8, of which OpenSSL and we read the same key."""
    key = private_key.generate(algorithm)
    content = private_key.to_pem(key, PASSWORD, encryption)
    assert content.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert openssl_reads(content) == private_key.to_der(key)
    assert private_key.to_der(private_key.from_pem(content, PASSWORD)) == private_key.to_der(key)
    printed = subprocess.run([need("openssl"), "asn1parse"], input=content, check=True, capture_output=True).stdout
    assert all(name in printed.decode() for name in named)


@pytest.mark.slow
def test_to_pem_compatible_is_what_kafka_on_java_17_reads_and_strong_is_not(tmp_path: Path) -> None:
    """Read with Kafka's own steps: 3DES opens for RSA and EC; for PBES2 Java 17 has no factory by that name."""
    algorithms = (KeyAlgorithm.RSA_2048, KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384)
    requests = []
    for algorithm in algorithms:
        for encryption in Encryption:
            path = tmp_path / f"{algorithm}-{encryption}.pem"
            path.write_bytes(private_key.to_pem(make_key(algorithm), PASSWORD, encryption))
            requests.append((encryption, ("pem", path, PASSWORD)))
    wrong = ("pem", tmp_path / "ec-p256-compatible.pem", "another")
    *answers, refused = ask(*(request for _, request in requests), wrong)
    for answer, (encryption, _), kind in zip(answers, requests, ["RSA", "RSA", "EC", "EC", "EC", "EC"], strict=True):
        if encryption is Encryption.COMPATIBLE:
            assert answer == kind
        else:
            assert "PBES2 SecretKeyFactory not available" in answer
    assert refused.startswith("error")


def test_to_pem_refuses_a_password_that_java_could_not_use() -> None:
    """Java calls such a password incorrect, so it is refused before a key is written, and is not told."""
    for password in ("pässword", "tab\tin", ""):
        with pytest.raises(MaterialError) as caught:
            private_key.to_pem(make_key(), password)
        assert not password or password not in caught.value.diagnosis()


def test_from_pem_takes_a_password_that_is_not_needed() -> None:
    """A key that is not encrypted is read whether a password is given or not."""
    content = private_key.to_pem(make_key())
    assert private_key.to_pem(private_key.from_pem(content, PASSWORD)) == content


def test_from_pem_reads_what_openssl_encrypted(tmp_path: Path) -> None:
    """The encryptions that an operator's tools know: PBES2, PBES1, scrypt, and that of the time before PKCS#8."""
    key = make_key()
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    pkcs8 = [need("openssl"), "pkcs8", "-topk8", "-in", str(path), "-passout", f"pass:{PASSWORD}"]
    old = [need("openssl"), "ec", "-aes256", "-in", str(path), "-passout", f"pass:{PASSWORD}"]
    for command in (pkcs8, [*pkcs8, "-v1", "PBE-SHA1-3DES"], [*pkcs8, "-scrypt"], [*pkcs8, "-iter", "100000"], old):
        content = subprocess.run(command, check=True, capture_output=True).stdout
        assert private_key.to_der(private_key.from_pem(content, PASSWORD)) == private_key.to_der(key)
        with pytest.raises(MaterialError, match="can be read without a password"):
            private_key.from_pem(content)
        with pytest.raises(MaterialError, match="does not open with its password") as caught:
            private_key.from_pem(content, "another")
        assert "another" not in caught.value.diagnosis()


def test_from_pem_refuses_what_would_cost_hours() -> None:
    """Rounds of key derivation and sizes are looked at before the library is asked to open the key."""
    lines = private_key.to_pem(make_key(), PASSWORD).splitlines()
    info = base64.b64decode(b"".join(lines[1:-1]))
    hours = rebuilt(info, b"\x02\x02\x4e\x20", HOURS)
    with pytest.raises(MaterialError, match="rounds of key derivation"):
        private_key.from_pem(pem.block("ENCRYPTED PRIVATE KEY", hours), PASSWORD)
    text = base64.b64encode(hours)
    for wrong in (text, text[:40] + b"\n" + text[40:]):
        with pytest.raises(MaterialError, match="rounds of key derivation"):
            private_key.from_pem(
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----%b-----END ENCRYPTED PRIVATE KEY-----" % wrong, PASSWORD
            )
    for size, what in ((limits.LARGEST_KEY, "a private key of"), (limits.LARGEST_IDENTITY, "a PEM file with")):
        with pytest.raises(MaterialError, match=what):
            private_key.from_pem(pem.block("PRIVATE KEY", bytes(size)))
    with pytest.raises(MaterialError, match="larger than"):
        private_key.from_der(bytes(limits.LARGEST_KEY + 1))


def test_from_pem_takes_the_key_of_a_file_whole_or_not_at_all() -> None:
    """A block that ends as another kind, or never, is none."""
    content = private_key.to_pem(make_key())
    for wrong in (content.replace(b"END PRIVATE", b"END EC PRIVATE"), content.replace(b"END", b"EMD")):
        with pytest.raises(MaterialError, match="no private key in PEM"):
            private_key.from_pem(wrong)


def test_public_der_is_the_subject_public_key_info_of_the_leaf() -> None:
    """The public half is told in the form in which a certificate carries it, so the two can be compared."""
    for algorithm in QUICK:
        key = make_key(algorithm)
        leaf = Ca.root(key=ec.generate_private_key(ec.SECP256R1())).leaf(make_request(key=algorithm), key)
        assert private_key.public_der(key) == leaf.public_key
