"""What the host offers: the service manager, locks."""
