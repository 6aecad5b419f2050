"""Says which engine serves a model on this machine, and why the others do not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

from ..formats.header import Format, Header
from ..formats.onnx_variants import rank_precision
from .architectures import llama_knows, mlx_gives_states, mlx_knows, nearest, torch_knows

EngineName = Literal[
    "llama", "llama-embedding", "mlx", "mlx-embedding", "torch", "torch-embedding", "onnx", "onnx-embedding", "coreml", "echo",
    "scripted",
]  # fmt: skip
"""The worker's backends, by the names it is started with."""

SLOWEST_FIRST: tuple[EngineName, ...] = (
    "coreml", "torch", "torch-embedding", "mlx", "mlx-embedding", "llama", "llama-embedding", "onnx", "onnx-embedding",
    "scripted", "echo",
)  # fmt: skip
"""By how long their libraries take to import: from several seconds to nothing."""
_PRECISIONS = 100
"""More than there are of one format."""
_NOT_SERVED = frozenset({"t5", "t5encoder", "wavtokenizer-dec"})
"""Architectures that llama.cpp loads, but that neither write text token by token nor give vectors of it."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What is to be done with a model: either an engine, or the reason why there is none."""

    engine: EngineName | None
    problem: str | None
    """In words for the user; None where there is an engine."""
    reason: str = ""
    """Why this engine, in words for the user."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One engine that could serve a format."""

    engine: EngineName
    title: str
    packages: tuple[str, ...]
    extra: str
    """The extra of our distribution that brings the packages; "" for what every installation has."""
    problem: Callable[[Header], str | None]
    """Says why it cannot serve a model though it is installed; None where it can."""
    reason: str


Preference = Literal["auto", "mlx", "torch"]
"""Which engine computes what both could."""


def choose_engine(header: Header, prefer: Preference = "auto") -> EngineChoice:
    """Chooses the engine for a model; looks for packages, but imports none."""
    if header.format == "echo":
        return EngineChoice("scripted" if header.architecture == "scripted" else "echo", None)
    if header.made_for is not None:
        words = f"its files are laid out for {header.made_for}. Download it in the layout of Hugging Face transformers."
        return EngineChoice(None, words)
    if header.format == "mlx" and (words := _problem_of_kind(header)) is not None:
        # No library that could be installed would change that.
        return EngineChoice(None, words)
    problems: list[str] = []
    for way in _ways(header, prefer):
        problem = _missing(way) or way.problem(header)
        if problem is None:
            return EngineChoice(way.engine, None, "; ".join([way.reason, *problems]))
        problems.append(f"{way.title}: {problem}")
    if len(problems) == 1:
        return EngineChoice(None, problems[0].partition(": ")[2])
    return EngineChoice(None, " ".join(problem if problem.endswith(".") else f"{problem}." for problem in problems))


def name_engine(header: Header, prefer: Preference = "auto") -> EngineName:
    """Names the engine that would compute a model; the GGUF engine where none can."""
    return choose_engine(header, prefer).engine or "llama"


def explain_problem(header: Header, prefer: Preference = "auto") -> str | None:
    """Says why a model cannot be served here; None where it can."""
    return choose_engine(header, prefer).problem


def rank_format(header: Header, prefer: Preference = "auto") -> int:
    """Says how well a format is served here, by how fast its engine is; the lowest is the best.

    Of ONNX graphs it also says which precision suits the machine; the bargains of other formats are ranked by their names.
    """
    fastest = ("mlx", "llama", "coreml", "onnx", "torch") if sys.platform == "darwin" else ("llama", "onnx", "torch", "mlx")
    engine = (choose_engine(header, prefer).engine or "").removesuffix("-embedding")
    place = fastest.index(engine) if engine in fastest else len(fastest)
    return place * _PRECISIONS + (rank_precision(header.quantization, header.ability) if header.format == "onnx" else 0)


def _ways(header: Header, prefer: Preference) -> Iterator[_Way]:
    """Gives the engines for a format, the fastest first."""
    kind: Format = header.format
    match kind:
        case "gguf":
            name: EngineName = "llama" if header.ability == "text" else "llama-embedding"
            yield _Way(name, "llama.cpp", ("llama_cpp",), "", _problem_of_gguf, "GGUF files are llama.cpp's own")
        case "mlx":
            yield _mlx("MLX folders are MLX's own", header)
        case "safetensors" | "pytorch" if header.ability != "text" and _problem_of_kind(header) is not None:
            yield _torch(f"torch computes models for {header.ability}", header)
        case "safetensors" | "pytorch":
            yield from _either(header, prefer)
        case "onnx" if header.ability != "text":
            reason = "ONNX graphs are ONNX Runtime's own"
            yield _Way("onnx-embedding", "ONNX Runtime", ("onnxruntime",), "onnx", lambda _: None, reason)
        case "onnx":
            yield _Way("onnx", "ONNX Runtime", ("onnxruntime",), "onnx", _writes_text, "ONNX graphs are ONNX Runtime's own")
        case "coreml":
            yield _Way("coreml", "Core ML", ("coremltools",), "coreml", _problem_of_coreml, "Core ML runs on the Neural Engine")
        case "echo":
            return


