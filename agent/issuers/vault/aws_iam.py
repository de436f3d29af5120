"""A login with an AWS identity: a request to STS that is signed and not sent; Vault sends it, and sees who signed it.

Only here is botocore imported, and only when such a login is made.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agent.core.issuer_spec import AwsAccess, AwsLogin

BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
GLOBAL = "https://sts.amazonaws.com/"
GLOBAL_REGION = "us-east-1"
"""What Vault sends to unless its own settings name an endpoint and a region."""


class Credentials(Protocol):
    """A key of AWS as it is now."""

    access_key: str
    secret_key: str
    token: str | None


async def find_credentials(access: AwsAccess) -> Credentials:
    """Return the credentials that the settings name; raise `IssuanceError`."""
    from agent.issuers.aws.session import credentials

    return await credentials(access)


def signed_request(login: AwsLogin, credentials: Credentials) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the fields of the login, and those parts of them that are secret: for a while they log anybody in."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as Key

    url = sts_url(login.access)
    request = AWSRequest("POST", url, data=BODY)
    request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    if login.server_id:
        request.headers["X-Vault-AWS-IAM-Server-ID"] = login.server_id
    key = Key(credentials.access_key, credentials.secret_key, credentials.token)
    SigV4Auth(key, "sts", login.access.region or GLOBAL_REGION).add_auth(request)
    headers = _base64(json.dumps(dict(request.headers.items())).encode())
    fields = {
        "role": login.role,
        "iam_http_request_method": "POST",
        "iam_request_url": _base64(url.encode()),
        "iam_request_body": _base64(BODY),
        "iam_request_headers": headers,
    }
    signature = str(request.headers["Authorization"]).rpartition("Signature=")[2]
    return fields, (headers, signature, credentials.secret_key, credentials.token or "")


def sts_url(access: AwsAccess) -> str:
    """Return the URL of STS: the one that is named, the region's, or without a region the global one."""
    if access.sts_endpoint:
        return access.sts_endpoint.rstrip("/") + "/"
    if not access.region:
        return GLOBAL
    host = "sts-fips" if access.fips else "sts"
    domain = "amazonaws.com.cn" if access.region.startswith("cn-") else "amazonaws.com"
    return f"https://{host}.{access.region}.{domain}/"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
