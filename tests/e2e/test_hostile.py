"""The agent against a CA that answers wrongly: the files stay as they are, and the reason is told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import AgentError
from tests.e2e.host import Host
from tests.material import Ca, make_key
from tests.servers.hostile import Behaviour, Signing, answers, floods, hangs, hostile, sends

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.hostile import Hostile

pytestmark = pytest.mark.slow

ROOT = Ca.root()
GOOD = Signing(ROOT.intermediate(), (ROOT.certificate,))


def lie(**what: Any) -> Signing:
    """Answer as the good CA does but for one thing."""
    return Signing(GOOD.issuer, GOOD.above, **what)


def of_hostile(folder: Path, server: Hostile) -> Host:
    """Return a host whose CA is that server."""
    host = Host(folder)
    (folder / "token").write_text("s.a-token-that-nobody-may-see")
    host.settings["issuers"]["bad"] = {
        "type": "vault",
        "addresses": [server.address],
        "role": "kafka",
        "auth": {"method": "token", "token_file": "token"},
        "timeout": "2s",
    }
    host.settings["identities"]["broker"]["issuer"] = "bad"
    return host


@pytest.mark.parametrize(
    ("behaviour", "word"),
    [
        (lie(key=make_key()), "public key is not that of the private key"),
        (lie(dns=("kafka1.example.com", "evil.example.com")), "DNS SANs"),
        (lie(ca=True), "sign certificates for other hosts"),
        (lie(starts=timedelta(days=-3), lasts=timedelta(days=-2)), "expired"),
        (lie(starts=timedelta(days=1), lasts=timedelta(days=2)), "valid from"),
        (Signing(Ca.root("CN=Stranger"), GOOD.above), "no trusted anchor"),
        (floods([]), "larger"),
        (answers(200, b"garbage"), "no JSON"),
        (sends(b"\x16\x03\x01\x00\x00 this is no HTTP"), ""),
        (hangs, ""),
    ],
    ids=["key", "san", "ca-true", "expired", "future", "stranger", "flood", "garbage", "no-http", "hangs"],
)
async def test_a_wrong_answer_leaves_the_files_as_they_are(tmp_path: Path, behaviour: Behaviour, word: str) -> None:
    """Refuted before the switch, named in the status and the log, mended by a good answer."""
    async with hostile(GOOD) as server:
        host = of_hostile(tmp_path, server)
        async with host.running() as agent:
            await agent.until_ready()
            before = {
                path.name: path.read_bytes()
                for path in host.directory.iterdir()
                if path.is_symlink() and path.is_file()
            }
            target = (host.directory / ".current").readlink()
            server.then(behaviour)
            with pytest.raises(AgentError, match="is not renewed yet"):
                await agent.ask("renew", identity="broker", discard_edits=False)
            assert (host.directory / ".current").readlink() == target
            assert {name: (host.directory / name).read_bytes() for name in before} == before
            status = await agent.status()
            assert status is not None
            assert word in " ".join(status["identities"][0]["concerns"])
            assert word in (tmp_path / "agent.log").read_text()
            assert "nobody-may-see" not in (tmp_path / "agent.log").read_text()
            server.then(GOOD)
            await agent.ask("renew", identity="broker", discard_edits=False)
            await agent.until_ready()
            assert (host.directory / ".current").readlink() != target
