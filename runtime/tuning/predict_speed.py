"""How long a token takes on Apple Silicon: a few physical terms, with constants fitted to published speeds.

A token that is written reads all active weights and the context's keys and values once, computes on them, and starts some
dozens of kernels in each layer. A prompt's tokens share the reading, so that computing is what they wait for.

The constants are those that `tests/benchmarks/fit_predict.py` finds, from speeds published between 2023 and 2026 for llama.cpp
and MLX; it also says how large the errors are on chips, models and sources that were left out of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

WeightKind = Literal["plain", "blocks", "super_blocks"]
"""Numbers as they are, with a scale for each 32 or 64 of them, or llama.cpp's K types with scales of scales."""
EngineKind = Literal["llama.cpp", "mlx", "other"]
NEWEST: Final = 5
"""The last generation with constants of its own; later ones have never been slower."""
_MOST_HEADS_PER_KV: Final = 8
"""How many heads share one head of keys and values at most, where the model does not say how many it has."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What of a machine decides the speed."""

    generation: int
    """1 for M1."""
    gpu_cores: int
    bandwidth_gbs: float
    """1e9 bytes per second."""
    ultra: bool = False
    """True where two dies share the work."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a model asks of the machine for each token."""

    active_bytes: float
    """Weights that one token reads; of a mixture those of the chosen experts, without a table that is only looked up in."""
    active_parameters: float
    layers: int
    attending_layers: int
    """Those that keep keys and values; the others have a state of fixed size."""
    kv_bytes_per_token: float
    """Over all layers that keep the whole context, as they are kept."""
    attention_width: int
    """Numbers of one token's queries in one layer: heads times their length."""
    window_kv_bytes_per_token: float = 0.0
    """The same in layers that look back only `window` tokens."""
    window: int | None = None
    mixture: bool = False
    """Whether each token takes some experts of many."""
    weights: WeightKind = "blocks"
    engine: EngineKind = "llama.cpp"
    flash_attention: bool = True
    """False for llama.cpp as it was run until 2025, which computed attention in full for each head."""

    def kv_bytes(self, context: float) -> float:
        """What is read of a context of so many tokens."""
        near = context if self.window is None else min(context, self.window)
        return self.kv_bytes_per_token * context + self.window_kv_bytes_per_token * near


@dataclass(frozen=True, slots=True)
class DecodeConstants:
    """Of the time that a written token takes; lists are by generation, M1 first."""

    read: float = 1.065
    """Times the least time that reading the weights can take."""
    read_kv: float = 1.20
    core_ms: tuple[float, ...] = (12.0, 8.5, 4.7, 5.1, 1.95)
    """Milliseconds that one GPU core computes on 1e9 weights."""
    core_mixture: float = 0.51
    """How much more where experts are gathered."""
    layer_llama_ms: float = 0.114
    """What a layer costs besides, in M3's time: kernels that are started and waited for."""
    layer_mlx_ms: float = 0.053
    layer_mixture_ms: float = 0.050
    layer_ultra_ms: float = 0.031
    layer_state_ms: float = 0.049
    """Of models some of whose layers have states."""
    pace: tuple[float, ...] = (1.34, 1.09, 1.10, 0.93, 0.745)
    """How long a layer's besides takes in each generation."""
    attention_ns: float = 0.745
    """Nanoseconds that one core takes for one number of queries and one token of context, without flash attention."""


@dataclass(frozen=True, slots=True)
class PrefillConstants:
    """Of the time that a prompt takes; lists are by generation, M1 first."""

    core_tflops: tuple[float, ...] = (0.250, 0.273, 0.273, 0.323, 0.934)
    """1e12 operations a second of one GPU core; from M5 on by the GPU's matrix units."""
    blocks: float = 0.113
    """How much longer llama.cpp takes where it unpacks weights first."""
    super_blocks: float = 0.221
    unpack_newer: float = 0.50
    """How much of that is left from M3 on."""
    mixture: float = 0.173
    mlx: float = 0.93
    """MLX's time beside llama.cpp's."""
    mlx_emulated: float = 1.92
    """How much longer MLX takes on M1 and M2, whose GPUs have no bfloat16."""
    ultra: float = 0.029
    states: float = 0.197
    """How much longer where some layers have states."""
    attention: float = 0.96
    layer_ms: float = 0.104
    """What a layer costs once for each prompt."""


DECODE: Final = DecodeConstants()
PREFILL: Final = PrefillConstants()


def decode_ms(machine: Machine, work: Work, context: float, constants: DecodeConstants = DECODE) -> float:
    """Gives the milliseconds of one more token after a context of so many."""
    c, at = constants, _index(machine)
    bandwidth = machine.bandwidth_gbs * 1e6
    reading = (c.read * work.active_bytes + c.read_kv * work.kv_bytes(context)) / bandwidth
    computing = c.core_ms[at] * work.active_parameters / 1e9 / machine.gpu_cores
    if work.mixture:
        computing *= 1 + c.core_mixture
    layer = _by_engine(work.engine, c.layer_llama_ms, c.layer_mlx_ms) + c.layer_mixture_ms * work.mixture
    layer += c.layer_ultra_ms * machine.ultra + c.layer_state_ms * _has_states(work)
    besides = work.layers * layer * c.pace[at]
    if work.engine == "llama.cpp" and not work.flash_attention:
        besides += c.attention_ns * 1e-6 * work.attending_layers * _queries(work) * context / machine.gpu_cores
    return reading + computing + besides


def prefill_ms(machine: Machine, work: Work, prompt_tokens: float, constants: PrefillConstants = PREFILL) -> float:
    """Gives the milliseconds that a prompt takes whose tokens are all computed."""
    c, at = constants, _index(machine)
    per_ms = c.core_tflops[at] * machine.gpu_cores * 1e9
    factor = 1 + c.mixture * work.mixture
    factor *= (1 + c.ultra * machine.ultra) * (1 + c.states * _has_states(work))
    unpacked = {"plain": 0.0, "blocks": c.blocks, "super_blocks": c.super_blocks}[work.weights]
    factor *= _by_engine(
        work.engine,
        1 + unpacked * (1.0 if machine.generation <= 2 else c.unpack_newer),
        c.mlx * (c.mlx_emulated if machine.generation <= 2 else 1.0),
    )
    weights = 2 * work.active_parameters * prompt_tokens * factor
    attention = c.attention * 2 * work.attending_layers * _queries(work) * prompt_tokens**2
    return (weights + attention) / per_ms + c.layer_ms * work.layers


def _index(machine: Machine) -> int:
    return min(max(machine.generation, 1), NEWEST) - 1


def _by_engine(engine: EngineKind, llama: float, mlx: float) -> float:
    """An engine that nobody measured is taken to be between the two."""
    return {"llama.cpp": llama, "mlx": mlx, "other": (llama + mlx) / 2}[engine]


def _has_states(work: Work) -> bool:
    return work.attending_layers < work.layers


def _queries(work: Work) -> float:
    """Bounds the queries by the keys and values: a model with few of these has a cheaper form of attention."""
    if not work.attending_layers:
        return 0.0
    kept = (work.kv_bytes_per_token + work.window_kv_bytes_per_token) / work.attending_layers / 4
    return min(work.attention_width, _MOST_HEADS_PER_KV * kept)
