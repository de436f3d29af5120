"""The system's anchors, where OpenSSL looks and where distributions keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.anchors import Origin, Sighting
from agent.errors import TrustError
from agent.keystores import pem
from agent.trust import system
from agent.trust.system import SystemAnchorSource
from tests.material import Ca
from tests.trust.sources import anchors_of

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO, THREE = (Ca.root(f"CN={name}").certificate for name in ("One", "Two", "Three"))


@pytest.fixture
def openssl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have OpenSSL look below a folder of the test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "certs"))
    monkeypatch.setattr(system, "BUNDLES", (tmp_path / "none.crt", tmp_path / "bundle.crt"))
    (tmp_path / "bundle.crt").write_bytes(pem.encode([THREE]))
    return tmp_path


async def test_anchors_are_those_of_openssl(openssl: Path) -> None:
    """File and folder count together, each anchor once; in the folder only names of hashes are read."""
    (openssl / "cert.pem").write_bytes(pem.encode([ONE]))
    (openssl / "certs").mkdir()
    (openssl / "certs" / "9d66eef0.0").write_bytes(pem.encode([ONE]))
    (openssl / "certs" / "9d66eef0.1").write_bytes(pem.encode([TWO]))
    (openssl / "certs" / "three.pem").write_bytes(pem.encode([THREE]))
    assert await SystemAnchorSource().sightings() == tuple(
        Sighting(one, "the system's bundle", Origin.SYSTEM) for one in (ONE, TWO)
    )


@pytest.mark.usefixtures("openssl")
async def test_anchors_are_the_distributions_where_openssl_has_none() -> None:
    """An OpenSSL that was built elsewhere does not know the distribution's bundle; it is found all the same."""
    assert await anchors_of(SystemAnchorSource()) == (THREE,)


async def test_anchors_that_are_nowhere_are_said(openssl: Path) -> None:
    """Without any bundle the operator is told what to install."""
    (openssl / "bundle.crt").unlink()
    with pytest.raises(TrustError, match="no bundle of trust anchors") as caught:
        await anchors_of(SystemAnchorSource())
    assert "ca-certificates" in caught.value.advice


async def test_anchors_of_a_broken_bundle_are_said(openssl: Path) -> None:
    """A bundle that is cut short is named."""
    (openssl / "cert.pem").write_bytes(pem.encode([ONE])[:-10])
    with pytest.raises(TrustError, match=r"cert\.pem: .*cut short"):
        await anchors_of(SystemAnchorSource())


async def test_anchors_of_this_machine_can_be_read() -> None:
    """The bundle that this very machine carries, if it does, is read whole."""
    try:
        anchors = await anchors_of(SystemAnchorSource())
    except TrustError as error:
        assert error.what == "the operating system has no bundle of trust anchors"  # noqa: PT017 - either is right
        pytest.skip(error.what)
    assert len(anchors) > 10
