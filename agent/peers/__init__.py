"""The peers of an identity in a CA rotation: who they are, and what each shows."""
