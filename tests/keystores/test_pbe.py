"""What a password guards: opened as OpenSSL and Java wrote it, and never at a price that is not known before."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from agent.errors import MaterialError
from agent.keystores import der, pbe, pem, private_key, rc2
from agent.keystores import pkcs12 as stores
from tests.keystores.identities import PASSWORD, make_identity
from tests.keystores.parts import integer, octets, oid, sequence, tagged
from tests.material import make_key
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SALT = octets(b"saltsalt")
PBKDF2, SCRYPT, AES256, SHA1, SHA512 = (
    "2a864886f70d01050c", "2b06010401da47040b", "60864801650304012a", "2a864886f70d0207", "2a864886f70d020b",
)  # fmt: skip
DES3, RC2_40, MD5_DES = "2a864886f70d010c0103", "2a864886f70d010c0106", "2a864886f70d010503"


def scheme(name: str, *parameters: bytes) -> pbe.Scheme:
    """Read an algorithm."""
    return pbe.scheme(der.Reader().first(sequence(oid(name), sequence(*parameters))))


def pbes2(name: str, *parameters: bytes, cipher: str = AES256, vector: bytes = bytes(16)) -> pbe.Scheme:
    """Read a PBES2 with this key derivation."""
    kdf = sequence(oid(name), sequence(*parameters))
    return scheme("2a864886f70d01050d", kdf, sequence(oid(cipher), octets(vector)))


def test_the_cost_is_known_before_it_is_paid() -> None:
    """In rounds of PBKDF2, of which a long key takes more than one series; the older derivations are dearer."""
    sha1, sha512 = (sequence(oid(name), tagged(5)) for name in (SHA1, SHA512))
    assert pbes2(PBKDF2, SALT, integer(1_000), sha512).cost == 1_000
    assert pbes2(PBKDF2, SALT, integer(1_000), integer(32), sha512).cost == 1_000
    assert pbes2(PBKDF2, SALT, integer(1_000), sha1).cost == pbes2(PBKDF2, SALT, integer(1_000)).cost == 2_000
    assert pbes2(SCRYPT, SALT, integer(1 << 14), integer(8), integer(1)).cost == (1 << 14) * 64
    assert scheme(DES3, SALT, integer(1_000)).cost == 3_000 * pbe.DEAR
    assert scheme(RC2_40, SALT, integer(1_000)).cost == 2_000 * pbe.DEAR
    assert scheme(MD5_DES, SALT, integer(1_000)).cost == 1_000 * pbe.DEAR
    endless = tagged(der.INTEGER, b"\x01" * 64)
    assert pbes2(PBKDF2, SALT, endless).cost > pbe.MOST_ROUNDS


def test_work_allows_what_is_usual_and_no_hours() -> None:
    """A million rounds and scrypt as OpenSSL uses it are fine, and the sum is what counts."""
    work = pbe.Work()
    work.take(1_000_000)
    work.take(pbes2(SCRYPT, SALT, integer(1 << 14), integer(8), integer(1)).cost)
    for cost in (pbe.MOST_ROUNDS, pbes2(SCRYPT, SALT, integer(16), integer(8), integer(1 << 16)).cost):
        with pytest.raises(MaterialError, match="rounds of key derivation") as caught:
            work.take(cost)
        assert "20,000 are usual" in caught.value.advice


def test_what_is_not_read_is_refused() -> None:
    """Other algorithms, parameters that do not fit, and counts that count nothing."""
    hmac_md5 = sequence(oid("2a864886f70d0206"), tagged(5))
    wrong: tuple[Callable[[], pbe.Scheme], ...] = (
        lambda: scheme("2a864886f70d010704", SALT, integer(1)),
        lambda: scheme(DES3, SALT, integer(0)),
        lambda: scheme(DES3, SALT, integer(-5)),
        lambda: scheme(DES3, SALT, tagged(5)),
        lambda: pbes2("2a864886f70d01050e", SALT, integer(1)),
        lambda: pbes2(PBKDF2, SALT, integer(1), integer(16)),
        lambda: pbes2(PBKDF2, SALT, integer(1), hmac_md5),
        lambda: pbes2(PBKDF2, SALT, integer(1), cipher="2a864886f70d0302"),
        lambda: pbes2(PBKDF2, SALT, integer(1), vector=bytes(8)),
        lambda: pbes2(SCRYPT, SALT, integer(1_000), integer(8), integer(1)),
        lambda: pbes2(SCRYPT, SALT, integer(1 << 18), integer(1), integer(1)),  # RFC 7914, 2
    )
    for read in wrong:
        with pytest.raises(MaterialError, match="encrypted in a way that the agent does not read"):
            read()


def test_decrypt_tells_another_password_and_a_cut() -> None:
    """What is not padded is no content, and what is no whole block was never encrypted."""
    one = pbes2(PBKDF2, SALT, integer(1))
    assert one.decrypt(bytes(32), PASSWORD, pbe.Work()) is None
    for content in (b"", bytes(15)):
        with pytest.raises(MaterialError, match="cut short"):
            one.decrypt(content, PASSWORD, pbe.Work())


def test_decrypt_counts_what_rc2_costs() -> None:
    """It is done in Python: megabytes of it are refused before the first block."""
    old = scheme(RC2_40, SALT, integer(1))
    with pytest.raises(MaterialError, match="as much work"):
        old.decrypt(bytes(8 * (pbe.MOST_ROUNDS // pbe.RC2_COST + 1)), PASSWORD, pbe.Work())


@pytest.mark.parametrize(
    ("key", "plain", "encrypted"),
    [
        ("ffffffffffffffff", "ffffffffffffffff", "278b27e42e2f0d49"),
        ("3000000000000000", "1000000000000001", "30649edf9be7d2c2"),
        ("88bca90e90875a7f0f79c384627bafb2", "0000000000000000", "2269552ab0f85ca6"),
    ],
)
def test_rc2_is_that_of_its_rfc(key: str, plain: str, encrypted: str) -> None:
    """The examples of RFC 2268, 5, with keys that are as strong as they are long."""
    assert rc2.decrypt(bytes.fromhex(encrypted), bytes.fromhex(key), bytes(8)).hex() == plain


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-legacy",),
        ("-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-2DES", "-macalg", "SHA1"),
        ("-keypbe", "PBE-SHA1-RC2-128", "-certpbe", "PBE-SHA1-RC2-40", "-provider", "legacy", "-provider", "default"),
        ("-keypbe", "AES-128-CBC", "-certpbe", "AES-192-CBC", "-macalg", "SHA512"),
        ("-keypbe", "DES-EDE3-CBC", "-certpbe", "AES-256-CBC", "-macalg", "SHA384", "-iter", "1000"),
        ("-keypbe", "NONE", "-certpbe", "NONE", "-macalg", "SHA224"),
        ("-nomac",),
    ],
    ids=" ".join,
)
def test_stores_of_openssl_are_read(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Every encryption and every sum that it writes."""
    identity = make_identity()
    (tmp_path / "key").write_bytes(private_key.to_pem(identity.key))
    (tmp_path / "chain").write_bytes(pem.encode(identity.chain))
    made = tmp_path / "made.p12"
    command = [need("openssl"), "pkcs12", "-export", "-inkey", "key", "-in", "chain", "-out", "made.p12", *words]
    subprocess.run(
        [*command, "-name", "kafka", "-passout", f"pass:{PASSWORD}"], cwd=tmp_path, check=True, capture_output=True
    )
    key, chain = stores.read_keystore(made.read_bytes(), PASSWORD)
    assert private_key.to_der(key) == private_key.to_der(identity.key)
    assert chain == identity.chain
    if "NONE" not in words:
        with pytest.raises(MaterialError, match="does not open with"):
            stores.read_keystore(made.read_bytes(), "another")


