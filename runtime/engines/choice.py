"""Says which engine serves a format on this machine, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

from ..formats.header import Format, Header

EngineName = Literal["llama", "llama-embedding", "echo", "scripted"]
"""The worker's backends, by the names it is started with."""

_TITLES: dict[Format, str] = {
    "gguf": "GGUF",
    "safetensors": "SafeTensors",
    "mlx": "MLX",
    "coreml": "Core ML",
    "pytorch": "PyTorch",
    "onnx": "ONNX",
    "echo": "echo",
}

_NOT_SERVED = frozenset({"t5", "t5encoder", "wavtokenizer-dec"})
"""Architectures that llama.cpp loads, but that neither write text token by token nor give vectors of it."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What is to be done with a model: either an engine, or the reason why there is none."""

    engine: EngineName | None
    problem: str | None
    """In words for the user; None where there is an engine."""


def choose_engine(header: Header) -> EngineChoice:
    """Chooses the engine for a model; looks for packages, but imports none."""
    problem = explain_problem(header)
    if problem is not None:
        return EngineChoice(None, problem)
    if header.format == "echo":
        return EngineChoice("scripted" if header.architecture == "scripted" else "echo", None)
    return EngineChoice("llama" if header.ability == "text" else "llama-embedding", None)


def explain_problem(header: Header) -> str | None:
    """Says why a model cannot be served here; None where it can."""
    match header.format:
        case "echo":
            return None
        case "gguf":
            return _problem_of_gguf(header)
        case other:
            return f"known format, engine not ready: {_TITLES[other]} models cannot be served yet, only GGUF ones."


def _problem_of_gguf(header: Header) -> str | None:
    if not _is_installed("llama_cpp"):
        return (
            "known format, engine not installed: GGUF models need the package llama-cpp-python. "
            "`make run` builds it for this machine."
        )
    if header.version == 1:
        return "it is a GGUF file of version 1, which llama.cpp no longer reads. Download a newer conversion of it."
    if header.big_endian:
        return "it was converted for big-endian machines. Download the ordinary conversion of it."
    if header.architecture in _NOT_SERVED:
        return f"'{header.architecture}' models neither write text nor give embeddings."
    return None


@cache
def _is_installed(package: str) -> bool:
    return find_spec(package) is not None
