"""What the dashboard says of the governors."""

from __future__ import annotations

import dashboard_fakes as fakes
import dashboard_scenes as scenes
from dashboard_pilot import beat, press, settle, text_of

from impetus.hw.sample import Sample
from impetus.runtime.tuning.load_plan import Choice
from impetus.tui.app import ControlCenter
from impetus.tui.governor_views import active_facts, governor_facts
from impetus.tui.screens.dialogs import FactsScreen
from impetus.tui.widgets.facts import Facts
from impetus.tui.widgets.table import Table


def press_on(source: fakes.FakeSource) -> None:
    for second in range(5):
        source.governors.observe(Sample(float(second), memory_pressure="warn", thermal_level="heavy"), {})


def test_in_usual_times_nothing_is_shown_and_then_what_is_done_and_why():
    source = fakes.FakeSource()
    assert active_facts(source.governors.statuses()) == ()
    press_on(source)
    memory, heat = active_facts(source.governors.statuses())
    assert memory[0] == "memory"
    assert memory[1].startswith("▲ warn: the system says memory pressure is warn. Computed prompts in memory keep 25%")
    assert (heat[0], heat[2]) == ("heat", "bad")
    facts = governor_facts(source.governors.statuses(), source.governors.decisions.newest(9))
    assert [text for _, text, _ in facts if "ok → throttled" in text]
    assert [text for _, text, _ in facts if "65% of its best speed, estimated" in text]


async def test_a_line_appears_while_something_is_done_and_a_key_tells_all():
    source = scenes.busy()
    app = ControlCenter(source, fakes.FakeEndpoint())
    async with app.run_test(size=(140, 46)) as pilot:
        await beat(app, pilot)
        panel = app.control.query_one("#governors", Facts)
        assert not panel.display
        press_on(source)
        source.monitor.push(source.monitor.latest)
        await settle(app, pilot)  # the reading comes in from another thread
        await beat(app, pilot)
        await settle(app, pilot)  # and the styles follow the class
        assert panel.display
        assert "memory pressure is warn" in text_of(panel)
        await press(app, pilot, "w")
        assert isinstance(app.screen, FactsScreen)
        assert "fewer answers at once" in text_of(app.screen.query_one("#dialog-facts", Facts))


async def test_the_models_pane_says_how_a_model_would_be_held_and_why():
    source = scenes.busy()
    source.plans[fakes.CODER.id] = (
        Choice("threads", 12, "12 threads, one for each fast core"),
        Choice("context", 32768, "context 32768 of 131072, which fits the share of the memory that is for models"),
    )
    app = ControlCenter(source, fakes.FakeEndpoint())
    async with app.run_test(size=(140, 46)) as pilot:
        await press(app, pilot, "2")
        facts = app.control.query_one("#models-facts", Facts)
        table = app.control.query_one("#models-table", Table)
        while table.cursor != fakes.CODER.id:
            await press(app, pilot, "down")
        assert "12 threads, one for each fast core" in text_of(facts)
        assert "context 32768 of 131072" in text_of(facts)
