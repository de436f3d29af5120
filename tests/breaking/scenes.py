"""Hosts in the state from which the agent is broken off, made once and copied for each try."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.breaking.view import issued, look, names
from tests.e2e.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.breaking.harness import Nursery
    from tests.breaking.view import View

FILES: list[dict[str, Any]] = [
    {"format": "pem", "certificate": "tls.crt", "key": "tls.key", "combined": "tls.pem", "truststore": "ca.crt"},
    {"format": "pkcs12", "keystore": "keystore.p12", "truststore": "truststore.p12", "password_file": "password"},
    {"format": "jks", "keystore": "keystore.jks", "truststore": "truststore.jks", "password_file": "password"},
    {"format": "client_properties", "file": "client.properties", "stores": "pkcs12"},
]
"""The files of the identity; each format that is added here is swept with the others."""


@dataclass(frozen=True)
class Scene:
    """A state, and the verb that is broken off in it.

    It is always at the same path: a rendered configuration names its files by their whole paths,
    and would rightly be rendered again elsewhere.
    """

    verb: str
    host: Host
    before: View | None
    issued: frozenset[bytes]

    @property
    def is_adoption(self) -> bool:
        """Whether the first run finds a leaf that it did not ask for."""
        return self.verb == "once" and self.before is not None

    @property
    def issues(self) -> int:
        """How many leaves the verb has issued."""
        return 1 if self.verb == "renew" or self.before is None else 0

    @property
    def _saved(self) -> Path:
        return self.host.folder.with_name("saved")

    def save(self) -> Scene:
        """Keep the state for later."""
        shutil.copytree(self.host.folder, self._saved, symlinks=True)
        return self

    def again(self) -> Host:
        """Put the host back into the state."""
        shutil.rmtree(self.host.folder, ignore_errors=True)
        shutil.copytree(self._saved, self.host.folder, symlinks=True)
        return self.host


def at(folder: Path, like: Host) -> Host:
    """Return a host whose files are there already."""
    host = copy.copy(like)
    host.folder = folder
    return host


def new_host(folder: Path) -> Host:
    """Make a host that has nothing but its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    host = Host(folder)
    host.settings["identities"]["broker"]["files"] = copy.deepcopy(FILES)
    host.write()
    return host


def _run(nursery: Nursery, host: Host, *verbs: str) -> None:
    for verb in verbs:
        ended = nursery.run(host, verb)
        assert ended.code == 0, ended


def renewal(nursery: Nursery, folder: Path) -> Scene:
    """Three generations are there, so that a renewal also prunes the oldest."""
    host = new_host(folder)
    _run(nursery, host, "once", "renew", "renew")
    return Scene("renew", host, look(host), issued(host))


def rollback(nursery: Nursery, folder: Path) -> Scene:
    """A person goes back to the generation before."""
    host = new_host(folder)
    _run(nursery, host, "once", "renew")
    return Scene("rollback", host, look(host), issued(host))


def first(_nursery: Nursery, folder: Path) -> Scene:
    """There is nothing yet, not even the CA."""
    return Scene("once", new_host(folder), None, frozenset())


def adoption(nursery: Nursery, folder: Path) -> Scene:
    """Plain files of an earlier life stand where the links will be: valid, and of the leaf that is wanted."""
    host = new_host(folder)
    _run(nursery, host, "once")
    before, plain = issued(host), look(host)
    for name in names(host):
        path = host.directory / name
        real = path.resolve()
        path.unlink()
        real.rename(path)
    shutil.rmtree(host.directory / ".generations")
    for name in (".current", ".state.json", ".lock"):
        (host.directory / name).unlink(missing_ok=True)
    assert look(host) == plain
    return Scene("once", host, plain, before)


def scene(name: str, nursery: Nursery, folder: Path) -> Scene:
    """Make a scene below a folder, and keep its state."""
    return SCENES[name](nursery, folder / "host").save()


SCENES: dict[str, Callable[[Nursery, Path], Scene]] = {
    "renewal": renewal,
    "rollback": rollback,
    "first": first,
    "adoption": adoption,
}
