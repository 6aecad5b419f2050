"""Llamas as Core ML packages, in the layouts that are published; converted by coremltools, on any machine.

- `make_stateful`: Apple's. Tokens and a mask to add to scores go in, scores come out; keys and values are two states.
- `make_stateless`: a fixed number of tokens and which of them count go in; nothing is kept.
- `make_chunked`: ANEMLL's. Embeddings, layers in parts that share one state, and a head that gives scores in parts.

Source: https://machinelearning.apple.com/research/core-ml-on-device-llama, https://github.com/Anemll/Anemll
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import torch
from coremltools.optimize import coreml as compression
from safetensors.torch import load_file
from starter_weights import copy_beside
from torch import Tensor, nn
from torch.nn import functional

Config = dict[str, Any]
Keep = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Puts a layer's new keys and values away; gives all that its queries may look at."""
STATEFUL = "StatefulModel.mlpackage"


class Norm(nn.Module):
    """RMS norm that stays within 16 bits.

    Some rows reach tens of thousands in the middle of a model; their squares would be infinite, and the rows zero.
    """

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        # A tensor, as a number divided by a tensor becomes Core ML's `inverse`, which adds 0.0001 below.
        self.register_buffer("root", torch.tensor([math.sqrt(epsilon)]), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        peak = hidden.abs().amax(-1, keepdim=True).clamp(min=1.0)
        scaled = hidden / peak
        floor = self.root / peak
        return scaled * torch.rsqrt((scaled * scaled).mean(-1, keepdim=True) + floor * floor) * self.weight


class Attention(nn.Module):
    def __init__(self, config: Config, at: int) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.at = at
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head = config["head_dim"]
        self.q_proj = nn.Linear(width, self.heads * self.head, bias=False)
        self.k_proj = nn.Linear(width, self.kv_heads * self.head, bias=False)
        self.v_proj = nn.Linear(width, self.kv_heads * self.head, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head, width, bias=False)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor, keep: Keep) -> Tensor:
        count = hidden.shape[1]

        def part(layer: nn.Linear, heads: int) -> Tensor:
            return layer(hidden).view(1, count, heads, self.head).transpose(1, 2)

        query = self.turn(part(self.q_proj, self.heads), turns)
        keys, values = keep(self.at, self.turn(part(self.k_proj, self.kv_heads), turns), part(self.v_proj, self.kv_heads))
        shared = self.heads // self.kv_heads
        mixed = functional.scaled_dot_product_attention(
            query, keys.repeat_interleave(shared, 1), values.repeat_interleave(shared, 1), attn_mask=mask
        )
        return self.o_proj(mixed.transpose(1, 2).reshape(1, count, self.heads * self.head))

    def turn(self, part: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        # The half is a number of Python's: coremltools 9 fails on one that it takes from a shape, with numpy 2.4.
        half = self.head // 2
        turned = torch.cat((-part[..., half:], part[..., :half]), -1)
        return part * turns[0] + turned * turns[1]


class Feed(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class Layer(nn.Module):
    def __init__(self, config: Config, at: int) -> None:
        super().__init__()
        self.input_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.self_attn = Attention(config, at)
        self.post_attention_layernorm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.mlp = Feed(config)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor, keep: Keep) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), turns, mask, keep)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Llama(nn.Module):
    """All parts, by their names in Hugging Face's checkpoints; the wrappers below put them together."""

    def __init__(self, source: Path, context: int) -> None:
        super().__init__()
        config: Config = json.loads((source / "config.json").read_text())
        self.config = config
        self.context = context
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.model.layers = nn.ModuleList(Layer(config, at) for at in range(config["num_hidden_layers"]))
        self.model.norm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        weights = {name: value.float() for name, value in load_file(source / "model.safetensors").items()}
        weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
        self.load_state_dict(weights)
        half = config["head_dim"] // 2
        rates = config["rope_parameters"]["rope_theta"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = (torch.arange(context, dtype=torch.float64)[:, None] * rates).repeat(1, 2)
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("sines", angles.sin().float(), persistent=False)

    def cache_shape(self) -> tuple[int, ...]:
        """The shape of all layers' keys."""
        return (len(self.model.layers), 1, self.config["num_key_value_heads"], self.context, self.config["head_dim"])

    def finish(self, hidden: Tensor) -> Tensor:
        """Hidden rows → scores."""
        return self.lm_head(self.model.norm(hidden))


class Stateful(nn.Module):
    """Where new tokens go, the mask's shape says: it has a row for each of them, and a column for each token up to the last."""

    def __init__(self, llama: Llama) -> None:
        super().__init__()
        self.llama = llama
        self.register_buffer("keyCache", torch.zeros(llama.cache_shape()))
        self.register_buffer("valueCache", torch.zeros(llama.cache_shape()))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        end = mask.shape[-1]
        begin = end - tokens.shape[1]

        def keep(at: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            self.keyCache[at, :, :, begin:end, :] = keys
            self.valueCache[at, :, :, begin:end, :] = values
            return self.keyCache[at, :, :, :end, :], self.valueCache[at, :, :, :end, :]

        turns = (self.llama.cosines[begin:end], self.llama.sines[begin:end])
        hidden = self.llama.model.embed_tokens(tokens)
        for layer in self.llama.model.layers:
            hidden = layer(hidden, turns, mask, keep)
        return self.llama.finish(hidden)


class Stateless(nn.Module):
    """Computes all tokens anew each time; those behind the last one count for none before."""

    def __init__(self, llama: Llama) -> None:
        super().__init__()
        self.llama = llama
        self.register_buffer("later", torch.full((llama.context, llama.context), -1e4).triu(1))

    def forward(self, tokens: Tensor, counts: Tensor) -> Tensor:
        mask = self.later[None, None] + (1.0 - counts.float()[:, None, None, :]) * -1e4
        hidden = self.llama.model.embed_tokens(tokens)
        for layer in self.llama.model.layers:
            hidden = layer(hidden, (self.llama.cosines, self.llama.sines), mask, lambda _, keys, values: (keys, values))
        return self.llama.finish(hidden)


class Chunk(nn.Module):
    """Some of the layers; keys of all layers, then values of all, lie in one state, which every chunk has.

    The last chunk gives but one row of a prefill: whoever feeds it computes the last token once more, alone.
    """

    def __init__(self, llama: Llama, begin: int, end: int, *, prefill: bool) -> None:
        super().__init__()
        self.llama = llama
        self.begin, self.end = begin, end
        self.cuts = prefill and end == len(llama.model.layers)
        layers, _, heads, context, width = llama.cache_shape()
        self.layers = layers
        self.model = nn.Module()
        self.model.model = nn.Module()
        self.model.model.register_buffer("kv_cache_0", torch.zeros(2 * layers, heads, context, width))

    def forward(self, hidden: Tensor, positions: Tensor, mask: Tensor, place: Tensor) -> Tensor:
        cache = self.model.model.kv_cache_0
        count = hidden.shape[1]

        def keep(at: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
            cache[at : at + 1, :, place : place + count, :] = keys
            cache[self.layers + at : self.layers + at + 1, :, place : place + count, :] = values
            return cache[at : at + 1], cache[self.layers + at : self.layers + at + 1]

        turns = (self.llama.cosines[positions], self.llama.sines[positions])
        for at in range(self.begin, self.end):
            hidden = self.llama.model.layers[at](hidden, turns, mask, keep)
        return hidden[:, :1] if self.cuts else hidden


class Head(nn.Module):
    """Gives scores in parts, by convolutions: the Neural Engine has none for so wide a product."""

    def __init__(self, llama: Llama, parts: int) -> None:
        super().__init__()
        self.norm = llama.model.norm
        self.parts = nn.ModuleList()
        for rows in llama.lm_head.weight.detach().chunk(parts):
            part = nn.Conv2d(rows.shape[1], rows.shape[0], 1, bias=False)
            part.weight = nn.Parameter(rows[:, :, None, None].clone())
            self.parts.append(part)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        columns = self.norm(hidden).permute(0, 2, 1)[:, :, None]
        return tuple(part(columns)[:, :, 0].permute(0, 2, 1) for part in self.parts)


def make_stateful(folder: Path, source: Path, *, context: int, tokens_at_once: int | None = None) -> None:
    """Writes a package, and tokenizer and template beside it.

    Args:
        folder: is made.
        source: a llama's folder in Hugging Face's layout, one file.
        context: most tokens.
        tokens_at_once: most tokens of one prediction; as many as the context has, if None. Some that are published take one.
    """
    llama = Llama(source, context)
    made = Stateful(llama)
    most = context if tokens_at_once is None else tokens_at_once
    rows = 1 if most == 1 else ct.RangeDim(lower_bound=1, upper_bound=most, default=1)
    columns = ct.RangeDim(lower_bound=1, upper_bound=context, default=1)
    inputs = [
        ct.TensorType(name="inputIds", shape=(1, rows), dtype=np.int32),
        ct.TensorType(name="causalMask", shape=(1, 1, rows, columns), dtype=np.float16),
    ]
    states = {"keyCache": llama.cache_shape(), "valueCache": llama.cache_shape()}
    sample = (torch.zeros((1, 2), dtype=torch.int32), torch.zeros((1, 1, 2, 5)))
    open_folder(folder, source)
    convert(made, sample, inputs, ["logits"], states).save(str(folder / STATEFUL))


def make_stateless(folder: Path, source: Path, *, context: int) -> None:
    """Writes a package that has no state; arguments as for `make_stateful`."""
    names = ("inputIds", "attentionMask")
    inputs = [ct.TensorType(name=name, shape=(1, context), dtype=np.int32) for name in names]
    sample = (torch.zeros((1, context), dtype=torch.int32), torch.ones((1, context), dtype=torch.int32))
    open_folder(folder, source)
    convert(Stateless(Llama(source, context)), sample, inputs, ["logits"]).save(str(folder / "Model.mlpackage"))


def make_chunked(
    folder: Path, source: Path, *, context: int, batch: int = 64, chunks: int = 2, head_parts: int = 8, prefix: str = "llama"
) -> None:
    """Writes the packages and meta.yaml.

    Args:
        folder: is made.
        source: as for `make_stateful`.
        context: most tokens; a multiple of `batch`.
        batch: tokens of a prefill, no more and no fewer.
        chunks: in how many parts the layers are.
        head_parts: in how many parts the scores are.
        prefix: how the packages' names begin.
    """
    open_folder(folder, source)
    llama = Llama(source, context)
    width = llama.config["hidden_size"]
    flexible = ct.EnumeratedShapes(shapes=[[1, 1], [1, batch]], default=[1, 1])
    tokens = [ct.TensorType(name="input_ids", shape=flexible, dtype=np.int32)]
    embeddings = convert(llama.model.embed_tokens, (torch.zeros((1, 1), dtype=torch.int32),), tokens, ["hidden_states"])
    embeddings.save(str(folder / f"{prefix}_embeddings.mlpackage"))
    head_inputs = [ct.TensorType(name="hidden_states", shape=(1, 1, width), dtype=np.float16)]
    head = convert(
        Head(llama, head_parts), (torch.zeros(1, 1, width),), head_inputs, [f"logits{at + 1}" for at in range(head_parts)]
    )
    head.save(str(folder / f"{prefix}_lm_head.mlpackage"))
    layers = len(llama.model.layers)
    borders = [layers * at // chunks for at in range(chunks + 1)]
    files: list[str] = []
    with tempfile.TemporaryDirectory() as drafts:
        for at in range(chunks):
            files.append(f"{prefix}_FFN_PF_chunk_{at + 1:02}of{chunks:02}.mlpackage")
            described = ct.utils.MultiFunctionDescriptor()
            for name, count in (("infer", 1), ("prefill", batch)):
                draft = Path(drafts) / f"{name}_{at}.mlpackage"
                convert_chunk(Chunk(llama, borders[at], borders[at + 1], prefill=count > 1), count).save(str(draft))
                described.add_function(str(draft), src_function_name="main", target_function_name=name)
            described.default_function_name = "infer"
            ct.utils.save_multifunction(described, str(folder / files[-1]))
    told = {"context_length": context, "batch_size": batch, "lut_embeddings": "none", "lut_ffn": "none", "lut_lmhead": "none"}
    told |= {"num_chunks": chunks, "model_prefix": prefix, "embeddings": f"{prefix}_embeddings.mlpackage"}
    told |= {"lm_head": f"{prefix}_lm_head.mlpackage", "ffn": files[0], "split_lm_head": head_parts}
    lines = ["model_info:", f"  name: anemll-{source.name}-ctx{context}", "  version: 0.3.4", "  architecture: llama"]
    lines += ["  parameters:", *(f"    {key}: {value}" for key, value in told.items()), ""]
    (folder / "meta.yaml").write_text("\n".join(lines), encoding="utf-8")


def convert_chunk(chunk: Chunk, count: int) -> Any:
    """Converts some layers for just so many tokens at once."""
    width, context = chunk.llama.config["hidden_size"], chunk.llama.context
    inputs = [
        ct.TensorType(name="hidden_states", shape=(1, count, width), dtype=np.float16),
        ct.TensorType(name="position_ids", shape=(count,), dtype=np.int32),
        ct.TensorType(name="causal_mask", shape=(1, 1, count, context), dtype=np.float16),
        ct.TensorType(name="current_pos", shape=(1,), dtype=np.int32),
    ]
    sample = (
        torch.zeros(1, count, width),
        torch.arange(count, dtype=torch.int32),
        torch.zeros(1, 1, count, context),
        torch.zeros(1, dtype=torch.int32),
    )
    states = {"model.model.kv_cache_0": tuple(chunk.model.model.kv_cache_0.shape)}
    return convert(chunk, sample, inputs, ["output_hidden_states"], states)


def make_int4(folder: Path, source: Path) -> None:
    """Writes the package of another folder, made by `make_stateful`, with weights of 4 bits, 32 of which have one scale.

    Just what products read is rounded, and not what tokens are also looked up in: that would cost more than all the rest.
    """
    how = compression.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=32)
    model = ct.models.MLModel(str(source / STATEFUL), skip_model_load=True)
    weights = compression.get_weights_metadata(model)
    looked_up = [name for name, weight in weights.items() if any(child.op_type == "gather" for child in weight.child_ops)]
    settings = compression.OptimizationConfig(op_type_configs={"linear": how}, op_name_configs=dict.fromkeys(looked_up))
    open_folder(folder, source)
    compression.linear_quantize_weights(model, settings).save(str(folder / STATEFUL))


def open_folder(folder: Path, source: Path) -> None:
    """Makes a folder with tokenizer, template and config."""
    folder.mkdir()
    copy_beside(source, folder)


def convert(
    module: nn.Module,
    sample: tuple[Tensor, ...],
    inputs: list[Any],
    outputs: list[str],
    states: dict[str, tuple[int, ...]] | None = None,
) -> Any:
    """Traces a module with samples of its inputs, and converts what it did."""
    with torch.no_grad():
        traced = torch.jit.trace(module.eval(), sample, check_trace=False)
    return ct.convert(
        traced,
        inputs=inputs,
        outputs=[ct.TensorType(name=name, dtype=np.float16) for name in outputs],
        states=[
            ct.StateType(wrapped_type=ct.TensorType(shape=shape, dtype=np.float16), name=name)
            for name, shape in (states or {}).items()
        ],
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,  # only a Mac could load it
    )
