"""A fake Kubernetes API server that does one thing: it tells whose a service account's token is (TokenReview)."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.material import Ca, make_key, make_request
from tests.servers.jwt import Signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
AUDIENCE = "vault"


@dataclass
class TokenReview:
    """A running API server; it knows every account but those in `deleted`."""

    address: str
    ca_pem: str = field(repr=False)
    signer: Signer
    deleted: set[str] = field(default_factory=set)
    """Accounts that are no more, as `namespace/name`."""
    status: int = 201
    """Another status is answered without a look at the token: 500, 403 (the reviewer may not review)."""
    reviewed: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """The bodies that were asked about."""

    def token(self, name: str = "kafka", namespace: str = "streaming", **claims: Any) -> str:
        """Return a token as a pod finds it in its volume; `lasts`, `starts` and claims as `Signer.token` has them."""
        account = {"namespace": namespace, "serviceaccount": {"name": name, "uid": f"uid-{name}"}}
        usual: dict[str, Any] = {
            "iss": "https://kubernetes.default.svc",
            "aud": [AUDIENCE],
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "kubernetes.io": account,
        }
        return self.signer.token(**(usual | claims))

    def review(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Return the status of a review: who it is, or that it is nobody."""
        claims = self.signer.verified(spec["token"])
        if claims is None:
            return {"authenticated": False, "error": "the token is not valid"}
        account = claims["kubernetes.io"]
        name = f"{account['namespace']}/{account['serviceaccount']['name']}"
        if name in self.deleted:
            return {"authenticated": False, "error": "the service account has been deleted"}
        asked = spec.get("audiences") or claims["aud"]
        audiences = [audience for audience in asked if audience in claims["aud"]]
        if not audiences:
            return {"authenticated": False, "error": "the token is for another audience"}
        user = {
            "username": claims["sub"],
            "uid": account["serviceaccount"]["uid"],
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{account['namespace']}"],
        }
        return {"authenticated": True, "user": user, "audiences": audiences}

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.reviewed.append(body)
        if self.status != 201:
            return web.json_response({"kind": "Status", "status": "Failure", "code": self.status}, status=self.status)
        return web.json_response(body | {"status": self.review(body["spec"])}, status=201)


@asynccontextmanager
async def token_review(directory: Path) -> AsyncIterator[TokenReview]:
    """Serve HTTPS on a free loopback port; the server's key is written below `directory`."""
    ca, context = await asyncio.to_thread(_tls, directory)
    state = TokenReview("", ca, Signer.make())
    app = web.Application()
    app.router.add_post(PATH, state._answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = runner.addresses[0][1]
        state.address = f"https://127.0.0.1:{port}"
        yield state
    finally:
        await runner.cleanup()


def _tls(directory: Path) -> tuple[str, ssl.SSLContext]:
    """Return the certificate of a fresh CA and a server's context with a leaf below it."""
    now = datetime.now(UTC)
    ends = now + timedelta(days=1)
    ca = Ca.root("CN=Test Cluster", not_before=now - timedelta(hours=1), not_after=ends)
    key = make_key()
    leaf = ca.leaf(make_request("CN=kube-apiserver"), key, not_before=now - timedelta(minutes=1), not_after=ends)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "kube-apiserver.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        leaf.x509.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return ca.certificate.x509.public_bytes(Encoding.PEM).decode(), context
