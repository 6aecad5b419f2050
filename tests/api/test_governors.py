"""What clients and scripts see of the governors."""

from __future__ import annotations

import time

import msgspec
import pytest

from impetus.api.dialects.control import GovernorsAnswer
from impetus.hw.sample import Sample
from impetus.runtime.events import PrefixReport


def chat(words: int, **fields: object) -> dict[str, object]:
    return {"model": "echo", "messages": [{"role": "user", "content": "a " * words}], "max_tokens": 5, **fields}


def press(live, **reading: object) -> None:
    """Lets readings come in that are newer than any of the real machine's, and last as long as need be."""
    begin_s = time.monotonic() + 1000
    for second in range(10):
        live.runtime._governing.observe(Sample(begin_s + second, **reading))


async def governors(live) -> GovernorsAnswer:
    async with live.session.get(live.url + "/impetus/v1/governors", params={"limit": "3"}) as response:
        assert response.status == 200
        return msgspec.json.decode(await response.read(), type=GovernorsAnswer)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_long_prompt_is_told_to_come_later_while_memory_is_critical(live, stream: bool) -> None:
    press(live, memory_pressure="critical")
    async with live.session.post(live.url + "/v1/chat/completions", json=chat(4500, stream=stream)) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "30"
        assert "Memory is very short" in (await response.json())["error"]["message"]
    async with live.session.post(live.url + "/v1/chat/completions", json=chat(50, stream=stream)) as response:
        assert response.status == 200
    answer = await governors(live)
    assert [one.governor for one in answer.governors] == ["memory", "heat"]
    assert answer.governors[0].state == "critical"
    assert answer.decisions[0].kind in {"turn_away", "unload"}
    assert any("tokens would be computed, more than 4096" in one.text for one in answer.decisions)


async def test_a_long_prompt_that_is_computed_already_is_welcome_and_heat_refuses_others(live, monkeypatch) -> None:
    press(live, thermal_level="trapping")
    async with live.session.post(live.url + "/v1/chat/completions", json=chat(4500)) as response:
        assert response.status == 503
        assert "too hot" in (await response.json())["error"]["message"]
    judge = live.runtime.governors.judge_prompt
    assert judge("echo", PrefixReport(4400, 0, 100, None).computed_tokens) is None


async def test_states_and_decisions_are_counted_for_scripts(live) -> None:
    press(live, memory_pressure="warn", thermal_level="heavy")
    async with live.session.get(live.url + "/metrics") as response:
        text = await response.text()
    assert 'impetus_governor_state{governor="memory",state="warn"} 1.0' in text
    assert 'impetus_governor_state{governor="heat",state="throttled"} 1.0' in text
    assert 'impetus_governor_decisions_total{governor="memory",kind="state"} 1.0' in text
    assert "impetus_speed_headroom 0.65" in text
    async with live.session.get(live.url + "/impetus/v1/status") as response:
        states = {one["governor"]: one["state"] for one in (await response.json())["governors"]}
    assert states == {"memory": "warn", "heat": "throttled"}


async def test_engines_do_less_from_the_decision_on_and_as_usual_after_it(live) -> None:
    async with live.session.post(live.url + "/v1/chat/completions", json=chat(5)) as response:
        assert response.status == 200
    engine = live.runtime._residency.residents()[0].engine
    press(live, thermal_level="heavy")
    assert (engine.limits.most_running, engine.limits.prefill_duty, engine.limits.background) == (1, 0.6, False)
    async with live.session.post(live.url + "/v1/chat/completions", json=chat(5)) as response:
        assert response.status == 200
    begin_s = time.monotonic() + 2000
    for second in range(90):
        live.runtime._governing.observe(Sample(begin_s + second, thermal_level="nominal"))
    assert (engine.limits.most_running, engine.limits.prefill_duty, engine.limits.background) == (None, 1.0, True)
