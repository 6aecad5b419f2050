"""The WebSocket that tells what changes."""

from __future__ import annotations

from aiohttp import web

from ..dialects.live import LiveMessage
from ..keys import LIVE, OPERATIONS


def add_routes(app: web.Application) -> None:
    """Adds the route."""
    app.router.add_get("/impetus/v1/live", follow)
    app[OPERATIONS].describe(follow, answer=LiveMessage, form="socket")


async def follow(request: web.Request) -> web.WebSocketResponse:
    """Tells how everything stands, then what changes, over a WebSocket, until the client leaves."""
    return await request.app[LIVE].follow(request)
