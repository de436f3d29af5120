"""Each CA gives what was asked for: keys, usages and names, each pair of them once, judged by our proof and OpenSSL."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.certificate import Sans
from agent.core.identity import KeyAlgorithm, Usage
from agent.errors import IssuerRefusedError
from tests.conformance import cas
from tests.conformance.asking import chain_of, pending_for, refuted
from tests.conformance.pairs import pairwise
from tests.material import BOTH, make_request
from tests.tools import need

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from agent.core.certificate import Certificate
    from tests.conformance.cas import Tested

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

SERVER, CLIENT = frozenset({Usage.SERVER}), frozenset({Usage.CLIENT})

CASES = pairwise(
    {
        "key": list(KeyAlgorithm),
        "usages": [SERVER, CLIENT, BOTH],
        "names": [
            Sans.of(dns=("kafka1.example.com", "localhost")),
            Sans.of(dns=("*.kafka.example.com",), ip=("192.0.2.1", "2001:db8::1")),
            Sans.of(dns=("kafka1.example.com",), ip=("127.0.0.1",), uri=("spiffe://example.com/kafka1",)),
        ],
        "lifetime": [timedelta(hours=1), timedelta(days=30)],
    }
)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=cas.NAMES)
async def ca(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tested]:
    """Have one of the CAs run."""
    async with cas.tested(request.param, tmp_path_factory.mktemp(request.param)) as ca:
        yield ca


def told(case: dict[str, Any]) -> str:
    """Name a case."""
    usages = "+".join(sorted(case["usages"]))
    names = "+".join(kind for kind in ("dns", "ip", "uri") if getattr(case["names"], kind))
    return f"{case['key']}-{usages}-{names}-{case['lifetime'].total_seconds():.0f}"


@pytest.mark.parametrize("case", CASES, ids=told)
async def test_the_leaf_is_what_was_asked_for(ca: Tested, case: dict[str, Any], tmp_path: Path) -> None:
    """Our proof has nothing against it, and OpenSSL takes it for each usage that was asked for."""
    names: Sans = case["names"]
    request = make_request(
        dns=names.dns, ip=names.ip, uri=names.uri, key=case["key"], usages=case["usages"], lifetime=case["lifetime"]
    )
    pending = pending_for(request)
    if request.key not in ca.keys:
        with pytest.raises(IssuerRefusedError):
            await ca.issue(pending)
        return
    issued = await ca.issue(pending)
    now, anchors = datetime.now(UTC), await ca.issuer.anchors()
    chain = chain_of(issued)
    assert refuted(pending, issued, anchors) == ()
    assert abs((chain[0].not_after - now) - request.lifetime) < timedelta(minutes=2)
    assert issued.remarks == ()
    assert set(chain).isdisjoint(anchors)
    for usage in request.usages:
        await asyncio.to_thread(judge, tmp_path, chain, anchors, f"ssl{usage}")


def judge(folder: Path, chain: Sequence[Certificate], anchors: Sequence[Certificate], purpose: str) -> None:
    """Have OpenSSL verify the chain."""
    (folder / "leaf.pem").write_bytes(chain[0].x509.public_bytes(Encoding.PEM))
    (folder / "between.pem").write_bytes(b"".join(one.x509.public_bytes(Encoding.PEM) for one in chain[1:]))
    (folder / "anchors.pem").write_bytes(b"".join(one.x509.public_bytes(Encoding.PEM) for one in anchors))
    command = [need("openssl"), "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "anchors.pem"]
    between = ["-untrusted", "between.pem"] if len(chain) > 1 else []
    done = subprocess.run([*command, *between, "leaf.pem"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_same_ca_has_the_same_anchors(ca: Tested) -> None:
    """Asked again, it says the same; each anchor is self-signed and once."""
    first, second = await ca.issuer.anchors(), await ca.issuer.anchors()
    assert first == second
    assert len(set(first)) == len(first) >= 1
    assert all(anchor.self_issued for anchor in first)


async def test_each_own_anchor_proves_the_leaf_and_no_other_is_listed(ca: Tested) -> None:
    """What a truststore takes at once is of the CA that signs now; a CA that is alone lists none beside."""
    pending = pending_for()
    issued = await ca.issue(pending)
    for anchor in await ca.issuer.anchors():
        assert refuted(pending, issued, (anchor,)) == ()
    assert await ca.issuer.listed() == ()


async def test_side_by_side_each_gets_its_own_leaf(ca: Tested) -> None:
    """Twenty at once: no answer is given to another."""
    requests = [make_request(f"CN=kafka{number}.example.com,OU=Brokers,O=MyOrg") for number in range(20)]
    pendings = [pending_for(request) for request in requests]
    answers = await asyncio.gather(*(ca.issue(pending) for pending in pendings))
    assert [answer.certificates[0].subject for answer in answers] == [request.subject for request in requests]
    assert len({answer.certificates[0].serial_number for answer in answers}) == 20


async def test_status_tells_of_the_ca(ca: Tested) -> None:
    """After a leaf was given there is no trouble, and the CA's own end is known."""
    await ca.issue(pending_for())
    await ca.issuer.anchors()
    status = ca.issuer.status()
    assert (status.trouble, status.reason) == ("", "")
    assert status.authority is not None
    assert status.authority.is_ca
    assert status.asked_at is not None


async def test_an_examination_finds_nothing_bad_and_issues_nothing(ca: Tested) -> None:
    """Credentials, rights and CA will do; the CA has given no certificate more."""
    before = await ca.count()
    found = await ca.issuer.examine([make_request()])
    assert found
    assert [one for one in found if one.opinion not in ("good", "unknown", "doubtful")] == []
    assert any(one.opinion == "good" for one in found)
    assert await ca.count() == before
