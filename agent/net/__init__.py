"""What edges share and no edge owns."""
