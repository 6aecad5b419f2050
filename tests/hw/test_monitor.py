from __future__ import annotations

import logging
import os
from pathlib import Path
from queue import SimpleQueue
from threading import Event, current_thread
from threading import enumerate as enumerate_threads

import pytest

from impetus.hw.monitor import SERIES, Monitor, next_due
from impetus.hw.probes.plain import PlainProbe
from impetus.hw.probes.replay import ReplayProbe
from impetus.hw.sample import Sample

RECORDING = Path(__file__).parents[1] / "fixtures" / "hw" / "replay" / "m4_max.json"
SHORT_S = 0.001


@pytest.fixture
def start():
    started = []

    def start(probe, **options):
        monitor = Monitor(probe, SHORT_S, **options)
        started.append(monitor)
        return monitor

    yield start
    for monitor in started:
        monitor.stop()


def test_readings_reach_listeners_and_series(start):
    monitor = start(ReplayProbe(RECORDING))
    readings = SimpleQueue()
    monitor.listen(lambda sample: readings.put((sample, current_thread().name)))
    monitor.start()
    got = [readings.get(timeout=10) for _ in range(50)]
    monitor.stop()
    assert {thread for _, thread in got} == {"hardware-monitor"}
    points = monitor.series["cpu_percent"].points(10_000)
    assert [sample.cpu_percent for sample, _ in got] == list(points[:50])
    assert points[40] == points[0]
    assert set(monitor.series) == set(SERIES)
    assert monitor.latest.memory_total_bytes == 64 << 30


def test_watched_processes_are_asked_for(start):
    monitor = start(PlainProbe())
    seen = Event()
    monitor.listen(lambda sample: seen.set() if os.getpid() in sample.process_bytes else None)
    monitor.start()
    monitor.watch([os.getpid(), os.getpid()])
    assert seen.wait(10)


class FlakyProbe:
    """Fails at some of its readings."""

    def __init__(self):
        self.readings = 0

    def read_profile(self):
        raise NotImplementedError

    def read_sample(self, pids):
        self.readings += 1
        if self.readings in {2, 3, 4, 8}:
            raise RuntimeError("host_statistics64")
        return Sample(at_s=float(self.readings), cpu_percent=1.0)


def test_a_failing_probe_is_logged_once_in_a_row_and_tried_again(start, caplog):
    monitor = start(FlakyProbe())
    readings = SimpleQueue()
    monitor.listen(readings.put)
    with caplog.at_level(logging.ERROR):
        monitor.start()
        assert [readings.get(timeout=10).at_s for _ in range(6)] == [1.0, 5.0, 6.0, 7.0, 9.0, 10.0]
        monitor.stop()
    assert [record.getMessage() for record in caplog.records].count("The hardware cannot be read; trying on") == 2


def test_a_raising_listener_is_logged_and_the_others_still_hear(start, caplog):
    monitor = start(ReplayProbe(RECORDING))
    readings = SimpleQueue()

    def fail(sample):
        raise ValueError("broken chart")

    monitor.listen(fail)
    monitor.listen(readings.put)
    monitor.start()
    for _ in range(5):
        readings.get(timeout=10)
    monitor.stop()
    assert [record.getMessage() for record in caplog.records].count("A listener to the hardware monitor failed") == 1


def test_a_removed_listener_hears_no_more(start):
    monitor = start(ReplayProbe(RECORDING))
    removed, kept = SimpleQueue(), SimpleQueue()
    remove = monitor.listen(removed.put)
    monitor.listen(removed.put)
    monitor.listen(kept.put)
    remove()
    remove()
    monitor.start()
    for _ in range(5):
        kept.get(timeout=10)
    monitor.stop()
    assert removed.qsize() == kept.qsize() + 5


class HangingProbe:
    """Does not return before it is let go."""

    def __init__(self):
        self.entered, self.let_go = Event(), Event()

    def read_profile(self):
        raise NotImplementedError

    def read_sample(self, pids):
        self.entered.set()
        self.let_go.wait(30)
        return Sample(at_s=1.0)


def test_stopping_does_not_wait_for_a_hanging_probe(start, caplog):
    probe = HangingProbe()
    monitor = start(probe)
    monitor.start()
    assert probe.entered.wait(10)
    thread = next(thread for thread in enumerate_threads() if thread.name == "hardware-monitor")
    monitor.stop(timeout_s=0.01)
    assert not monitor.running
    assert "did not return" in caplog.text
    probe.let_go.set()
    thread.join(10)
    assert not thread.is_alive()
    assert monitor.latest is None


def test_starting_and_stopping_may_be_repeated(start):
    monitor = start(ReplayProbe(RECORDING))
    monitor.stop()
    readings = SimpleQueue()
    monitor.listen(readings.put)
    for _ in range(3):
        monitor.start()
        monitor.start()
        readings.get(timeout=10)
        monitor.stop()
        while not readings.empty():
            readings.get()
        assert not [thread for thread in enumerate_threads() if thread.name == "hardware-monitor"]


@pytest.mark.parametrize(
    ("due_s", "now_s", "next_s"),
    [
        (0.0, 0.0, 1.0),
        (0.0, 0.3, 1.0),
        (0.0, 0.999, 1.0),
        (0.0, 1.0, 2.0),
        (0.0, 1.2, 2.0),
        (0.0, 3600.5, 3601.0),
        (5.0, 4.999, 6.0),
    ],
)
def test_the_pace_is_steady_and_missed_beats_are_not_made_up(due_s, now_s, next_s):
    assert next_due(due_s, now_s, 1.0) == pytest.approx(next_s)
