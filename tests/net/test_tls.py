"""What the agent trusts when it asks over HTTPS."""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from agent.core.issuer_spec import KeyPair
from agent.errors import TrustError
from agent.keystores import pem, private_key
from agent.net import tls
from agent.net.tls import client_context, showing_context
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.certificate import Certificate


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


def write_pair(folder: Path, *, lives: timedelta = timedelta(days=1), name: str = "CN=host") -> Certificate:
    """Write a leaf with its chain and its key; return the leaf."""
    root, key = Ca.root(), make_key()
    leaf = root.leaf(make_request(name), key, not_after=NOW + lives)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cert.pem").write_bytes(pem.encode((leaf, root.certificate)))
    (folder / "key.pem").write_bytes(private_key.to_pem(key))
    return leaf


def pair(folder: Path) -> KeyPair:
    """Return where the pair of a folder stands."""
    return KeyPair(folder / "cert.pem", folder / "key.pem")


def test_first_certificate_that_can_be_used_is_shown(tmp_path: Path) -> None:
    """Absent, expired, of another key, no certificate, encrypted: each is passed over and told; then one is shown."""
    write_pair(tmp_path / "expired", lives=timedelta(seconds=-1))
    write_pair(tmp_path / "other")
    (tmp_path / "other" / "key.pem").write_bytes(private_key.to_pem(make_key()))
    write_pair(tmp_path / "empty")
    (tmp_path / "empty" / "cert.pem").write_text("no certificate")
    write_pair(tmp_path / "locked")
    encrypted = make_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    (tmp_path / "locked" / "key.pem").write_bytes(encrypted)
    write_pair(tmp_path / "huge")
    (tmp_path / "huge" / "key.pem").write_bytes(b"x" * (tls.LARGEST_FILE + 1))
    leaf = write_pair(tmp_path / "good")
    write_pair(tmp_path / "later")
    names = ("absent", "expired", "other", "empty", "locked", "huge", "good", "later")
    _, shown = showing_context(None, [pair(tmp_path / name) for name in names], NOW)
    assert shown.certificate == leaf
    reasons = ("cannot be read", "expired on", "of the key beside", "holds no", "no private key", "is larger than")
    assert all(why in told for why, told in zip(reasons, shown.troubles, strict=True)), shown.troubles
    _, none = showing_context(None, [pair(tmp_path / "absent")], NOW)
    assert none.certificate is None


def test_pair_behind_a_link_is_of_one_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is switched between reading the certificate and the key: both still come from one folder."""
    first = write_pair(tmp_path / "1")
    write_pair(tmp_path / "2")
    current = tmp_path / ".current"
    current.symlink_to("1")
    read = tls._read

    def switching(path: Path) -> bytes:
        content = read(path)
        current.unlink()
        current.symlink_to("2")
        return content

    monkeypatch.setattr(tls, "_read", switching)
    _, shown = showing_context(None, [pair(current)], NOW)
    assert shown.certificate == first


def test_pair_that_is_written_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificate and key are replaced one after the other in one folder: what is shown is what was judged."""
    write_pair(tmp_path)
    load = ssl.SSLContext.load_cert_chain
    later: list[Certificate] = []

    def replacing(context: ssl.SSLContext, *files: object, **more: object) -> None:
        if not later:
            later.append(write_pair(tmp_path))
        load(context, *files, **more)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", replacing)
    _, shown = showing_context(None, [pair(tmp_path)], NOW)
    assert [shown.certificate] == later


def test_pair_that_never_rests_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few tries it is told as that."""
    write_pair(tmp_path)
    load = ssl.SSLContext.load_cert_chain

    def replacing(context: ssl.SSLContext, *files: object, **more: object) -> None:
        load(context, *files, **more)  # type: ignore[arg-type]  # passed on as they came
        write_pair(tmp_path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", replacing)
    _, shown = showing_context(None, [pair(tmp_path)], NOW)
    assert shown.certificate is None
    assert "change while they are read" in shown.troubles[0]


def test_combined_file_serves_for_both(tmp_path: Path) -> None:
    """Key, leaf and chain in one file, in the agent's own order."""
    leaf = write_pair(tmp_path)
    combined = tmp_path / "combined.pem"
    combined.write_bytes((tmp_path / "key.pem").read_bytes() + (tmp_path / "cert.pem").read_bytes())
    _, shown = showing_context(None, [KeyPair(combined, combined)], NOW)
    assert shown.certificate == leaf
