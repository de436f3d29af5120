"""Observe, decide, apply: the loop, which knows ports and core and nothing concrete."""
