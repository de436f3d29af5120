"""Certificate signing requests, judged by OpenSSL and read back."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.core.certificate import Sans
from agent.core.identity import EXTENDED_KEY_USAGE, KeyAlgorithm, Usage
from agent.keystores import private_key, signing_request
from tests.material import make_key, make_request
from tests.tools import need

ALGORITHMS = (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_make_is_signed_by_its_key_as_openssl_sees_it(algorithm: KeyAlgorithm) -> None:
    """OpenSSL verifies the request's own signature, and reads the subject in the order of the encoding."""
    key = make_key(algorithm)
    request = make_request("CN=kafka1.example.com,OU=Brokers,O=MyOrg", key=algorithm)
    judged = subprocess.run(
        [need("openssl"), "req", "-inform", "DER", "-verify", "-noout", "-subject", "-nameopt", "RFC2253"],
        input=signing_request.make(key, request),
        capture_output=True,
        check=True,
    )
    assert b"verify OK" in judged.stdout + judged.stderr
    assert b"subject=CN=kafka1.example.com,OU=Brokers,O=MyOrg" in judged.stdout


def test_make_asks_for_all_that_is_requested() -> None:
    """Subject, names of each kind, usages and public key stand in the request, and nothing more is asked for."""
    key = make_key()
    request = make_request(ip=("127.0.0.1", "2001:db8::1"), uri=("spiffe://example.com/kafka1",))
    made = x509.load_der_x509_csr(signing_request.make(key, request))

    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    found = Sans.of(
        dns=tuple(names.value.get_values_for_type(x509.DNSName)),
        ip=tuple(str(address) for address in names.value.get_values_for_type(x509.IPAddress)),
        uri=tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier)),
    )
    usages = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert made.subject == request.subject
    assert found == request.sans
    assert not names.critical
    assert {oid.dotted_string for oid in usages} == {EXTENDED_KEY_USAGE[usage] for usage in request.usages}
    assert made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == private_key.public_der(
        key
    )
    assert len(made.extensions) == 3  # the third is the key usage


def test_make_asks_only_for_the_usages_that_are_wanted() -> None:
    """A client's request names no server usage, and without usages the extension is left out."""
    client = x509.load_der_x509_csr(
        signing_request.make(make_key(), make_request(usages=frozenset({Usage.CLIENT})))
    ).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert [oid.dotted_string for oid in client.value] == [EXTENDED_KEY_USAGE[Usage.CLIENT]]

    none = x509.load_der_x509_csr(signing_request.make(make_key(), make_request(usages=frozenset())))
    with pytest.raises(x509.ExtensionNotFound):
        none.extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_make_marks_the_names_critical_without_a_subject() -> None:
    """RFC 5280, 4.2.1.6: where the subject is empty the names alone say who it is."""
    made = x509.load_der_x509_csr(signing_request.make(make_key(), make_request("")))
    assert made.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_make_leaves_the_names_out_when_there_are_none() -> None:
    """A client that is known by its subject alone asks for no names, rather than for an empty list."""
    made = x509.load_der_x509_csr(signing_request.make(make_key(), make_request(dns=(), ip=())))
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)


@pytest.mark.parametrize(
    ("algorithm", "enciphers"),
    [(KeyAlgorithm.EC_P256, False), (KeyAlgorithm.ED25519, False), (KeyAlgorithm.RSA_2048, True)],
)
def test_make_asks_for_a_key_usage_that_fits_the_key(algorithm: KeyAlgorithm, *, enciphers: bool) -> None:
    """Every key signs handshakes, only RSA enciphers keys, and none signs certificates."""
    made = x509.load_der_x509_csr(signing_request.make(make_key(algorithm), make_request(key=algorithm)))
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment is enciphers
    assert not usage.value.key_cert_sign
