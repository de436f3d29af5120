"""AWS Private CA and STS over real HTTP: moto's backend, mended where moto does otherwise than the service.

`pca_templates` and `pca_validity` have the rules of what is issued, `pca_authority` and `pca_moto`
the CAs, `pca_access` signatures, roles and rights, `pca_faults` what goes wrong, `pca_http` the door.
Where only AWS knows its exact words, the words here are our own, and only the codes mean something.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.servers.pca_access import ROLE, Access
from tests.servers.pca_authority import Authority, Issued, Orders
from tests.servers.pca_faults import THROTTLED, Call, Clock, Faults
from tests.servers.pca_http import Door, Serving
from tests.servers.pca_moto import PcaBackend
from tests.servers.pca_validity import usual_algorithm

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from cryptography import x509

    from tests.servers.sigv4 import Credentials

REGION = "eu-west-1"
ACCOUNT = "222222222222"
"""Of the CAs and the role; the long-lived user is of 111111111111."""

YEAR = timedelta(days=365)
TEMPLATES = "arn:aws:acm-pca:::template"


@dataclass
class Pca:
    """A running server.

    `access`, `faults` and `orders` say how it behaves, and may be changed while it runs.
    """

    endpoint: str
    region: str
    credentials: Credentials = field(repr=False)
    """Of the long-lived user, who may do everything unless `access` says otherwise."""
    clock: Clock
    access: Access
    faults: Faults
    orders: Orders
    backend: PcaBackend = field(repr=False)
    calls: list[Call] = field(repr=False)
    """Every call in the order of coming, those of STS too; one that is held has no outcome yet."""
    role: str = ROLE
    """The role in the CAs' account that may be assumed."""
    _making: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _root: str = ""

    # --- the book -----------------------------------------------------------------------------

    @property
    def issued(self) -> list[Issued]:
        """The certificates that were issued to callers, each once however often it was fetched."""
        return self.orders.issued

    @property
    def throttled(self) -> int:
        """How many calls were throttled."""
        return sum(call.outcome in THROTTLED for call in self.calls)

    def count(self, operation: str, outcome: str | None = None) -> int:
        """Return how many calls there were of an operation, of those that ended so."""
        counted = Counter(call.outcome for call in self.calls if call.operation == operation)
        return counted.total() if outcome is None else counted[outcome]

    # --- time ---------------------------------------------------------------------------------

    def advance(self, span: timedelta) -> None:
        """Move the server's clock: validity, tokens, pending orders and sessions go by it, signatures do not."""
        self.clock.offset += span

    # --- CAs ----------------------------------------------------------------------------------

    async def make_ca(
        self,
        key: str = "EC_prime256v1",
        *,
        subordinate: bool = True,
        lifetime: timedelta = 5 * YEAR,
        usage_mode: str = "GENERAL_PURPOSE",
        above: str = "",
        common_name: str = "",
    ) -> str:
        """Make an active CA and return its ARN: a root, or one below `above`, by default the server's own root."""
        return await asyncio.to_thread(self._make_ca, key, subordinate, lifetime, usage_mode, above, common_name)

    async def reimport(self, arn: str, lifetime: timedelta = 5 * YEAR) -> x509.Certificate:
        """Give a CA a new certificate under the same ARN, key and name; it lasts from now on."""
        return await asyncio.to_thread(self._install, self.authority(arn), lifetime)

    def authority(self, arn: str) -> Authority:
        """Return a CA: its `chain`, `status`, `signing_key` and orders."""
        return self.backend.describe_certificate_authority(arn)

    def set_state(self, arn: str, state: str) -> None:
        """Set a CA's status: ACTIVE, DISABLED, EXPIRED, PENDING_CERTIFICATE, DELETED, FAILED, CREATING."""
        self.authority(arn).status = state

    def _make_ca(  # noqa: PLR0917 - those of make_ca
        self, key: str, subordinate: bool, lifetime: timedelta, usage_mode: str, above: str, common_name: str
    ) -> str:
        with self._making:
            if subordinate and not above and not self._root:
                self._root = self._new_ca("EC_prime256v1", "", 20 * YEAR, "GENERAL_PURPOSE", "Test Root").arn
        parent = (above or self._root) if subordinate else ""
        name = common_name or ("Test Subordinate" if parent else "Test Root")
        return self._new_ca(key, parent, lifetime, usage_mode, name).arn

    def _new_ca(self, key: str, above: str, lifetime: timedelta, usage_mode: str, name: str) -> Authority:
        configuration = {
            "KeyAlgorithm": key,
            "SigningAlgorithm": usual_algorithm(key),
            "Subject": {"Organization": "MyOrg", "CommonName": name},
        }
        made = self.backend.make(configuration, "SUBORDINATE" if above else "ROOT", usage_mode=usage_mode)
        made.above = above
        self._install(made, lifetime)
        return made

    def _install(self, authority: Authority, lifetime: timedelta) -> x509.Certificate:
        """Have the CA's certificate signed by the one above it, or by itself."""
        above = self.authority(authority.above) if authority.above else None
        chain = above.chain if above else ()
        certificate = (above or authority).certify(
            authority.csr,
            f"{TEMPLATES}/{'SubordinateCACertificate_PathLen0' if above else 'RootCACertificate'}/V1",
            self.clock() + lifetime,
        )
        authority.install((certificate, *chain))
        return certificate

    # --- clients ------------------------------------------------------------------------------

    @asynccontextmanager
    async def client(
        self, service: str = "acm-pca", credentials: Credentials | None = None, *, verify: str = "", **config: Any
    ) -> AsyncIterator[Any]:
        """Open a client of aiobotocore, by default of the user, that tries everything once; `verify` is a CA file."""
        from aiobotocore.config import AioConfig

        signer = credentials or self.credentials
        async with _session().create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            verify=verify or None,
            aws_access_key_id=signer.access_key,
            aws_secret_access_key=signer.secret_key,
            aws_session_token=signer.session_token,
            config=AioConfig(**({"retries": {"total_max_attempts": 1}} | config)),
        ) as client:
            yield client

    def environment(self, credentials: Credentials | None = None) -> dict[str, str]:
        """Return the variables that lead a program of AWS's SDKs here."""
        signer = credentials or self.credentials
        values = {
            "AWS_ACCESS_KEY_ID": signer.access_key,
            "AWS_SECRET_ACCESS_KEY": signer.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return values | ({"AWS_SESSION_TOKEN": signer.session_token} if signer.session_token else {})


@cache
def _session() -> Any:
    """Return the one session of all clients: it reads AWS's models once, which takes longer than a test."""
    from aiobotocore.session import get_session

    return get_session()


@asynccontextmanager
async def pca(region: str = REGION, *, context: ssl.SSLContext | None = None) -> AsyncIterator[Pca]:
    """Serve on a free loopback port; with a context HTTPS, as `localhost`.

    What went wrong in the server itself fails the test when it ends.
    """
    clock = Clock()
    access = Access(clock, region, ACCOUNT)
    orders, faults = Orders(clock), Faults()
    calls: list[Call] = []
    door = Door(access, faults, PcaBackend(region, ACCOUNT, orders), calls)
    serving = Serving(door, context)
    await asyncio.to_thread(serving.begin)
    try:
        yield Pca(
            f"https://localhost:{serving.port}" if context else f"http://127.0.0.1:{serving.port}",
            region,
            access.make_credentials(),
            clock,
            access,
            faults,
            orders,
            door.backend,
            calls,
        )
    finally:
        await asyncio.to_thread(serving.end)
        door.backend.forget()
    if door.errors:
        raise ExceptionGroup("the AWS test server itself failed", door.errors)
