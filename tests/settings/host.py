"""A folder with a configuration, as an operator writes it; each test changes one thing in it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.errors import ConfigurationError
from agent.settings import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent.core.configuration import Configuration
    from agent.errors import Mistake

PASSWORD = "not-to-be-told-0815"  # noqa: S105 - made up, and looked for in every mistake
TOKEN = "s.NotToBeToldEither"  # noqa: S105 - made up, and looked for in every mistake

GOOD: dict[str, Any] = {
    "issuers": {
        "local": {"type": "local_ca", "directory": "ca"},
        "vault": {
            "type": "vault",
            "addresses": ["https://vault.example.com:8200"],
            "role": "kafka",
            "auth": {"method": "token", "token_file": "token"},
        },
    },
    "identities": {
        "broker": {
            "directory": "ssl",
            "issuer": "local",
            "subject": "CN=kafka1.example.com,OU=Brokers,O=MyOrg",
            "sans": {"dns": ["kafka1.example.com"], "ip": ["192.0.2.10"]},
            "lifetime": "30d",
            "files": [
                {"format": "pem", "certificate": "tls.crt", "key": "tls.key", "truststore": "ca.crt"},
                {"format": "pkcs12", "keystore": "keystore.p12", "password_file": "password"},
            ],
        },
    },
}


class Host:
    """The folder, and what `load` makes of a configuration in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cert-agent.yaml"
        (folder / "password").write_text(PASSWORD + "\n")
        (folder / "token").write_text(TOKEN + "\n")

    def load(
        self, values: Mapping[str, Any] | str | bytes, environment: Mapping[str, str] | None = None
    ) -> Configuration:
        """Write the values, or a text as it is, and load it."""
        content = values if isinstance(values, str | bytes) else yaml.safe_dump(dict(values))
        self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(self.file, environment or {}, "host.example.com")

    def mistakes(
        self, values: Mapping[str, Any] | str | bytes, environment: Mapping[str, str] | None = None
    ) -> tuple[Mistake, ...]:
        """Return every mistake; each is one line without a secret, and nothing on disk has changed."""
        before = sorted(str(path) for path in self.folder.rglob("*") if path != self.file)
        with pytest.raises(ConfigurationError) as caught:
            self.load(values, environment)
        assert sorted(str(path) for path in self.folder.rglob("*") if path != self.file) == before
        for mistake in caught.value.mistakes:
            line = str(mistake)
            assert line.isprintable()
            assert PASSWORD not in line
            assert TOKEN not in line
            assert len(line) < 1000
        assert len(set(caught.value.mistakes)) == len(caught.value.mistakes)
        return caught.value.mistakes


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Return the good settings with the values at some paths, as `identities.broker.files.0.mode`, set or taken away.

    `...` as a value takes the key away.
    """
    values = copy.deepcopy(GOOD)
    for path, value in changes:
        *above, last = path.split(".")
        at: Any = values
        for key in above:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        if value is ...:
            del at[last]
        elif isinstance(at, list):
            at[int(last) :] = [value]
        else:
            at[last] = value
    return values
