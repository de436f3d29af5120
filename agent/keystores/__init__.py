"""Bytes to material and back: no files, no clock."""
