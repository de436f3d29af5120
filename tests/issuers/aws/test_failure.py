"""AWS's errors, sorted by what to do."""

from __future__ import annotations

import pytest

from agent.core.issuer_spec import AwsPcaSpec
from agent.errors import IssuerRefusedError, IssuerUnavailableError, OrderLostError
from agent.issuers.aws.failure import ServiceError, judge

ARN = "arn:aws:acm-pca:eu-west-1:222222222222:certificate-authority/1a2b"
SPEC = AwsPcaSpec(name="pca", authority=ARN)
ROLE = "arn:aws:sts::222222222222:assumed-role/kafka/cert-agent"
STRANGER = "arn:aws:sts::111111111111:assumed-role/hosts/i-1"


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("ThrottlingException", 400, "throttled"),
        ("TooManyRequestsException", 429, "throttled"),
        ("RequestInProgressException", 400, "in progress"),
        ("ServiceUnavailable", 503, "server"),
        ("InternalFailure", 500, "server"),
        ("SomethingNew", 502, "server"),
        ("ExpiredTokenException", 400, "credentials"),
    ],
)
def test_what_passes_is_tried_again(code: str, status: int, reason: str) -> None:
    """Throttles, servers that stumble, what is not ready yet, credentials that have run out."""
    error = judge(ServiceError("IssueCertificate", code, "words", status), SPEC)
    assert isinstance(error, IssuerUnavailableError)
    assert error.reason == reason
    assert error.advice


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        ("InvalidStateException", "authority", "is disabled, expired, deleted"),
        ("ResourceNotFoundException", "authority", "is not found in this region"),
        ("InvalidArnException", "authority", "correct `certificate_authority_arn`"),
        ("MalformedCSRException", "malformed request", "RSA and EC keys"),
        ("InvalidArgsException", "malformed request", "`signing_algorithm`"),
        ("ValidationException", "refused", "`lifetime`"),
        ("LimitExceededException", "refused", "quota"),
        ("UnrecognizedClientException", "credentials", "AWS does not know these credentials"),
        ("InvalidIdentityToken", "credentials", "trusts the token's issuer"),
        ("NeverHeardOf", "refused", "asked again, slowly"),
    ],
)
def test_what_a_person_must_mend_is_told_with_advice(code: str, reason: str, advice: str) -> None:
    """It is refused, says how AWS put it, and what to do."""
    error = judge(ServiceError("IssueCertificate", code, "as AWS says it"), SPEC)
    assert isinstance(error, IssuerRefusedError)
    assert error.reason == reason
    assert "as AWS says it" in error.what
    assert advice in error.advice


def test_access_denied_names_action_and_role() -> None:
    """Nothing is left for a person to look up."""
    said = f"User: {ROLE} is not authorized to perform: acm-pca:IssueCertificate on resource: {ARN}"
    error = judge(ServiceError("IssueCertificate", "AccessDeniedException", said), SPEC)
    assert error.reason == "access denied"
    assert f"let {ROLE} do acm-pca:IssueCertificate on {ARN}" in error.advice
    assert "share" not in error.advice


def test_access_denied_from_another_account_tells_of_the_share_s_template() -> None:
    """A share through RAM allows one template, and the error does not say so."""
    said = f"User: {STRANGER} is not authorized to perform: acm-pca:IssueCertificate on resource: {ARN}"
    error = judge(ServiceError("IssueCertificate", "AccessDeniedException", said), SPEC)
    assert "acm-pca:TemplateArn" in error.advice


def test_a_role_that_may_not_be_assumed_is_told_as_such() -> None:
    """The trust policy and the external id are on the other side."""
    said = (
        f"User: {STRANGER} is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::222222222222:role/x"
    )
    error = judge(ServiceError("AssumeRole", "AccessDenied", said), SPEC)
    assert f"let {STRANGER} do sts:AssumeRole" in error.advice
    assert "external id" in error.advice


def test_an_order_that_the_service_failed_is_lost() -> None:
    """The same token would get the same failure."""
    error = judge(ServiceError("GetCertificate", "RequestFailedException", "internal"), SPEC)
    assert isinstance(error, OrderLostError)


def test_a_stranger_s_words_are_bounded_and_printable() -> None:
    """What answers may not be AWS."""
    error = judge(ServiceError("IssueCertificate", "X", "a\x1b[31m\n" * 1000), SPEC)
    assert error.what.isprintable()
    assert len(error.what) < 500
