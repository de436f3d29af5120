"""Where trust anchors come from."""
