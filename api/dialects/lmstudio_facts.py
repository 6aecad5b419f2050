"""What LM Studio's clients read of a model and of a finished answer, the same words in all of its APIs.

After https://lmstudio.ai/docs/developer/rest and the schemas of https://github.com/lmstudio-ai/lmstudio-js.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from ...runtime.events import Admitted, Event, Finished
from ...runtime.formats.header import Format
from ...runtime.models.model import Model, ModelStatus

Domain = Literal["llm", "embedding"]
StopReason = Literal[
    "userStopped", "eosFound", "stopStringFound", "toolCalls", "maxPredictedTokensReached", "contextLengthReached"
]

_BITS = re.compile(r"(\d+)")
_ENGINE_VERSION = re.compile(r"\d+(?:\.\d+)+")
_BILLION = 1_000_000_000
_MILLION = 1_000_000
_CONTAINERS: dict[Format, str] = {
    "gguf": "gguf",
    "mlx": "safetensors",
    "safetensors": "torch_safetensors",
    "pytorch": "torch_safetensors",
    "onnx": "onnx",
    "coreml": "mlx_placeholder",
    "echo": "gguf",
}
"""LM Studio's words for formats: a closed set, which its clients check; the last two are the nearest there are."""


class Runner(msgspec.Struct, frozen=True):
    """What runs a model."""

    name: str
    version: str
    supported_formats: list[str]


def to_domain(model: Model) -> Domain:
    """Whether a model writes text; those that score stand with those that give vectors."""
    return "llm" if model.header.ability == "text" else "embedding"


def to_publisher(model: Model) -> str:
    """Who made a model, where its id says so, else where it comes from."""
    owner, slash, _ = model.id.partition("/")
    return owner if slash else model.store


def to_container(model: Model) -> str:
    """A model's format, in LM Studio's words."""
    return _CONTAINERS[model.header.format]


def to_bits(quantization: str | None) -> int | None:
    """The bits of a weight, as a quantisation's name has them: 4 of "Q4_K_M"."""
    found = _BITS.search(quantization or "")
    return int(found[1]) if found else None


def to_size(parameters: int | None) -> str | None:
    """A number of parameters as people write it: "1.7B", "135M"."""
    if parameters is None:
        return None
    if parameters >= _BILLION:
        return f"{parameters / _BILLION:.1f}".removesuffix(".0") + "B"
    return f"{round(parameters / _MILLION)}M"


def to_longest(status: ModelStatus) -> int | None:
    """The longest context that can be had: what is served, as a longer one that the model was made for would be refused."""
    return status.served_context_length


def takes_tools(model: Model) -> bool:
    """Whether tools may be offered to a model; one without a template for them is given a general one."""
    return model.header.ability == "text" and model.header.format != "echo"


def to_runner(status: ModelStatus | None, model_format: Format) -> Runner:
    """Names what runs a model, as "llama.cpp" and its version."""
    engine = (status.engine if status is not None else None) or "unknown"
    version = _ENGINE_VERSION.search(engine)
    return Runner(engine.partition(" (")[0], version[0] if version else "", [model_format])


class Reckoning:
    """Counts what an answer took; all its choices together."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self.draft_tokens = 0
        self.accepted_tokens = 0
        self.prefill_s = 0.0
        self.decode_s = 0.0
        self.stop_reason: StopReason = "userStopped"
        self.stop_text: str | None = None
        self._context_length: int | None = None

    def add(self, batch: Iterable[Event]) -> None:
        """Takes in what arrived."""
        for event in batch:
            if isinstance(event, Admitted):
                self.prompt_tokens += event.prompt_tokens
                self._context_length = event.context_length
            elif isinstance(event, Finished):
                self._finish(event)

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it was written; None of an answer without a token."""
        seconds = self.decode_s or self.prefill_s
        return self.completion_tokens / seconds if self.completion_tokens and seconds else None

    def _finish(self, event: Finished) -> None:
        self.completion_tokens += event.completion_tokens
        self.reasoning_tokens += event.reasoning_tokens
        self.draft_tokens += event.draft_tokens
        self.accepted_tokens += event.accepted_tokens
        self.prefill_s = max(self.prefill_s, event.prefill_s)
        self.decode_s = max(self.decode_s, event.decode_s)
        self.stop_text = event.stop_text
        self.stop_reason = self._reason(event)

    def _reason(self, event: Finished) -> StopReason:
        match event.reason:
            case "tool_calls":
                return "toolCalls"
            case "stop":
                return "eosFound" if event.stop_text is None else "stopStringFound"
            case "length":
                used = event.prompt_tokens + event.completion_tokens
                full = self._context_length is not None and used >= self._context_length
                return "contextLengthReached" if full else "maxPredictedTokensReached"
