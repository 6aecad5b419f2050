"""Puts the application together: what it shares, what every request passes, and its routes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from aiohttp import web

from ..runtime.config import ServerConfig
from ..runtime.runtime import Runtime
from .body import MIB
from .kept import keep_chats, keep_files
from .keys import CHATS, FILES, METRICS, RUNTIME, SETTINGS, STARTED_EPOCH_S
from .metrics import Metrics
from .middleware import answer_preflight, catch_errors, check_key, check_origin, give_id, stamp
from .routes import control, embeddings, llama_server, lmstudio, lmstudio_socket, lmstudio_v1, openai


def make_app(runtime: Runtime, settings: ServerConfig) -> web.Application:
    """Builds the application; it listens nowhere yet."""
    app = web.Application(
        middlewares=[give_id, catch_errors, check_origin, answer_preflight, check_key],
        client_max_size=settings.max_body_mb * MIB,
    )
    app[RUNTIME] = runtime
    app[SETTINGS] = settings
    app[STARTED_EPOCH_S] = time.time()
    app[CHATS] = keep_chats()
    app[FILES] = keep_files()
    app.on_response_prepare.append(stamp)
    app.cleanup_ctx.append(_keep_metrics)
    control.add_routes(app)
    openai.add_routes(app)
    embeddings.add_routes(app)
    llama_server.add_routes(app)
    lmstudio.add_routes(app)
    lmstudio_v1.add_routes(app)
    lmstudio_socket.add_routes(app)
    return app


async def _keep_metrics(app: web.Application) -> AsyncIterator[None]:
    app[METRICS] = metrics = Metrics(app[RUNTIME])
    yield
    metrics.close()
