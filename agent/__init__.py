"""Keeps the TLS identity of a Kafka host fresh, and proves it by handshake."""

__version__ = "0.1.0"
