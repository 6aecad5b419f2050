"""What the dashboard says of the machine itself."""

from __future__ import annotations

import dashboard_fakes as fakes
import dashboard_scenes as scenes
import pytest
from dashboard_pilot import press, shown

from impetus.tui.machine_views import machine_details


def details(machine: str) -> dict[str, tuple[str, str]]:
    return {label: (text, tone) for label, text, tone in machine_details(scenes.recorded(machine).profile)}


def test_each_fact_has_its_source_and_what_was_assumed_is_marked():
    told = details("unknown_chip")
    assert told["cores"] == ("8 Super + 8 Performance + 6 Whatever (recording unknown_chip)", "")
    assert told["bandwidth"] == ("614 GB/s (newest known chip of this tier, estimated)", "warn")
    assert details("m6_three_levels")["cores"][0].startswith("2 Super + 4 Performance + 6 Efficiency (")
    assert details("a18_pro")["chip"][0].startswith("Apple A18 Pro (")


@pytest.mark.parametrize(
    ("machine", "unknown"),
    [
        ("vm", {"GPU cores", "for the GPU", "bandwidth", "fan"}),
        ("intel", {"GPU cores", "for the GPU", "bandwidth", "Rosetta"}),
        ("asahi", {"GPU cores", "for the GPU", "Rosetta"}),
        ("m6_three_levels", {"model", "fan"}),
        ("a18_pro", set()),
    ],
)
def test_what_is_unknown_is_said_to_be(machine, unknown):
    told = details(machine)
    assert {label for label, fact in told.items() if fact == ("unknown", "dim")} == unknown


async def test_a_key_tells_it_also_before_anything_is_known(run_dashboard):
    source = fakes.FakeSource()
    source.profile = None
    async with run_dashboard(source, size=(80, 24)) as (app, pilot):
        await press(app, pilot, "i")
        assert "is being looked at" in shown(app)
        await press(app, pilot, "escape")
        assert "is being looked at" not in shown(app)
