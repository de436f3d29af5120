"""The adapters of a configuration: each made once, and what they watch."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.anchors import Acceptance, Origin
from agent.core.configuration import Configuration, FileAnchors, IssuerAnchors, RotationPolicy, SystemAnchors, Wanted
from agent.core.files import Encryption, PemFiles, StoreFormat
from agent.core.issuer_spec import LocalCaSpec, ManualSpec, TokenLogin, VaultSpec
from agent.core.kafka_spec import Cluster
from agent.core.secret import Secret
from agent.errors import TrustError
from agent.keystores import jks, pem, pkcs12
from agent.wiring.adapters import Adapters
from tests.material import NOW, Ca, make_request
from tests.servers.hostile import Signing, hostile
from tests.trust.sources import anchors_of

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.issuer_spec import IssuerSpec
    from agent.core.testimony import Peers

WANTED = Wanted("broker", Path("/ssl"), "local", make_request(), (PemFiles(combined="tls.pem"),))


def test_watched_are_the_anchors_and_their_passwords() -> None:
    """A store opens anew when its password is mended; what is no file cannot be watched."""
    wanted = replace(
        WANTED,
        trust=(FileAnchors(Path("/ca.d")), SystemAnchors()),
        peer_trust=(
            FileAnchors(Path("/ca.jks"), Secret(Path("/password"))),
            FileAnchors(Path("/ca.p12"), Secret(environment="PASSWORD")),
        ),
    )
    adapters = Adapters(Configuration(Path("/cert-agent.yaml")), lambda: NOW)
    assert adapters.watched([wanted]) == {Path("/ca.d"), Path("/ca.jks"), Path("/password"), Path("/ca.p12")}


HAND: dict[str, IssuerSpec] = {
    "stored": ManualSpec("stored", Path("/hand.jks"), Secret(Path("/password"))),
    "plain": ManualSpec("plain", Path("/hand.pem")),
    "none": ManualSpec("none"),
    "local": LocalCaSpec("local", Path("/ca")),
}


def test_watched_are_the_anchors_of_cas_that_only_people_can_ask() -> None:
    """They are files like any other; a CA that is asked has none that is watched."""
    wanted = replace(WANTED, trust=tuple(map(IssuerAnchors, HAND)), peer_trust=(IssuerAnchors("plain"),))
    adapters = Adapters(Configuration(Path("/cert-agent.yaml"), issuers=HAND), lambda: NOW)
    assert adapters.watched([wanted]) == {Path("/hand.jks"), Path("/password"), Path("/hand.pem")}


@pytest.mark.parametrize("format_", StoreFormat)
async def test_anchors_of_a_ca_that_only_people_can_ask_come_in_any_format(
    tmp_path: Path, format_: StoreFormat
) -> None:
    """For the issuer and for identities that trust it, read once for both, and anew when the file changes."""
    one, two = Ca.root("CN=One").certificate, Ca.root("CN=Two").certificate
    file = tmp_path / "anchors"

    def write(*anchors: Certificate) -> None:
        made = {
            StoreFormat.PEM: pem.encode(anchors),
            StoreFormat.PKCS12: pkcs12.truststore(anchors, "secret", Encryption.COMPATIBLE),
            StoreFormat.JKS: jks.truststore(anchors, "secret", now=NOW),
        }
        file.write_bytes(made[format_])

    (tmp_path / "password").write_text("secret")
    write(one)
    spec = ManualSpec("hand", file, Secret(tmp_path / "password"))
    adapters = Adapters(Configuration(tmp_path / "cert-agent.yaml", issuers={"hand": spec}), lambda: NOW)
    issuer, source = adapters.issuer("hand"), adapters.source(IssuerAnchors("hand"))
    assert await issuer.anchors() == (one,)
    assert (await anchors_of(source))[0] is (await issuer.anchors())[0]
    write(one, two)
    assert await anchors_of(source) == await issuer.anchors() == (one, two)
    if format_ is StoreFormat.PKCS12:
        (tmp_path / "password").write_text("another")
        with pytest.raises(TrustError, match="does not open with its password"):
            await issuer.anchors()


async def test_source_opens_a_store_with_the_password_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source of files is made with its password, and once."""
    monkeypatch.setenv("TRUST_PASSWORD", "not what it is")
    anchor = Ca.root().certificate
    (tmp_path / "ca.p12").write_bytes(pkcs12.truststore((anchor,), "secret", Encryption.COMPATIBLE))
    (tmp_path / "password").write_text("secret")
    adapters = Adapters(Configuration(tmp_path / "cert-agent.yaml"), lambda: NOW)
    spec = FileAnchors(tmp_path / "ca.p12", Secret(tmp_path / "password"))
    assert await anchors_of(adapters.source(spec)) == (anchor,)
    assert adapters.source(replace(spec)) is adapters.source(spec)
    with pytest.raises(TrustError, match="does not open with its password"):
        await adapters.source(replace(spec, password=Secret(environment="TRUST_PASSWORD"))).sightings()


