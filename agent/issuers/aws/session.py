"""Who the agent is at AWS: the credentials that the settings name, refreshed before they end.

`botocore` and `aiobotocore` carry no types, so what is used of them is told here once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioAssumeRoleWithWebIdentityCredentialFetcher,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore import exceptions as raised

from agent.core.secret import Secret
from agent.errors import IssuanceError, IssuerRefusedError, IssuerUnavailableError, MaterialError
from agent.issuers.aws.failure import ServiceError, judge, quoted
from agent.net.secret import read_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from agent.core.issuer_spec import AwsAccess, AwsPcaSpec

CONNECT_WITHIN = 5
READ_WITHIN = 30
"""Seconds for one connection, and between two reads of an answer; each call has a deadline of its own besides."""

LARGEST_ANSWER = 1024 * 1024
"""Bytes of a body; more are not read. A chain is a few thousand."""

MOST_CONNECTIONS = 16

STS_WITHIN = timedelta(seconds=20)

# What aiobotocore warns of (a refresh that failed, with its traceback) reaches the operator as an error of the call.
for _noisy in ("aiobotocore", "botocore"):
    logging.getLogger(_noisy).addHandler(logging.NullHandler())
    logging.getLogger(_noisy).propagate = False


class Credentials(Protocol):
    """A key of AWS as it is now; never part of a message."""

    access_key: str
    secret_key: str
    token: str | None


class BoundedResponse(aiohttp.ClientResponse):
    """An answer of which no more is read than any of AWS's has."""

    async def read(self) -> bytes:
        """Return the body; raise `aiohttp.ClientPayloadError` when it is larger than `LARGEST_ANSWER`."""
        if self._body is None:
            body = bytearray()
            try:
                async for piece in self.content.iter_any():
                    body += piece
                    if len(body) > LARGEST_ANSWER:
                        break
            except BaseException:
                # Cancelled too: who waited for it leaves, and a connection half read serves nobody.
                self.close()
                raise
            if len(body) > LARGEST_ANSWER:
                self.close()
                raise aiohttp.ClientPayloadError(f"the answer is larger than {LARGEST_ANSWER} bytes")
            self._body = bytes(body)
        return self._body


class _Straight:
    """A session of aiohttp that is led nowhere else: a signed request is for its endpoint alone."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> aiohttp.ClientResponse:
        """Make a request; a redirect is the answer."""
        return await self._session.request(method, allow_redirects=False, **options)


class BoundedSession(AIOHTTPSession):  # type: ignore[misc]  # the library has no types
    """aiobotocore's HTTP session, with bounded answers and no redirects."""

    async def _get_session(self, proxy_url: str | None) -> _Straight:
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        # aiobotocore passes no class of responses on to the session that it makes.
        session._response_class = BoundedResponse  # noqa: SLF001
        return _Straight(session)


class _Given:
    """Stands in for the default chain: the credentials that the settings name."""

    def __init__(self, credentials: object) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> object:
        """Return them."""
        return self._credentials


def client_config(access: AwsAccess, **more: Any) -> AioConfig:
    """Return how a service is called: once, within bounds; trying again is for the agent's own ladder."""
    return AioConfig(
        connect_timeout=CONNECT_WITHIN,
        read_timeout=READ_WITHIN,
        retries={"total_max_attempts": 1},
        max_pool_connections=MOST_CONNECTIONS,
        use_fips_endpoint=access.fips or None,
        user_agent_extra="cert-agent",
        warm_up_loader_caches=True,
        http_session_cls=BoundedSession,
        **more,
    )


async def open_session(access: AwsAccess, region: str, confidences: set[str] | None = None) -> AioSession:
    """Return a session that signs as the settings say.

    What it will send in confidence is added to `confidences`. A role is assumed when the first call
    needs its credentials, and again before they end; the external id is read once a session. Raise
    `MaterialError` or an error of AWS's libraries, which `told` makes readable.
    """
    known = set() if confidences is None else confidences
    # Two, since a session keeps the credentials that it finds first: those of the chain serve STS alone.
    chain = await asyncio.to_thread(_session, access, region)
    make_sts = partial(
        chain.create_client,
        region_name=region,
        endpoint_url=access.sts_endpoint or None,
        verify=str(access.ca_file) if access.ca_file else None,
    )

    def sts(service: str, *, config: AioConfig | None = None, **keys: Any) -> Any:
        unsigned = {} if config is None else {"signature_version": config.signature_version}
        return make_sts(service, config=client_config(access, **unsigned), **keys)

    source: Any = None
    if access.web_identity is not None:
        web = access.web_identity
        fetcher = AioAssumeRoleWithWebIdentityCredentialFetcher(
            client_creator=sts,
            web_identity_token_loader=partial(_read, Secret(file=web.token_file), known),
            role_arn=web.role_arn,
            extra_args={"RoleSessionName": web.session_name},
        )
        source = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role-with-web-identity")
    if access.assume_role is not None:
        role = access.assume_role
        if source is None:
            source = await chain.get_credentials()
        if source is None:
            raise raised.NoCredentialsError
        extra = {"RoleSessionName": role.session_name, "DurationSeconds": int(role.duration.total_seconds())}
        if role.external_id is not None:
            extra["ExternalId"] = await asyncio.to_thread(_read, role.external_id, known)
        assume = AioAssumeRoleCredentialFetcher(
            client_creator=sts,
            source_credentials=source,
            role_arn=role.role_arn,
            extra_args=extra,
        )
        source = AioDeferredRefreshableCredentials(assume.fetch_credentials, "assume-role")
    if source is None:
        return chain
    session = await asyncio.to_thread(_session, access, region)
    session.register_component("credential_provider", _Given(source))
    return session


