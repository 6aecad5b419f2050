from typing import Any

from impetus.hw.sample import Sample
from impetus.runtime.config import Config, SchedulerConfig
from impetus.runtime.frames import Limits, Stats
from impetus.runtime.scheduling.governors import LONG_PROMPT_TOKENS, Governors

GIB = 1024**3


def report(**fields: Any) -> Stats:
    usual: dict[str, Any] = {
        "running": 1, "waiting": 0, "kv_used_tokens": 100, "kv_size_tokens": 1000, "step_ms": 50.0,
        "overhead_percent": 1.0, "prefill_tps": None, "decode_tps": 20.0,
    }  # fmt: skip
    return Stats(**{**usual, **fields})


def play(governors: Governors, seconds: int, **reading: Any) -> None:
    for second in range(seconds):
        governors.observe(Sample(float(second), **reading), {})


def test_engines_are_told_what_both_governors_want() -> None:
    governors = Governors(Config())
    assert governors.limits == Limits()
    play(governors, 5, memory_pressure="warn", thermal_level="trapping")
    assert governors.limits == Limits(prefill_duty=0.3, decode_duty=0.5, cache_share=0.25, background=False)
    assert [(status.governor, status.state) for status in governors.statuses()] == [("memory", "warn"), ("heat", "critical")]


def test_only_prompts_with_much_to_compute_have_to_wait_and_each_refusal_is_told() -> None:
    governors = Governors(Config())
    assert governors.judge_prompt("m", 10**6) is None
    play(governors, 5, memory_pressure="critical")
    assert governors.judge_prompt("m", LONG_PROMPT_TOKENS) is None
    why = governors.judge_prompt("m", LONG_PROMPT_TOKENS + 1)
    assert why is not None
    assert "Memory is very short" in why
    assert governors.decisions.counts["memory", "turn_away"] == 1
    assert "4097 tokens would be computed" in governors.decisions.newest(1)[0].text


def test_how_long_a_long_prompt_is_follows_from_the_speed_or_the_settings() -> None:
    governors = Governors(Config())
    governors.observe(Sample(0.0), {"m": report(prefill_tps=50.0)})
    governors.observe(Sample(1.0), {"m": report()})
    assert (governors.long_prompt("m"), governors.long_prompt("other")) == (500, LONG_PROMPT_TOKENS)
    assert Governors(Config(scheduler=SchedulerConfig(long_prompt_tokens=77))).long_prompt("m") == 77


def test_a_report_counts_once() -> None:
    governors = Governors(Config())
    same = report(plain_step_ms=50.0, plain_width=1)
    for second in range(40):
        governors.observe(Sample(float(second), thermal_level="nominal"), {"m": same})
    assert governors.heat.headroom() == (1.0, True)
    for second in range(40, 80):
        fresh = report(plain_step_ms=50.0 if second < 60 else 100.0, plain_width=1)
        governors.observe(Sample(float(second), thermal_level="nominal"), {"m": fresh})
    measured, guessed = governors.heat.headroom()
    assert 0.4 < measured < 0.8
    assert not guessed


def test_models_that_share_the_machine_are_not_slow_by_heat() -> None:
    governors = Governors(Config())
    governors.heat.gpu_computes = True
    for second in range(60):
        both = second >= 20
        step_ms = 110.0 if both else 50.0
        reports = {name: report(plain_step_ms=step_ms, plain_width=1) for name in ("m", "n")[: 1 + both]}
        governors.observe(Sample(float(second)), reports)
    assert governors.heat.state == "ok"
    assert governors.heat.headroom() == (1.0, True)
    for second in range(60, 100):
        ended = report(running=0)
        governors.observe(Sample(float(second)), {"m": report(plain_step_ms=110.0, plain_width=1), "n": ended})
    assert governors.heat.state == "throttled"


def test_contexts_that_grow_share_what_is_free() -> None:
    governors = Governors(Config())
    governors.observe(Sample(0.0, memory_total_bytes=16 * GIB, memory_available_bytes=4 * GIB), {})
    first, second, third = object(), object(), object()
    assert governors.promise_growth(first, "m", 2 * GIB) is None
    why = governors.promise_growth(second, "m", 2 * GIB)
    assert why is not None
    for figure in ("grow by 2.0 GiB", "4.0 GiB are available", "2.0 GiB of them promised", "819 MiB stay free"):
        assert figure in why
    assert governors.decisions.counts["memory", "turn_away"] == 1
    assert governors.promise_growth(third, "m", 64 * 1024**2) is None
    governors.settle(first)
    assert governors.promise_growth(second, "m", 2 * GIB) is None
