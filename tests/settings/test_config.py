"""The shipped examples, the schema for editors, and what could be better."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core.identity import Usage
from agent.core.issuer_spec import AwsPcaSpec, LocalCaSpec, VaultSpec
from agent.settings import advise, load, schema

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config"
EXAMPLES = sorted(CONFIG.glob("*.yaml"))
CHECKER = Path(sys.executable).with_name("check-jsonschema")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of what the examples refer to, with the secret files that they name."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "quickstart/password",
        "vault/token",
        "msk-client/password",
        "msk-client/external-id",
        "kafka-broker/role-id",
        "kafka-broker/secret-id",
    ):
        secret = tmp_path / "var" / name
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("made for this test\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "issuer"),
    [("quickstart", LocalCaSpec), ("vault", VaultSpec), ("msk-client", AwsPcaSpec), ("kafka-broker", VaultSpec)],
)
def test_example_loads_as_it_stands(tree: Path, name: str, issuer: type) -> None:
    """Two commands in the README lead here; all that it writes stays below `var`."""
    configuration = load(tree / "config" / f"{name}.yaml", {}, "host")
    assert [type(spec) for spec in configuration.issuers.values()] == [issuer]
    assert [one.directory for one in configuration.identities.values()] == [tree / "var" / name / "ssl"]


def test_full_example_lacks_only_the_secrets_of_its_host(tree: Path) -> None:
    """The commented configuration is right once its two secret files are there."""
    path = tree / "config" / "cert-agent.yaml"
    text = path.read_text(encoding="utf-8")
    secrets = {
        "/run/secrets/vault-token": "../var/vault/token",
        "/etc/kafka/ssl-password": "../var/quickstart/password",
    }
    for there, here in secrets.items():
        assert text.count(there) == 1
        text = text.replace(there, here)
    path.write_text(text, encoding="utf-8")
    configuration = load(path, {}, "host")
    assert list(configuration.identities) == ["broker"]
    assert configuration.http.admin_socket == Path("/run/cert-agent/admin.sock")


def test_there_are_examples() -> None:
    """A newcomer's, Vault's, AWS Private CA's, a broker's that is told, and one with everything."""
    names = ["cert-agent.yaml", "kafka-broker.yaml", "msk-client.yaml", "quickstart.yaml", "vault.yaml"]
    assert [path.name for path in EXAMPLES] == names


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_what_the_schema_allows(path: Path) -> None:
    """Editors see no error in it."""
    command = [str(CHECKER), "--schemafile", str(CONFIG / "cert-agent.schema.json"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_schema_refuses_an_unknown_key(tmp_path: Path) -> None:
    """An editor underlines a typo."""
    values = yaml.safe_load((CONFIG / "vault.yaml").read_text())
    values["identities"]["broker"]["lifetimes"] = "1h"
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(values))
    command = [str(CHECKER), "--schemafile", str(CONFIG / "cert-agent.schema.json"), str(tmp_path / "x.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lifetimes" in done.stdout


def test_the_shipped_schema_is_that_of_the_settings() -> None:
    """`cert-agent config schema > config/cert-agent.schema.json` has been run."""
    assert json.loads((CONFIG / "cert-agent.schema.json").read_text()) == schema()


def test_the_example_with_everything_names_every_setting() -> None:
    """Each key of the schema stands in it, as a setting or as a comment."""
    text = (CONFIG / "cert-agent.yaml").read_text()
    keys: set[str] = set()
    waiting: list[Any] = [schema()]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            keys |= set(one.get("properties", {}))
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    missing = {key for key in keys if f"{key}:" not in text}
    assert missing <= {"password_environment", "token_environment", *SUBJECT}


SUBJECT = {"common_name", "organizational_unit", "organization", "locality", "state", "country"}
"""The mapping in place of the text that the example shows."""


def test_the_quickstart_is_the_newcomers(tree: Path) -> None:
    """Two minutes of life, split and combined PEM, PKCS12 with truststores, a listener to tell and to prove."""
    configuration = load(tree / "config" / "quickstart.yaml", {}, "kafka1")
    (wanted,) = configuration.identities.values()
    assert wanted.request.lifetime == timedelta(minutes=2)
    assert wanted.request.sans.dns
    assert wanted.request.sans.ip
    assert wanted.request.usages == frozenset(Usage)
    assert len(wanted.names) == 6
    assert wanted.reload
    assert wanted.prove
    assert configuration.http.host == "127.0.0.1"


def _good(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return issuers and an identity that nobody could better, with their secrets in the folder."""
    for name, secret in (("token", "s.x"), ("password", "changeit")):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o400)
    auth = {"method": "token", "token_file": "token"}
    vault = {"type": "vault", "addresses": ["https://vault.example.com"], "role": "kafka", "auth": auth}
    stores = {"format": "pkcs12", "keystore": "k.p12", "password_file": "password"}
    identity = {
        "directory": "ssl",
        "issuer": "vault",
        "subject": "CN=a.example.com",
        "sans": {"dns": ["a.example.com"]},
        "lifetime": "30d",
        "files": [stores, {**stores, "keystore": "l.p12"}],
    }
    return {"vault": vault, "local": {"type": "local_ca", "directory": "ca"}}, identity


LISTENED: dict[str, Any] = {
    "reload": [{"type": "command", "argv": ["true"]}],
    "prove": [{"address": "localhost:9093"}],
}
"""A listener that is told and proven."""


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sans": {}}, "passes no check of host names"),
        ({"reload": [{"type": "command", "argv": ["true"]}]}, "nothing proves"),
        ({"prove": [{"address": "localhost:9093"}]}, "nothing tells it"),
        ({"usages": ["client"], **LISTENED}, "without the usage `server`"),
        ({"renew_at": 0.96}, "last twentieth"),
        ({"renew_before": "1d"}, "last twentieth"),
        ({"lifetime": "30m"}, "less than an hour"),
        ({"lifetime": "800d"}, "398 days"),
        ({"key": {"reuse": True}}, "reused key"),
        ({"files": [{"format": "pem", "certificate": "a", "key": "b"}]}, "prefer `combined`"),
        ({"key": {"algorithm": "ed25519"}}, "Java before 15"),
        ({"issuer": "local"}, "embedded CA"),
    ],
)
def test_what_could_be_better_is_said(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    """`config check` advises; nothing of it is a mistake."""
    path = tmp_path / "x.yaml"
    issuers, identity = _good(tmp_path)
    path.write_text(yaml.safe_dump({"issuers": issuers, "identities": {"a": identity}}))
    assert advise(load(path, {}, "kafka1")) == ()
    path.write_text(yaml.safe_dump({"issuers": issuers, "identities": {"a": identity | change}}))
    advice = advise(load(path, {}, "kafka1"))
    assert len(advice) == 1
    assert advice[0].startswith("identities.a: ")
    assert word in advice[0]


def test_secret_that_everybody_may_read_is_told_once(tmp_path: Path) -> None:
    """A mode that is too wide is advice by the place of the secret; one that is gone meanwhile is no crash."""
    issuers, identity = _good(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"issuers": issuers, "identities": {"a": identity}}))
    configuration = load(path, {}, "kafka1")
    (tmp_path / "token").chmod(0o444)
    (tmp_path / "password").chmod(0o604)
    assert advise(configuration) == (
        f"issuers.vault: the mode of {tmp_path}/token is 0444, which keeps nobody on this host from it; make it 0400",
        f"identities.a: the mode of {tmp_path}/password is 0604, which keeps nobody on this host from it; make it 0400",
    )
    (tmp_path / "token").unlink()
    (tmp_path / "password").chmod(0o440)
    assert advise(configuration) == ()
