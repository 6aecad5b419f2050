"""The pane of recommendations: for this machine, for a task, with what is on the disk marked."""

from __future__ import annotations

from dataclasses import replace

import dashboard_fakes as fakes
import dashboard_scenes as scenes
import pytest
from dashboard_pilot import beat, press, settle, text_of

from impetus.runtime.models.model import ModelStatus, Speed
from impetus.tui.screens.advice import AdvicePane

LLAMA_HUB = "bartowski/Llama-3.2-3B-Instruct-GGUF:Q8_0"


def pane_of(app) -> AdvicePane:
    return app.control.query_one(AdvicePane)


def row_of(pane: AdvicePane, name: str) -> str:
    """What stands in a model's row, seen or not."""
    return " ".join(cell.text for row in pane.table.rows for cell in row.cells if row.cells[0].text == name)


async def to_model(app, pilot, name: str) -> AdvicePane:
    """Puts the cursor on a recommended model."""
    pane = pane_of(app)
    pane.table.cursor = next(row.key for row in pane.table.rows if row.cells[0].text == name)
    await settle(app, pilot)
    return pane


def asked(source: fakes.FakeSource) -> list[str]:
    return [call[1] for call in source.calls if call[0] == "recommend"]


async def test_it_says_what_suits_and_what_another_mac_would_bring(run_dashboard):
    async with run_dashboard(scenes.recorded("m4_max"), size=(160, 45)) as (app, pilot):
        await press(app, pilot, "7")
        pane = pane_of(app)
        assert pane.table.border_title == "What suits M4 Max 64 GB"
        assert "list of 20" in pane.table.border_subtitle
        assert "16K tokens of context" in pane.table.border_subtitle
        first = text_of(pane.table).splitlines()[1]
        assert "▸Qwen3.6-35B-A3B" in first
        assert " to " in first
        assert "tools, thinking" in first
        assert "⇅ to pull" in first
        assert "predicted" in text_of(pane.facts)
        assert "M4 Max 128 GB: Qwen3-Coder-Next" in text_of(pane.upgrades)


async def test_a_key_and_a_click_change_what_for(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "f", "f", "f")
        pane = pane_of(app)
        assert asked(source) == ["any", "chat", "code", "embed"]
        assert {row.cells[0].text for row in pane.table.rows} >= {"Qwen3-Embedding-8B"}
        assert "embeddings" in text_of(pane.facts)
        await press(app, pilot, "f")
        assert asked(source)[-1] == "any"
        await pilot.click("#advice-tasks", offset=(text_of(pane.tasks).index("Code"), 0))
        await settle(app, pilot)
        assert asked(source)[-1] == "code"
        assert app.control.current == "advice"
        assert "Qwen3-Coder-30B-A3B-Instruct" in text_of(pane.table)


async def test_what_is_not_here_is_pulled_and_its_progress_shown(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7")
        pane = await to_model(app, pilot, "Qwen3-8B")
        wanted = pane.table.cursor
        assert f"⇅ p pulls {wanted}" in text_of(pane.facts)
        await press(app, pilot, "l")
        assert not [call for call in source.calls if call[0] in {"load", "pull"}]
        await press(app, pilot, "p")
        assert ("pull", wanted) in source.calls
        source.downloads()[0].done_bytes = 2 * fakes.GIB
        source.changed()
        await beat(app, pilot)
        assert "↓ 40 %" in row_of(pane, "Qwen3-8B")
        source.downloads()[0].state = "failed"
        source.changed()
        await beat(app, pilot)
        assert "✗ failed" in row_of(pane, "Qwen3-8B")


@pytest.mark.parametrize("key", ["l", "enter"])
async def test_what_is_on_the_disk_is_marked_and_loaded(run_dashboard, key):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "f")
        pane = await to_model(app, pilot, "Llama-3.2-3B-Instruct")
        assert "○ on disk" in row_of(pane, "Llama-3.2-3B-Instruct")
        assert f"{fakes.LLAMA.id}: l loads it" in text_of(pane.facts)
        await press(app, pilot, "p")
        assert not [call for call in source.calls if call[0] == "pull"]
        await press(app, pilot, key)
        assert ("load", fakes.LLAMA.id) in source.calls
        await beat(app, pilot)
        assert "● ready" in row_of(pane, "Llama-3.2-3B-Instruct")
        assert f"{fakes.LLAMA.id} is in memory" in text_of(pane.facts)


