from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from dashboard_fakes import NOW_EPOCH_S, FakeEndpoint, FakeSource
from dashboard_pilot import settle
from textual.pilot import Pilot

from impetus.tui.app import ControlCenter

RunDashboard = Callable[..., AbstractAsyncContextManager[tuple[ControlCenter, Pilot[None]]]]
SNAPSHOTS = Path(__file__).parent.parent.parent / "snapshots"


@pytest.fixture(autouse=True)
def _fixed_surroundings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def run_dashboard(monkeypatch: pytest.MonkeyPatch) -> RunDashboard:
    """Runs the control center over a fake runtime whose time stands still."""

    @asynccontextmanager
    async def run(
        source: FakeSource, endpoint: FakeEndpoint | None = None, size: tuple[int, int] = (120, 40)
    ) -> AsyncGenerator[tuple[ControlCenter, Pilot[None]]]:
        clock = SimpleNamespace(monotonic=source.clock, time=lambda: NOW_EPOCH_S)
        monkeypatch.setattr("impetus.runtime.journal.time", clock)
        app = ControlCenter(source, endpoint or FakeEndpoint())
        async with app.run_test(size=size) as pilot:
            await settle(app, pilot)
            yield app, pilot

    return run


def slim(svg: str) -> str:
    """Shortens names, and leaves out the clipping of each line, which takes a third of the file."""
    svg = re.sub(r"terminal-\d+", "t", svg)
    svg = re.sub(r'<clipPath id="t-line-\d+">.*?</clipPath>\s*', "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="url\(#t-line-\d+\)"', "", svg)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


@pytest.fixture
def check_snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[ControlCenter, str], None]:
    """Holds the screen against `snapshots/NAME.svg`; `--snapshot-update` writes it."""

    def check(app: ControlCenter, name: str) -> None:
        path = SNAPSHOTS / f"{name}.svg"
        picture = slim(app.export_screenshot(title="Impetus"))
        if request.config.getoption("update_snapshots"):
            path.write_text(picture, encoding="utf-8")
        assert path.exists(), f"there is no {path}: look at it, then --snapshot-update"
        if path.read_text(encoding="utf-8") != picture:
            drawn = tmp_path / path.name
            drawn.write_text(picture, encoding="utf-8")
            pytest.fail(f"{path} differs from what is drawn: {drawn}")
        assert len(picture.encode()) < 200_000

    return check
