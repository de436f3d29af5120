"""The verbs `local-ca rotate` and `local-ca retire`, as functions of a configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import Configuration, Wanted
from agent.core.files import PemFiles
from agent.core.generation import Cause, Draft
from agent.core.issuer_spec import LocalCaSpec, TokenLogin, VaultSpec
from agent.core.secret import Secret
from agent.errors import AgentError, IssuerRefusedError
from agent.issuers.local_ca import LocalCa
from agent.stores.directory import DirectoryStore
from agent.wiring.clock import utc_now
from agent.wiring.local_ca_desk import retire, rotate
from tests.issuers.local_cas import WITHIN, below, note, trusted
from tests.material import make_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.issuer_spec import IssuerSpec

VAULT = VaultSpec("vault", ("https://vault.example.com",), "pki", TokenLogin(Secret(Path("/nowhere"))), role="kafka")


def configured(*issuers: IssuerSpec, identities: Mapping[str, Wanted] | None = None) -> Configuration:
    """Return a configuration with these issuers."""
    return Configuration(
        Path("cert-agent.yaml"), issuers={spec.name: spec for spec in issuers}, identities=identities or {}
    )


def spec(directory: Path, name: str = "local") -> LocalCaSpec:
    """Return an embedded CA below a folder."""
    return LocalCaSpec(name, directory / name)


async def publish(wanted: Wanted, ca: LocalCa) -> None:
    """Have the identity renewed, as the daemon does."""
    store = DirectoryStore(wanted)
    now = datetime.now(UTC)
    pending = await store.begin(wanted.request, ca.name, now=now, reuse_key=False)
    issued = await ca.issue(pending, note=note, within=WITHIN)
    await store.keep_answer(pending, issued)
    draft = Draft(Cause.LEAF, wanted.request, ca.name, issued.certificates, await ca.anchors(), now)
    generation, damages = await store.stage(draft, now=now)
    assert damages == ()
    await store.switch(generation.number)
    await store.drop_pending()


async def test_rotate_says_what_was_made_and_what_comes_next(tmp_path: Path) -> None:
    """Subject, end and fingerprint of the new root, the old one that is still trusted, and three things to do."""
    configuration = configured(spec(tmp_path), VAULT)
    ca = LocalCa(spec(tmp_path), utc_now)
    (old,) = await ca.anchors()
    lines = await rotate(configuration, None)
    new = (await ca.anchors())[0]
    assert new != old
    assert lines[0] == (
        f"local: a new root: {new.subject.rfc4514_string()}, until {new.not_after:%Y-%m-%d}, SHA-256 {new.fingerprint}"
    )
    assert old.fingerprint in lines[2]
    assert [line.split(":")[0] for line in lines] == ["local", "local", "local", "next", "then", "last"]
    assert "local-ca retire local" in lines[-1]


async def test_retire_forgets_the_old_root(tmp_path: Path) -> None:
    """Afterwards one root is trusted; a second time there is nothing to retire."""
    configuration = configured(spec(tmp_path))
    ca = LocalCa(spec(tmp_path), utc_now)
    (old,) = await ca.anchors()
    with pytest.raises(AgentError, match="no retired root"):
        await retire(configuration, "local")
    await rotate(configuration, "local")
    assert await ca.listed() == (old,)
    lines = await retire(configuration, "local")
    assert old.fingerprint in lines[0]
    assert old not in await trusted(ca)
    with pytest.raises(AgentError, match="no retired root"):
        await retire(configuration, "local")


async def test_retire_waits_for_the_identities_of_this_host(tmp_path: Path) -> None:
    """A leaf that nobody would trust any more is named; once it is renewed, the old root goes."""
    wanted = Wanted(
        "broker",
        tmp_path / "ssl",
        "local",
        make_request(lifetime=timedelta(hours=1)),
        (PemFiles("tls.crt", "tls.key"),),
    )
    empty = Wanted("client", tmp_path / "none", "local", make_request(), (PemFiles("tls.crt", "tls.key"),))
    configuration = configured(spec(tmp_path), identities={"broker": wanted, "client": empty})
    ca = LocalCa(spec(tmp_path), utc_now)
    await publish(wanted, ca)
    await rotate(configuration, None)
    with pytest.raises(AgentError, match="in use: broker") as caught:
        await retire(configuration, None)
    assert "cert-agent renew" in caught.value.advice
    assert len(await trusted(ca)) == 2
    await publish(wanted, ca)
    await retire(configuration, None)
    assert len(await trusted(ca)) == 1


@pytest.mark.parametrize("verb", [rotate, retire])
async def test_verb_asks_which_ca_is_meant(tmp_path: Path, verb: type) -> None:
    """None, another kind, a stranger, and several are told apart, and nothing is made."""
    local, second = spec(tmp_path), spec(tmp_path, "second")
    for configuration, name, told in (
        (configured(VAULT), None, "no local CA is configured"),
        (configured(VAULT, local), "vault", "vault is no local CA"),
        (configured(VAULT, local), "other", "no issuer other"),
        (configured(local, second), None, "several"),
    ):
        with pytest.raises(AgentError, match=told):
            await verb(configuration, name)
    with pytest.raises(IssuerRefusedError, match="no local CA in"):
        await verb(configured(local, second), "second")
    assert below(tmp_path) == []
