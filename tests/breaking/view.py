"""What a reader finds in an identity's directory, judged without the agent's own code.

A view is whole when nothing is missing or empty and all files belong to one leaf: key, chain,
combined file, keystores, and truststores that trust it. Anything else is `TornError`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, pkcs12
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.host import Host

ROLES = ("certificate", "key", "combined", "keystore", "truststore", "file")
"""The settings of a group of files that name a file; `file` is a rendered configuration."""

SECRET_ROLES = ("key", "combined", "keystore")

UNFINISHED = re.compile(r"\.new-.*|\..*\.tmp")
"""The names of what is not finished yet; after a recovery there is none."""


class TornError(AssertionError):
    """A reader finds what no reader may find."""


@dataclass(frozen=True)
class View:
    """A whole set of files, as a reader finds it at the paths that never change."""

    leaf: bytes
    files: dict[str, bytes]

    def __str__(self) -> str:
        """Return which leaf it is, for an assertion."""
        return hashlib.sha256(self.leaf).hexdigest()[:16]


def names(host: Host) -> dict[str, tuple[str, str]]:
    """Return the format and the role of every file that the identity is wanted in."""
    groups: list[dict[str, Any]] = host.settings["identities"]["broker"]["files"]
    return {group[role]: (group["format"], role) for group in groups for role in ROLES if role in group}


def look(host: Host) -> View:
    """Read every file as its readers do, at its own path and in `.current` resolved once; raise `TornError`."""
    wanted = names(host)
    contents = {name: _read(host.directory / name) for name in wanted}
    current = host.directory / ".current"
    # Before the first switch there may be plain files of an earlier life.
    if current.is_symlink() and all((host.directory / name).is_symlink() for name in wanted):
        there = host.directory / current.readlink()
        for name, content in contents.items():
            if _read(there / name) != content:
                raise TornError(f"{name} is not the one of {there.name}")
        _compare_with_manifest(_read(there / "generation.json"), contents)
    return View(_leaf_of_all(contents, wanted, _password(host)), contents)


def each_whole(host: Host) -> dict[str, bytes]:
    """Read those files that are there already, before the first switch has come to its end; raise `TornError`."""
    present = {name: _read(path) for name in names(host) if (path := host.directory / name).is_symlink()}
    current = host.directory / ".current"
    if current.is_symlink():
        there = host.directory / current.readlink()
        contents = {name: _read(there / name) for name in names(host)}
        _leaf_of_all(contents, names(host), _password(host))
        for name, content in present.items():
            if contents[name] != content:
                raise TornError(f"{name} is not the one of {there.name}")
    elif present:
        raise TornError(f"{', '.join(present)} lead nowhere")
    return present


def wide_secrets(host: Host) -> list[str]:
    """Return every file below the folder, finished or not, that holds a secret and that others may read or write."""
    secret = {name for name, (_, role) in names(host).items() if role in SECRET_ROLES} | {".pending"}
    password = _password(host)
    wide = []
    for path in host.folder.rglob("*"):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or path in (host.folder / "password", host.config):
            continue
        content = path.read_bytes()
        # What is not finished may be cut off, and is known by the name that it is to have.
        name = re.sub(r"^\.(.+)\.[0-9a-f]{16}\.tmp$", r"\1", path.name)
        if (name in secret or b"PRIVATE KEY" in content or password in content) and status.st_mode & 0o077:
            wide.append(f"{path.relative_to(host.folder)} {stat.filemode(status.st_mode)}")
    return wide


def unfinished(host: Host) -> list[str]:
    """Return what is left of work that broke off."""
    below = (path.relative_to(host.folder) for path in host.directory.rglob("*"))
    return sorted(str(path) for path in below if UNFINISHED.fullmatch(path.name))


def is_demanded(host: Host) -> bool:
    """Return whether it is noted that a person asked for a new leaf."""
    path = host.directory / ".state.json"
    return path.exists() and bool(json.loads(path.read_bytes())["demanded"])


def pending(host: Host) -> dict[str, Any] | None:
    """Return what is pending, as it stands on disk."""
    path = host.directory / ".pending"
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise TornError(".pending is not whole") from error
    return values


def pending_key(values: dict[str, Any]) -> bytes:
    """Return the public half of a pending key."""
    return _public(load_pem_private_key(values["key"].encode(), None))


def pending_leaf(values: dict[str, Any]) -> bytes | None:
    """Return the leaf that a CA answered with, if it has."""
    return base64.b64decode(values["answer"]["certificates"][0]) if values["answer"] else None


def public_key(leaf: bytes) -> bytes:
    """Return the public key of a leaf."""
    return _public(x509.load_der_x509_certificate(leaf))


def issued(host: Host) -> frozenset[bytes]:
    """Return every leaf that is anywhere in the directory: in a generation that is kept, or pending."""
    found = set()
    for path in host.directory.glob(".generations/[0-9]*/generation.json"):
        found.add(base64.b64decode(json.loads(path.read_bytes())["chain"][0]))
    waiting = pending(host)
    if waiting is not None and (leaf := pending_leaf(waiting)) is not None:
        found.add(leaf)
    return frozenset(found)


# --- reading --------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TornError(f"{path.name} cannot be read: {error}") from error
    if not content:
        raise TornError(f"{path.name} is empty")
    return content


def _password(host: Host) -> bytes:
    return (host.folder / "password").read_bytes().strip()


def _compare_with_manifest(manifest: bytes, contents: dict[str, bytes]) -> None:
    try:
        sums = {file["name"]: file["sha256"] for file in json.loads(manifest)["files"]}
    except ValueError as error:
        raise TornError("the manifest is no JSON") from error
    found = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    if sums != found:
        raise TornError(f"not as the manifest says: {sorted(dict(sums.items() ^ found.items()))}")


def _leaf_of_all(contents: dict[str, bytes], wanted: dict[str, tuple[str, str]], password: bytes) -> bytes:
    """Return the one leaf that every file belongs to; raise `TornError`."""
    keys: dict[str, bytes] = {}
    chains: dict[str, list[x509.Certificate]] = {}
    anchors: dict[str, list[x509.Certificate]] = {}
    for name, (form, role) in wanted.items():
        if role == "file":
            continue  # a configuration: the manifest's sum tells
        try:
            key, chain = _open(form, role, contents[name], password)
        except (ValueError, IndexError) as error:
            raise TornError(f"{name} does not open: {error}") from error
        if key is not None:
            keys[name] = key
        if chain:
            (anchors if role == "truststore" else chains)[name] = chain
    leaves = {chain[0].public_bytes(Encoding.DER) for chain in chains.values()}
    if len(leaves) != 1:
        raise TornError(f"{', '.join(chains)} have {len(leaves)} leaves")
    leaf = leaves.pop()
    strange = [name for name, key in keys.items() if key != public_key(leaf)]
    if strange:
        raise TornError(f"another leaf's key is in {', '.join(strange)}")
    _verify(chains, anchors)
    return leaf


def _verify(chains: dict[str, list[x509.Certificate]], anchors: dict[str, list[x509.Certificate]]) -> None:
    """Raise `TornError` for a chain that a truststore does not trust."""
    for store, trusted in anchors.items():
        for name, chain in chains.items():
            try:
                PolicyBuilder().store(Store(trusted)).build_client_verifier().verify(chain[0], chain[1:])
            except VerificationError as error:
                raise TornError(f"{name} is not trusted by {store}: {error}") from error


def _open(form: str, role: str, content: bytes, password: bytes) -> tuple[bytes | None, list[x509.Certificate]]:
    """Return the public half of the key in a file, where there is one that can be read, and its certificates."""
    if form == "pem":
        guard = password if b"ENCRYPTED" in content else None
        key = None if role in ("certificate", "truststore") else _public(load_pem_private_key(content, guard))
        return key, [] if role == "key" else x509.load_pem_x509_certificates(content)
    if form == "jks":
        return None, list(_certificates_in_jks(content, password))
    opened = pkcs12.load_pkcs12(content, password)
    certificates = [one.certificate for one in (opened.cert, *opened.additional_certs) if one is not None]
    if role == "keystore" and opened.key is None:
        raise TornError("the keystore holds no key")
    return None if opened.key is None else _public(opened.key), certificates


def _certificates_in_jks(content: bytes, password: bytes) -> Iterator[x509.Certificate]:
    """Yield the certificates of a JKS store in their order; its keyed digest has to be right."""
    body, digest = content[:-20], content[-20:]
    salted = password.decode().encode("utf-16-be") + b"Mighty Aphrodite" + body
    if hashlib.sha1(salted).digest() != digest:  # noqa: S324 - the format's own
        raise TornError("the store is not whole, or its password is another")
    at = 0

    def take(size: int) -> bytes:
        nonlocal at
        at += size
        return body[at - size : at]

    def number(size: int) -> int:
        return int.from_bytes(take(size))

    take(8)
    for _ in range(number(4)):
        tag = number(4)
        take(number(2))
        take(8)
        if tag == 1:
            take(number(4))
        for _ in range(number(4) if tag == 1 else 1):
            take(number(2))
            yield x509.load_der_x509_certificate(take(number(4)))


def _public(holder: Any) -> bytes:
    public: bytes = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public
