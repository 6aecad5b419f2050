"""What can be asked here: the OpenAPI document, and a page for people."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ..docs_page import POLICY, make_page
from ..keys import DOCUMENT, OPERATIONS


def add_routes(app: web.Application) -> None:
    """Adds the routes."""
    app.router.add_get("/openapi.json", get_document)
    app.router.add_get("/docs", get_page)
    app[OPERATIONS].describe(get_page, form="html")


async def get_document(request: web.Request) -> web.Response:
    """Gives the OpenAPI 3.1 document of all routes."""
    return web.json_bytes_response(await request.app[DOCUMENT].read(request.app), dumps=msgspec.json.encode)


async def get_page(request: web.Request) -> web.Response:
    """Shows the base URLs for clients and all routes, as a page."""
    page = make_page(await request.app[DOCUMENT].read(request.app), str(request.url.origin()))
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": POLICY})
