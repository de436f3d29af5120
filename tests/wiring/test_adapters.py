"""The adapters of a configuration: each made once, and what they watch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.core.configuration import Configuration, FileAnchors, SystemAnchors, Wanted
from agent.core.files import Encryption, PemFiles
from agent.core.secret import Secret
from agent.errors import TrustError
from agent.keystores import pkcs12
from agent.wiring.adapters import Adapters
from tests.material import NOW, Ca, make_request

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
