"""Core ML models in every layout: fed as they say, held to plain arithmetic; computed by an interpreter, not by Core ML."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy_llama import NumpyLlama, open_numpy_llama
from sequence_play import ask, chat, kept_in

from impetus.runtime.frames import LoadOptions
from impetus.runtime.request import Constraint, Sampling

if TYPE_CHECKING:
    from coreml_play import CoremlPlayer

    from impetus.runtime.worker.backends.coreml import CoremlRunner

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed"),
    # coremltools warns of libraries newer than it knows.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(300),
]

MakePackage = Callable[[str], Path]
KEEPING = (
    "range", "single", "mask-of-one", "last-only", "window", "named", "named-wide", "positions", "update", "carried", "turned",
    "parts",
)  # fmt: skip
LAYOUTS = (*KEEPING, "stateless", "stateless-fixed")
CONTEXT = 128
LONG = "The capital of France is Paris and so on. " * 3
MOST_OFF = 0.002
"""Of the scores' range. Weights and states of 16 bits cost a fifth of that, one token more or less more than ten times it."""


def open_runner(path: Path) -> tuple[CoremlRunner, Any]:
    """Opens a model; gives the runner, and what opens for it."""
    from coreml_play import Opener

    from impetus.runtime.worker.backends.coreml import CoremlRunner

    opener = Opener()
    runner = CoremlRunner(opener)
    runner.open(path, LoadOptions(), lambda _: None)
    return runner, opener


def reference(source: Path, layout: str = "") -> NumpyLlama:
    return open_numpy_llama(source, 24 if layout == "window" else None)


def off(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.ptp(wanted))


def draw(count: int, seed: int = 1) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(5, 40_000) for _ in range(count)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_are_those_of_plain_arithmetic_however_a_prompt_is_cut(
    layout: str, package: MakePackage, coreml_source: Path
) -> None:
    runner, _ = open_runner(package(layout))
    tokens = draw(77)
    wanted = reference(coreml_source, layout).scores(tokens)
    for pieces in ([77], [1] * 77, [64, 13], [13, 63, 1], [3, 17, 30, 27]):
        state, at = runner.begin(), 0
        for size in pieces[:-1]:
            assert runner.extend(state, tokens[at : at + size], "none") is None
            at += size
        scores = runner.extend(state, tokens[at:], "last")
        assert scores is not None
        assert state.length == 77
        assert off(scores, wanted) < MOST_OFF, pieces


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_of_all_tokens_are_given_in_order(layout: str, package: MakePackage, coreml_source: Path) -> None:
    runner, _ = open_runner(package(layout))
    tokens = draw(21, seed=2)
    state = runner.begin()
    runner.extend(state, tokens[:5], "none")
    scores = runner.extend(state, tokens[5:], "all")
    assert scores is not None
    assert len(scores) == 16
    for at in (0, 7, 15):
        assert off(scores[at], reference(coreml_source, layout).scores(tokens[: 6 + at])) < MOST_OFF


@pytest.mark.parametrize("layout", LAYOUTS)
def test_random_pieces_never_leave_the_shapes_that_are_allowed(layout: str, package: MakePackage, coreml_source: Path) -> None:
    # The interpreter refuses shapes that the description does not allow, and places that a state does not have.
    path = package(layout)
    runner, _ = open_runner(path)
    length = runner._layout.context_length
    # A package of 16 tokens at once needs room for 16 to compute its last one.
    assert length == (CONTEXT - 15 if layout == "named-wide" else CONTEXT)
    chance = random.Random(layout)
    for seed in range(3):
        tokens = draw(length, seed)
        state = runner.begin()
        scores = None
        while state.length < length:
            count = min(length - state.length, chance.choice([1, 1, 2, 5, 15, 16, 17, 40, 64, 65, 100]))
            scores = runner.extend(state, tokens[state.length : state.length + count], chance.choice(["last", "last", "all"]))
        assert scores is not None
        last = scores if scores.ndim == 1 else scores[-1]
        assert off(last, reference(coreml_source, layout).scores(tokens)) < MOST_OFF
        with pytest.raises(MemoryError):
            runner.extend(state, draw(CONTEXT + 1 - length), "last")


