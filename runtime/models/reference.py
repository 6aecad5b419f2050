"""Reads what a user writes to name a model on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import DownloadError

_REFERENCE = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?::(?P<wanted>[^:]+))?", re.ASCII)
_ADDRESS = re.compile(r"(?:https?://[^/]+/|hf\.co/|huggingface\.co/)", re.IGNORECASE)
_FILE_PAGE = re.compile(r"([^/]+/[^/]+)/(?:blob|resolve)/[^/]+/(.+?)(?:\?.*)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository, and which of its models is wanted."""

    repo: str
    wanted: str | None
    """A file, a quantisation or a format; None is what suits this machine best."""

    @property
    def key(self) -> str:
        """The same for all ways to write the same thing."""
        return f"{self.repo}:{self.wanted or ''}".lower()


def parse_reference(text: str) -> Reference:
    """Reads `owner/repo`, `owner/repo:Q4_K_M`, `owner/repo:onnx`, `owner/repo:file.gguf`, or the address of one on the Hub.

    Raises:
        DownloadError: it is none of them.
    """
    rest = text.strip()
    if address := _ADDRESS.match(rest):
        rest = rest[address.end() :].rstrip("/").removesuffix("/tree/main")
        if page := _FILE_PAGE.fullmatch(rest):
            rest = f"{page[1]}:{page[2]}"
    match = _REFERENCE.fullmatch(rest)
    if match is None or ".." in match["repo"]:
        raise DownloadError(
            f"'{text}' names no model: write owner/repo, owner/repo:Q4_K_M, owner/repo:onnx or owner/repo:file.gguf."
        )
    return Reference(match["repo"], match["wanted"])
