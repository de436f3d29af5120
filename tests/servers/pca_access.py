"""Who asks the AWS test server, and whether they may: signatures, roles, sessions, rights and STS.

STS itself is moto's; what it does not look at (external ids, trust, durations, tokens) is looked at here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from moto.sts.models import AssumedRole, STSBackend
from moto.sts.responses import TokenResponse

from tests.servers import sigv4
from tests.servers.jwt import Signer
from tests.servers.pca_faults import Asked, Clock, RefusedError
from tests.servers.pca_templates import DEFAULT
from tests.servers.sigv4 import Credentials, Signed

if TYPE_CHECKING:
    from datetime import datetime

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/(?P<scope>(?P<date>\d{8})/(?P<region>[\w-]+)/(?P<service>[\w-]+))"
    r"/aws4_request, ?SignedHeaders=(?P<signed>[\w;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
USER = "arn:aws:iam::111111111111:user/agent"
ROLE = "arn:aws:iam::222222222222:role/kafka"
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "system:serviceaccount:kafka:broker"
SHORTEST, LONGEST, CHAINED = timedelta(minutes=15), timedelta(hours=12), timedelta(hours=1)

UNSIGNED = frozenset({"AssumeRoleWithWebIdentity"})

OF_JSON = {
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "ExpiredToken": "ExpiredTokenException",
}
"""What the query protocol's codes, with HTTP 403, are called where JSON is spoken, with HTTP 400."""


def new_credentials(arn: str = USER, ends: datetime | None = None) -> Credentials:
    """Make a key; a temporary one where it ends."""
    return Credentials(
        access_key=("ASIA" if ends else "AKIA") + base64.b32encode(os.urandom(10)).decode(),
        secret_key=base64.b64encode(os.urandom(30)).decode(),
        session_token=base64.b64encode(os.urandom(90)).decode() if ends else None,
        arn=arn,
        ends=ends,
    )


