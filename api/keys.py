"""What handlers find in the application and in a request, by typed keys."""

from __future__ import annotations

from aiohttp import web

from ..runtime.config import ServerConfig
from ..runtime.runtime import Runtime
from .extra_ports import ExtraPorts
from .kept import Chats, Files, Kept
from .live import LiveFeed
from .loops import Loops
from .metrics import Metrics
from .openapi import KeptDocument
from .operations import Operations

RUNTIME = web.AppKey("RUNTIME", Runtime)
SETTINGS = web.AppKey("SETTINGS", ServerConfig)
METRICS = web.AppKey("METRICS", Metrics)
EXTRA_PORTS = web.AppKey("EXTRA_PORTS", ExtraPorts)
LIVE = web.AppKey("LIVE", LiveFeed)
LOOPS = web.AppKey("LOOPS", Loops)
OPERATIONS = web.AppKey("OPERATIONS", Operations)
DOCUMENT = web.AppKey("DOCUMENT", KeptDocument)
CHATS: web.AppKey[Chats] = web.AppKey("CHATS", Kept)
FILES: web.AppKey[Files] = web.AppKey("FILES", Kept)
STARTED_EPOCH_S = web.AppKey("STARTED_EPOCH_S", float)
"""When the application was made, by the wall clock."""

REQUEST_ID = web.RequestKey("REQUEST_ID", str)
"""What the answer's `x-request-id` says: the journal's id for a generation, a random one for anything else."""
