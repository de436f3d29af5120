"""What is measured: our agent, and `bao agent` beside it, told to do the same."""

from __future__ import annotations

import json
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from bench.processes import running

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from bench.processes import Process

BIN = Path(sys.executable).parent
STORE = "tls.pem"


def names(count: int) -> list[str]:
    """Return as many host names, which also name the identities."""
    return [f"kafka{number}.example.com" for number in range(1, count + 1)]


def write_configuration(  # noqa: PLR0913 - each is one thing that the measures vary
    directory: Path,
    issuer: Mapping[str, Any],
    hosts: Sequence[str],
    *,
    lifetime: str = "30d",
    trust: Sequence[Mapping[str, Any]] = (),
    truststore: bool = False,
) -> Path:
    """Write a configuration with an identity a host, one combined PEM each, and return its path."""
    files = {"format": "pem", "combined": STORE, **({"truststore": "ca.pem"} if truststore else {})}
    configuration = {
        "http": {"listen": f"127.0.0.1:{_free_port()}", "admin_socket": str(directory / "admin.sock")},
        "log": {"format": "json"},
        "issuers": {"ca": issuer},
        "identities": {
            host.partition(".")[0]: {
                "directory": str(directory / "identities" / host),
                "issuer": "ca",
                "subject": f"CN={host},OU=Brokers,O=MyOrg",
                "sans": {"dns": [host]},
                "lifetime": lifetime,
                "files": [files],
                **({"trust": list(trust)} if trust else {}),
            }
            for host in hosts
        },
    }
    path = directory / "cert-agent.yaml"
    # JSON is YAML, and quicker to write for a thousand identities.
    path.write_text(json.dumps(configuration), encoding="utf-8")
    for host in hosts:
        (directory / "identities" / host).mkdir(parents=True, exist_ok=True)
    return path


def our_agent(configuration: Path) -> AbstractContextManager[Process]:
    """Run the agent."""
    return running("cert-agent", [str(BIN / "cert-agent"), "run", "--config", str(configuration)], configuration.parent)


def our_stores(directory: Path, hosts: Sequence[str]) -> list[Path]:
    """Return where our agent puts the stores."""
    return [directory / "identities" / host / STORE for host in hosts]


def write_bao_configuration(directory: Path, address: str, token: str, hosts: Sequence[str]) -> Path:
    """Write a configuration of `bao agent` with a template a host: key, leaf and CA in one bundle."""
    (directory / "token").write_text(token, encoding="utf-8")
    parts = [
        f'vault {{ address = "{address}" }}',
        'auto_auth { method "token_file" { config = { token_file_path = "' + str(directory / "token") + '" } } }',
    ]
    for host in hosts:
        asked = f'"pki/issue/kafka" "common_name={host}" "ttl=720h" "key_type=ec" "key_bits=256"'
        contents = f"{{{{ with pkiCert {asked} }}}}{{{{ .Key }}}}{{{{ .Cert }}}}{{{{ .CA }}}}{{{{ end }}}}"
        parts.append(
            f"template {{\n  contents = {json.dumps(contents)}\n"
            f'  destination = {json.dumps(str(directory / f"{host}.pem"))}\n  perms = "0400"\n}}'
        )
    path = directory / "bao-agent.hcl"
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def bao_agent(configuration: Path) -> AbstractContextManager[Process]:
    """Run `bao agent`."""
    return running("bao agent", [str(BIN / "bao"), "agent", f"-config={configuration}"], configuration.parent)


def bao_stores(directory: Path, hosts: Sequence[str]) -> list[Path]:
    """Return where `bao agent` puts the bundles."""
    return [directory / f"{host}.pem" for host in hosts]


def read_leaf(store: Path) -> x509.Certificate | None:
    """Return the leaf of a bundle when it is whole and the key in it is the leaf's own, else None."""
    try:
        content = store.read_bytes()
        leaf = x509.load_pem_x509_certificate(content)
        key = load_pem_private_key(content, None)
    except (OSError, ValueError):
        return None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return leaf if key.public_key().public_bytes(*form) == leaf.public_key().public_bytes(*form) else None


def is_valid(store: Path) -> bool:
    """Whether the bundle is whole, paired and in date."""
    leaf = read_leaf(store)
    return leaf is not None and leaf.not_valid_before_utc <= datetime.now(UTC) < leaf.not_valid_after_utc


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