@pytest.mark.parametrize("layout", KEEPING)
def test_what_is_cut_off_leaves_nothing_behind(layout: str, package: MakePackage, coreml_source: Path) -> None:
    runner, _ = open_runner(package(layout))
    tokens, others = draw(60, seed=3), draw(20, seed=4)
    state = runner.begin()
    runner.extend(state, tokens, "none")
    runner.cut(state, 25)
    scores = runner.extend(state, others, "last")
    assert scores is not None
    assert off(scores, reference(coreml_source, layout).scores([*tokens[:25], *others])) < MOST_OFF


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies_go_their_own_way(layout: str, package: MakePackage, coreml_source: Path) -> None:
    runner, _ = open_runner(package(layout))
    tokens, others = draw(50, seed=5), draw(20, seed=6)
    state = runner.begin()
    runner.extend(state, tokens, "none")
    copied = runner.fork(state, 30)
    assert copied.length == 30
    for one, before, more in ((copied, tokens[:30], others), (state, tokens, others[:7])):
        scores = runner.extend(one, more, "last")
        assert scores is not None
        assert off(scores, reference(coreml_source, layout).scores([*before, *more])) < MOST_OFF


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_read_can_be_put_back_in_pieces(layout: str, package: MakePackage, coreml_source: Path) -> None:
    runner, _ = open_runner(package(layout))
    tokens = draw(48, seed=7)
    state = runner.begin()
    runner.extend(state, tokens, "none")
    spans = [(0, 16), (16, 40), (40, 48)]
    parts = [runner.read(state, *span) for span in spans]
    back = runner.begin()
    runner.extend(back, tokens[:10], "none")
    # The first piece overlaps what is there, of the last one only a part is taken.
    for (begin, end), part, skip, until in zip(spans, parts, (10, 0, 0), (16, 40, 45), strict=True):
        runner.write(back, part, begin, min(end, until), skip=skip)
    assert back.length == 45
    scores = runner.extend(back, tokens[45:], "last")
    assert scores is not None
    assert off(scores, reference(coreml_source, layout).scores(tokens)) < MOST_OFF
    with pytest.raises(ValueError, match="positions 48 to 50"):
        runner.write(back, parts[0][:7], 48, 50)


def test_only_shapes_that_are_named_are_fed(package: MakePackage) -> None:
    runner, opener = open_runner(package("named"))
    runner.extend(runner.begin(), draw(100), "last")
    assert opener.shapes("input_ids") == {(1, 1), (1, 16), (1, 64)}
    assert opener.shapes("causal_mask") == {(1, 1, 1, CONTEXT), (1, 1, 16, CONTEXT), (1, 1, 64, CONTEXT)}


def test_a_mask_of_one_row_makes_a_prompt_go_token_by_token(package: MakePackage) -> None:
    runner, opener = open_runner(package("mask-of-one"))
    runner.extend(runner.begin(), draw(9), "last")
    assert opener.shapes("inputIds") == {(1, 1)}


def test_parts_compute_prompts_at_once_and_answers_singly(package: MakePackage) -> None:
    runner, opener = open_runner(package("parts"))
    runner.extend(runner.begin(), draw(40), "last")
    assert opener.shapes("input_ids") == {(1, 1), (1, 16)}
    assert opener.shapes("causal_mask") == {(1, 1, 1, CONTEXT), (1, 1, 16, CONTEXT)}
    prefill = opener.models["llama_FFN_PF_lut4_chunk_02of02.mlpackage", "prefill"]
    before = len(prefill.calls)
    runner.extend(runner.begin(), draw(40), "last")
    # 39 tokens in three pieces, the last of which has empty places; the head sees the 40th alone.
    assert len(prefill.calls) - before == 3
    assert prefill.calls[-1]["current_pos"] == (1,)


@pytest.fixture(params=["range", "named", "parts", "carried", "stateless"])
def player(request: pytest.FixtureRequest, package: MakePackage) -> Generator[CoremlPlayer]:
    from coreml_play import CoremlPlayer

    player = CoremlPlayer(package(request.param), prefix=kept_in(None))
    yield player
    player.close()


def expected(source: Path, player: CoremlPlayer, prompt: str, count: int) -> bytes:
    written = open_numpy_llama(source).greedy(list(player.backend.admit(ask(prompt)).token_ids), count)
    return b"".join(player.backend._vocabulary.piece(token) for token in written)


def test_answers_are_right_alone_and_together(player: CoremlPlayer, coreml_source: Path) -> None:
    prompts = ["Hello there", LONG, LONG + "More", "Short"]
    wanted = [expected(coreml_source, player, prompt, 6) for prompt in prompts]
    assert [player.play([ask(prompt, tokens=6)])[0].text for prompt in prompts] == wanted
    player.backend.forget()
    together = player.play([ask(prompt, tokens=6) for prompt in prompts], late=2)
    assert [one.text for one in together] == wanted


def test_what_was_computed_is_shared_and_put_back(player: CoremlPlayer, coreml_source: Path) -> None:
    text = LONG * 3
    player.play([ask(text, tokens=2)])
    player.settle()
    for forgets in (False, True):
        if forgets:
            player.backend.forget()
        (warm,) = player.play([ask(text + "End", tokens=4)])
        assert warm.begun is not None
        assert warm.begun.report.ram_tokens > 60
        assert warm.text == expected(coreml_source, player, text + "End", 4)
        player.settle()


