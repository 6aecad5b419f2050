"""What is shown of a model's speed: predicted until runs were measured, by the journal's own records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from mac_profiles import LLAMA_8B, M1_MAX, M4
from tiny_models import tiny_llama

from impetus.hw.profile import CapabilityProfile
from impetus.hw.sample import Sample
from impetus.runtime.events import PrefixReport
from impetus.runtime.journal import Journal, RequestRecord
from impetus.runtime.models.model import Model, ModelStatus
from impetus.runtime.request import GenerateRequest, Sampling, TextPrompt
from impetus.runtime.runtime import Runtime
from impetus.runtime.tuning.measured import Run, SpeedBook
from impetus.runtime.tuning.measured_watch import SpeedWatch, to_run
from impetus.runtime.tuning.speeds import KnownSpeeds

STATUS = ModelStatus(Model("llama", Path("/m/llama.gguf"), "impetus", LLAMA_8B), state="ready", engine="llama.cpp 1")


def known(tmp_path: Path, profile: CapabilityProfile | None = M4) -> KnownSpeeds:
    return KnownSpeeds(SpeedBook(tmp_path / "speeds.sqlite"), profile=lambda: profile, choose_engine=lambda _: "llama")


def record(**facts) -> RequestRecord:
    usual = {"id": "r", "model": "llama", "client": "test", "route": "/", "at_epoch_s": 0.0, "started_s": 100.0}
    return RequestRecord(**{**usual, **facts})


async def machine_known(runtime: Runtime) -> None:
    changed = asyncio.Event()
    stop = runtime.listen(changed.set)
    while runtime.profile is None:
        await changed.wait()
        changed.clear()
    stop()


def test_a_prediction_stands_until_enough_was_measured(tmp_path):
    speeds = known(tmp_path)
    (predicted,) = speeds.add_to([STATUS])
    assert predicted.decode.source == predicted.prefill.source == "predicted"
    speeds.note(speeds.key(STATUS), Run(17.0, 40))
    assert speeds.add_to([STATUS])[0].decode.source == "predicted"
    speeds.note(speeds.key(STATUS), Run(17.0, 40))
    (measured,) = speeds.add_to([STATUS])
    assert (measured.decode.tps, measured.decode.source) == (17.0, "measured")
    assert measured.prefill.source == "predicted"


@pytest.mark.parametrize(
    ("slowed", "share"), [({"thermal_level": "heavy"}, 0.65), ({"low_power_mode": True}, 0.7), ({"on_battery": True}, 1.0)]
)
def test_heat_and_low_power_mode_slow_predictions_down_while_they_last(tmp_path, slowed, share):
    samples = [None]
    book = SpeedBook(tmp_path / "speeds.sqlite")
    speeds = KnownSpeeds(book, profile=lambda: M4, choose_engine=lambda _: "llama", sample=lambda: samples[-1])
    (cool,) = speeds.add_to([STATUS])
    samples.append(Sample(at_s=1.0, **slowed))
    (hot,) = speeds.add_to([STATUS])
    assert hot.decode.tps == pytest.approx(cool.decode.tps * share)
    assert hot.prefill.high_tps == pytest.approx(cool.prefill.high_tps * share)
    samples.append(Sample(at_s=2.0, thermal_level="nominal", low_power_mode=False))
    assert speeds.add_to([STATUS]) == (cool,)
    speeds.note(speeds.key(STATUS), Run(17.0, 100))
    samples.append(Sample(at_s=3.0, **slowed))
    assert speeds.add_to([STATUS])[0].decode.tps == 17.0


def test_another_engine_or_chip_measures_for_itself(tmp_path):
    speeds = known(tmp_path)
    speeds.note(speeds.key(STATUS), Run(17.0, 100))
    assert speeds.add_to([replace(STATUS, engine="llama.cpp 2")])[0].decode.source == "predicted"
    unloaded = replace(STATUS, state="unloaded", engine=None)
    assert speeds.add_to([unloaded])[0].decode.tps == 17.0
    other = known(tmp_path, M1_MAX)
    other.read()
    assert other.add_to([STATUS])[0].decode.source == "predicted"
    again = known(tmp_path)
    again.read()
    assert again.add_to([STATUS])[0].decode.tps == 17.0


def test_nothing_is_told_of_an_unknown_machine_or_a_model_that_is_not_served(tmp_path):
    assert known(tmp_path, None).add_to([STATUS])[0].decode is None
    unserved = replace(STATUS, model=replace(STATUS.model, problem="no engine"))
    assert known(tmp_path).add_to([unserved])[0].decode is None


@pytest.mark.parametrize(
    ("facts", "run"),
    [
        ({"completion_tokens": 101, "first_token_s": 102.0, "ended_s": 107.0}, Run(20.0, 100)),
        ({"completion_tokens": 8, "first_token_s": 102.0, "ended_s": 107.0}, None),
        # Copied text comes faster than the machine is.
        ({"completion_tokens": 101, "first_token_s": 102.0, "ended_s": 107.0, "accepted_tokens": 50}, None),
        (
            {"prefix": PrefixReport(0, 0, 900), "load_s": 1.0, "ttft_s": 4.0},
            Run(prefill_tps=300.0, prefill_tokens=900),
        ),
        ({"prefix": PrefixReport(900, 0, 100), "load_s": 1.0, "ttft_s": 4.0}, None),
    ],
)
def test_only_long_and_plain_requests_tell_of_the_speed(facts, run):
    assert to_run(record(**facts)) == run


async def test_requests_that_run_side_by_side_are_not_measured(tmp_path):
    journal, speeds = Journal(), known(tmp_path)
    async with SpeedWatch(speeds, journal, lambda _: STATUS):
        first, second = (journal.open(model="llama", client="t", route="/") for _ in range(2))
        for each in (first, second):
            journal.move(each, "prefill")
            each.first_token_s, each.completion_tokens = each.started_s - 5, 500
        for each in (first, second):
            journal.move(each, "done")
        alone = journal.open(model="llama", client="t", route="/")
        journal.move(alone, "prefill")
        journal.move(alone, "failed")
    assert SpeedBook(tmp_path / "speeds.sqlite").read() == []


@pytest.mark.engine
async def test_a_real_model_s_speed_is_measured_and_outlives_the_runtime(opened, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    tiny_llama(models / "tiny.gguf")
    request = GenerateRequest(
        "tiny", TextPrompt("the quick brown fox"), Sampling(temperature=0.0), max_tokens=150, draft_tokens=0
    )
    async with asyncio.timeout(60), opened(engine={"threads": 1}) as runtime:
        await machine_known(runtime)
        journal = runtime.journal.open(model="tiny", client="test", route="/")
        async for _ in runtime.generate(request, journal):
            pass
    async with asyncio.timeout(60), opened() as runtime:
        await machine_known(runtime)
        status = next(status for status in runtime.statuses() if status.model.id == "tiny")
    assert journal.completion_tokens == 150
    assert status.decode.source == "measured"
    assert status.decode.tps == pytest.approx(journal.decode_tps, rel=0.01)
