"""The trust anchors of the operating system."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.anchors import Origin, Sighting
from agent.errors import TrustError
from agent.trust.files import AnchorFiles, once

if TYPE_CHECKING:
    from agent.core.certificate import Certificate

NAME = "the system's bundle"

BUNDLES = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)
"""Where Debian and Alpine, Red Hat, SUSE and others keep the bundle, for an OpenSSL that was built elsewhere."""

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


class SystemAnchorSource:
    """What OpenSSL trusts by default: its file (`SSL_CERT_FILE`) and its folder (`SSL_CERT_DIR`) together.

    Where neither holds anything, the distribution's bundle is read. Expired anchors are left in:
    no chain verifies with one, and a truststore must not change because time passes.
    """

    silent = ""
    """It shows all that there is, or raises."""

    def __init__(self) -> None:
        self._files = AnchorFiles()

    def forget(self) -> None:
        """Do nothing: each look is at the files as they are."""

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return the anchors, each once; raise `TrustError` when there are none or a file cannot be read."""
        anchors = await self._files.certificates(self._load)
        return tuple(Sighting(anchor, NAME, Origin.SYSTEM) for anchor in anchors)

    def _load(self) -> tuple[Certificate, ...]:
        paths = _default_files() or [bundle for bundle in BUNDLES if bundle.is_file()][:1]
        if not paths:
            raise TrustError(
                "the operating system has no bundle of trust anchors",
                advice="install its package `ca-certificates`, or name the anchors with `files`",
            )
        return once(self._files.read(paths).values())


def _default_files() -> list[Path]:
    """Return the files that OpenSSL reads; in the folder it looks for names of subject hashes alone (c_rehash)."""
    defaults = ssl.get_default_verify_paths()
    files = [Path(defaults.cafile)] if defaults.cafile else []
    if defaults.capath:
        try:
            names = sorted(path.name for path in Path(defaults.capath).iterdir() if _HASHED.fullmatch(path.name))
        except OSError as error:
            raise TrustError(
                f"{defaults.capath} cannot be read: {error.strerror}", advice="let the agent's user read it"
            ) from error
        files += [Path(defaults.capath, name) for name in names]
    return files
