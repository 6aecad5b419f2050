"""Estimates what a model takes in memory, from its header alone."""

from __future__ import annotations

from dataclasses import dataclass

from ..formats.header import Header, KvLayout
from ..frames import CacheType, LoadOptions

CACHE_GRAIN = 256
"""llama.cpp rounds the cells of its context memory up to a multiple of this."""
QUANTIZED_BLOCK = 32
"""A head's keys and values can be kept below 16 bits only in whole blocks of so many numbers."""
PROCESS_BYTES = 64 * 1024**2
"""An engine's process before it holds a model: interpreter, libraries, vocabulary."""
TYPICAL_CONTEXT = 4096
"""For models that do not say how much context they were trained for."""
TYPICAL_KV_BYTES_PER_TOKEN = 128 * 1024
"""For models that do not say: what one of 8 billion parameters with grouped heads takes."""
_BLOCK_BYTES: dict[CacheType, int] = {"f16": 64, "q8_0": 34, "q4_0": 18}
_WIDTHS, _INNER_WIDTHS, _HEAD_WIDTHS, _STATE_WIDTHS = 4, 3, 2, 4
"""How many rows are alive at once while a layer is computed: of the model's width, of a layer's inner half, of all heads
together, and of a recurrent layer's own."""
_GUESSES = 64
"""How many guessed tokens a step may check."""
_FLOAT_BYTES, _HALF_BYTES = 4, 2
_WITHOUT_FLASH_ATTENTION = frozenset({"grok"})


@dataclass(frozen=True, slots=True)
class Footprint:
    """The parts of what a loaded model takes."""

    weights_bytes: int
    kv_bytes: int
    """Keys, values and states, for all cells and all sequences; llama.cpp writes to all of them at the start."""
    scratch_bytes: int
    """Room to compute in, and the process itself."""

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.weights_bytes + self.kv_bytes + self.scratch_bytes


def footprint(header: Header, options: LoadOptions) -> Footprint:
    """Estimates what a model takes when it is loaded so; rather too much than too little."""
    if header.format == "echo":
        return Footprint(0, 0, PROCESS_BYTES)
    wanted = options.cache_tokens or options.context_length or header.context_length or TYPICAL_CONTEXT
    cells = _whole(wanted)
    step = min(options.batch_tokens, options.micro_batch_tokens)
    return Footprint(
        weights_bytes=header.size_bytes,
        kv_bytes=_kv_bytes(header, options, cells, step),
        scratch_bytes=PROCESS_BYTES + _compute_bytes(header, options, cells, step),
    )


def can_quantize(header: Header) -> bool:
    """Whether keys and values can be kept below 16 bits: that needs flash attention and heads of whole blocks."""
    layout = header.kv_layout
    if layout is None or not layout.head_lengths or header.architecture in _WITHOUT_FLASH_ATTENTION:
        return False
    return all(length % QUANTIZED_BLOCK == 0 for length in layout.head_lengths)


def _kv_bytes(header: Header, options: LoadOptions, cells: int, step: int) -> int:
    layout = header.kv_layout
    if layout is None:
        per_token = TYPICAL_KV_BYTES_PER_TOKEN if header.kv_bytes_per_token is None else header.kv_bytes_per_token
        return cells * per_token
    numbers = cells * layout.width + _window_cells(layout, options, cells, step) * layout.window_width
    return numbers * _BLOCK_BYTES[options.cache_type] // QUANTIZED_BLOCK + layout.state_bytes * _slots(options)


def _window_cells(layout: KvLayout, options: LoadOptions, cells: int, step: int) -> int:
    """Counts the cells of layers with a window, as `llama_kv_cache_iswa` does."""
    if layout.window is None:
        return 0
    return _whole(min(cells, layout.window * _slots(options) + step))


def _compute_bytes(header: Header, options: LoadOptions, cells: int, step: int) -> int:
    """Room for one step: a layer's rows, who may look at whom, and the scores of all tokens that something follows."""
    layout = header.kv_layout
    width = header.embedding_length or 0
    inner = 4 * width if header.feed_forward_length is None else header.feed_forward_length
    # The engine lays its buffers out for whole rounds over all sequences.
    step = -(-step // _slots(options)) * _slots(options)
    longest = max(layout.head_lengths, default=0) if layout is not None else 0
    attention = _HEAD_WIDTHS * max(width, (header.heads or 0) * longest)
    state = _STATE_WIDTHS * width if layout is not None and layout.state_bytes else 0
    rows = step * (_WIDTHS * width + _INNER_WIDTHS * inner + attention + state) * _FLOAT_BYTES
    looks = cells if layout is None or layout.width else 0
    if layout is not None and layout.window is not None:
        looks += _window_cells(layout, options, cells, step)
    masks = step * looks * _HALF_BYTES
    if header.architecture in _WITHOUT_FLASH_ATTENTION:
        masks += step * looks * (header.heads or 1) * 2 * _FLOAT_BYTES
    # A recurrent layer gathers the states of all sequences before it goes on with them.
    states = 0 if layout is None else layout.state_bytes * _slots(options) // (header.layers or 1)
    outputs = _slots(options) + (0 if options.draft == "off" else _GUESSES)
    return rows + masks + states + 2 * outputs * (header.vocabulary_size or 0) * _FLOAT_BYTES


def _slots(options: LoadOptions) -> int:
    return options.max_sequences if options.slots is None else options.slots


def _whole(tokens: int) -> int:
    return -(-tokens // CACHE_GRAIN) * CACHE_GRAIN
