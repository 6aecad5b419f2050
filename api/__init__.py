"""Sockets to runtime and back. Knows no widget; imports runtime and hw."""