async def test_a_copy_in_another_quantisation_is_told_and_the_recommended_one_pulled(run_dashboard):
    source = scenes.recorded("asahi")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7")
        pane = await to_model(app, pilot, "Llama-3.2-3B-Instruct")
        assert "○ as Q8_0" in row_of(pane, "Llama-3.2-3B-Instruct")
        await press(app, pilot, "enter")
        assert ("pull", LLAMA_HUB.replace("Q8_0", "Q6_K")) in source.calls
        await press(app, pilot, "l")
        assert ("load", fakes.LLAMA.id) in source.calls


async def test_a_double_click_takes_the_row(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7")
        wanted = pane_of(app).table.rows[2].key
        await pilot.click("#advice-models", offset=(6, 4), times=2)
        await settle(app, pilot)
        assert ("pull", wanted) in source.calls


async def test_a_model_that_ran_here_tells_how_fast_it_was(run_dashboard):
    source = scenes.recorded("m4_max")
    source.set_status(fakes.LLAMA.id, decode=Speed.measured(61.4), prefill=Speed.measured(1290.0))
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7")
        pane = await to_model(app, pilot, "Llama-3.2-3B-Instruct")
        assert f"{fakes.LLAMA.id} writes 61, reads 1290 tok/s (measured)" in text_of(pane.facts)


async def test_it_asks_anew_for_another_disk_and_not_for_each_step_of_a_load(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7")
        for progress in (0.2, 0.6):
            source.set_status(fakes.LLAMA.id, state="loading", progress=progress)
            await beat(app, pilot)
        assert "◔ loading 60" in row_of(pane_of(app), "Llama-3.2-3B-Instruct")
        assert asked(source) == ["any"]
        pulled = replace(fakes.LLAMA, id="weights", repo="unsloth/Qwen3.6-35B-A3B-GGUF")
        source._statuses[pulled.id] = ModelStatus(pulled)
        source.changed()
        await beat(app, pilot)
        assert asked(source) == ["any", "any"]
        assert "○ on disk" in row_of(pane_of(app), "Qwen3.6-35B-A3B")


async def test_it_waits_for_the_machine_to_be_looked_at(run_dashboard):
    source = fakes.FakeSource()
    source.profile, known = None, source.profile
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "p", "l", "enter")
        pane = pane_of(app)
        assert "Looking at the machine" in text_of(pane.table)
        assert text_of(pane.upgrades).strip() == ""
        source.profile = known
        source.changed()
        await beat(app, pilot)
        assert "Qwen3.6-35B-A3B" in text_of(pane.table)


@pytest.mark.parametrize(
    ("machine", "words"),
    [("asahi", "bandwidth are unknown"), ("intel", "Nobody measured"), ("unknown_chip", "Bandwidth assumed")],
)
async def test_what_was_assumed_and_why_no_speed_is_told(run_dashboard, machine, words):
    async with run_dashboard(scenes.recorded(machine), size=(120, 40)) as (app, pilot):
        await press(app, pilot, "7")
        facts = text_of(pane_of(app).facts)
        assert words in " ".join(facts.split())
        assert ("predicted" in facts) == (machine == "unknown_chip")


async def test_words_are_looked_for_on_the_hub_once_they_are_asked_and_not_before(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source, size=(120, 40)) as (app, pilot):
        await press(app, pilot, "7", "slash", "=qwen3")
        pane = pane_of(app)
        assert "needs the internet" in str(pane.query_one(".online-note").render())
        assert asked(source) == ["any"]
        await press(app, pilot, "enter")
        assert asked(source) == ["any", "the Hub for qwen3"]
        assert [row.key for row in pane.table.rows] == ["Qwen/Qwen3-8B-GGUF:Q8_0", LLAMA_HUB]
        assert "'qwen3' on the Hub" in pane.table.border_subtitle
        assert pane.table.has_focus
        assert pane.upgrades.border_title == "Found, but not for this machine"
        assert "acme/enormous-GGUF: nothing of it fits" in text_of(pane.upgrades)
        assert "⇅ p pulls Qwen/Qwen3-8B-GGUF:Q8_0" in text_of(pane.facts)
        assert f"{fakes.LLAMA.id}: l loads it" in text_of((await to_model(app, pilot, LLAMA_HUB.partition(":")[0])).facts)


async def test_a_search_marks_what_came_to_the_disk_without_asking_the_hub_again(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "slash", "=qwen3", "enter", "p")
        assert ("pull", "Qwen/Qwen3-8B-GGUF:Q8_0") in source.calls
        header = replace(fakes.LLAMA.header, quantization="Q8_0")
        pulled = replace(fakes.LLAMA, id="qwen3-8b", repo="Qwen/Qwen3-8B-GGUF", header=header)
        source._statuses[pulled.id] = ModelStatus(pulled)
        source.downloads()[0].state = "done"
        source.changed()
        await beat(app, pilot)
        assert "○ on disk" in row_of(pane_of(app), "Qwen/Qwen3-8B-GGUF")
        assert asked(source) == ["any", "the Hub for qwen3"]


@pytest.mark.parametrize("back", [("f",), ("slash", "ctrl+u", "enter")])
async def test_from_a_search_a_key_and_an_empty_field_lead_back_to_the_list(run_dashboard, back):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "f", "slash", "=qwen3", "enter", *back)
        pane = pane_of(app)
        assert asked(source) == ["any", "chat", "the Hub for qwen3", "chat"]
        assert pane.search.value == ""
        assert pane.tasks.active == "chat"
        assert "list of 20" in pane.table.border_subtitle
        assert pane.upgrades.border_title == "Another Mac would bring"


