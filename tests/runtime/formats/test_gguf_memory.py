"""What layers keep, by the rules of each architecture; numbers as llama.cpp counts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from crafted_gguf import Value, make_gguf

from impetus.runtime.errors import FormatError
from impetus.runtime.formats.gguf import read_gguf
from impetus.runtime.formats.header import Header, KvLayout

LAYERS = 12
ONE = 2 * 2 * 16
"""Keys and values of one token in one layer: 2 heads of 16 numbers."""
PLAIN: dict[str, Value] = {
    "block_count": LAYERS,
    "context_length": 4096,
    "embedding_length": 64,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
}
TENSORS = [(f"blk.{index}.w", (64,), 0) for index in range(64)]
ARRAY = [1, 1, 1, 0] * 3
STATE: dict[str, Value] = {
    "ssm.conv_kernel": 4, "ssm.inner_size": 128, "ssm.state_size": 16, "ssm.group_count": 2, "ssm.time_step_rank": 4,
}  # fmt: skip
STATE_BYTES = (3 * (128 + 2 * 2 * 16) + 16 * 128) * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def read(path: Path, architecture: str, keys: dict[str, Value]) -> Header:
    metadata: dict[str, Value] = {"general.architecture": architecture}
    metadata |= {f"{architecture}.{key}": value for key, value in {**PLAIN, **keys}.items()}
    path.write_bytes(make_gguf(metadata, TENSORS))
    header = read_gguf(path)
    assert header is not None
    return header


def kept(path: Path, architecture: str, **keys: Value) -> KvLayout:
    layout = read(path, architecture, {key.replace("__", "."): value for key, value in keys.items()}).kv_layout
    assert layout is not None
    return layout


@pytest.mark.parametrize(
    ("architecture", "keys", "windowed", "window"),
    [
        ("gemma2", {}, 6, 4096),
        ("gemma2", {"attention__sliding_window": 100}, 6, 100),
        ("gemma3", {"attention__sliding_window": 512}, 10, 512),
        ("gemma3", {}, 0, None),
        ("gemma3", {"attention__sliding_window": 512, "attention__sliding_window_pattern": 3}, 8, 512),
        ("gpt-oss", {"attention__sliding_window": 128}, 6, 128),
        ("cohere2", {"attention__sliding_window": 128}, 9, 128),
        ("cohere2moe", {"attention__sliding_window": 128}, 9, 128),
        ("olmo2", {}, 0, None),
        ("olmo2", {"attention__sliding_window": 128}, 9, 128),
        ("llama4", {}, 9, 8192),
        ("llama4", {"attention__sliding_window": 0}, 0, None),
        ("exaone4", {}, 0, None),
        ("exaone4", {"block_count": 64}, 48, 4096),
        ("exaone-moe", {}, 9, 128),
        ("plamo3", {"attention__sliding_window": 128}, 11, 128),
        ("smallthinker", {}, 0, None),
        ("smallthinker", {"attention__sliding_window": 128}, 9, 4096),
        ("step35", {"attention__sliding_window": 128, "attention__sliding_window_pattern": ARRAY}, 9, 128),
        ("gemma3", {"attention__sliding_window": 512, "attention__sliding_window_pattern": ARRAY}, 9, 512),
        ("lfm2", {"attention__sliding_window": 128, "attention__head_count_kv": [0, 2, 0] * 4}, 4, 128),
        ("phi3", {"attention__sliding_window": 2047}, 0, None),
        ("llama", {"attention__sliding_window": 4096}, 0, None),
    ],
)
def test_windows(path: Path, architecture: str, keys: dict[str, Value], windowed: int, window: int | None) -> None:
    layout = kept(path, architecture, **keys)
    layers = keys.get("block_count", LAYERS)
    assert isinstance(layers, int)
    attending = 4 if architecture == "lfm2" else layers
    assert (layout.window_width, layout.window) == (windowed * ONE, window)
    assert layout.width == (attending - windowed) * ONE


def test_which_layers_have_the_window_counts_where_their_heads_differ(path: Path) -> None:
    heads = [1] * 11 + [4]
    assert kept(path, "gemma2", attention__head_count_kv=heads).width == (5 * 1 + 4) * 32
    assert kept(path, "cohere2moe", attention__sliding_window=9, attention__head_count_kv=heads).width == 3 * 32


def test_windowed_layers_may_have_heads_of_another_length(path: Path) -> None:
    keys: dict[str, Value] = {
        "attention__sliding_window": 512,
        "attention__sliding_window_pattern": ARRAY,
        "attention__key_length": 64,
        "attention__value_length": 64,
        "attention__key_length_swa": 32,
        "attention__value_length_swa": 32,
        "attention__shared_kv_layers": 4,
    }
    layout = kept(path, "gemma4", **keys)
    assert layout == KvLayout(width=2 * 2 * 128, window_width=6 * 2 * 64, window=512, head_lengths=(32, 64)), (
        "the last four layers use the others' keys"
    )


def test_gemma3n_keeps_what_its_first_twenty_layers_compute(path: Path) -> None:
    layout = kept(path, "gemma3n", block_count=30, attention__sliding_window=512)
    assert (layout.width, layout.window_width) == (4 * ONE, 16 * ONE)


def test_keys_and_values_may_be_longer_than_heads_share_of_the_width(path: Path) -> None:
    layout = kept(path, "qwen3", attention__key_length=128, attention__value_length=96)
    assert layout == KvLayout(width=LAYERS * 2 * (128 + 96), head_lengths=(96, 128))


def test_latent_attention_keeps_one_row_for_keys_and_values(path: Path) -> None:
    keys: dict[str, Value] = {
        "attention__head_count_kv": 1, "attention__key_length": 576, "attention__value_length": 512,
    }  # fmt: skip
    latent: dict[str, Value] = {"attention__key_length_mla": 192, "attention__value_length_mla": 128}
    assert kept(path, "deepseek2", **keys, **latent).width == LAYERS * 576
    assert kept(path, "deepseek2", **keys).width == LAYERS * (576 + 512)
    assert kept(path, "deepseek32", **keys, **latent, attention__indexer__key_length=128).width == LAYERS * (576 + 128)


def test_layers_that_only_guess_ahead_keep_nothing(path: Path) -> None:
    assert kept(path, "glm4moe", nextn_predict_layers=1).width == (LAYERS - 1) * ONE


@pytest.mark.parametrize(
    ("architecture", "keys", "attending", "state_bytes"),
    [
        ("mamba2", STATE, 0, LAYERS * STATE_BYTES),
        ("granitehybrid", {**STATE, "attention.head_count_kv": [0, 0, 2] * 4}, 4, 8 * STATE_BYTES),
        ("falcon-h1", STATE, LAYERS, LAYERS * STATE_BYTES),
        ("qwen3next", STATE, 3, 9 * STATE_BYTES),
        ("qwen35", {**STATE, "full_attention_interval": 3}, 4, 8 * STATE_BYTES),
        ("qwen35", {**STATE, "attention.recurrent_layers": [1] * 10 + [0] * 2}, 2, 10 * STATE_BYTES),
        (
            "nemotron_h",
            {**STATE, "attention.head_count_kv": [0, 0, 2] * 4, "feed_forward_length": [0, 64, 0] * 4},
            4,
            4 * STATE_BYTES,
        ),
        ("lfm2", {"shortconv.l_cache": 3, "attention.head_count_kv": [0, 0, 2] * 4}, 4, 8 * 2 * 64 * 4),
        ("rwkv7", {"wkv.head_size": 16, "token_shift_count": 2}, 0, LAYERS * (2 * 64 + 64 * 16) * 4),
        (
            "kimi-linear",
            {"kda.head_dim": 8, "ssm.conv_kernel": 4, "attention.head_count_kv": [0, 0, 2] * 4},
            4,
            8 * (3 * 3 * 4 * 8 + 8 * 8 * 4) * 4,
        ),
        ("minimax-01", {}, 1, 11 * 16 * 16 * 4 * 4),
    ],
)
def test_states(path: Path, architecture: str, keys: dict[str, Value], attending: int, state_bytes: int) -> None:
    layout = read(path, architecture, keys).kv_layout
    assert layout is not None
    assert (layout.width, layout.state_bytes) == (attending * ONE, state_bytes)


def test_encoders_keep_nothing(path: Path) -> None:
    assert kept(path, "bert") == KvLayout(width=0)


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [("deepseek4", {}), ("llama", {"attention.head_count_kv": [2, 2]}), ("granitehybrid", {"attention.head_count_kv": [0]})],
)
def test_what_is_not_known_is_not_made_up(path: Path, architecture: str, keys: dict[str, Value]) -> None:
    header = read(path, architecture, keys)
    assert header.kv_layout is None
    assert header.kv_bytes_per_token is None


def test_a_word_where_a_number_belongs_is_refused(path: Path) -> None:
    with pytest.raises(FormatError, match=r"model\.gguf.*'gemma3\.attention\.sliding_window' is not a whole number"):
        read(path, "gemma3", {"attention.sliding_window": "wide"})


def test_factors_for_long_contexts_are_noticed(path: Path) -> None:
    metadata: dict[str, Value] = {"general.architecture": "phi3", "phi3.block_count": 1}
    path.write_bytes(make_gguf(metadata, [("rope_factors_long.weight", (16,), 0), ("x", (16,), 0)]))
    header = read_gguf(path)
    assert header is not None
    assert header.rope_by_context
    assert not read(path, "llama", {}).rope_by_context


def test_a_tensor_that_comes_twice_is_refused(path: Path) -> None:
    path.write_bytes(make_gguf({"general.architecture": "llama"}, [("x", (16,), 0), ("x", (16,), 0)]))
    with pytest.raises(FormatError, match="the tensor 'x' comes twice"):
        read_gguf(path)
