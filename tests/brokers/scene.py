"""A broker host with CAs in memory, which a test changes and leaves as it found it."""

from __future__ import annotations

import asyncio
import copy
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.certificate import Certificate
from tests.brokers.host import LISTENERS
from tests.brokers.liars import MemoryCa
from tests.material import make_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.identity import Request
    from tests.brokers.host import BrokerHost

SUBJECT_IN_USE = "CN=kafka1,OU=Brokers,O=MyOrg"
OTHER_CASE = "CN=KAFKA1,OU=Brokers,O=MyOrg"
BOTH = [{"issuer": "local"}, {"issuer": "other"}]
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": f"User:{SUBJECT_IN_USE};User:{OTHER_CASE};User:ANONYMOUS",
    "num.network.threads": "1",
}


@dataclass
class Scene:
    """A broker host and the CAs in memory that it knows; `other` is not in its truststores."""

    host: BrokerHost
    local: MemoryCa = field(default_factory=lambda: MemoryCa("local"))
    other: MemoryCa = field(default_factory=lambda: MemoryCa("other"))

    def __post_init__(self) -> None:
        """Have the host ask these CAs."""
        self.host.issuers = {"local": self.local, "other": self.other}
        self.host.settings["issuers"]["other"] = {"type": "local_ca", "directory": "other"}

    def up(self) -> None:
        """Have a generation in use."""
        asyncio.run(self.host.up())
        self.be_patient()

    def be_patient(self) -> None:
        """Have the agent wait for a broker on a busy machine; while there is none that would take long."""
        self.host.settings["clusters"]["test"] |= {"timeout": "60s"}
        self.want(reload=[self.host.reload(within="30s")])

    @property
    def request(self) -> Request:
        """What the settings of a host ask for in the beginning."""
        return make_request(SUBJECT_IN_USE, dns=("localhost", "kafka1.example.com"))

    def want(self, **changes: object) -> None:
        """Change the settings of the identity."""
        self.host.settings["identities"]["broker"] |= changes

    @property
    def calls(self) -> int:
        """How many leaves both CAs were asked for."""
        return self.local.calls + self.other.calls

    @property
    def served(self) -> dict[str, str]:
        """The fingerprints of the leaves that the listeners serve."""
        found = {}
        for name in LISTENERS:
            pem = ssl.get_server_certificate(("127.0.0.1", self.host.node.ports[name]))
            found[name] = Certificate.from_der(ssl.PEM_cert_to_DER_cert(pem)).fingerprint
        return found

    @property
    def on_disk(self) -> tuple[int, list[int]]:
        """The current generation, and all that there are."""
        return self.host.current, self.host.generations()

    @property
    def has_pending(self) -> bool:
        """Whether a leaf that is paid for waits."""
        return (self.host.directory / ".pending").exists()


@contextmanager
def as_it_was(scene: Scene) -> Iterator[None]:
    """Put settings, notes and what is pending back at the end, and have a leaf of the old settings in use."""
    host = scene.host
    settings, notes = copy.deepcopy(host.settings), (host.directory / ".state.json").read_bytes()
    current = host.current
    try:
        yield
    finally:
        scene.local.lie = None
        host.settings, host.skew = settings, timedelta(0)
        (host.folder / "password").write_text(host.password)
        (host.directory / ".pending").unlink(missing_ok=True)
        if host.current == current:
            (host.directory / ".state.json").write_bytes(notes)
        else:
            asyncio.run(put_back(scene))


async def put_back(scene: Scene) -> None:
    """Have a leaf of the settings as they were in use, of their CA."""
    host, wanted = scene.host, copy.deepcopy(scene.host.settings)
    scene.want(principal={"allow_change": True})
    keeper = host.keeper()
    await keeper.look()
    leaf = host.status(keeper).leaf
    if leaf is not None and leaf.issuer != scene.local.intermediate.certificate.subject:
        scene.want(trust=BOTH, peer_trust=BOTH)
        await host.keeper().renew()
        host.settings = copy.deepcopy(wanted)
        keeper = host.keeper()
    await host.settled(keeper)
    host.settings = wanted