async def test_a_hub_that_does_not_answer_is_told_and_may_be_asked_again(run_dashboard):
    source = scenes.recorded("m4_max")
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "slash", "=qwen3")
        source.fail_next = fakes.DownloadError("The Hub cannot be reached: no route to host.")
        await press(app, pilot, "enter")
        pane = pane_of(app)
        assert "✗ The Hub cannot be reached" in text_of(pane.table)
        assert text_of(pane.facts).strip() == text_of(pane.upgrades).strip() == ""
        await press(app, pilot, "enter")
        assert asked(source)[1:] == ["the Hub for qwen3"] * 2
        assert len(pane.table.rows) == 2
        await press(app, pilot, "slash", "escape")
        assert pane.table.has_focus


async def test_a_machine_that_holds_all_needs_no_other(run_dashboard):
    source = scenes.recorded("m4_max")
    source.profile = replace(source.profile, memory_bytes=replace(source.profile.memory_bytes, value=512 * fakes.GIB))
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "f", "f", "f")
        assert "No other Mac would bring more" in text_of(pane_of(app).upgrades)


async def test_a_machine_that_holds_nothing_is_told_so(run_dashboard):
    source = scenes.recorded("m4_max")
    source.profile = replace(source.profile, memory_bytes=replace(source.profile.memory_bytes, value=fakes.GIB // 2))
    async with run_dashboard(source) as (app, pilot):
        await press(app, pilot, "7", "p")
        pane = pane_of(app)
        assert "Nothing on the list suits" in text_of(pane.table)
        assert "holds more" in text_of(pane.upgrades)
        assert not [call for call in source.calls if call[0] == "pull"]
