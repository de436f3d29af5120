"""Signed tokens (RFC 7519) of an issuer whose key is made at run time."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core.identity import KeyAlgorithm
from tests.material import make_key


@dataclass(frozen=True)
class Signer:
    """An issuer of tokens by RS256 or ES256 (RFC 7518), as its key is."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def make(cls, algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> Signer:
        """Make an issuer with a fresh key: P-256 for ES256, RSA for RS256."""
        key = make_key(algorithm)
        assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        return cls(key)

    @property
    def public_pem(self) -> str:
        """The public key in PEM."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, claims: dict[str, Any]) -> str:
        """Return these claims, signed."""
        algorithm = "ES256" if isinstance(self.key, ec.EllipticCurvePrivateKey) else "RS256"
        head = {"alg": algorithm, "typ": "JWT"}
        signed = b".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        return b".".join((signed, _encoded(self._signature(signed)))).decode()

    def token(self, *, lasts: float = 3600, starts: float = 0, **claims: Any) -> str:
        """Return claims with `iat`, `nbf` and `exp`, each in seconds from now; a claim that is None is left out."""
        now = int(time.time())
        times = {"iat": now, "nbf": now + int(starts), "exp": now + int(lasts)}
        return self.sign({name: value for name, value in (times | claims).items() if value is not None})

    def verified(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that this key has signed and that is in time, else None."""
        try:
            signed, _, signature = token.encode().rpartition(b".")
            self._verify(_decoded(signature), signed)
            claims: dict[str, Any] = json.loads(_decoded(signed.partition(b".")[2]))
        except (ValueError, InvalidSignature):
            return None
        return claims if claims.get("nbf", 0) <= time.time() < claims["exp"] else None

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, PKCS1v15(), SHA256())
        # JWS has the two numbers side by side, where X.509 has DER.
        numbers = decode_dss_signature(self.key.sign(data, ec.ECDSA(SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in numbers)

    def _verify(self, signature: bytes, data: bytes) -> None:
        if isinstance(self.key, rsa.RSAPrivateKey):
            self.key.public_key().verify(signature, data, PKCS1v15(), SHA256())
            return
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        self.key.public_key().verify(der, data, ec.ECDSA(SHA256()))


def _encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _decoded(data: bytes) -> bytes:
    return urlsafe_b64decode(data + b"=" * (-len(data) % 4))
