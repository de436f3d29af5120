"""AWS's judgement of a signed request: Signature Version 4 from its specification, without any of AWS's code."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

FRESH = timedelta(minutes=15)
"""How far the time of a request may be from AWS's."""

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w+)/(?P<date>\d{8})/(?P<region>[\w-]+)/(?P<service>\w+)/aws4_request,"
    r" ?SignedHeaders=(?P<signed>[\w;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Credentials:
    """An access key and whose it is; a temporary one has a session token and an end."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    arn: str = "arn:aws:iam::111111111111:role/kafka"
    ends: datetime | None = None


@dataclass(frozen=True)
class Signed:
    """A signed request; the names of headers are lower case."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class SignatureRefusedError(Exception):
    """The service would refuse the request; the first argument is its error code."""


def judge(
    request: Signed, known: Mapping[str, Credentials], *, host: str, region: str, service: str, now: datetime
) -> Credentials:
    """Return whose request it is, as the service at `host` would find out; raise `SignatureRefusedError`."""
    found = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise SignatureRefusedError("IncompleteSignature", "no Authorization of AWS4-HMAC-SHA256")
    signed = found["signed"].split(";")
    _check_signed_headers(request, signed, host)
    _check_time(request, found["date"], now)
    if (found["region"], found["service"]) != (region, service):
        raise SignatureRefusedError("SignatureDoesNotMatch", f"the credential is not scoped to {region}/{service}")
    credentials = known.get(found["key"])
    if credentials is None or request.headers.get("x-amz-security-token") != credentials.session_token:
        raise SignatureRefusedError("InvalidClientTokenId", "the security token included in the request is invalid")
    if credentials.ends is not None and now >= credentials.ends:
        raise SignatureRefusedError("ExpiredToken", "the security token included in the request is expired")
    digest = hashlib.sha256(request.body).hexdigest()
    if request.headers.get("x-amz-content-sha256", digest) != digest:
        raise SignatureRefusedError("SignatureDoesNotMatch", "x-amz-content-sha256 is not that of the body")
    expected = _signature(request, signed, digest, credentials.secret_key, f"{found['date']}/{region}/{service}")
    if not hmac.compare_digest(expected, found["signature"]):
        raise SignatureRefusedError("SignatureDoesNotMatch", "the signature is not the one calculated")
    return credentials


def _check_signed_headers(request: Signed, signed: list[str], host: str) -> None:
    """Check that what must be signed is, and that the request is for this host."""
    if signed != sorted(set(signed)) or any(name != name.lower() for name in signed):
        raise SignatureRefusedError("IncompleteSignature", "SignedHeaders are not sorted names in lower case")
    absent = [name for name in signed if name not in request.headers]
    if absent:
        raise SignatureRefusedError("SignatureDoesNotMatch", f"signed and not sent: {absent}")
    needed = {"host", "x-amz-date"}
    needed |= {name for name in request.headers if name.startswith("x-amz-") or name == "content-type"}
    if not needed <= set(signed):
        raise SignatureRefusedError("SignatureDoesNotMatch", f"sent and not signed: {sorted(needed - set(signed))}")
    if request.headers["host"] != host:
        raise SignatureRefusedError("SignatureDoesNotMatch", f"the request is for {request.headers['host']}")


def _check_time(request: Signed, scope: str, now: datetime) -> None:
    text = request.headers["x-amz-date"]
    try:
        made_at = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise SignatureRefusedError("IncompleteSignature", f"x-amz-date is {text!r}") from None
    if scope != text[:8]:
        raise SignatureRefusedError("SignatureDoesNotMatch", "the credential's date is not that of x-amz-date")
    if abs(now - made_at) > FRESH:
        raise SignatureRefusedError("SignatureDoesNotMatch", f"signature expired or not yet current: {text}")


def _signature(request: Signed, signed: list[str], digest: str, secret: str, scope: str) -> str:
    """Return the signature that the request should have."""
    scope = f"{scope}/aws4_request"
    url = urlsplit(request.url)
    query = sorted((_encoded(name), _encoded(value)) for name, value in parse_qsl(url.query, keep_blank_values=True))
    canonical = "\n".join(
        (
            request.method,
            quote(url.path or "/", safe="/~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed),
            "",
            ";".join(signed),
            digest,
        )
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, hashed))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    return _mac(key, text).hex()


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def _encoded(text: str) -> str:
    return quote(text, safe="~")
