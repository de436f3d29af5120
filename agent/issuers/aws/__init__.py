"""AWS Private CA, and who the agent is at AWS."""
