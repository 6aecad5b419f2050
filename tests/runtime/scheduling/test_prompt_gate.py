from collections.abc import AsyncGenerator
from typing import Any

import pytest

from impetus.hw.sample import Sample
from impetus.runtime.config import Config
from impetus.runtime.errors import Overloaded
from impetus.runtime.events import Admitted, Event, PrefixReport, TextDelta
from impetus.runtime.scheduling.governors import Governors
from impetus.runtime.scheduling.prompt_gate import PromptGate

GIB = 1024**3
ADMITTED, WORD = Admitted("m", 5000, 8192), TextDelta(0, "a")


def governors(**reading: Any) -> Governors:
    made = Governors(Config())
    for second in range(5):
        made.observe(Sample(float(second), **reading), {})
    return made


async def passed(gate: PromptGate, *batches: list[Event]) -> list[list[Event]]:
    async def source() -> AsyncGenerator[list[Event], None]:
        for batch in batches:
            yield batch

    return [batch async for batch in gate.guard(source())]


async def test_in_usual_times_batches_pass_as_they_come() -> None:
    gate = PromptGate(governors(memory_pressure="normal"), "m", 0)
    gate.note_prefix(PrefixReport(0, 0, 10**6, None))
    assert await passed(gate, [ADMITTED], [WORD], [WORD, WORD]) == [[ADMITTED], [WORD], [WORD, WORD]]


async def test_while_long_prompts_are_refused_nothing_is_said_before_it_is_known_how_long_one_is() -> None:
    gate = PromptGate(governors(thermal_level="trapping"), "m", 0)
    assert await passed(gate, [ADMITTED], [WORD]) == [[ADMITTED, WORD]]
    gate.note_prefix(PrefixReport(4900, 0, 100, None))
    with pytest.raises(Overloaded, match="too hot") as caught:
        gate.note_prefix(PrefixReport(0, 0, 5000, None))
    assert caught.value.retry_after_s == 30


async def test_a_context_that_would_outgrow_the_memory_is_refused_and_one_that_ended_is_not_counted() -> None:
    made = governors(memory_total_bytes=16 * GIB, memory_available_bytes=4 * GIB)
    for _ in range(3):
        assert len(await passed(PromptGate(made, "m", 2 * GIB // 5000), [ADMITTED], [WORD])) == 2
    with pytest.raises(Overloaded, match=r"grow by 4\.0 GiB"):
        await passed(PromptGate(made, "m", 4 * GIB // 5000 + 1), [ADMITTED], [WORD])
