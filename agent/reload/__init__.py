"""How readers of the files are told that they have changed."""
