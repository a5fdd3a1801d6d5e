"""Each module turns one source of the system into events."""
