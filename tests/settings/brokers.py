"""Settings of a broker that is told, as an operator writes them; each test changes one thing in them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tests.settings.host import changed

if TYPE_CHECKING:
    from agent.core.configuration import Wanted
    from tests.settings.host import Host

BROKER = "identities.broker"
RELOAD = f"{BROKER}.reload.0"
TOLD = f"{BROKER}.reload[0]"
"""The broker as a mistake names it."""
P12 = {"format": "pkcs12", "keystore": "keystore.p12", "truststore": "truststore.p12", "password_file": "password"}
JKS = {"format": "jks", "keystore": "keystore.jks", "truststore": "truststore.jks", "password_file": "password"}
PEM = {"format": "pem", "combined": "tls.pem", "certificate": "tls.crt", "key": "tls.key", "truststore": "ca.crt"}
CLIENT = {"format": "client_properties", "file": "client.properties", "stores": "pkcs12"}
STORES = {"keystore": "keystore.p12", "truststore": "truststore.p12"}
SASL = {"mechanism": "SCRAM-SHA-512", "username": "cert-agent", "password_file": "password"}


def told(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Return settings of a broker that is told, with some changed; its listeners read PKCS12."""
    good = (
        (f"{BROKER}.files", [P12, PEM, JKS, CLIENT]),
        ("clusters.prod", {"bootstrap": ["localhost:9093"]}),
        (f"{BROKER}.reload", [{"type": "kafka_broker", "cluster": "prod", "listeners": {"MTLS": STORES}}]),
    )
    return changed(*copy.deepcopy(good), *changes)


def wanted(host: Host, *changes: tuple[str, Any]) -> Wanted:
    """Return what the identity of a changed configuration becomes."""
    return host.load(told(*changes)).identities["broker"]
