"""Asks a running server how it stands and tells it what to do; for the command line, blocking."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec

from ..runtime.errors import ImpetusError, InvalidRequest
from .dialects.control import ModelBody, StatusAnswer
from .dialects.openai_answers import ErrorAnswer

LOAD_TIMEOUT_S = 600.0


class ControlClient:
    """One connection to a server of this machine."""

    def __init__(self, url: str, *, api_key: str = "") -> None:
        parts = urlsplit(url)
        self._url = url
        # A connection of its own, not urllib's opener: proxies must not stand between us and our own machine.
        self._connection = HTTPConnection(parts.hostname or "", parts.port, timeout=LOAD_TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def __enter__(self) -> Self:
        """Gives itself; it connects with its first question."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Closes the connection."""
        self._connection.close()

    def status(self) -> StatusAnswer:
        """Says how everything stands; raises ImpetusError."""
        return msgspec.json.decode(self._ask("GET", "/impetus/v1/status"), type=StatusAnswer)

    def load(self, model: str) -> None:
        """Brings a model into memory; raises ImpetusError, with the server's own words."""
        self._ask("POST", "/impetus/v1/models/load", ModelBody(model))

    def unload(self, model: str) -> None:
        """Takes a model out of memory; raises ImpetusError, with the server's own words."""
        self._ask("POST", "/impetus/v1/models/unload", ModelBody(model))

    def _ask(self, method: str, path: str, body: ModelBody | None = None) -> bytes:
        try:
            self._connection.request(method, path, None if body is None else msgspec.json.encode(body), self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise InvalidRequest(f"the server at {self._url} does not answer: {error}") from error
        if response.status != 200:
            try:
                message = msgspec.json.decode(answer, type=ErrorAnswer).error.message
            except msgspec.DecodeError:
                message = f"the server at {self._url} answered with status {response.status}."
            raise ImpetusError(message)
        return answer
