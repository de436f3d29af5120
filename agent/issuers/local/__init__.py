"""The parts of the embedded CA: its certificates, its folder, and what is looked at in it."""
