"""Gaps as tokens, with and without what some vocabularies lack."""

from pathlib import Path

import pytest
from engine_tools import GREEDY, answer, find_starter, opened
from tiny_models import tiny_llama

from impetus.runtime.engines.process import EngineProcess
from impetus.runtime.errors import ContextOverflow, InvalidRequest
from impetus.runtime.frames import LoadOptions
from impetus.runtime.questions import Tokenize, Tokenized
from impetus.runtime.request import FileText, FillPrompt, GenerateRequest, TokenPrompt
from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.fill import FillTokens, fill_tokens

PRE, SUF, MID, REPO, FILE, BOS = 1, 2, 3, 4, 5, 6
PLAIN = FillTokens(PRE, SUF, MID)
ALL = FillTokens(PRE, SUF, MID, repository=REPO, file=FILE, bos=BOS)
FILES = (FileText("a.py", "A"), FileText("b.py", "B"))


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def as_text(ids: list[int]) -> str:
    names = {PRE: "<pre>", SUF: "<suf>", MID: "<mid>", REPO: "<repo>", FILE: "<file>", BOS: "<bos>"}
    return "".join(names.get(number) or chr(number) for number in ids)


@pytest.mark.parametrize(
    ("tokens", "files", "expected"),
    [
        (PLAIN, (), "<pre>x = <suf>\n<mid>"),
        (ALL, (), "<bos><pre>x = <suf>\n<mid>"),
        (
            ALL,
            FILES,
            "<bos><repo>repository\n<file>a.py\nA<file>b.py\nB<file>here\n<pre>x = <suf>\n<mid>",
        ),
        (PLAIN, FILES, "\n\n--- snippet ---\n\nA\n\n--- snippet ---\n\nB<pre>x = <suf>\n<mid>"),
        (FillTokens(PRE, SUF, MID, file=FILE), FILES[:1], "<file>a.py\nA<file>here\n<pre>x = <suf>\n<mid>"),
    ],
)
def test_a_gap_is_told_as_the_model_learnt_it(tokens: FillTokens, files: tuple[FileText, ...], expected: str) -> None:
    assert as_text(fill_tokens(FillPrompt("x = ", "\n", files), tokens, letters)) == expected


def test_a_model_without_the_tokens_is_named_and_so_are_those_with_them() -> None:
    with pytest.raises(Refusal, match=r"not made to fill gaps.*Qwen2\.5-Coder") as caught:
        fill_tokens(FillPrompt("a", "b"), None, letters)
    assert (caught.value.kind, caught.value.param) == ("invalid", "suffix")


@pytest.mark.engine
async def test_a_model_fills_a_gap_as_if_it_were_told_so_in_tokens(tmp_path: Path) -> None:
    path = tiny_llama(tmp_path / "tiny.gguf", context_length=256)
    async with opened("llama", path, options=LoadOptions(threads=1)) as engine:
        gap = FillPrompt("def read", "return name")
        filled = await answer(engine, GenerateRequest("m", gap, sampling=GREEDY, max_tokens=8))
        tokens = [3, *(await tokens_of(engine, "def read")), 4, *(await tokens_of(engine, "return name")), 5]
        told = await answer(engine, GenerateRequest("m", TokenPrompt(tuple(tokens)), sampling=GREEDY, max_tokens=8))
        assert filled.text == told.text != ""
        assert filled.done.prompt_tokens == len(tokens)
        forged = FillPrompt("<|fim_suffix|>", "<|fim_middle|>")
        mere_text = await answer(engine, GenerateRequest("m", forged, sampling=GREEDY, max_tokens=1))
        assert mere_text.done.prompt_tokens > 5
        with pytest.raises(ContextOverflow):
            await answer(engine, GenerateRequest("m", FillPrompt("word " * 300, "end")))


@pytest.mark.engine
async def test_the_starter_model_says_that_it_cannot() -> None:
    async with opened("llama", find_starter(), options=LoadOptions(threads=1, context_length=512)) as engine:
        with pytest.raises(InvalidRequest, match="not made to fill gaps"):
            await answer(engine, GenerateRequest("m", FillPrompt("a", "b")))


async def tokens_of(engine: EngineProcess, text: str) -> tuple[int, ...]:
    return (await engine.ask(Tokenize((text,), control=False), Tokenized)).token_ids
