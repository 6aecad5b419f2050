"""The bridge tells at its own pace, however often it is told."""

from __future__ import annotations

import asyncio
import logging

import dashboard_fakes as fakes
import dashboard_scenes as scenes

from impetus.tui.bridge import BEATS, Bridge
from impetus.tui.messages import (
    DownloadsChanged,
    LogChanged,
    ModelsChanged,
    RatesChanged,
    RequestsChanged,
    Sampled,
    ServerChanged,
)


def told(bridge: Bridge, posted: list, beats: int = BEATS) -> list[str]:
    posted.clear()
    for _ in range(beats):
        bridge.beat()
    return [type(message).__name__ for message in posted]


def open_bridge():
    source, endpoint, posted = fakes.FakeSource(), fakes.FakeEndpoint(), []
    bridge = Bridge(source, endpoint, posted.append)
    bridge.open()
    return source, endpoint, posted, bridge


async def test_nothing_changed_means_nothing_told_but_the_passing_second():
    _, _, posted, bridge = open_bridge()
    assert told(bridge, posted) == ["RatesChanged"]


async def test_many_changes_become_one_message_of_each_kind():
    source, endpoint, posted, bridge = open_bridge()
    for second in range(20):
        await asyncio.to_thread(source.monitor.push, scenes.mac_sample(float(second)))
        source.log(logging.INFO, "x", "y")
        source.changed()
        endpoint.fail("busy")
        source.journal.open(model="m", client="c", route="r")
    await asyncio.sleep(0)
    kinds = (Sampled, RequestsChanged, RatesChanged, ModelsChanged, DownloadsChanged, LogChanged, ServerChanged)
    assert sorted(told(bridge, posted)) == sorted(kind.__name__ for kind in kinds)
    sample = next(message.sample for message in posted if isinstance(message, Sampled))
    assert sample.at_s == 19.0


async def test_gauges_table_and_charts_have_different_beats():
    source, _, posted, bridge = open_bridge()
    await asyncio.to_thread(source.monitor.push, scenes.mac_sample(1.0))
    source.journal.open(model="m", client="c", route="r")
    await asyncio.sleep(0)
    beats = [told(bridge, posted, beats=1) for _ in range(BEATS)]
    assert beats[0] == ["Sampled"]
    assert beats[1] == ["RequestsChanged"]
    assert beats[2] == ["RatesChanged"]


async def test_running_requests_are_told_each_period_without_any_event():
    source, _, posted, bridge = open_bridge()
    record = source.journal.open(model="m", client="c", route="r")
    for _ in range(3):
        assert "RequestsChanged" in told(bridge, posted)
    source.journal.move(record, "done")
    assert "RequestsChanged" in told(bridge, posted)
    assert "RequestsChanged" not in told(bridge, posted)


async def test_a_flood_of_log_lines_costs_one_callback():
    source, _, posted, bridge = open_bridge()
    loop = asyncio.get_running_loop()
    before = len(loop._ready)
    for _ in range(1000):
        source.log(logging.DEBUG, "x", "y")
    assert len(loop._ready) == before + 1
    await asyncio.sleep(0)
    assert "LogChanged" in told(bridge, posted)


async def test_after_closing_nobody_is_listened_to():
    source, endpoint, posted, bridge = open_bridge()
    bridge.close()
    source.monitor.push(scenes.mac_sample(1.0))
    source.changed()
    source.log(logging.INFO, "x", "y")
    endpoint.fail("busy")
    assert told(bridge, posted) == ["RatesChanged"]
    assert source._listeners == []
    assert source.monitor._listeners == []


def test_newer_messages_replace_older_ones_of_their_kind_only():
    one, other = Sampled(scenes.mac_sample(1.0)), Sampled(scenes.mac_sample(2.0))
    assert other.can_replace(one)
    assert not other.can_replace(RatesChanged())
    assert not ModelsChanged().can_replace(ServerChanged())