async def test_sources_that_differ_in_what_they_accept_ask_as_one(tmp_path: Path) -> None:
    """A CA hears one question for all identities; each is told what its own settings say."""
    async with hostile(Signing(Ca.root())) as server:
        login = TokenLogin(Secret(file=tmp_path / "token"))
        spec = VaultSpec("vault", (server.address,), "pki", login, role="kafka")
        adapters = Adapters(Configuration(tmp_path / "cert-agent.yaml", issuers={"vault": spec}), lambda: NOW)
        accepts = [None, *Acceptance]
        shown = [await adapters.source(IssuerAnchors("vault", accept)).sightings() for accept in accepts]
        assert [{one.accept for one in sightings} for sightings in shown] == [{accept} for accept in accepts]
        assert len({sightings[0].anchor for sightings in shown}) == 1
        heard = [one.path for one in server.heard]
        assert len(heard) == len(set(heard)) + 1, "the chain is asked for by its two questions, all else once"
        after = Adapters(adapters.configuration, lambda: NOW)
        assert after.succeed(adapters) == []
        for accept in accepts:
            assert await after.source(IssuerAnchors("vault", accept)).sightings()
        assert len(server.heard) == len(heard)
        await after.close()


async def test_a_ca_that_only_people_can_ask_is_accepted_as_the_identity_says(tmp_path: Path) -> None:
    """Its anchors are those of a file, and it is watched whatever is said of it."""
    anchor = Ca.root().certificate
    (tmp_path / "ca.pem").write_bytes(pem.encode([anchor]))
    spec = ManualSpec("hand", tmp_path / "ca.pem")
    adapters = Adapters(Configuration(tmp_path / "cert-agent.yaml", issuers={"hand": spec}), lambda: NOW)
    asks = IssuerAnchors("hand", Acceptance.ASK)
    (sighting,) = await adapters.source(asks).sightings()
    assert (sighting.origin, sighting.accept) == (Origin.FILE, Acceptance.ASK)
    (plain,) = await adapters.source(IssuerAnchors("hand")).sightings()
    assert plain.accept is None
    assert plain.anchor is sighting.anchor
    assert adapters.watched([replace(WANTED, trust=(asks,))]) == {tmp_path / "ca.pem"}


async def test_witness_needs_no_client_of_kafka_where_it_has_nobody_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is installed for brokers alone is imported where one is named, and told where it is missing."""
    for name in ("confluent_kafka", "OpenSSL", "agent.wire.visit"):
        monkeypatch.setitem(sys.modules, name, None)
    configuration = Configuration(tmp_path / "cert-agent.yaml", issuers=HAND)

    async def testify(**policy: Any) -> Peers:
        wanted = replace(WANTED, directory=tmp_path / "app", rotation=RotationPolicy(**policy))
        witness = Adapters(configuration, lambda: NOW).keeper(wanted)._edges.witness
        assert witness is not None
        return await witness.testify((), (), frozenset())

    assert (await testify(peers=())).unknown == ""
    assert "rotation: {peers: [...]}" in (await testify()).unknown
    found = await testify(peers=(), listeners=("kafka1:9092",))
    assert [one.why for one in found.testimonies] == [
        "pyOpenSSL is not installed: pip install 'kafka-cert-agent[kafka]'"
    ]


async def test_witness_logs_in_as_the_identity_that_the_cluster_names(tmp_path: Path) -> None:
    """Each without a certificate yet is told by its name: the identity's own, or that of another."""
    other = replace(WANTED, name="agent", directory=tmp_path / "agent")
    configuration = Configuration(tmp_path / "cert-agent.yaml", issuers=HAND, identities={"agent": other})
    for identity, name in ((None, "broker"), ("broker", "broker"), ("agent", "agent")):
        cluster = Cluster("main", ("localhost:1",), identity=identity)
        policy = RotationPolicy(peers=(), cluster=cluster)
        wanted = replace(WANTED, directory=tmp_path / "broker", rotation=policy)
        witness = Adapters(configuration, lambda: NOW).keeper(wanted)._edges.witness
        assert witness is not None
        assert (await witness.testify((), (), frozenset())).unknown.startswith(
            f"the identity {name}, which the agent logs in with"
        )
