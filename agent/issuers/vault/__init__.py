"""Vault and OpenBao: a PKI mount signs a CSR, and the private key stays on this host."""

from agent.issuers.vault.issuer import Vault

__all__ = ["Vault"]
