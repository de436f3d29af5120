"""The verbs of the command line, and what they say to a script and to a person."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.host import ROOT, Host, assert_whole

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host with one identity."""
    return Host(tmp_path)


async def test_once_does_what_is_due_and_exits(host: Host) -> None:
    """The first time it issues, the second time there is nothing to do."""
    code, out, _ = await host.verb("once")
    assert code == 0
    first = host.leaf()
    assert_whole(host)
    code, out, _ = await host.verb("once")
    assert code == 0
    assert "its renewal falls there" in out
    assert host.leaf() == first


async def test_plan_tells_and_changes_nothing(host: Host) -> None:
    """Neither a directory nor a CA is made by it."""
    code, out, _ = await host.verb("plan")
    assert code == 0
    assert "ask the CA for a leaf now: there is no certificate yet" in out
    assert not host.directory.exists()
    assert not (host.folder / "ca").exists()
    await host.verb("once")
    before = sorted((path, path.lstat().st_mtime_ns) for path in host.folder.rglob("*") if path != host.config)
    code, out, _ = await host.verb("plan")
    assert code == 0
    assert sorted((path, path.lstat().st_mtime_ns) for path in host.folder.rglob("*") if path != host.config) == before


async def test_rollback_goes_back_and_status_tells(host: Host) -> None:
    """The leaf of the generation before is current again; the status says that a person held it."""
    await host.verb("once")
    first = host.leaf()
    await host.verb("renew")
    assert host.leaf() != first
    code, out, _ = await host.verb("rollback")
    assert code == 0
    assert "back at generation 1" in out
    assert host.leaf() == first
    code, out, _ = await host.verb("status")
    assert code == 0
    assert "person rolled back" in out
    code, out, _ = await host.verb("status", "--json")
    assert json.loads(out)["identities"][0]["generation"] == 1
    code, _, errors = await host.verb("rollback", "--to", "99")
    assert code == 1
    assert "not kept" in errors


async def test_bad_configuration_touches_nothing(host: Host) -> None:
    """All mistakes at once, a line each, exit code 78, no file made."""
    host.settings["identities"]["broker"] |= {
        "lifetime": "3s",
        "unknown": 1,
        "key": {"algorithm": "rsa-1024"},
        "sans": {"ip": ["10.0.0.300"]},
    }
    host.settings["identities"]["copy"] = host.identity("ssl", files=[
        {"format": "pkcs12", "keystore": "k.p12", "password_file": "nowhere"}
    ])  # fmt: skip
    for verb in (["run"], ["once"], ["plan"], ["config", "check"]):
        code, _, errors = await host.verb(*verb)
        assert code == 78
        lines = errors.splitlines()
        assert len(lines) == 6, errors
        for word in ("unknown", "lifetime", "key.algorithm", "sans.ip[0]", "password_file", "copy.directory"):
            assert sum(word in line for line in lines) == 1, word
        assert all(str(host.config) in line for line in lines)
    assert not host.directory.exists()


async def test_an_address_that_is_taken_is_told_before_anything_is_touched(host: Host) -> None:
    """Another program listens there: exit code 1, and no file was made."""
    with socket.create_server(("127.0.0.1", host.port)):
        code, _, errors = await host.verb("run")
    assert code == 1
    assert str(host.port) in errors
    assert not (host.directory / ".current").exists()


async def test_config_check_advises_and_schema_prints(host: Host) -> None:
    """What works and could be better is said; the schema is JSON."""
    code, out, _ = await host.verb("config", "check")
    assert code == 0
    assert "better: identities.broker: the embedded CA" in out
    assert "has no mistake" in out
    code, out, _ = await host.verb("config", "schema")
    assert code == 0
    assert json.loads(out)["title"] == "Settings"


async def test_several_identities_are_named(host: Host) -> None:
    """A verb that acts on one says which there are."""
    host.settings["identities"]["other"] = host.identity("other")
    code, _, _ = await host.verb("once")
    assert code == 0
    code, _, errors = await host.verb("renew")
    assert code == 1
    assert "broker, other" in errors
    code, _, errors = await host.verb("renew", "nobody")
    assert code == 1
    assert "no identity named nobody" in errors
    first, other = host.leaf(), host.leaf("other")
    code, _, _ = await host.verb("renew", "other")
    assert code == 0
    assert (host.leaf(), host.leaf("other") == other) == (first, False)


def test_help_and_version_import_almost_nothing() -> None:
    """Nothing of TLS, HTTP or settings is loaded for a line of text."""
    for arguments in (["--version"], ["--help"]):
        code = (
            "import sys\nbefore = set(sys.modules)\nfrom agent.cli import main\n"
            f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
            "print(sorted({name.split('.')[0] for name in sys.modules.keys() - before} & "
            "{'asyncio', 'cryptography', 'aiohttp', 'pydantic', 'yaml', 'structlog', 'ssl', 'socket'}))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_of_the_output_may_leave() -> None:
    """A closed pipe is no traceback."""
    command = f"{sys.executable} -m agent config schema | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
