"""Handshakes: what a listener serves."""
