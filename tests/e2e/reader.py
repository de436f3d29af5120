"""A reader that loops over the files of an identity and counts what does not fit; run as a process of its own.

`reader.py KIND DIRECTORY PASSWORD_FILE STOP_FILE NAP` naps so many seconds between two looks, and
prints one JSON object when the stop file appears.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, pkcs12
from cryptography.x509.verification import PolicyBuilder, Store

KEPT = 3
"""Switches until a generation is removed that was current."""


class StraddledError(Exception):
    """Two files that were opened at two moments are of two generations, each of them whole."""


class OvertakenError(Exception):
    """The reader held a generation for longer than three renewals took; it is to resolve `.current` again."""


def read_split(directory: Path, _password: bytes) -> bytes:
    """Resolve `.current` once, then open key and certificate there; return the serial as bytes."""
    there = (directory / ".current").resolve(strict=True)
    try:
        return _pair((there / "tls.key").read_bytes(), (there / "tls.crt").read_bytes())
    except FileNotFoundError:
        if int((directory / ".current").resolve(strict=True).name) - int(there.name) < KEPT:
            raise
        raise OvertakenError from None


def read_combined(directory: Path, _password: bytes) -> bytes:
    """Open the one file that holds key and chain."""
    content = (directory / "tls.pem").read_bytes()
    return _pair(content, content)


def read_pkcs12(directory: Path, password: bytes) -> bytes:
    """Open the keystore with its password."""
    store = pkcs12.load_pkcs12((directory / "keystore.p12").read_bytes(), password)
    assert store.key is not None
    assert store.cert is not None
    assert len(store.additional_certs) == 1, "the chain is not whole"
    assert _public(store.key) == _public(store.cert.certificate), "key and leaf do not match"
    return store.cert.certificate.serial_number.to_bytes(21)


def read_trusted(directory: Path, _password: bytes) -> bytes:
    """Open the combined file and the truststore: any leaf is trusted by any anchors."""
    anchors = x509.load_pem_x509_certificates((directory / "ca.crt").read_bytes())
    leaf, *others = x509.load_pem_x509_certificates((directory / "tls.pem").read_bytes())
    PolicyBuilder().store(Store(anchors)).build_client_verifier().verify(leaf, others)
    return leaf.serial_number.to_bytes(21)


def read_signed(directory: Path, _password: bytes) -> bytes:
    """Do the same for a CA of the tests, whose dates are those of the tests: each signature, link by link."""
    anchors = x509.load_pem_x509_certificates((directory / "ca.crt").read_bytes())
    leaf, *others = x509.load_pem_x509_certificates((directory / "tls.pem").read_bytes())
    leaf.verify_directly_issued_by(others[0])
    assert any(others[-1].issuer == anchor.subject for anchor in anchors), "no anchor has issued it"
    for anchor in anchors:
        if others[-1].issuer == anchor.subject:
            others[-1].verify_directly_issued_by(anchor)
    return leaf.serial_number.to_bytes(21)


def read_two_moments(directory: Path, _password: bytes) -> bytes:
    """Open key and certificate at their own paths; raise `StraddledError` when a switch fell between the two."""
    key, chain = (directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes()
    private, certificates = load_pem_private_key(key, None), x509.load_pem_x509_certificates(chain)
    assert len(certificates) == 2, "the chain is not whole"
    if _public(private) != _public(certificates[0]):
        raise StraddledError
    return certificates[0].serial_number.to_bytes(21)


def _pair(key: bytes, chain: bytes) -> bytes:
    leaf, *others = x509.load_pem_x509_certificates(chain)
    assert len(others) == 1, "the chain is not whole"
    assert _public(load_pem_private_key(key, None)) == _public(leaf), "key and leaf do not match"
    return leaf.serial_number.to_bytes(21)


def _public(holder: object) -> bytes:
    public: bytes = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return public


READERS = {"split": read_split, "combined": read_combined, "pkcs12": read_pkcs12, "trusted": read_trusted}
"""Those that never see two generations."""

ALL_READERS = READERS | {"signed": read_signed, "two_moments": read_two_moments}


def main() -> None:
    """Loop until the stop file is there."""
    read, directory = ALL_READERS[sys.argv[1]], Path(sys.argv[2])
    password, stop, nap = Path(sys.argv[3]).read_bytes(), Path(sys.argv[4]), float(sys.argv[5])
    looks, straddles, overtaken, troubles, seen = 0, 0, 0, [], set()
    while not stop.exists():
        looks += 1
        try:
            seen.add(read(directory, password))
        except StraddledError:
            straddles += 1
        except OvertakenError:
            overtaken += 1
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is a failure of the writer
            troubles.append(f"{type(error).__name__}: {error}")
        time.sleep(nap)
    told = {"looks": looks, "leaves": len(seen), "straddles": straddles, "overtaken": overtaken}
    json.dump(told | {"count": len(troubles), "troubles": troubles[:10]}, sys.stdout)


if __name__ == "__main__":
    main()
