"""Reads what a GGUF model says of itself, from its one file or from all its shards, without loading it."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import FormatError
from .ggml_types import FILE_TYPE_GUESSED, FILE_TYPES
from .gguf_ability import read_ability
from .gguf_memory import read_kv_layout
from .gguf_part import CHAT_TEMPLATE, Array, GgufPart, GroupName, Weights, read_part
from .header import ActiveWeights, Header

SHARD_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
"""How llama.cpp names the parts of a split model, and finds them again."""
_KV_NUMBER_BYTES = 2


def read_gguf(path: Path) -> Header | None:
    """Reads what a GGUF file says of its model; of a split one, all shards, beginning with the first.

    Returns:
        The header, or None where the file is not a model but something that goes with one.

    Raises:
        FormatError: the file or one of its shards is damaged, cut short or missing.
    """
    first = read_part(path)
    if not first.is_model:
        return None
    parts = [first]
    count = first.integer("split.count") or 1
    if count > 1:
        parts += _read_other_shards(first, count)
    if not any(part.tensors for part in parts):
        raise FormatError(path, "it holds a vocabulary, but no tensors", cure="This is not a whole model.")
    return to_gguf_header(first, parts)


def _read_other_shards(first: GgufPart, count: int) -> list[GgufPart]:
    """Reads shards 2 to n of a split model and makes sure that they belong together."""
    name = SHARD_NAME.fullmatch(first.path.name)
    number = (first.integer("split.no") or 0) + 1
    if name is None or int(name["number"]) != number or int(name["count"]) != count:
        raise FormatError(
            first.path,
            f"it is part {number} of {count}, but its name does not say so",
            cure=f"Name it as llama.cpp does: …-{number:05}-of-{count:05}.gguf.",
        )
    if number != 1:
        raise FormatError(first.path, f"it is part {number} of {count}", cure="Part 1 is the one to open; get it too.")
    paths = [first.path.with_name(shard_name(name["stem"], index, count)) for index in range(2, count + 1)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        names = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise FormatError(first.path, f"{len(missing)} of its {count} parts are missing: {names}", cure="Download them too.")
    parts = [read_part(path) for path in paths]
    for index, part in enumerate(parts, start=1):
        if part.integer("split.no") != index or part.integer("split.count") != count:
            raise FormatError(part.path, f"it is not part {index + 1} of {count}, as its name says")
    declared = first.integer("split.tensors.count")
    have = first.tensors + sum(part.tensors for part in parts)
    if declared is not None and declared != have:
        raise FormatError(
            first.path, f"its parts have {have} tensors together instead of {declared}: they are of different models"
        )
    return parts


def shard_name(stem: str, number: int, count: int) -> str:
    """Names a shard, counted from 1, as llama.cpp does."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"


def to_gguf_header(first: GgufPart, parts: list[GgufPart]) -> Header:
    """Makes the header of a model of its first part and all of them; raises FormatError where they do not say enough."""
    architecture = first.text("general.architecture")
    if not architecture:
        raise FormatError(first.path, "it does not name its architecture")

    def integer(key: str) -> int | None:
        return first.integer(f"{architecture}.{key}")

    layers, embedding, heads = integer("block_count"), integer("embedding_length"), integer("attention.head_count")
    tensors = sum(part.tensors for part in parts)
    if layers is not None and layers > tensors:
        raise FormatError(first.path, f"it claims {layers:,} layers, but has {tensors:,} tensors")
    head_dim = integer("attention.key_length")
    if head_dim is None and embedding and heads:
        head_dim = embedding // heads
    kv_heads = integer("attention.head_count_kv")
    kv_heads = heads if kv_heads is None else kv_heads
    vocabulary = first.metadata.get("tokenizer.ggml.tokens")
    layout = read_kv_layout(first, architecture, layers)
    scaling = first.text(f"{architecture}.rope.scaling.type")
    rope = [key.removeprefix(f"{architecture}.rope.") for key in first.metadata if key.startswith(f"{architecture}.rope.")]
    has_factors = any(part.has_rope_factors for part in parts)
    return Header(
        format="gguf",
        size_bytes=sum(part.size_bytes for part in parts),
        name=first.text("general.name"),
        architecture=architecture,
        quantization=_quantization(first, parts),
        parameters=sum(part.parameters for part in parts),
        layers=layers,
        embedding_length=embedding,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        context_length=integer("context_length"),
        vocabulary_size=vocabulary.length if isinstance(vocabulary, Array) else integer("vocab_size"),
        has_chat_template=any(key.startswith(CHAT_TEMPLATE) for key in first.metadata),
        chat_template=first.text(CHAT_TEMPLATE),
        fills_gaps=first.fills_gaps,
        shards=len(parts),
        kv_bytes_per_token=None if layout is None else _KV_NUMBER_BYTES * (layout.width + layout.window_width),
        kv_layout=layout,
        active=_active(parts, integer("expert_count"), integer("expert_used_count")),
        feed_forward_length=integer("feed_forward_length"),
        rope_by_context=has_factors,
        rope_by_rows="dimension_sections" in rope,
        rope_plain=bool(rope) and not has_factors and "scale_linear" not in rope and scaling in (None, "none"),
        version=first.version,
        big_endian=first.big_endian,
        ability=read_ability(first, architecture),
    )


def _active(parts: list[GgufPart], experts: int | None, used: int | None) -> ActiveWeights | None:
    """Adds up what one token takes: the chosen experts, and the table of tokens only where it is the output too."""
    parameters = sum(part.parameters for part in parts)
    size_bytes = sum(sum(part.bytes_by_type.values()) for part in parts)
    has_experts = any("experts" in part.groups for part in parts)
    if has_experts and (not experts or not used or used > experts):
        return None
    idle: dict[GroupName, float] = {"experts": 1 - (used or 0) / (experts or 1), "rows": 1.0}
    if any("output" in part.groups for part in parts):
        idle["tokens"] = 1.0
    for part in parts:
        for name, share in idle.items():
            group = part.groups.get(name, Weights())
            parameters -= int(group.parameters * share)
            size_bytes -= int(group.size_bytes * share)
    return ActiveWeights(size_bytes, parameters, mixture=has_experts)


def _quantization(first: GgufPart, parts: list[GgufPart]) -> str | None:
    """Names the mix as the file does, or by the tensor type that has the most data."""
    number = first.integer("general.file_type")
    if number is not None and (name := FILE_TYPES.get(number & ~FILE_TYPE_GUESSED)):
        return name
    sizes: dict[str, int] = {}
    for part in parts:
        for label, size in part.bytes_by_type.items():
            sizes[label] = sizes.get(label, 0) + size
    return max(sizes, key=lambda label: sizes[label]) if sizes else None
