from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from impetus.runtime.config import Config
from impetus.runtime.home import find_home
from impetus.runtime.logbook import LogBook
from impetus.runtime.opening import open_runtime
from impetus.runtime.runtime import Runtime

OpenRuntime = Callable[..., AbstractAsyncContextManager[Runtime]]


@pytest.fixture
def opened(tmp_path: Path) -> OpenRuntime:
    """Opens a runtime with the echo model and an empty models folder of its own."""

    @asynccontextmanager
    async def open_one(**sections: dict[str, object]) -> AsyncGenerator[Runtime]:
        models: dict[str, object] = {"huggingface_cache": False, "starter": False, "load_at_start": False}
        config = msgspec.convert({**sections, "models": models | sections.get("models", {})}, Config)
        home = find_home(str(tmp_path))
        runtime = open_runtime(
            config,
            home=home,
            config_path=home.settings_path,
            logbook=LogBook(),
            environment={"CI": "true", "PATH": "/usr/bin:/bin"},
            usable_cpus=2,
            echo=True,
        )
        async with runtime:
            await runtime.scanned.wait()
            yield runtime

    return open_one
