"""How everything stands, read from the application's parts at one moment."""

from __future__ import annotations

import time

from aiohttp import web

from .dialects.control import (
    RequestEntry,
    StatusAnswer,
    to_address_entries,
    to_download_entries,
    to_governor_entries,
    to_model_entry,
    to_request_entries,
)
from .keys import EXTRA_PORTS, RUNTIME, STARTED_EPOCH_S
from .version import VERSION


def read_status(app: web.Application, url: str) -> StatusAnswer:
    """Gives everything at a glance; the address is the one the asker reached."""
    runtime, ports = app[RUNTIME], app[EXTRA_PORTS]
    return StatusAnswer(
        version=VERSION,
        uptime_s=time.time() - app[STARTED_EPOCH_S],
        url=url,
        tokens_per_s=runtime.throughput.total(),
        profile=runtime.profile,
        sample=runtime.monitor.latest,
        models=[to_model_entry(model) for model in runtime.statuses()],
        running=read_running(app),
        downloads=to_download_entries(runtime.downloads()),
        governors=to_governor_entries(runtime.governors.statuses()),
        addresses=to_address_entries(ports.main_url or url, ports.all()),
    )


def read_running(app: web.Application) -> list[RequestEntry]:
    """Gives the requests that have not ended."""
    return to_request_entries(record for record in app[RUNTIME].journal if record.ended_s is None)
