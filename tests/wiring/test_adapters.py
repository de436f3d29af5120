"""The adapters of a configuration: each made once, and what they watch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.configuration import Configuration, FileAnchors, IssuerAnchors, SystemAnchors, Wanted
from agent.core.files import Encryption, PemFiles, StoreFormat
from agent.core.issuer_spec import LocalCaSpec, ManualSpec
from agent.core.secret import Secret
from agent.errors import TrustError
from agent.keystores import jks, pem, pkcs12
from agent.wiring.adapters import Adapters
from tests.material import NOW, Ca, make_request

if TYPE_CHECKING:
    from agent.core.certificate import Certificate
    from agent.core.issuer_spec import IssuerSpec

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
    assert (await source.anchors())[0] is (await issuer.anchors())[0]
    write(one, two)
    assert await source.anchors() == await issuer.anchors() == (one, two)
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
    assert await adapters.source(spec).anchors() == (anchor,)
    assert adapters.source(replace(spec)) is adapters.source(spec)
    with pytest.raises(TrustError, match="does not open with its password"):
        await adapters.source(replace(spec, password=Secret(environment="TRUST_PASSWORD"))).anchors()