@dataclass
class Access:
    """Who is known, whom the role trusts and what is forbidden; each field may be changed while the server runs."""

    clock: Clock
    region: str
    account: str
    """Of the CAs."""
    known: dict[str, Credentials] = field(default_factory=dict, repr=False)
    roles: set[str] = field(default_factory=lambda: {ROLE})
    """Those that may be assumed."""
    external_id: str | None = None
    """Without which the roles are assumed by nobody; None: it is not looked at."""
    session: timedelta | None = None
    """How long sessions last, whatever was asked for."""
    longest: timedelta = timedelta(hours=1)
    """The roles' own limit of what may be asked for."""
    skew: timedelta = timedelta()
    """How far AWS's clock is from the clients' when it judges the time of a signature."""
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    shared: frozenset[str] | None = None
    """The templates (`EndEntityCertificate/V1`) that the share leaves to other accounts; None: all."""
    subjects: set[str] = field(default_factory=lambda: {SUBJECT})
    """Whose web identities the roles trust."""
    provider: Signer = field(default_factory=Signer.make, repr=False)
    """Signs web identity tokens."""

    def make_credentials(self, arn: str = USER, *, lasts: timedelta | None = None) -> Credentials:
        """Make a key that is known; a temporary one where it is told how long it lasts."""
        credentials = new_credentials(arn, None if lasts is None else self.clock() + lasts)
        self.known[credentials.access_key] = credentials
        return credentials

    def make_web_identity(self, **claims: Any) -> str:
        """Return a token that `AssumeRoleWithWebIdentity` takes, unless the claims say otherwise."""
        return self.provider.token(**({"iss": "https://oidc.example.com", "aud": AUDIENCE, "sub": SUBJECT} | claims))

    def deny(self, action: str, principal: str = "*", resource: str = "*") -> None:
        """Deny an action (`acm-pca:IssueCertificate`, `acm-pca:*`) to all whose ARN is like this, on such a CA."""
        self.denied.add((action, principal, resource))

    def allow(self, action: str, principal: str = "*", resource: str = "*") -> None:
        """Take a denial back."""
        self.denied.discard((action, principal, resource))

    def authenticate(self, request: Signed, service: str, operation: str) -> str:
        """Return the ARN of who has signed; raise `RefusedError` as the service would."""
        if operation in UNSIGNED:
            return ""
        try:
            return self._judge(request, service).arn
        except sigv4.SignatureRefusedError as refused:
            code, words = refused.args
            if service == "sts":
                raise RefusedError(code, words, 403) from refused
            raise RefusedError(OF_JSON[code], words) from refused

    def _judge(self, request: Signed, service: str) -> Credentials:
        written = request.headers.get("authorization", "")
        if not written:
            raise sigv4.SignatureRefusedError("MissingAuthenticationToken", "Missing Authentication Token")
        found = AUTHORIZATION.fullmatch(written)
        if found is None:
            raise sigv4.SignatureRefusedError("IncompleteSignature", "no Authorization of AWS4-HMAC-SHA256")
        signed = found["signed"].split(";")
        sigv4._check_signed_headers(request, signed, request.headers["host"])
        sigv4._check_time(request, found["date"], Clock(self.skew)())
        if (found["region"], found["service"]) != (self.region, service):
            raise sigv4.SignatureRefusedError(
                "SignatureDoesNotMatch", f"Credential should be scoped to {self.region}/{service}."
            )
        known = self.known.get(found["key"])
        if known is None or request.headers.get("x-amz-security-token") != known.session_token:
            raise sigv4.SignatureRefusedError(
                "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        if known.ends is not None and self.clock() >= known.ends:
            raise sigv4.SignatureRefusedError("ExpiredToken", "The security token included in the request is expired")
        digest = hashlib.sha256(request.body).hexdigest()
        expected = sigv4._signature(request, signed, digest, known.secret_key, found["scope"])
        if not hmac.compare_digest(expected, found["signature"]):
            raise sigv4.SignatureRefusedError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        return known

    def authorize(self, asked: Asked) -> None:
        """Raise what the service answers to who may not."""
        action = f"{asked.service}:{asked.operation}"
        forbidden = any(
            fnmatchcase(action, pattern) and fnmatchcase(asked.caller, whom) and fnmatchcase(asked.resource, what)
            for pattern, whom, what in self.denied
        )
        if asked.service == "sts":
            self._authorize_sts(asked, forbidden=forbidden)
        elif forbidden:
            raise _denied(asked, action, "identity-based")
        elif asked.operation == "IssueCertificate" and asked.account != self.account and self.shared is not None:
            template = str(asked.parameters.get("TemplateArn") or DEFAULT).rpartition("template/")[2]
            if template not in {one.rpartition("template/")[2] for one in self.shared}:
                raise _denied(asked, action, "resource-based")

    def _authorize_sts(self, asked: Asked, *, forbidden: bool) -> None:
        if not asked.operation.startswith("AssumeRole"):
            return
        trusted = not forbidden and asked.resource in self.roles
        if asked.operation == "AssumeRoleWithWebIdentity":
            claims = self._claims(str(asked.parameters.get("WebIdentityToken", "")))
            if not trusted or claims.get("sub") not in self.subjects:
                raise RefusedError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        elif not trusted or (self.external_id is not None and asked.parameters.get("ExternalId") != self.external_id):
            words = f"User: {asked.caller} is not authorized to perform: sts:AssumeRole on resource: {asked.resource}"
            raise RefusedError("AccessDenied", words, 403)
        self._check_duration(asked)

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that is genuine and in time."""
        claims = self.provider.verified(token)
        if claims is None:
            if _end(token) <= self.clock().timestamp():
                raise RefusedError("ExpiredTokenException", "Token expired")
            raise RefusedError("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider")
        if claims.get("aud") != AUDIENCE:
            raise RefusedError("InvalidIdentityToken", "Incorrect token audience")
        return claims

    def _check_duration(self, asked: Asked) -> None:
        wanted = timedelta(seconds=int(asked.parameters.get("DurationSeconds") or 3600))
        if not SHORTEST <= wanted <= LONGEST:
            raise RefusedError("ValidationError", "DurationSeconds must be from 900 to 43200")
        if ":assumed-role/" in asked.caller and wanted > CHAINED:
            raise RefusedError("ValidationError", "DurationSeconds exceeds the 1 hour session limit of role chaining")
        if wanted > self.longest:
            raise RefusedError(
                "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )


def _denied(asked: Asked, action: str, kind: str) -> RefusedError:
    words = f"User: {asked.caller} is not authorized to perform: {action} on resource: {asked.resource}"
    return RefusedError("AccessDeniedException", f"{words} because no {kind} policy allows the {action} action")


def _end(token: str) -> float:
    """Return when a token says that it ends, without asking whether it is genuine."""
    try:
        part = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return float("inf")


class Sts(STSBackend):
    """moto's STS, whose sessions are known to the server and end when it says."""

    def __init__(self, access: Access) -> None:
        super().__init__(access.region, access.account)
        self.access = access

    def assume_role(  # noqa: PLR0917 - as moto has it
        self,
        region_name: str,
        role_session_name: str,
        role_arn: str,
        policy: str,
        duration: int,
        external_id: str,
    ) -> AssumedRole:
        """Begin a session."""
        role = super().assume_role(region_name, role_session_name, role_arn, policy, duration, external_id)
        lasts = self.access.session or timedelta(seconds=duration)
        ends = (self.access.clock() + lasts).replace(microsecond=0)
        role.expiration = ends.replace(tzinfo=None)
        self.access.known[role.access_key_id] = Credentials(
            role.access_key_id, role.secret_access_key, role.session_token, role.arn, ends
        )
        return role

    def get_caller_identity(self, access_key_id: str, region: str) -> tuple[str, str, str]:  # noqa: ARG002 - moto's
        """Return id, ARN and account of a key's owner."""
        arn = self.access.known[access_key_id].arn
        kind = "AROA" if ":assumed-role/" in arn else "AIDA"
        number = base64.b32encode(hashlib.sha256(arn.rpartition("/")[0].encode()).digest()[:10]).decode()
        session = f":{arn.rpartition('/')[2]}" if kind == "AROA" else ""
        return f"{kind}{number}{session}", arn, arn.split(":")[4]


class StsResponse(TokenResponse):
    """moto's reading and writing of STS calls, on a backend of one server alone."""

    def __init__(self, sts: Sts, account: str) -> None:
        super().__init__()
        self._sts, self._account = sts, account

    @property
    def backend(self) -> Sts:
        """The server's own."""
        return self._sts

    def get_current_account(self) -> str:
        """Return the caller's account."""
        return self._account or self._sts.account_id
