"""What a PKI mount is asked: the parameters of its calls that sign and revoke."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.core.identity import Usage
from agent.core.issuer_spec import Signing
from agent.errors import IssuerRefusedError

if TYPE_CHECKING:
    from datetime import timedelta

    from agent.core.generation import Pending

EXTENDED_KEY_USAGE = {Usage.SERVER: "ServerAuth", Usage.CLIENT: "ClientAuth"}
"""Go's names of the usages, which Vault takes."""


def of_host(pending: Pending, signing: Signing) -> dict[str, Any]:
    """Return the parameters of `sign` or `sign-verbatim`; raise `IssuerRefusedError` for a CSR that is none."""
    request = pending.request
    try:
        csr = x509.load_der_x509_csr(pending.csr).public_bytes(Encoding.PEM).decode()
    except ValueError as error:
        raise IssuerRefusedError(f"the pending CSR cannot be read: {error}", advice="have a new key made") from error
    body: dict[str, Any] = {"csr": csr, "format": "pem", "ttl": ttl(request.lifetime)}
    if signing is Signing.VERBATIM:
        # The names are the CSR's; the usages too where it has them, which every Vault need not heed.
        key_usage = ["DigitalSignature", *(["KeyEncipherment"] if request.key.startswith("rsa") else [])]
        usages = [EXTENDED_KEY_USAGE[usage] for usage in sorted(request.usages)]
        return body | {"key_usage": key_usage, "ext_key_usage": usages}
    body |= {
        "alt_names": ",".join(request.sans.dns),
        "ip_sans": list(request.sans.ip),
        "uri_sans": list(request.sans.uri),
        # The names are all told above; Vault would add the common name to them unasked.
        "exclude_cn_from_sans": True,
    }
    common_names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if common_names:
        body["common_name"] = str(common_names[-1].value)
    return body


def of_ca(csr_pem: str, *, lifetime: timedelta, path_length: int | None) -> dict[str, Any]:
    """Return the parameters of `sign-intermediate`; raise `IssuerRefusedError` for a CSR that is not a CA's."""
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        constraints = csr.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_ca, valid = constraints.ca, csr.is_signature_valid
    except x509.ExtensionNotFound:
        is_ca, valid = False, True
    except (ValueError, x509.DuplicateExtension) as error:
        raise IssuerRefusedError(
            f"the CSR of the CA cannot be read: {error}", advice="give the CSR as the CA made it, in PEM"
        ) from error
    if not is_ca or not valid:
        why = "does not ask for a CA (basicConstraints CA:TRUE)" if valid else "is not signed with its own key"
        raise IssuerRefusedError(
            f"the CSR {why} and is not signed as one", advice="give the CSR of a subordinate CA, as that CA made it"
        )
    return {
        "csr": csr_pem,
        "format": "pem",
        "ttl": ttl(lifetime),
        # The subject is the CA's own to choose: AWS Private CA takes its certificate back only with that very one.
        "use_csr_values": True,
        "max_path_length": -1 if path_length is None else path_length,
    }


def ttl(lifetime: timedelta) -> str:
    """Return a span as Vault counts it, in whole seconds; a begun one is asked for in full."""
    return f"{max(1, math.ceil(lifetime.total_seconds()))}s"
