"""What AWS's errors mean to an operator: sorted by what to do, each with its advice.

Where only the service knows its exact words, nothing but the error's code is looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, OrderLostError
from agent.net.words import in_one_line, without

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.issuer_spec import AwsPcaSpec

TOKEN = re.compile(r"[A-Za-z0-9+/=_.]{100,}")
"""No name, ARN or date is as long without a hyphen or a colon; session tokens and JWTs are longer."""

ALREADY = "already done"
UNKNOWN_RECEIPT = "unknown receipt"
"""Sorts that the issuer itself acts upon."""

THROTTLED = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ThrottledException",
        "SlowDown",
        "PriorRequestNotComplete",
    }
)
PASSING = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "InternalServiceError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ConcurrentModificationException",
        "IDPCommunicationError",
    }
)
IN_PROGRESS = "RequestInProgressException"
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "ExpiredIdentityToken"})
WRONG_CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
    }
)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
BAD_IDENTITY_TOKEN = frozenset({"InvalidIdentityToken", "InvalidIdentityTokenException", "IDPRejectedClaim"})


@dataclass(frozen=True, slots=True)
class ServiceError:
    """An error as the service answered it: the operation (`IssueCertificate`), code, words and HTTP status."""

    operation: str
    code: str
    message: str
    status: int = 400


def judge(error: ServiceError, spec: AwsPcaSpec | None = None, secrets: Iterable[str] = ()) -> IssuanceError:
    """Return what an answered error is to us: to be tried again, or for a person to act upon.

    None of the `secrets` that were sent is repeated from the service's words.
    """
    error = replace(error, code=quoted(error.code, secrets), message=quoted(error.message, secrets))
    code, operation = error.code, error.operation
    said = f"AWS refused {operation}: {code}" + (f": {error.message}" if error.message else "")
    if code in THROTTLED:
        return IssuerUnavailableError(
            f"AWS throttles {operation}: {code}",
            advice="it is tried again, more slowly; have the quota raised if this lasts",
            reason="throttled",
        )
    if code == IN_PROGRESS:
        return IssuerUnavailableError(
            "AWS Private CA has not issued the certificate yet", advice="it is asked for again", reason="in progress"
        )
    if code == "RequestFailedException" and operation == "GetCertificate":
        return OrderLostError(
            f"AWS Private CA took the order and failed it: {error.message}",
            advice="it is ordered anew",
            reason="order failed",
        )
    if code in PASSING or error.status >= 500 or 300 <= error.status < 400:
        return IssuerUnavailableError(
            f"AWS could not do {operation}: {code} (HTTP {error.status})", advice="it is tried again", reason="server"
        )
    if code in EXPIRED:
        return IssuerUnavailableError(
            f"the AWS credentials have expired: {code}",
            advice="they are asked for anew; see that this host's clock is right, and that their source renews them",
            reason="credentials",
        )
    if code == "ResourceNotFoundException" and operation == "GetCertificate":
        return IssuerRefusedError(said, advice="see the CA's audit report for the certificate", reason=UNKNOWN_RECEIPT)
    return IssuerRefusedError(said, advice=_advice(error, spec), reason=_reason(code))


def _reason(code: str) -> str:
    if code == "RequestAlreadyProcessedException":
        return ALREADY
    if code in DENIED:
        return "access denied"
    if code in WRONG_CREDENTIALS or code in BAD_IDENTITY_TOKEN:
        return "credentials"
    if code in ("InvalidStateException", "ResourceNotFoundException", "InvalidArnException"):
        return "authority"
    return "malformed request" if code in ("MalformedCSRException", "InvalidArgsException") else "refused"


def _advice(error: ServiceError, spec: AwsPcaSpec | None) -> str:
    """Return what a person should do."""
    code = error.code
    if code in DENIED:
        return _denied(error, spec)
    if code in WRONG_CREDENTIALS:
        return "AWS does not know these credentials: see which ones the agent finds, and this host's clock"
    if code in BAD_IDENTITY_TOKEN:
        return "see that the role trusts the token's issuer, its audience and its subject"
    authority = spec.authority if spec else "the CA"
    waits = spec is not None and spec.authority == spec.next_authority
    setting = "`next_certificate_authority_arn`" if waits else "`certificate_authority_arn`"
    by_code = {
        "InvalidStateException": f"{authority} is disabled, expired, deleted or has no certificate yet: enable it, or"
        " import its certificate",
        "ResourceNotFoundException": f"see that {setting} is right: {authority} is not found in this"
        " region, or is not shared with this account",
        "InvalidArnException": f"correct {setting}: {authority}",
        "MalformedCSRException": "the service takes RSA and EC keys, and a subject or SANs that are not empty: correct"
        " `key`, `subject` or `sans`",
        "InvalidArgsException": "see `template`, `signing_algorithm` (its family must be that of the CA's key) and"
        " `lifetime`",
        "ValidationException": "see `template`, `signing_algorithm` and `lifetime`",
        "LimitExceededException": "a quota of the account is used up: have it raised",
        "RegionDisabledException": "STS is not enabled in this region for the account: enable it",
        "RequestAlreadyProcessedException": "nothing is left to do",
    }
    return by_code.get(code, "see the service's words; it is asked again, slowly")


def _denied(error: ServiceError, spec: AwsPcaSpec | None) -> str:
    """Name the action that is missing and who lacks it, and what a shared CA allows."""
    who = re.search(r"arn:[\w-]+:(?:iam|sts)::(\d*):[^\s,]+", error.message)
    action = re.search(r"\b(?:acm-pca|sts):\w+", error.message)
    service = "sts" if error.operation.startswith(("AssumeRole", "GetCaller")) else "acm-pca"
    missing = action[0] if action else f"{service}:{error.operation}"
    subject = who[0] if who else "the agent's role"
    if service == "sts":
        return f"let {subject} do {missing}, and the role's trust policy name it and the external id that is sent"
    advice = f"let {subject} do {missing}" + (f" on {spec.authority}" if spec else "")
    if error.operation == "IssueCertificate" and spec is not None and who is not None and who[1] != spec.account:
        advice += (
            "; over a shared CA the share's permission also names the one template that it allows (condition"
            " acm-pca:TemplateArn): set `template` to that one, or assume a role in the CA's account"
        )
    return advice


def quoted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return AWS's words safe to repeat; a run of letters as long as a session token is taken for one."""
    return in_one_line(TOKEN.sub("[token]", without(text, secrets)))
