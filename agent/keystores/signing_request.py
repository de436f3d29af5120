"""The certificate signing request (PKCS#10, RFC 2986)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.identity import EXTENDED_KEY_USAGE

if TYPE_CHECKING:
    from agent.core.certificate import Sans
    from agent.core.identity import Request
    from agent.keystores.material import PrivateKey


def make(key: PrivateKey, request: Request) -> bytes:
    """Return the DER of a CSR for what is requested, signed with the key.

    The names are critical where there is no subject (RFC 5280, 4.2.1.6). The usages are asked
    for too; a CA that takes its own from a template overrides them. Only an RSA key enciphers
    keys, in TLS 1.2 without forward secrecy (RFC 5246, 7.4.2), and Java looks for it there.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(request.subject)
    if request.sans:
        builder = builder.add_extension(san_extension(request.sans), critical=not request.subject.rdns)
    if request.usages:
        oids = [x509.ObjectIdentifier(EXTENDED_KEY_USAGE[usage]) for usage in sorted(request.usages)]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    builder = builder.add_extension(key_usage(encipherment=isinstance(key, rsa.RSAPrivateKey)), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def san_extension(sans: Sans) -> x509.SubjectAlternativeName:
    """Return the extension that carries the names."""
    return x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name) for name in sans.dns),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in sans.ip),
            *(x509.UniformResourceIdentifier(uri) for uri in sans.uri),
        ]
    )


def key_usage(*, encipherment: bool) -> x509.KeyUsage:
    """Return what TLS needs of a leaf's key; `encipherment` for RSA alone."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
