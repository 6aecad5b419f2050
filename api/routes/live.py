"""The WebSocket that tells what changes."""

from __future__ import annotations

from aiohttp import web

from ..keys import LIVE


def add_routes(app: web.Application) -> None:
    """Adds the route."""
    app.router.add_get("/impetus/v1/live", follow)


async def follow(request: web.Request) -> web.WebSocketResponse:
    """Tells how everything stands, then what changes, over a WebSocket, until the client leaves."""
    return await request.app[LIVE].follow(request)