async def credentials(access: AwsAccess, region: str = "") -> Credentials:
    """Return the key to sign with now; raise `IssuanceError` when there is none.

    The region is that of the settings, or of AWS's own configuration.
    """
    confidences: set[str] = set()
    with told(None, confidences):
        async with asyncio.timeout(STS_WITHIN.total_seconds()):
            session = await open_session(access, access.region or region, confidences)
            found = await session.get_credentials()
            if found is None:
                raise raised.NoCredentialsError
            frozen: Credentials = await found.get_frozen_credentials()
            return frozen


@dataclass(frozen=True, slots=True)
class _Sort:
    """Kinds of failures that mean one thing to an operator."""

    kinds: tuple[type[Exception], ...]
    sort: type[IssuerUnavailableError | IssuerRefusedError]
    reason: str
    what: str
    advice: str

    def told(self, error: Exception) -> IssuanceError:
        """Return the failure as an operator is told of it; the library's own words may hold anything."""
        return self.sort(f"{self.what} ({type(error).__name__})", advice=self.advice, reason=self.reason)


UNREACHABLE = _Sort(
    (raised.ConnectTimeoutError, raised.ProxyConnectionError),
    IssuerUnavailableError,
    "unreachable",
    "there is no connection to AWS",
    "see the network, the VPC endpoint and `endpoint`",
)
BROKEN_OFF = _Sort(
    (raised.HTTPClientError, aiohttp.ClientError, OSError),
    IssuerUnavailableError,
    "network",
    "the connection to AWS failed, or broke off",
    "see that this host reaches the endpoint, and what answers there",
)
ODD = _Sort(
    (Exception,),
    IssuerUnavailableError,
    "malformed answer",
    "AWS's library could make nothing of what it was answered",
    "see what answers at the endpoint, and that this host's clock is right",
)

SORTS = (
    _Sort(
        (raised.NoCredentialsError, raised.PartialCredentialsError),
        IssuerRefusedError,
        "credentials",
        "there are no AWS credentials",
        "give the host an instance role, or name `profile`, `web_identity` or the AWS_… variables",
    ),
    _Sort(
        (raised.ProfileNotFound, raised.ConfigParseError, raised.InvalidConfigError, raised.ConfigNotFound),
        IssuerRefusedError,
        "credentials",
        "AWS's own configuration cannot be used",
        "correct `profile`, or ~/.aws/config of the agent's user",
    ),
    _Sort(
        (raised.NoRegionError, raised.InvalidRegionError, raised.UnknownRegionError),
        IssuerRefusedError,
        "malformed request",
        "no AWS region is known",
        "write `region`",
    ),
    _Sort(
        (raised.CredentialRetrievalError, raised.MetadataRetrievalError, raised.TokenRetrievalError),
        IssuerUnavailableError,
        "credentials",
        "the AWS credentials cannot be had",
        "see that the source of the credentials is up; it is tried again",
    ),
    UNREACHABLE,
    _Sort(
        (raised.SSLError,),
        IssuerUnavailableError,
        "TLS",
        "the certificate of AWS's endpoint is not trusted",
        "see `endpoint`, and that `ca_file` holds the CA of its certificate",
    ),
    _Sort(
        (raised.ReadTimeoutError, TimeoutError),
        IssuerUnavailableError,
        "time-out",
        "AWS did not answer in time",
        "see that this host reaches the endpoint",
    ),
    BROKEN_OFF,
)
"""The failures of AWS's libraries; the first that fits counts."""


@contextlib.contextmanager
def told(spec: AwsPcaSpec | None, secrets: Collection[str] = ()) -> Iterator[None]:
    """Turn what AWS's libraries raise into `IssuanceError`: what happened and what to do.

    `secrets` are what was sent in confidence; it may grow until the error is told.
    """
    try:
        yield
    except IssuanceError:
        raise
    except raised.ClientError as error:
        described = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        answered = ServiceError(
            operation=str(error.operation_name),
            code=str(described.get("Code", "")),
            message=str(described.get("Message", "")),
            status=status if isinstance(status, int) else 400,
        )
        raise judge(answered, spec, secrets) from None
    except MaterialError as error:
        raise IssuerRefusedError(error.what, advice=error.advice, reason="credentials") from error
    except raised.ParamValidationError as error:
        # Its words name fields and lengths, and the values are names, of which none is secret.
        raise IssuerRefusedError(
            f"the request does not fit AWS's own rules: {quoted(str(error), secrets)}",
            advice="correct the identity's subject, SANs or lifetime",
            reason="malformed request",
        ) from None
    except raised.EndpointConnectionError as error:
        # aiobotocore raises it for every lost connection; only one that never stood has certainly asked nothing.
        never_stood = isinstance(error.kwargs.get("error"), aiohttp.ClientConnectorError)
        raise (UNREACHABLE if never_stood else BROKEN_OFF).told(error) from None
    except Exception as error:  # noqa: BLE001 - at the border to a library without types, no answer may end the agent
        sort = next((one for one in SORTS if isinstance(error, one.kinds)), ODD)
        raise sort.told(error) from None


def _session(access: AwsAccess, region: str) -> AioSession:
    session = AioSession(profile=access.profile or None)
    if region:
        session.set_config_variable("region", region)
    # Read here, in a thread, and not when the first client is made.
    session.get_scoped_config()
    return session


def _read(secret: Secret, confidences: set[str]) -> str:
    value = read_secret(secret)
    confidences.add(value)
    return value
