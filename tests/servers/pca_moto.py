"""AWS Private CA's API on moto's backend: what moto keeps and says of a CA stays moto's, the rest is mended."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from cryptography import x509
from moto.acmpca.models import ACMPCABackend
from moto.acmpca.responses import ACMPCAResponse

from tests.servers.pca_authority import READABLE, Authority, Orders, text
from tests.servers.pca_faults import RefusedError
from tests.servers.pca_validity import make_ca_key

CA_ARN = re.compile(r"arn:aws[a-z-]*:acm-pca:[\w-]+:\d{12}:certificate-authority/[\w-]+")


class PcaBackend(ACMPCABackend):
    """moto's backend with CAs of any key."""

    def __init__(self, region: str, account: str, orders: Orders) -> None:
        super().__init__(region, account)
        self.orders = orders

    def make(self, configuration: dict[str, Any], kind: str, **more: Any) -> Authority:
        """Make a CA that has no certificate yet."""
        key = make_ca_key(configuration["KeyAlgorithm"])
        made = Authority(self.orders, key, self.region_name, self.account_id, configuration, kind, **more)
        self.certificate_authorities[made.arn] = made
        return made

    def forget(self) -> None:
        """Take the CAs out of what moto keeps of all its models for the life of the process."""
        mine = {id(one) for one in self.certificate_authorities.values()}
        tracked: list[Any] = Authority.instances_tracked  # type: ignore[attr-defined]  # by moto's metaclass
        tracked[:] = [one for one in tracked if id(one) not in mine]

    def create_certificate_authority(  # noqa: PLR0917 - as moto has it
        self,
        certificate_authority_configuration: dict[str, Any],
        revocation_configuration: dict[str, Any],
        certificate_authority_type: str,
        security_standard: str | None,
        tags: list[dict[str, str]],
        usage_mode: str = "GENERAL_PURPOSE",
    ) -> str:
        """Make a CA as the API asks for it."""
        made = self.make(
            certificate_authority_configuration,
            certificate_authority_type,
            usage_mode=usage_mode,
            revocation=revocation_configuration,
            security_standard=security_standard,
        )
        self.tagger.tag_resource(made.arn, tags or [])
        return made.arn

    def describe_certificate_authority(self, certificate_authority_arn: str) -> Authority:
        """Return the CA; raise `RefusedError` when there is none."""
        if not CA_ARN.fullmatch(str(certificate_authority_arn)):
            raise RefusedError("InvalidArnException", f"{certificate_authority_arn} is not the ARN of a CA")
        found = self.certificate_authorities.get(certificate_authority_arn)
        if not isinstance(found, Authority):
            raise RefusedError("ResourceNotFoundException", f"There is no CA {certificate_authority_arn}")
        return found


class PcaResponse(ACMPCAResponse):
    """moto's reading and writing of calls, on a backend of one server alone; below is what moto does otherwise."""

    def __init__(self, backend: PcaBackend, caller: str) -> None:
        super().__init__()
        self._backend, self._caller = backend, caller

    @property
    def acmpca_backend(self) -> PcaBackend:
        """The server's own."""
        return self._backend

    def get_current_account(self) -> str:
        """Return the caller's account."""
        return self._caller.split(":")[4]

    def create_certificate_authority(self) -> str:
        """Answer CreateCertificateAuthority, with the usage mode that moto leaves out."""
        told = json.loads(self.body)
        arn = self._backend.create_certificate_authority(
            told["CertificateAuthorityConfiguration"],
            told.get("RevocationConfiguration"),
            told["CertificateAuthorityType"],
            told.get("KeyStorageSecurityStandard"),
            told.get("Tags"),
            told.get("UsageMode", "GENERAL_PURPOSE"),
        )
        return json.dumps({"CertificateAuthorityArn": arn})

    def issue_certificate(self) -> str:
        """Answer IssueCertificate."""
        told, authority = self._told()
        return json.dumps({"CertificateArn": authority.order(told, self._caller)})

    def get_certificate(self) -> str:
        """Answer GetCertificate."""
        told, authority = self._told()
        arn = str(told.get("CertificateArn"))
        if not re.fullmatch(CA_ARN.pattern + r"/certificate/\w+", arn):
            raise RefusedError("InvalidArnException", f"{arn} is not the ARN of a certificate")
        return json.dumps(authority.collect(arn))

    def get_certificate_authority_certificate(self) -> str:
        """Answer GetCertificateAuthorityCertificate: the CA's own, and what is above it."""
        _, authority = self._told()
        authority.demand(*READABLE)
        own, *above = authority.chain
        return json.dumps({"Certificate": text(own), "CertificateChain": text(*above) if above else None})

    def import_certificate_authority_certificate(self) -> str:
        """Answer ImportCertificateAuthorityCertificate: the first, or a new one for the same key."""
        told, authority = self._told()
        authority.demand("PENDING_CERTIFICATE", *READABLE)
        try:
            own = x509.load_pem_x509_certificate(base64.b64decode(told["Certificate"]))
            chain = base64.b64decode(told.get("CertificateChain") or "")
            above = x509.load_pem_x509_certificates(chain) if chain else []
        except ValueError as error:
            raise RefusedError("MalformedCertificateException", str(error)) from error
        if own.public_key() != authority.signing_key.public_key():
            raise RefusedError("CertificateMismatchException", "The certificate is not for the CA's key")
        authority.install((own, *above))
        return "{}"

    def revoke_certificate(self) -> str:
        """Answer RevokeCertificate."""
        told, authority = self._told()
        authority.revoke(str(told.get("CertificateSerial")), str(told.get("RevocationReason")))
        return "{}"

    def list_permissions(self) -> str:
        """Answer ListPermissions: nobody was given any."""
        self._told()
        return json.dumps({"Permissions": []})

    def _told(self) -> tuple[dict[str, Any], Authority]:
        told: dict[str, Any] = json.loads(self.body)
        return told, self._backend.describe_certificate_authority(told.get("CertificateAuthorityArn", ""))
