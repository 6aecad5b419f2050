"""That the models that other tests stand on load, and that what they say depends on what they read."""

from collections import Counter
from pathlib import Path

import pytest
from engine_tools import GREEDY, answer, opened
from tiny_models import TINY_MODELS

from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import GenerateRequest, TextPrompt

pytestmark = pytest.mark.engine

SMALL = LoadOptions(context_length=512, threads=1, threads_batch=1, max_sequences=2, batch_tokens=64)
PROMPTS = ("read the file", "read the river")


@pytest.mark.parametrize("name", TINY_MODELS)
async def test_greedy_text_is_repeatable_varied_and_of_its_prompt(tiny_models: dict[str, Path], name: str) -> None:
    async with opened("llama", tiny_models[name], options=SMALL) as engine:
        texts: list[str] = []
        for prompt in (*PROMPTS, PROMPTS[0]):
            request = GenerateRequest(model="m", prompt=TextPrompt(prompt), sampling=GREEDY, max_tokens=60)
            texts.append((await answer(engine, request)).text)
    assert texts[0] == texts[2]
    assert texts[0] != texts[1]
    assert all(Counter(text).most_common(1)[0][1] < len(text) / 3 for text in texts)
