"""Who holds a port, for the message that it is taken."""

from __future__ import annotations

import psutil

_USUAL: dict[int, str] = {
    1234: "LM Studio",
    8000: "vLLM or another development server",
    8080: "a second Impetus or llama-server",
    11434: "Ollama",
}
"""What usually listens there."""


def find_holder(port: int) -> str:
    """Names the program that listens on a port, or what it usually is; blocking, never raises."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.pid
                and connection.laddr
                and connection.laddr.port == port
            ):
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid}) listens there"
    except (psutil.Error, OSError, PermissionError):
        pass  # macOS tells only root; the guess below is then all there is
    usual = _USUAL.get(port)
    return f"another program listens there, perhaps {usual}" if usual else "another program listens there"
