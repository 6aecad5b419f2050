"""GGUF files: in 16 bits, in parts, and small ones of the same weights as the other small models."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import gguf
from safetensors.numpy import load_file
from starter_weights import NAMES, find_starter, to_pairs


def make_f16(folder: Path) -> None:
    """Converts the starter model to 16 bits by llama.cpp."""
    from llama_cpp import llama_cpp as native

    folder.mkdir()
    params = native.llama_model_quantize_default_params()
    params.ftype = native.LLAMA_FTYPE_MOSTLY_F16
    params.allow_requantize = True
    params.nthread = 2
    target = folder / "SmolLM2-135M-Instruct-F16.gguf"
    code = native.llama_model_quantize(str(find_starter()).encode(), str(target).encode(), ctypes.byref(params))
    if code:
        raise RuntimeError(f"llama_model_quantize gave {code}")


def make_split(folder: Path, source: Path | None = None, *, most: int) -> None:
    """Writes a folder's one file, or the starter model, in parts of at most so many bytes."""
    file = find_starter() if source is None else next(source.glob("*.gguf"))
    reader = gguf.GGUFReader(file)
    folder.mkdir()
    name = "SmolLM2-135M-Instruct-Q4_1.gguf" if source is None else file.name
    writer = gguf.GGUFWriter(folder / name, reader.fields["general.architecture"].contents(), split_max_size=most)
    copy_keys(reader, writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(writer)


def make_from_folder(folder: Path, source: Path) -> None:
    """Writes a llama's folder in Hugging Face's layout as one file in single precision, with the starter's vocabulary."""
    config = json.loads((source / "config.json").read_text())
    folder.mkdir()
    writer = gguf.GGUFWriter(folder / "tiny-llama-F32.gguf", "llama")
    copy_keys(gguf.GGUFReader(find_starter()), writer, only="tokenizer.")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    theirs = {value: key for key, value in NAMES.items()}
    for name, value in load_file(source / "model.safetensors").items():
        inner = name.removesuffix(".weight").removeprefix("model.layers.")
        layer, _, part = inner.partition(".")
        if layer.isdigit():
            short = theirs[part]
            turned = to_pairs(value, heads[short]) if short in heads else value
            writer.add_tensor(f"blk.{layer}.{short}.weight", turned)
        else:
            writer.add_tensor(f"{theirs[inner]}.weight", value)
    finish(writer)


def copy_keys(reader: gguf.GGUFReader, writer: gguf.GGUFWriter, only: str = "") -> None:
    """Copies all keys that begin so, but for those which the writer writes itself."""
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or not key.startswith(only):
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)


def finish(writer: gguf.GGUFWriter) -> None:
    """Writes everything."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
