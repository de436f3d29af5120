"""CAs that sign what they are asked for."""
