"""Directories of generations: whole, fsynced, switched by one rename."""