def test_a_store_with_an_empty_password_needs_none(tmp_path: Path) -> None:
    """As OpenSSL writes it when it is told to."""
    identity = make_identity()
    (tmp_path / "ca").write_bytes(pem.encode(identity.anchors))
    command = [need("openssl"), "pkcs12", "-export", "-nokeys", "-in", "ca", "-out", "made.p12", "-passout", "pass:"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert stores.read_truststore((tmp_path / "made.p12").read_bytes(), None) == identity.anchors


@pytest.mark.parametrize("name", ["PBE-MD5-DES", "PBE-SHA1-DES", "PBE-SHA1-RC2-40", "PBE-SHA1-2DES"])
def test_keys_that_openssl_encrypted_long_ago_are_read(tmp_path: Path, name: str) -> None:
    """In PEM, in the encryptions that were usual before PBES2."""
    key = make_key()
    (tmp_path / "key").write_bytes(private_key.to_pem(key))
    command = [need("openssl"), "pkcs8", "-topk8", "-in", "key", "-v1", name, "-passout", f"pass:{PASSWORD}"]
    content = subprocess.run(
        [*command, "-provider", "legacy", "-provider", "default"], cwd=tmp_path, check=True, capture_output=True
    ).stdout
    assert private_key.to_der(private_key.from_pem(content, PASSWORD)) == private_key.to_der(key)
    with pytest.raises(MaterialError, match="does not open with its password"):
        private_key.from_pem(content, "another")
