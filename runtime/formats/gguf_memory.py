"""What a GGUF model keeps of its context, layer by layer, as llama.cpp lays it out; read from its metadata alone.

Source: `create_memory` in https://github.com/ggml-org/llama.cpp/blob/master/src/llama-model.cpp, and `load_arch_hparams` of the
architectures in https://github.com/ggml-org/llama.cpp/tree/master/src/models
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .gguf_part import Array, GgufPart
from .header import KvLayout

_ENCODERS = frozenset({
    "bert", "clef", "dream", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llada", "llada-moe", "modern-bert",
    "neo-bert", "nomic-bert", "nomic-bert-moe", "rnd1", "t5encoder", "wavtokenizer-dec",
})  # fmt: skip
"""They see the whole text at once and keep nothing."""
_RECURRENT = frozenset({"arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"})
_RECURRENT_WITHOUT_HEADS = frozenset({
    "bailingmoe3", "glm5-next", "granitehybrid", "jamba", "kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "plamo2",
})  # fmt: skip
"""A layer without heads for keys and values has a state instead."""
_RECURRENT_BY_INTERVAL = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8}
"""Every n-th layer attends, where the file does not say which."""
_INDEXED = frozenset({"deepseek32", "dots3note", "glm-dsa", "glm5-next", "hy_v4", "minimax-m3", "qwen4exp"})
"""They keep further keys to choose by which tokens to attend to."""
_LAID_OUT_OTHERWISE = frozenset({"deepseek4", "dflash"})
_GEMMA3N_OWN_LAYERS = 20
"""The other layers use the keys and values of these."""
_STATE_NUMBER_BYTES = 4
"""States are kept in 32 bits, whatever the type of keys and values."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """Which layers of an architecture look back only so far."""

    pattern: int | None = None
    """All of so many layers but one; None is as the file says, or none."""
    dense_first: bool = False
    """Whether that one is the first."""
    window: int | None = None
    """Where the file does not say; None is no window then."""
    fixed: bool = False
    """Whether the file's own window counts for no more than that there is one."""


_WINDOWS = {
    "afmoe": _Windows(4),
    "cohere2": _Windows(4),
    "cohere2moe": _Windows(4, dense_first=True),
    "dots3note": _Windows(),
    "exaone-moe": _Windows(4, window=128),
    "gemma2": _Windows(2, window=4096),
    "gemma3": _Windows(6),
    "gemma3n": _Windows(5),
    "gemma4": _Windows(),
    "gpt-oss": _Windows(2),
    "granite_swa": _Windows(),
    "laguna": _Windows(4, dense_first=True),
    "lfm2": _Windows(0),
    "lfm2moe": _Windows(0),
    "llama4": _Windows(4, window=8192, fixed=True),
    "maple": _Windows(),
    "mellum": _Windows(4),
    "mimo2": _Windows(),
    "muse-glimmer": _Windows(4),
    "olmo2": _Windows(4),
    "plamo3": _Windows(8),
    "smallthinker": _Windows(4, dense_first=True, window=4096, fixed=True),
    "spark2_5": _Windows(),
    "step35": _Windows(),
}
"""Other architectures may name a window, but llama.cpp keeps everything of them."""
_EXAONE4_WITH_WINDOWS = 64
"""So many layers has the only size of EXAONE 4 with windows."""


def read_kv_layout(part: GgufPart, architecture: str, layers: int | None) -> KvLayout | None:
    """Reads what the layers keep.

    Args:
        part: the model's first file.
        architecture: as it names it.
        layers: how many it has.

    Returns:
        The layout, or None where the file does not say enough or its architecture keeps something else.

    Raises:
        FormatError: a key holds something else than a number.
    """
    if layers is None or architecture in _LAID_OUT_OTHERWISE:
        return None
    if architecture in _ENCODERS:
        return KvLayout(width=0)
    return _Model(part, architecture, layers).layout()


