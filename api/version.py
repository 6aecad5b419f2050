"""Which Impetus this is."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("impetus-llm")
"""As pyproject.toml states it; read once, while nothing runs yet."""
