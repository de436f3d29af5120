"""The embedded CA's own certificates and keys: made once, read back, an intermediate made anew in time.

Below its folder stand `root.pem` and `intermediate.pem`, each a private key and a certificate in
one file, so each is whole or not there. The root is made first; an intermediate that is missing
is made from it, and so a crash between the two leaves nothing half. A root is never made anew
beside an intermediate that is there: every truststore would have to learn it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from agent.core.certificate import Certificate
from agent.errors import IssuerRefusedError, IssuerUnavailableError, MaterialError
from agent.net.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

ROOT_LIFETIME = timedelta(days=3652)
INTERMEDIATE_LIFETIME = timedelta(days=1826)

BACKDATED = timedelta(minutes=1)
"""How far before its making a certificate begins, for the hosts whose clock is behind."""

LARGEST_FILE = 64 * 1024
"""Bytes; a key and a certificate are two thousand."""

LOCK_STEP = 0.02
"""Seconds between two tries for the lock, which is held for some milliseconds once in five years."""

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA certificate and its private key."""

    certificate: Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, builder: x509.CertificateBuilder, public_key: CertificatePublicKeyTypes) -> Certificate:
        """Sign a certificate that `builder` tells all of but the two keys and the issuer."""
        signed = (
            builder.issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, SHA256())
        )
        return Certificate.from_der(signed.public_bytes(Encoding.DER))


@dataclass(frozen=True, slots=True)
class Authority:
    """A root, which is the trust anchor, and the intermediate below it, which signs leaves."""

    root: Certificate
    intermediate: Signer

    def lasts(self, now: datetime) -> bool:
        """Return whether the intermediate is to stay: not in the last fifth of its life, or as old as the root."""
        end = self.intermediate.certificate.not_after
        return end - now >= INTERMEDIATE_LIFETIME / 5 or end >= self.root.not_after


class AuthorityFolder:
    """The folder of an embedded CA; every method blocks, and many threads and processes may call them at once."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._root = directory / "root.pem"
        self._intermediate = directory / "intermediate.pem"

    def read(self) -> Authority | None:
        """Return what stands there, or None when the CA or its intermediate is still to be made.

        Raise `IssuerRefusedError` for files that are no CA, `IssuerUnavailableError` when the disk
        does not give them.
        """
        intermediate = self._signer(self._intermediate)
        root = self._signer(self._root)
        if root is None:
            if intermediate is None:
                return None
            raise self._corrupt(self._root, "it is missing, and its intermediate is there")
        if not _issued_by(root.certificate, root.certificate):
            raise self._corrupt(self._root, "its certificate is not self-signed")
        if intermediate is None:
            return None
        if not _issued_by(intermediate.certificate, root.certificate):
            raise self._corrupt(self._intermediate, "its certificate was not signed by the root beside it")
        return Authority(root.certificate, intermediate)

    def make(self, now: datetime, *, within: timedelta) -> Authority:
        """Make what is missing or will not last, and return all.

        It waits at most `within` for another process that does so.

        Raise as `read` does, and `IssuerUnavailableError` when the folder cannot be written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked(within):
                found = self.read()
                if found is not None and found.lasts(now):
                    return found
                self._sweep()
                root = self._signer(self._root)
                if root is None:
                    root = _new_root(self._name, now)
                    self._write(self._root, root)
                intermediate = _new_intermediate(self._name, root, now)
                self._write(self._intermediate, intermediate)
                return Authority(root.certificate, intermediate)
        except OSError as error:
            raise IssuerUnavailableError(
                f"cannot write the local CA to {self._directory}: {error.strerror or error}",
                advice="give the agent's user a folder that it can write, on a disk that has room",
            ) from error

    def stamp(self) -> Stamp:
        """Return what changes when a file does: inode, size and time of each; raise `OSError` without them."""
        found = [path.stat() for path in (self._root, self._intermediate)]
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in found)

    @contextlib.contextmanager
    def _locked(self, within: timedelta) -> Iterator[None]:
        give_up = time.monotonic() + within.total_seconds()
        descriptor = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= give_up:
                        raise IssuerUnavailableError(
                            f"another process holds the local CA's lock in {self._directory}",
                            advice="see what it is doing; it is tried again",
                        ) from None
                    time.sleep(LOCK_STEP)
            yield
        finally:
            os.close(descriptor)

    def _sweep(self) -> None:
        """Remove what a crash left: keys that never became a CA's. Only who holds the lock writes here."""
        for orphan in self._directory.glob(".*.tmp"):
            orphan.unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, signer: Signer) -> None:
        key = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_durably(path, key + signer.certificate.x509.public_bytes(Encoding.PEM), mode=0o600)

    def _signer(self, path: Path) -> Signer | None:
        """Read a key and its certificate; None when the file is not there."""
        try:
            with path.open("rb") as stream:
                content = stream.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IssuerUnavailableError(
                f"cannot read the local CA's {path}: {error.strerror or error}",
                advice="let the agent's user own the folder and its files",
            ) from error
        if len(content) > LARGEST_FILE:
            raise self._corrupt(path, f"it is larger than {LARGEST_FILE} bytes")
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The parser's own words are not passed on: they are about a private key.
            raise self._corrupt(path, "it holds no private key that can be read") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise self._corrupt(path, "its private key is no EC key")
        try:
            certificate = Certificate.from_der(x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER))
        except (ValueError, MaterialError):
            raise self._corrupt(path, "it holds no certificate that can be read") from None
        if certificate.x509.public_key() != key.public_key():
            raise self._corrupt(path, "its private key is not that of its certificate")
        if not certificate.is_ca:
            raise self._corrupt(path, "its certificate is no CA's")
        return Signer(certificate, key)

    def _corrupt(self, path: Path, why: str) -> IssuerRefusedError:
        return IssuerRefusedError(
            f"the local CA's {path} cannot be used: {why}",
            advice=(
                f"restore it from a backup, or move {self._directory} away to have a new CA made,"
                " which every truststore must learn first"
            ),
        )


def _issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _new_root(name: str, now: datetime) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name, "root")
    begin = _second(now - BACKDATED)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + ROOT_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Signer(Certificate.from_der(builder.sign(key, SHA256()).public_bytes(Encoding.DER)), key)


def _new_intermediate(name: str, root: Signer, now: datetime) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    begin = max(_second(now - BACKDATED), root.certificate.not_before)
    end = min(begin + INTERMEDIATE_LIFETIME, root.certificate.not_after)
    if end <= now:
        raise IssuerRefusedError(
            f"the local CA's root ended on {root.certificate.not_after:%Y-%m-%d}",
            advice="move the CA's folder away to have a new one made, which every truststore must learn first",
        )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(name, "intermediate"))
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
    )
    return Signer(root.sign(builder, key.public_key()), key)


def _subject(name: str, role: str) -> x509.Name:
    # The random part keeps two CAs of one name apart in a truststore and in a chain's issuer names.
    common_name = f"{name[:32]} {role} {secrets.token_hex(4)}"
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cert-agent local CA"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _ca_usage() -> x509.KeyUsage:
    """RFC 5280, 4.2.1.3: a CA signs certificates and lists, and nothing else."""
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
