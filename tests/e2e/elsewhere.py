"""A CA that no program of ours can call: OpenSSL, in a folder of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.tools import need

if TYPE_CHECKING:
    from pathlib import Path

CA = """
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
[desk]
database=index.txt
new_certs_dir=.
rand_serial=yes
default_md=sha256
copy_extensions=copy
preserve=yes
policy=any
[any]
commonName=supplied
organizationalUnitName=optional
organizationName=optional
"""


@dataclass
class Elsewhere:
    """A root and an intermediate of OpenSSL's in a folder of their own."""

    folder: Path

    def __post_init__(self) -> None:
        """Make both."""
        self.folder.mkdir()
        (self.folder / "ca.cnf").write_text(CA)
        for name in ("root", "between", "stranger"):
            key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
            self.openssl("req", *key, "-new", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        made = ["-extfile", "ca.cnf", "-extensions", "ca", "-days", "900"]
        for name in ("root", "stranger"):
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-key", f"{name}.key", *made, "-out", f"{name}.crt")
        self.openssl(
            "x509", "-req", "-in", "between.csr", "-CA", "root.crt", "-CAkey", "root.key", *made, "-out", "between.crt"
        )

    def openssl(self, *arguments: str) -> str:
        """Run OpenSSL in the folder."""
        command = [need("openssl"), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sign(self, csr: str, *arguments: str, by: str = "between", copy: str = "copy") -> str:
        """Sign a CSR, and return the leaf in PEM; what it asks for is copied unless told otherwise."""
        (self.folder / "host.csr").write_text(csr)
        signing = ["-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-copy_extensions", copy, *(arguments or ("-days", "90"))]
        return self.openssl("x509", "-req", "-in", "host.csr", *signing)

    def sign_dated(self, csr: str, start: str, end: str) -> str:
        """Sign a CSR at the CA's desk, which takes any dates."""
        (self.folder / "host.csr").write_text(csr)
        (self.folder / "index.txt").write_text("")
        desk = ["-config", "ca.cnf", "-name", "desk", "-cert", "between.crt", "-keyfile", "between.key"]
        return self.openssl("ca", "-batch", "-notext", *desk, "-startdate", start, "-enddate", end, "-in", "host.csr")

    def text(self, *names: str) -> str:
        """Return files of the folder, one after another."""
        return "".join((self.folder / name).read_text() for name in names)
