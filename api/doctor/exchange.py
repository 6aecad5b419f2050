"""Requests to a server, one connection each, with the times that tell whether a client would have waited."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

import msgspec

from ..dialects.control import RequestDetails, StatusAnswer

TIMEOUT_S = 120.0
AGENT = "impetus-doctor"
_PIECE = 65536


class NoAnswer(Exception):
    """The server does not answer, or not to the end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    kind: str
    """Its content type."""
    request_id: str
    data: bytes
    head_s: float
    """Until its head was there."""
    longest_gap_s: float
    """The longest silence after that."""

    @property
    def words(self) -> str:
        """Its beginning, for the report."""
        return self.data[:300].decode("utf-8", "replace")


class Exchange:
    """Asks one server."""

    def __init__(self, url: str, *, api_key: str = "") -> None:
        parts = urlsplit(url)
        self.url = url
        self._host, self._port = parts.hostname or "", parts.port
        self._headers = {"User-Agent": AGENT} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})

    def get(self, path: str) -> Reply:
        """Asks for something; raises NoAnswer."""
        return self.send("GET", path)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        leave_when: Callable[[bytes], bool] | None = None,
    ) -> Reply:
        """Sends a request and reads its answer to the end, or hangs up once what came makes `leave_when` true.

        Raises:
            NoAnswer: nobody answers, or the answer breaks off.
        """
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        began_s = time.monotonic()
        try:
            content = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {}), **self._headers})
            response = connection.getresponse()
            head_s = seen_s = time.monotonic()
            data, longest_s = b"", 0.0
            while piece := response.read1(_PIECE):
                now_s = time.monotonic()
                longest_s, seen_s = max(longest_s, now_s - seen_s), now_s
                data += piece
                if leave_when is not None and leave_when(data):
                    break
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        kind = response.headers.get_content_type()
        return Reply(response.status, kind, response.headers.get("x-request-id", ""), data, head_s - began_s, longest_s)

    def status(self) -> StatusAnswer:
        """Says how everything stands; raises NoAnswer."""
        reply = self.get("/impetus/v1/status")
        try:
            return msgspec.json.decode(reply.data, type=StatusAnswer)
        except msgspec.DecodeError as error:
            raise NoAnswer(f"{self.url} answers {reply.status}, but not as Impetus does: {reply.words}") from error

    def record(self, request_id: str) -> RequestDetails | None:
        """What the journal says of a request; None where it does not know it."""
        reply = self.get(f"/impetus/v1/requests/{request_id}")
        return msgspec.json.decode(reply.data, type=RequestDetails) if reply.status == 200 else None
