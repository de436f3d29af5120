"""The keys of the embedded CA: their types, and who may read their files."""

from __future__ import annotations

import asyncio
import os
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.identity import KeyAlgorithm
from agent.errors import IssuerRefusedError
from agent.keystores import pem
from agent.keystores.private_key import to_pem
from tests.issuers.local_cas import MONTH, WITHIN, YEAR, below, chains, folder, issue, local_ca, trusted
from tests.issuers.pendings import make_pending
from tests.material import NOW, make_key
from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

BIG_RSA = [
    pytest.param(KeyAlgorithm.RSA_3072, SHA256, marks=pytest.mark.slow),
    pytest.param(KeyAlgorithm.RSA_4096, SHA256, marks=pytest.mark.slow),
]
EVERY_TYPE = [
    (KeyAlgorithm.EC_P256, SHA256),
    (KeyAlgorithm.EC_P384, SHA384),
    (KeyAlgorithm.RSA_2048, SHA256),
    (KeyAlgorithm.ED25519, type(None)),
    *BIG_RSA,
]


@pytest.mark.parametrize(("key", "hashed"), EVERY_TYPE)
async def test_ca_has_keys_of_the_type_that_is_set(
    tmp_path: Path, key: KeyAlgorithm, hashed: type[HashAlgorithm | None]
) -> None:
    """Root and intermediate have it, sign with the hash that fits it, and OpenSSL verifies the chain strictly."""
    openssl = need("openssl")
    now = datetime.now(UTC)
    ca = local_ca(tmp_path / "ca", now, key=key)
    issued = await issue(ca)
    (root,) = await ca.anchors()
    leaf, between = issued.certificates
    assert {root.key_type, between.key_type} == {str(key)}
    assert leaf.key_type == "ec-p256"
    for certificate in (root, between, leaf):
        assert isinstance(certificate.x509.signature_hash_algorithm, hashed)
    assert chains(issued, (root,), now)
    for name, certificate in (("leaf", leaf), ("between", between), ("root", root)):
        (tmp_path / f"{name}.crt").write_bytes(certificate.x509.public_bytes(Encoding.PEM))
    for purpose in ("sslserver", "sslclient"):
        command = [openssl, "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "root.crt"]
        command += ["-untrusted", "between.crt", "leaf.crt"]
        await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, check=True, capture_output=True)


async def test_another_key_type_takes_effect_when_a_certificate_is_made_anew(tmp_path: Path) -> None:
    """The CA that is there keeps working; its next intermediate, and after a rotation its root, are of the new type."""
    before = await issue(local_ca(tmp_path))
    now = local_ca(tmp_path, key=KeyAlgorithm.ED25519)
    assert (await issue(now)).certificates[1] == before.certificates[1]
    later = local_ca(tmp_path, NOW + 4.5 * YEAR, key=KeyAlgorithm.ED25519)
    issued = await issue(later)
    anchors = await later.anchors()
    assert (anchors[0].key_type, issued.certificates[1].key_type) == ("ec-p256", "ed25519")
    assert chains(issued, anchors, NOW + 4.5 * YEAR)
    folder(tmp_path, KeyAlgorithm.RSA_2048).rotate(NOW + 4.5 * YEAR, within=WITHIN)
    issued = await issue(later)
    assert [one.key_type for one in (*issued.certificates, *await trusted(later))] == [
        "ec-p256",
        "rsa-2048",
        "rsa-2048",
        "ec-p256",
    ]


async def test_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    """A key and a certificate that do not belong together sign what nobody could verify."""
    await issue(local_ca(tmp_path))
    content = (tmp_path / "root.pem").read_bytes()
    (certificate,) = pem.decode(content)
    (tmp_path / "root.pem").chmod(0o600)
    (tmp_path / "root.pem").write_bytes(to_pem(make_key(KeyAlgorithm.ED25519)) + pem.encode([certificate]))
    with pytest.raises(IssuerRefusedError, match=r"root\.pem cannot be used: its private key is not that"):
        await issue(local_ca(tmp_path))


async def test_certificate_of_a_leaf_is_told(tmp_path: Path) -> None:
    """A leaf and its key in the place of the root are no CA."""
    key = make_key()
    issued = await issue(local_ca(tmp_path), make_pending(key=key))
    (tmp_path / "intermediate.pem").unlink()
    (tmp_path / "intermediate.pem").write_bytes(to_pem(key) + pem.encode(issued.certificates[:1]))
    with pytest.raises(IssuerRefusedError, match=r"intermediate\.pem cannot be used: its certificate is no CA's"):
        await issue(local_ca(tmp_path))


async def test_files_are_for_the_agents_user_alone(tmp_path: Path) -> None:
    """Folders are 0700 and keys 0400, whatever the umask; a retired certificate is no secret."""
    before = os.umask(0)
    try:
        directory = tmp_path / "deep" / "ca"
        await local_ca(directory).anchors()
        folder(directory).rotate(NOW, within=WITHIN)
        await local_ca(directory, NOW + 9 * YEAR).anchors()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert modes == {
        ".lock": 0o600,
        "root.pem": 0o400,
        "intermediate.pem": 0o400,
        "successor.pem": 0o400,
        "retired": 0o700,
    }
    assert [path.stat().st_mode & 0o777 for path in (directory / "retired").iterdir()] == [0o444]


async def test_file_of_an_earlier_version_is_tightened(tmp_path: Path) -> None:
    """0600 becomes 0400 when an agent first reads it; a mode that somebody set for a group stays."""
    before = await issue(local_ca(tmp_path))
    (tmp_path / "root.pem").chmod(0o600)
    (tmp_path / "intermediate.pem").chmod(0o640)
    await local_ca(tmp_path, read_only=True).anchors()
    assert (tmp_path / "root.pem").stat().st_mode & 0o777 == 0o600
    after = await issue(local_ca(tmp_path))
    assert after.certificates[1] == before.certificates[1]
    assert (tmp_path / "root.pem").stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "intermediate.pem").stat().st_mode & 0o777 == 0o640


async def test_make_tightens_too(tmp_path: Path) -> None:
    """Also without anything to make."""
    await issue(local_ca(tmp_path))
    (tmp_path / "intermediate.pem").chmod(0o600)
    folder(tmp_path).make(NOW, within=WITHIN)
    assert (tmp_path / "intermediate.pem").stat().st_mode & 0o777 == 0o400


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another user")
async def test_rotation_by_root_leaves_the_ca_to_the_agents_user(tmp_path: Path) -> None:
    """A person who rotates as root does not take the CA away from the user whose it is."""
    await issue(local_ca(tmp_path))
    for path in (tmp_path, *below(tmp_path)):
        os.chown(path, 12345, 23456)
    (tmp_path / ".lock").unlink()
    folder(tmp_path).rotate(NOW, within=WITHIN)
    await local_ca(tmp_path, NOW + MONTH).anchors()
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in below(tmp_path)}
    assert owners == {(12345, 23456)}
    assert len(below(tmp_path)) == 5
