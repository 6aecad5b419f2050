"""MLX: what it does besides plain rows of keys and values, and the traps that give wrong text without an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest
from engine_tools import find_starter
from numpy_llama import open_numpy_llama
from sequence_play import Player, ask, kept_in
from tiny_folder import make_tiny_folder

from impetus.runtime.request import Sampling
from impetus.runtime.worker.backends.backend import LoadError
from impetus.runtime.worker.sequences.runner import Part

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("mlx_lm") is None, reason="mlx_lm is not installed"),
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

LONG = "The capital of France is Paris, and the capital of Germany is Berlin, as everybody knows who went to school there. "


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_folder(tmp_path_factory.mktemp("mlx") / "tiny-llama", find_starter())


@pytest.fixture(scope="module", params=["gemma3_text", "mamba2"])
def uncuttable(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_mlx import make_mlx_folder

    return make_mlx_folder(tmp_path_factory.mktemp("kinds") / request.param, tiny, request.param)


@pytest.fixture
def ahead(tiny: Path) -> Generator[Player]:
    """A player whose engine begins with the next step before the last one was read, as it does on a GPU."""
    player = Player("mlx", tiny, prefix=kept_in(None))
    player.backend._runner._runs_ahead = True
    yield player
    player.close()


def greedy(tiny: Path, player: Player, prompt: str, count: int) -> bytes:
    written = open_numpy_llama(tiny).greedy(list(player.backend.admit(ask(prompt)).token_ids), count)
    return b"".join(player.backend._vocabulary.piece(token) for token in written)


def test_running_ahead_changes_no_token(ahead: Player, tiny: Path) -> None:
    prompts = [LONG, LONG + "More", LONG[:40], "Short"]
    for late in (0, 2):
        together = ahead.play([ask(prompt, tokens=5 + 4 * at) for at, prompt in enumerate(prompts)], late=late)
        for at, (prompt, played) in enumerate(zip(prompts, together, strict=True)):
            assert played.text == greedy(tiny, ahead, prompt, 5 + 4 * at)
        (again,) = ahead.play([ask(LONG + "More of it")])
        assert again.text == greedy(tiny, ahead, LONG + "More of it", 12)


def test_running_ahead_beside_answers_that_want_scores(ahead: Player, tiny: Path) -> None:
    plain, told = ahead.play([ask(LONG, tokens=10), ask("Short", tokens=6, top_logprobs=2)], late=3)
    assert plain.text == greedy(tiny, ahead, LONG, 10)
    assert told.text == greedy(tiny, ahead, "Short", 6)
    assert all(token.logprob is not None for token in told.tokens)


def test_chance_drawn_by_the_engine_follows_the_scores(ahead: Player) -> None:
    # The likeliest five tokens alone, as often as they are likely.
    sampling = Sampling(temperature=1.0, top_k=5, top_p=1.0, min_p=0.0)
    played = ahead.play([ask("Hello", tokens=1, top_logprobs=5)])[0]
    logprob = played.tokens[0].logprob
    assert logprob is not None
    allowed = {one.text for one in logprob.top}
    seen = {player.tokens[1].piece for player in ahead.play([ask("Hello", tokens=2, sampling=sampling) for _ in range(12)])}
    assert len(seen) > 1
    firsts = {one.tokens[0].piece for one in ahead.play([ask("Hello", tokens=1, sampling=sampling) for _ in range(12)])}
    assert firsts <= allowed


def test_what_cannot_be_cut_is_right_together_and_from_the_store(uncuttable: Path, tmp_path: Path) -> None:
    player = Player("mlx", uncuttable, prefix=kept_in(tmp_path))
    assert not player.backend._states._cuttable
    prompts = [LONG * 4, LONG * 4 + "More", LONG[:50], "Short"]
    alone = [player.play([ask(prompt, cache_prompt=False)])[0].text for prompt in prompts]
    assert len(set(alone)) > 1
    together = player.play([ask(prompt) for prompt in prompts], late=2)
    assert [played.text for played in together] == alone
    again = player.play([ask(prompt) for prompt in prompts])
    assert [played.text for played in again] == alone
    player.settle()
    player.close()
    player = Player("mlx", uncuttable, prefix=kept_in(tmp_path))
    (longer,) = player.play([ask(LONG * 4 + "More")])
    assert longer.text == alone[1]
    player.close()


def test_a_conversation_of_what_cannot_be_cut_goes_on_from_its_state(uncuttable: Path) -> None:
    player = Player("mlx", uncuttable, prefix=kept_in(None))
    first = list(player.backend.admit(ask(LONG * 3)).token_ids)
    player.play([ask(first, tokens=4)])
    told = next(reversed(player.backend._states._kept.values())).tokens
    (following,) = player.play([ask([*told, 500, 501, 502])])
    assert following.begun is not None
    assert following.begun.report.ram_tokens == len(told)
    (cold,) = player.play([ask([*told, 500, 501, 502], cache_prompt=False)])
    assert following.text == cold.text
    player.close()


def test_keys_and_values_of_eight_bits_are_cut_and_restored(tmp_path: Path) -> None:
    folder = make_tiny_folder(tmp_path / "wide", find_starter(), head_dim=64)
    player = Player("mlx", folder, prefix=kept_in(None), cache_type="q8_0")
    assert player.backend._runner._bits == 8
    prompt = LONG * 13
    (cold,) = player.play([ask(prompt + "End", cache_prompt=False)])
    player.play([ask(prompt, tokens=2)])
    player.settle()
    player.backend.forget()
    (warm,) = player.play([ask(prompt + "End")])
    assert warm.begun is not None
    assert warm.begun.report.ram_tokens > 256
    assert len(warm.text) > 0
    # Rounded keys depend on where a batch of them began, so that single tokens may differ; the first one is sure here.
    assert warm.tokens[0].piece == cold.tokens[0].piece
    player.close()


def test_heads_that_do_not_divide_into_groups_stay_precise(tiny: Path) -> None:
    player = Player("mlx", tiny, prefix=kept_in(None), cache_type="q8_0")
    assert player.play([ask(LONG)])[0].text == greedy(tiny, player, LONG, 12)
    player.close()


def test_a_quantized_folder_is_computed_with_single_precision_beside_its_weights(tiny: Path, tmp_path: Path) -> None:
    from tiny_mlx import quantize_folder

    folder = quantize_folder(tmp_path / "tiny-4bit", tiny)
    player = Player("mlx", folder, prefix=kept_in(None))
    assert player.loaded.details["numbers"] == "float32"
    alone = [player.play([ask(prompt, cache_prompt=False)])[0].text for prompt in (LONG, "Short")]
    assert [one.text for one in player.play([ask(LONG), ask("Short")])] == alone
    player.close()


def test_the_base_of_positions_is_read_where_newer_files_have_it(tmp_path: Path) -> None:
    chance = {"rope_parameters": {"rope_theta": 500.0, "rope_type": "default"}}
    folder = make_tiny_folder(tmp_path / "odd-base", find_starter(), **chance)
    player = Player("mlx", folder)
    (played,) = player.play([ask(LONG)])
    assert played.text == greedy(folder, player, LONG, 12)
    player.close()


def test_weights_are_quantized_once_where_the_plan_says_so(tiny: Path, tmp_path: Path) -> None:
    for _ in range(2):
        player = Player("mlx", tiny, converted_dir=str(tmp_path), weight_bits=8)
        assert len(player.play([ask(LONG)])[0].tokens) == 12
        player.close()
        (made,) = tmp_path.iterdir()
        written_at = made.stat().st_mtime_ns
    assert made.stat().st_mtime_ns == written_at
    size = sum(file.stat().st_size for file in made.glob("*.safetensors"))
    assert size < 0.4 * (tiny / "model.safetensors").stat().st_size
    with pytest.raises(LoadError, match="no folder"):
        Player("mlx", tiny, weight_bits=8)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch, which writes checkpoints, is not installed")
def test_a_checkpoint_is_computed_from_the_same_numbers(tiny: Path, tmp_path: Path) -> None:
    from tiny_checkpoint import make_checkpoint_folder

    folder = make_checkpoint_folder(tmp_path / "checkpoint", tiny)
    for _ in range(2):
        player = Player("mlx", folder, converted_dir=str(tmp_path / "converted"))
        assert player.play([ask(LONG)])[0].text == greedy(tiny, player, LONG, 12)
        player.close()
    assert len(list((tmp_path / "converted").iterdir())) == 1


def test_an_unknown_architecture_and_damaged_files_are_refused_in_words(tiny: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for one in tiny.iterdir():
            (folder / one.name).write_bytes(one.read_bytes())
        return folder

    unknown = copy("unknown")
    config = json.loads((unknown / "config.json").read_text()) | {"model_type": "novel_kind"}
    (unknown / "config.json").write_text(json.dumps(config))
    with pytest.raises(LoadError, match="'novel_kind'"):
        Player("mlx", unknown)
    short = copy("short")
    weights = (short / "model.safetensors").read_bytes()
    (short / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(LoadError, match="cannot"):
        Player("mlx", short)
    empty = copy("empty")
    (empty / "model.safetensors").unlink()
    with pytest.raises(LoadError, match="no weights"):
        Player("mlx", empty)
    bare = copy("bare")
    (bare / "tokenizer.json").unlink()
    with pytest.raises(LoadError, match="tokenizer"):
        Player("mlx", bare)


def test_pieces_of_several_prompts_are_computed_at_once(tiny: Path) -> None:
    player = Player("mlx", tiny, prefix=kept_in(None))
    runner, plain = player.backend._runner, open_numpy_llama(tiny)
    prompts = [
        list(player.backend.admit(ask(text)).token_ids)
        for text in (LONG * 2, LONG + "More", LONG[:50], "Short one, but of some tokens")
    ]
    states = [runner.begin() for _ in prompts]
    for share in (0.4, 0.9):
        ends = [int(len(prompt) * share) for prompt in prompts]
        runner.fill([Part(state, prompt[state.length : end]) for state, prompt, end in zip(states, prompts, ends, strict=True)])
    for state, prompt in zip(states, prompts, strict=True):
        scores = runner.extend(state, prompt[state.length :], "last")
        assert state.length == len(prompt)
        assert scores is not None
        assert scores == pytest.approx(plain.scores(prompt), abs=2e-3)
    player.close()


def test_a_worker_for_mlx_imports_no_torch() -> None:
    program = (
        "import sys; from impetus.runtime.worker.__main__ import hide_unneeded; "
        "from impetus.runtime.worker.backends.choose import find_backend; "
        "hide_unneeded('mlx'); find_backend('mlx'); assert sys.modules['torch'] is None"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)
