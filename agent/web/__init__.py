"""The local HTTP endpoint and the admin socket."""
