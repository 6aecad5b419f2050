from __future__ import annotations

import pytest

from impetus.runtime.formats.config_weights import count_weights

QWEN3_8B = {
    "model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_30B = {
    **QWEN3_8B, "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_key_value_heads": 4,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
}  # fmt: skip
GPT_OSS_20B = {
    "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 64, "intermediate_size": 2880, "num_local_experts": 32, "num_experts_per_tok": 4, "vocab_size": 201088,
    "tie_word_embeddings": False, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12,
}  # fmt: skip
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "kv_lora_rank": 512,
    "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128, "intermediate_size": 18432,
    "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1,
    "first_k_dense_replace": 3, "vocab_size": 129280, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_NEXT = {
    "model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 16,
    "num_key_value_heads": 2, "head_dim": 256, "intermediate_size": 5120, "moe_intermediate_size": 512, "num_experts": 512,
    "shared_expert_intermediate_size": 512, "num_experts_per_tok": 10, "vocab_size": 151936, "linear_num_key_heads": 16,
    "linear_key_head_dim": 128, "linear_num_value_heads": 32, "linear_value_head_dim": 128, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "parameters", "active"),
    # What their publishers say; a token's own row is all of a table that it takes.
    [
        (QWEN3_8B, 8.19e9, 7.57e9),
        (QWEN3_30B, 30.5e9, 3.04e9),
        (GPT_OSS_20B, 20.9e9, 3.61e9),
        (DEEPSEEK_V3, 671e9, 36.6e9),
        (QWEN3_NEXT, 80e9, 3.4e9),
    ],
)
def test_weights_are_as_many_as_published(config, parameters, active):
    counted = count_weights(config)
    assert counted.parameters == pytest.approx(parameters, rel=0.01)
    assert counted.active_parameters == pytest.approx(active, rel=0.03)
    assert counted.mixture is (active < parameters / 2)


def test_what_is_kept_of_a_context_follows_the_layers():
    assert count_weights(QWEN3_8B).kv_layout.width == 36 * 2 * 8 * 128
    windowed = count_weights(GPT_OSS_20B).kv_layout
    assert (windowed.width, windowed.window_width, windowed.window) == (12 * 2 * 8 * 64, 12 * 2 * 8 * 64, 128)
    assert count_weights(DEEPSEEK_V3).kv_layout.width == 61 * (512 + 64)
    states = count_weights(QWEN3_NEXT).kv_layout
    assert states.width == 12 * 2 * 2 * 256
    assert states.state_bytes == 36 * 32 * 128 * 128 * 4


def test_a_model_of_several_senses_says_it_inside():
    assert count_weights({"model_type": "some_vl", "text_config": QWEN3_8B}) == count_weights(QWEN3_8B)


def test_a_tied_table_counts_once_and_is_read_for_each_token():
    tied = count_weights({**QWEN3_8B, "tie_word_embeddings": True})
    assert tied.parameters == tied.active_parameters == count_weights(QWEN3_8B).active_parameters
    assert tied.active(1000).size_bytes == 1000


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {**QWEN3_8B, "hidden_size": "large"}, {"text_config": []}])
def test_a_config_that_says_too_little_counts_nothing(config):
    assert count_weights(config) is None
