"""What `config check --connect` tells of the CAs that an issuer holds beside its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.configuration import Configuration, IssuerAnchors, Wanted
from agent.core.files import PemFiles
from agent.core.issuer_spec import LocalCaSpec, TokenLogin, VaultSpec
from agent.core.secret import Secret
from agent.issuers.local.folder import AuthorityFolder
from agent.wiring.examination import connect
from tests.material import Ca, make_request
from tests.servers.hostile import Signing, answers, hostile

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from agent.core.issuer_spec import IssuerSpec
    from tests.servers.hostile import Behaviour, Heard

WITHIN = timedelta(seconds=20)


async def told(folder: Path, *trusted: IssuerSpec) -> tuple[bool, list[str]]:
    """Check an identity of an embedded CA that trusts others too; return whether all is well, and the lines."""
    local = LocalCaSpec("local", folder / "ca")
    wanted = Wanted("broker", folder / "ssl", "local", make_request(), (PemFiles(combined="tls.pem"),))
    wanted = replace(wanted, trust=tuple(IssuerAnchors(spec.name) for spec in trusted))
    configuration = Configuration(
        folder / "cert-agent.yaml",
        issuers={"local": local} | {spec.name: spec for spec in trusted},
        identities={"broker": wanted},
    )
    lines: list[str] = []
    well = await connect(configuration, lines.append)
    return well, lines


def others_in(lines: list[str]) -> list[str]:
    """Return the lines that tell of other CAs."""
    return [line for line in lines if ": other CAs: " in line]


async def test_another_ca_is_told_with_what_approves_it(tmp_path: Path) -> None:
    """By name, dates and the whole fingerprint; one CA alone has no such line, nor has one that is still to be made."""
    ca = AuthorityFolder(tmp_path / "ca", "local")
    assert (await told(tmp_path))[0] is True
    first = ca.make(datetime.now(UTC), within=WITHIN).root
    assert others_in((await told(tmp_path))[1]) == []
    ca.rotate(datetime.now(UTC), within=WITHIN)
    well, lines = await told(tmp_path)
    (line,) = others_in(lines)
    assert line.startswith("issuers.local: other CAs: good: beside its own it holds CN=")
    assert f" to {first.not_after:%Y-%m-%d}, {first.fingerprint})" in line
    assert well


async def test_many_others_are_counted(tmp_path: Path) -> None:
    """Five are told; a line is for a person to read."""
    ca = AuthorityFolder(tmp_path / "ca", "local")
    ca.make(datetime.now(UTC), within=WITHIN)
    for _ in range(7):
        ca.rotate(datetime.now(UTC), within=WITHIN)
    (line,) = others_in((await told(tmp_path))[1])
    assert line.count("CN=") == 5
    assert line.endswith("and 2 more")


def vault_at(address: str, folder: Path) -> VaultSpec:
    """Return a mount that nothing is issued by: its anchors are wanted alone."""
    login = TokenLogin(Secret(file=folder / "token"))
    return VaultSpec("vault", (address,), "pki", login, role="kafka", within=timedelta(seconds=2))


def lists(listing: Behaviour) -> Behaviour:
    """Give a root as the chain, and this for the list of issuers."""
    root = Signing(Ca.root())

    async def behave(request: Heard, writer: asyncio.StreamWriter) -> None:
        await (listing if "/issuers" in request.path else root)(request, writer)

    return behave


async def test_a_list_that_may_not_be_read_is_doubtful_and_no_failure(tmp_path: Path) -> None:
    """The issuer does all that it must; what will not be seen is said."""
    async with hostile(lists(answers(403, {"errors": ["permission denied"]}))) as server:
        well, lines = await told(tmp_path, vault_at(server.address, tmp_path))
    (line,) = others_in(lines)
    assert line.startswith("issuers.vault: other CAs: doubtful: whether it holds another CA is not known")
    assert "permission denied" in line
    assert well


async def test_a_ca_that_is_down_is_told_once(tmp_path: Path) -> None:
    """What cannot give its anchors is not asked for others."""
    async with hostile(answers(503, {"errors": ["Vault is sealed"]})) as server:
        well, lines = await told(tmp_path, vault_at(server.address, tmp_path))
    assert not well
    assert sum("Vault is sealed" in line for line in lines) == 1