class _Model:
    """One model's metadata, by layer."""

    def __init__(self, part: GgufPart, architecture: str, layers: int) -> None:
        self._part = part
        self._architecture = architecture
        # The layers that guess ahead come last and are not computed.
        self._layers = max(0, layers - (self._integer("nextn_predict_layers") or 0)) or layers
        self._heads = self._by_layer("attention.head_count")
        said = f"{architecture}.attention.head_count_kv" in part.metadata
        self._kv_heads = self._by_layer("attention.head_count_kv") if said else self._heads

    def layout(self) -> KvLayout | None:
        window, windowed = self._windows()
        recurrent, attending = self._recurrent(), self._attending()
        if recurrent is None or attending is None:
            return None
        if not any(attending):
            return KvLayout(width=0, state_bytes=sum(recurrent) * self._state_bytes())
        lengths = self._head_lengths("")
        if lengths is None or self._kv_heads is None:
            return None
        window_lengths = self._head_lengths("_swa") or lengths
        width = window_width = 0
        for heads, attends, is_windowed in zip(self._kv_heads, attending, windowed, strict=True):
            if attends and is_windowed:
                window_width += heads * sum(window_lengths)
            elif attends:
                width += heads * sum(lengths)
        if self._architecture in _INDEXED:
            width += sum(attending) * (self._integer("attention.indexer.key_length") or 0)
        return KvLayout(
            width=width,
            window_width=window_width,
            window=window if window_width else None,
            state_bytes=sum(recurrent) * self._state_bytes(),
            head_lengths=tuple(sorted({*lengths, *(window_lengths if window_width else ())} - {0})),
        )

    def _head_lengths(self, suffix: str) -> tuple[int, int] | None:
        """How long a head's keys and values are; no values where the keys hold them too (latent attention)."""
        heads, embedding = self._heads, self._integer("embedding_length")
        usual = embedding // heads[0] if heads and heads[0] and embedding else None
        key = self._length("key", suffix, usual)
        value = self._length("value", suffix, usual)
        if key is None or value is None:
            return None
        latent = self._integer("attention.key_length_mla") and self._integer("attention.value_length_mla")
        return key, 0 if latent else value

    def _length(self, what: str, suffix: str, usual: int | None) -> int | None:
        own = self._integer(f"attention.{what}_length{suffix}")
        if own is None and suffix:
            own = self._integer(f"attention.{what}_length")
        return usual if own is None else own

    def _windows(self) -> tuple[int | None, Sequence[bool]]:
        """How far windows reach, and which layers have one."""
        none = [False] * self._layers
        rule = _WINDOWS.get(self._architecture)
        if self._architecture == "exaone4" and self._layers == _EXAONE4_WITH_WINDOWS:
            rule = _Windows(4, window=4096)
        if rule is None:
            return None, none
        own = self._integer("attention.sliding_window")
        window = rule.window if own is None or (rule.fixed and own) else own
        # A small model of this kind does without windows unless it names one.
        if not window or (self._architecture == "smallthinker" and own is None):
            return None, none
        by_layer = self._flags("attention.sliding_window_pattern")
        if by_layer is not None:
            return window, by_layer
        pattern = self._integer("attention.sliding_window_pattern") if rule.pattern else rule.pattern
        pattern = rule.pattern if pattern is None else pattern
        if pattern is None:
            return None, none
        dense = 0 if rule.dense_first else pattern - 1
        return window, [not pattern or layer % pattern != dense for layer in range(self._layers)]

    def _recurrent(self) -> Sequence[bool] | None:
        """Which layers have a state."""
        name = self._architecture
        if name in _RECURRENT or name == "falcon-h1":
            return [True] * self._layers
        if name in _RECURRENT_WITHOUT_HEADS:
            return None if self._kv_heads is None else [not heads for heads in self._kv_heads]
        if name.startswith("nemotron_h"):
            inner = self._by_layer("feed_forward_length")
            if self._kv_heads is None or inner is None:
                return None
            return [not heads and not width for heads, width in zip(self._kv_heads, inner, strict=True)]
        if name in _RECURRENT_BY_INTERVAL:
            flags = self._flags("attention.recurrent_layers")
            interval = self._integer("full_attention_interval") or _RECURRENT_BY_INTERVAL[name]
            return [(layer + 1) % interval != 0 for layer in range(self._layers)] if flags is None else flags
        return [False] * self._layers

    def _attending(self) -> Sequence[bool] | None:
        """Which layers have keys and values of their own."""
        name, recurrent = self._architecture, self._recurrent()
        if name == "falcon-h1" or recurrent is None:
            return None if recurrent is None else [True] * self._layers
        if name.startswith("nemotron_h"):
            inner = self._by_layer("feed_forward_length") or [0] * self._layers
            return [not state and not width for state, width in zip(recurrent, inner, strict=True)]
        own = self._layers
        if name == "gemma3n":
            own = _GEMMA3N_OWN_LAYERS
        elif name == "gemma4":
            own -= self._integer("attention.shared_kv_layers") or 0
        return [not state and layer < own for layer, state in enumerate(recurrent)]

    def _state_bytes(self) -> int:
        """What one layer's state of one sequence takes, as `n_embd_r` and `n_embd_s` of llama.cpp."""

        def number(key: str) -> int:
            return self._integer(key) or 0

        width = number("embedding_length")
        heads = self._heads[0] if self._heads else 0
        if head := number("wkv.head_size"):
            shifts = self._integer("token_shift_count")
            numbers = (2 if shifts is None else shifts) * width + width * head
        elif tail := number("shortconv.l_cache"):
            numbers = width * (tail - 1)
        elif head := number("kda.head_dim"):
            numbers = 3 * max(0, (self._integer("ssm.conv_kernel") or 4) - 1) * heads * head + head * head * heads
        elif self._architecture == "minimax-01":
            head = number("attention.key_length") or (width // heads if heads else 0)
            numbers = head * head * heads
        else:
            inner, state, groups = number("ssm.inner_size"), number("ssm.state_size"), number("ssm.group_count")
            numbers = max(0, number("ssm.conv_kernel") - 1) * (inner + 2 * groups * state) + state * inner
        return numbers * _STATE_NUMBER_BYTES

    def _integer(self, key: str) -> int | None:
        return self._part.integer(f"{self._architecture}.{key}")

    def _by_layer(self, key: str) -> Sequence[int] | None:
        """One number for each layer; None where there are none, or too few."""
        value = self._part.metadata.get(f"{self._architecture}.{key}")
        if not isinstance(value, Array):
            number = self._integer(key)
            return None if number is None else [number] * self._layers
        if value.items is None or len(value.items) < self._layers:
            return None
        return [max(0, int(item)) for item in value.items[: self._layers]]

    def _flags(self, key: str) -> Sequence[bool] | None:
        """One yes or no for each layer; None where the file has no such list."""
        value = self._part.metadata.get(f"{self._architecture}.{key}")
        if not isinstance(value, Array) or value.items is None or len(value.items) < self._layers:
            return None
        return [bool(item) for item in value.items[: self._layers]]
