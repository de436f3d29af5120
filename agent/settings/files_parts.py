"""The shape of the settings of files: stores in every format, and rendered configurations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent.core.files import ClientAuth, Encryption, StoreFormat
from agent.settings.part import Part
from agent.settings.scalars import Alias, FileName, Mode, PathName


class AccessPart(Part):
    """Owner, group and mode of written files."""

    owner: str | None = None
    group: str | None = None
    mode: Mode | None = Field(None, description='Octal, in quotes: "0440". By default 0400 with a secret, else 0444.')
    reader: str | None = Field(None, description="User who reads them; `config check` tells when they could not.")


class GuardedPart(AccessPart):
    """Files that a password guards."""

    password_file: PathName | None = None
    password_environment: str | None = None
    make_password: bool = Field(False, description="Make a random password where the file is missing.")
    include_anchor: bool = Field(False, description="Put the trust anchor at the end of the chain.")


class PemPart(GuardedPart):
    """PEM files; a password encrypts their keys."""

    format: Literal["pem"]
    certificate: FileName | None = Field(None, description="Leaf and chain.")
    key: FileName | None = Field(None, description="The private key, PKCS#8.")
    combined: FileName | None = Field(None, description="Key, leaf and chain in one file, which cannot be torn.")
    truststore: FileName | None = Field(None, description="The trust anchors.")
    encryption: Encryption = Field(Encryption.STRONG, description="compatible: what Kafka on JDK 17 can read.")


class JavaPart(GuardedPart):
    """A keystore and a truststore, as Java has them."""

    keystore: FileName | None = None
    truststore: FileName | None = None
    alias: Alias = "kafka"


class Pkcs12Part(JavaPart):
    """PKCS12 stores."""

    format: Literal["pkcs12"]
    encryption: Encryption = Field(Encryption.STRONG, description="compatible: for JVMs before 8u301 and 11.0.12.")


class JksPart(JavaPart):
    """JKS stores, for what cannot read PKCS12 yet."""

    format: Literal["jks"]


class RenderedPart(AccessPart):
    """A configuration that names the other files."""

    file: FileName
    stores: StoreFormat | None = Field(None, description="Format of the files that it names; by default the first.")
    security_protocol: Literal["SSL", "SASL_SSL"] = "SSL"


class ReaderPart(RenderedPart):
    """A client's configuration that names the other files."""

    format: Literal["client_properties", "librdkafka", "spring"]
    client_certificate: bool = Field(True, description="Name the key too; false where SASL alone logs in.")


class ServerPart(RenderedPart):
    """The part of a broker's server.properties that names the other files."""

    format: Literal["server_properties"]
    listener: str | None = Field(
        None, pattern="^[A-Za-z0-9_.-]+$", description="Listener whose keys these are; by default all."
    )
    client_auth: ClientAuth = ClientAuth.REQUIRED
    protocols: list[Annotated[str, Field(pattern=r"^TLSv1\.[23]$")]] = Field([], description="TLSv1.3, TLSv1.2.")
    ciphers: list[Annotated[str, Field(pattern="^TLS_[A-Z0-9_]+$")]] = Field([], description="As Java names them.")


FilesPart = Annotated[
    PemPart | Pkcs12Part | JksPart | ReaderPart | ServerPart,
    Field(discriminator="format"),
]
