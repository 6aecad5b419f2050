"""What routes take and give, stated beside the lines that add them; `/openapi.json` is made of it.

A route that nobody describes stands in the document all the same, with its handler's docstring alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
AnswerForm = Literal["json", "text", "html", "socket"]
SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Operation:
    """What one handler takes and gives; None is what is not described."""

    body: object = None
    """The type of its body."""
    answer: object = None
    """The type of its whole answer; of a WebSocket's messages."""
    form: AnswerForm = "json"
    stream: str | None = None
    """The content type of its other answer, for handlers that stream where they are asked to."""
    query: tuple[tuple[str, object], ...] = ()
    """Names and types of what may stand behind the question mark."""


class Operations:
    """The descriptions of an application's handlers."""

    def __init__(self) -> None:
        self._by_handler: dict[object, Operation] = {}

    def describe(
        self,
        handler: Handler,
        *,
        body: msgspec.json.Decoder[Any] | None = None,
        answer: object = None,
        form: AnswerForm = "json",
        stream: str | None = None,
        **query: object,
    ) -> None:
        """States what a handler takes and gives, at whatever paths it is added.

        Args:
            handler: the function that `add_post` and the like are given.
            body: what decodes its body.
            answer: the type of its whole answer, or of a WebSocket's messages.
            form: what its answer is.
            stream: the content type of its streamed answer, where it has one.
            query: types of what may stand behind the question mark, by name.
        """
        type_ = None if body is None else body.type
        self._by_handler[handler] = Operation(type_, answer, form, stream, tuple(query.items()))

    def find(self, handler: object) -> Operation:
        """Gives a handler's description, an empty one where there is none."""
        return self._by_handler.get(handler, Operation())
