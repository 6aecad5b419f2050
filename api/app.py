"""Puts the application together: what it shares, what every request passes, and its routes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import partial

from aiohttp import web

from ..runtime.config import ServerConfig
from ..runtime.runtime import Runtime
from .body import MIB
from .extra_ports import ExtraPorts
from .kept import keep_chats, keep_files
from .keys import CHATS, DOCUMENT, EXTRA_PORTS, FILES, LIVE, LOOPS, METRICS, OPERATIONS, RUNTIME, SETTINGS, STARTED_EPOCH_S
from .live import LiveFeed
from .loops import Loops
from .metrics import Metrics
from .middleware import answer_preflight, catch_errors, check_key, check_origin, error_type, give_id, note_client, stamp
from .openapi import KeptDocument
from .operations import Operations
from .routes import (
    anthropic,
    control,
    docs,
    embeddings,
    live,
    llama_server,
    lmstudio,
    lmstudio_socket,
    lmstudio_v1,
    ollama,
    ollama_models,
    openai,
    responses,
)
from .status import read_status


def make_app(runtime: Runtime, settings: ServerConfig) -> web.Application:
    """Builds the application; it listens nowhere yet."""
    app = web.Application(
        middlewares=[give_id, catch_errors, check_origin, answer_preflight, check_key, note_client],
        client_max_size=settings.max_body_mb * MIB,
    )
    app[RUNTIME] = runtime
    app[SETTINGS] = settings
    app[STARTED_EPOCH_S] = time.time()
    app[OPERATIONS] = Operations()
    app[LOOPS] = Loops()
    app[DOCUMENT] = KeptDocument(app[OPERATIONS], error_type=error_type)
    app[EXTRA_PORTS] = ExtraPorts()
    app[LIVE] = LiveFeed(runtime, read_status=partial(read_status, app))
    app[EXTRA_PORTS].listen(app[LIVE].changed)
    app[CHATS] = keep_chats()
    app[FILES] = keep_files()
    app.on_response_prepare.append(stamp)
    app.cleanup_ctx.append(_keep_metrics)
    app.on_shutdown.append(_end_live)
    control.add_routes(app)
    live.add_routes(app)
    docs.add_routes(app)
    openai.add_routes(app)
    anthropic.add_routes(app)
    embeddings.add_routes(app)
    llama_server.add_routes(app)
    responses.add_routes(app)
    lmstudio.add_routes(app)
    lmstudio_v1.add_routes(app)
    ollama.add_routes(app)
    ollama_models.add_routes(app)
    lmstudio_socket.add_routes(app)
    return app


async def _end_live(app: web.Application) -> None:
    await app[LIVE].close()


async def _keep_metrics(app: web.Application) -> AsyncIterator[None]:
    app[METRICS] = metrics = Metrics(app[RUNTIME])
    yield
    metrics.close()