def _either(header: Header, prefer: Preference) -> Iterator[_Way]:
    """Gives MLX and torch: on a GPU MLX is several times faster, and so is torch on a CPU."""
    asked = "as the settings say"
    on_gpu = sys.platform == "darwin"
    mlx = "MLX computes SafeTensors as they are" if header.format == "safetensors" else "MLX computes a checkpoint's weights"
    if prefer == "mlx" or (prefer == "auto" and on_gpu):
        yield _mlx(f"{mlx}, {asked if prefer == 'mlx' else 'on the GPU'}", header)
        yield _torch("torch takes what MLX lacks", header)
        return
    yield _torch(f"torch, {asked}" if prefer == "torch" else "on a CPU torch is faster than MLX", header)
    yield _mlx(mlx, header)


def _mlx(reason: str, header: Header) -> _Way:
    name: EngineName = "mlx" if header.ability == "text" else "mlx-embedding"
    return _Way(name, "MLX", ("mlx_lm", "mlx"), "mlx", _problem_of_mlx, reason)


def _torch(reason: str, header: Header) -> _Way:
    name: EngineName = "torch" if header.ability == "text" else "torch-embedding"
    return _Way(name, "torch", ("torch", "transformers"), "torch", _problem_of_torch, reason)


def _missing(way: _Way) -> str | None:
    missing = [package for package in way.packages if not _is_installed(package)]
    if not missing:
        return None
    if not way.extra:
        return (
            "known format, engine not installed: GGUF models need the package llama-cpp-python. "
            "`make run` builds it for this machine."
        )
    return (
        f"known format, engine not installed: run `pip install 'impetus-llm[{way.extra}]'`, or, in a checkout, "
        f"`make run EXTRAS='starter {way.extra}'`."
    )


def _problem_of_gguf(header: Header) -> str | None:
    if header.version == 1:
        return "it is a GGUF file of version 1, which llama.cpp no longer reads. Download a newer conversion of it."
    if header.big_endian:
        return "it was converted for big-endian machines. Download the ordinary conversion of it."
    if header.architecture in _NOT_SERVED:
        return f"'{header.architecture}' models neither write text nor give embeddings."
    if header.architecture is not None and not llama_knows(header.architecture):
        return _unknown(header.architecture, "this llama.cpp")
    return None


def _problem_of_kind(header: Header) -> str | None:
    """Says which kind of a model mlx-lm never computes; None where it may."""
    if header.ability == "text" or (header.ability == "embedding" and not header.sees_ahead):
        return None
    what = "that score documents" if header.ability == "rerank" else "whose tokens see those behind them, as encoders' do"
    return (
        f"mlx-lm computes no models {what}. A copy of it in plain SafeTensors or in PyTorch runs on torch, one in GGUF on "
        "llama.cpp, one in ONNX on ONNX Runtime."
    )


def _problem_of_mlx(header: Header) -> str | None:
    if (problem := _problem_of_kind(header)) is not None or header.architecture is None:
        return problem
    if not mlx_knows(header.architecture):
        return _unknown(header.architecture, "mlx-lm")
    if header.ability != "text" and not mlx_gives_states(header.architecture):
        return f"mlx-lm gives scores of tokens for the architecture '{header.architecture}', but no vectors."
    return None


def _problem_of_torch(header: Header) -> str | None:
    if header.architecture is not None and not torch_knows(header.architecture, header.ability):
        return _unknown(header.architecture, "transformers")
    return None


def _unknown(architecture: str, who: str) -> str:
    """Says that an architecture is unknown, and what comes nearest."""
    alike = nearest(architecture)
    what = f"{who} does not know the architecture '{architecture}'"
    if alike is not None and alike.startswith(f"'{architecture}' "):
        return f"{what}; a SafeTensors copy of the model would run ({alike.partition('(')[2]}."
    return f"{what}{f'; the nearest that is known here is {alike}' if alike else ''}."


def _problem_of_coreml(header: Header) -> str | None:
    if sys.platform != "darwin":
        return "Core ML models run on macOS only."
    return _writes_text(header)


def _writes_text(header: Header) -> str | None:
    if header.ability != "text":
        return f"models for {header.ability} are served from GGUF, SafeTensors, PyTorch and ONNX files."
    return None


@cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