def test_what_was_computed_survives_a_restart(package: MakePackage, coreml_source: Path, tmp_path: Path) -> None:
    from coreml_play import CoremlPlayer

    for round_number in range(2):
        # Which units were chosen is kept too: what others computed would not be used.
        player = CoremlPlayer(package("parts"), prefix=kept_in(tmp_path / "states"), converted_dir=str(tmp_path))
        (played,) = player.play([ask(LONG * 3 + "End", tokens=4)])
        assert played.begun is not None
        assert (played.begun.report.disk_tokens > 60) == bool(round_number)
        assert played.text == expected(coreml_source, player, LONG * 3 + "End", 4)
        player.settle()
        player.close()


def test_states_that_cannot_be_read_are_used_again_only_as_they_are(package: MakePackage, coreml_source: Path) -> None:
    from coreml_play import CoremlPlayer, Opener

    player = CoremlPlayer(package("range"), Opener(readable=False), prefix=kept_in(None))
    assert "cannot be copied" in player.loaded.details["states"]
    player.play([ask(LONG, tokens=2)])
    player.settle()
    # It goes on from the whole, then from a part of it; then two go on from the same beginning at once.
    for prompts in ([LONG + "End"], [LONG[:80] + "Other"], [LONG[:80] + "One", LONG[:80] + "Two"]):
        played = player.play([ask(prompt, tokens=4) for prompt in prompts])
        assert [one.text for one in played] == [expected(coreml_source, player, prompt, 4) for prompt in prompts]
        assert [one.lost for one in played] == [None] * len(prompts)
        assert played[0].begun is not None
        assert played[0].begun.report.ram_tokens > 15
    player.backend.forget()
    (cold,) = player.play([ask(LONG, tokens=2)])
    assert cold.begun is not None
    assert cold.begun.report.ram_tokens == 0
    player.close()


def test_a_form_is_held(package: MakePackage) -> None:
    from coreml_play import CoremlPlayer

    player = CoremlPlayer(package("parts"))
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false}'
    form = Constraint("json_schema", schema)
    request = chat("A number.", tokens=90, constraint=form, sampling=Sampling(temperature=1, seed=1))
    (played,) = player.play([request])
    assert played.tokens[-1].end
    assert isinstance(json.loads(played.text)["a"], int)
    player.close()


def test_weights_of_four_bits_are_computed(package: MakePackage, coreml_source: Path) -> None:
    runner, _ = open_runner(package("int4"))
    tokens = draw(30, seed=8)
    scores = runner.extend(runner.begin(), tokens, "last")
    wanted = reference(coreml_source).scores(tokens)
    assert scores is not None
    assert MOST_OFF < off(scores, wanted) < 0.3
    assert np.corrcoef(scores, wanted)[0, 1] > 0.97


@pytest.mark.parametrize("layout", ["range", "named", "parts"])
def test_compiled_models_are_fed_by_their_metadata(
    layout: str, package: MakePackage, coreml_source: Path, tmp_path: Path
) -> None:
    from coreml_play import make_compiled

    folder = tmp_path / "compiled"
    folder.mkdir()
    for one in sorted(package(layout).iterdir()):
        if one.suffix == ".mlpackage":
            make_compiled(one).rename(folder / f"{one.stem}.mlmodelc")
        else:
            (folder / one.name).write_bytes(one.read_bytes())
    runner, opener = open_runner(folder)
    tokens = draw(50, seed=9)
    scores = runner.extend(runner.begin(), tokens, "last")
    assert scores is not None
    assert off(scores, reference(coreml_source).scores(tokens)) < MOST_OFF
    assert not any(file.suffix == ".mlpackage" for file in folder.iterdir())
    assert len(opener.shapes("inputIds" if layout == "range" else "input_ids")) > 1


@pytest.mark.parametrize("name", ["tiny-coreml", "tiny-coreml-single", "tiny-coreml-stateless", "tiny-coreml-chunked"])
def test_packages_that_a_converter_traced_are_right_too(name: str) -> None:
    from build_models import build

    if find_spec("torch") is None:
        pytest.skip("torch, which packages are traced by, is not installed")
    folders = build(name, "tiny-safetensors")
    runner, _ = open_runner(folders[name])
    tokens = draw(70, seed=10)
    wanted = open_numpy_llama(folders["tiny-safetensors"]).scores(tokens)
    state = runner.begin()
    runner.extend(state, tokens[:66], "none")
    scores = runner.extend(state, tokens[66:], "last")
    assert scores is not None
    assert off(scores, wanted) < MOST_OFF
