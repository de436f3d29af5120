"""The facts of a certificate, and of keys that the agent does not make itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519

from agent.core.certificate import LARGEST_CERTIFICATE, Certificate, key_type
from agent.core.files import Pkcs12Files, StorePassword
from agent.core.identity import KeyAlgorithm
from agent.core.secret import Secret
from agent.errors import MaterialError
from tests.material import NOW, Ca, make_key, make_request

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

CA = Ca.root()


def test_the_facts_are_those_of_the_certificate() -> None:
    """Names, dates, usages and key, read once."""
    request = make_request(uri=("spiffe://example.com/kafka1",))
    leaf = CA.leaf(request, make_key())
    assert leaf.subject == request.subject
    assert leaf.issuer == CA.certificate.subject
    assert leaf.sans == request.sans
    assert leaf.key_type == "ec-p256"
    assert (leaf.is_ca, leaf.version) == (False, 3)
    assert leaf.not_after == leaf.not_before + request.lifetime
    assert CA.certificate.is_ca
    assert CA.certificate.self_issued
    assert CA.certificate.key_usage == frozenset({"key_cert_sign", "crl_sign"})
    assert not leaf.self_issued
    assert leaf.x509.serial_number == leaf.serial_number


def test_a_certificate_is_its_fingerprint() -> None:
    """The same bytes are the same certificate, and a serial number identifies nothing."""
    leaf = CA.leaf(make_request(), make_key())
    assert Certificate.from_der(leaf.der) == leaf
    assert len({leaf, Certificate.from_der(leaf.der), CA.certificate}) == 2
    assert "der" not in repr(leaf)


def test_a_huge_certificate_is_refused_unread() -> None:
    """No parser is given megabytes of a hostile answer."""
    with pytest.raises(MaterialError, match="larger"):
        Certificate.from_der(b"\x30" * (LARGEST_CERTIFICATE + 1))


@pytest.mark.parametrize(
    "algorithm", [pytest.param(one, marks=pytest.mark.slow) if "rsa-" in one else one for one in KeyAlgorithm]
)
def test_keys_are_named_as_the_settings_name_them(algorithm: KeyAlgorithm) -> None:
    """What is asked for can be compared with what came."""
    assert key_type(make_key(algorithm).public_key()) == algorithm


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ec.generate_private_key(ec.BrainpoolP256R1()).public_key(), "ec-brainpoolP256r1"),
        (ec.generate_private_key(ec.SECP256K1()).public_key(), "ec-secp256k1"),
        (ec.generate_private_key(ec.SECP521R1()).public_key(), "ec-p521"),
        (ed448.Ed448PrivateKey.generate().public_key(), "ed448"),
        (rsa.generate_private_key(65537, 2560).public_key(), "rsa-2560"),
        (dsa.generate_private_key(2048).public_key(), "dsa-2048"),
        (x25519.X25519PrivateKey.generate().public_key(), "x25519"),
    ],
)
def test_other_keys_have_names_too(key: CertificatePublicKeyTypes, name: str) -> None:
    """An anchor may have any key; a message must name it."""
    assert key_type(key) == name


def test_the_files_of_a_configuration_are_named() -> None:
    """A store without a truststore has one name."""
    assert Pkcs12Files(StorePassword(Secret(environment="X")), keystore="k.p12").names() == ("k.p12",)
    assert NOW.tzinfo is not None
