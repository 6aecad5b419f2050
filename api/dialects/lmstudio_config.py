"""The settings of an answer as LM Studio's SDKs send them on a WebSocket: keys and values in layers.

Keys after https://github.com/lmstudio-ai/lmstudio-js/blob/main/packages/lms-kv-config/src/schema.ts. Those of LM
Studio's own ways with templates and documents are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import msgspec

from ...runtime.errors import InvalidRequest
from ...runtime.request import Constraint, Sampling, Thinking, Tool, ToolMode
from .lmstudio_infos import KvConfig, KvField, KvStack

_PREFIX = "llm.prediction."
_NO_PARAMETERS = '{"type":"object","properties":{}}'
_NULL = msgspec.Raw(b"null")
_INT32_MAX = 2**31 - 1

Value = TypeVar("Value")


class Checkbox(msgspec.Struct, frozen=True):
    """A number that may be switched off."""

    checked: bool = False
    value: float | bool | None = None


class Function(msgspec.Struct, frozen=True):
    """A function that may be called."""

    name: str
    description: str = ""
    parameters: msgspec.Raw = _NULL


class ToolBody(msgspec.Struct, frozen=True):
    """A tool."""

    function: Function


class ToolUse(msgspec.Struct, frozen=True):
    """Which tools may be called."""

    type: str = "none"
    tools: list[ToolBody] | None = None
    force: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether they are called."""

    mode: Literal["none", "auto", "required"] = "auto"


class Structured(msgspec.Struct, frozen=True, rename="camel"):
    """What form the answer must have."""

    type: Literal["none", "json", "gbnf"] = "none"
    json_schema: msgspec.Raw = _NULL
    gbnf_grammar: str = ""


class Marks(msgspec.Struct, frozen=True, rename="camel"):
    """What stands around thoughts where they are shown as text."""

    enabled: bool = True
    start_string: str = "<think>"
    end_string: str = "</think>"


class Mirostat(msgspec.Struct, frozen=True, rename="camel"):
    """Settings of mirostat."""

    version: Literal[0, 1, 2] = 0
    learning_rate: float = 0.1
    target_entropy: float = 5.0


_BOOL = msgspec.json.Decoder(bool)
_MARKS = msgspec.json.Decoder(Marks)
_MIROSTAT = msgspec.json.Decoder(Mirostat)
_NUMBER: msgspec.json.Decoder[float | bool | Checkbox | None] = msgspec.json.Decoder(float | bool | Checkbox | None)
_STRUCTURED = msgspec.json.Decoder(Structured)
_TEXTS = msgspec.json.Decoder(list[str])
_TOOL_CHOICE = msgspec.json.Decoder(ToolChoice)
_TOOL_USE = msgspec.json.Decoder(ToolUse)


class Settings:
    """The settings of one answer, by their keys; of a key in several layers the first one's holds."""

    def __init__(self, stack: KvStack) -> None:
        self._values: dict[str, msgspec.Raw] = {}
        for layer in stack.layers:
            for field in layer.config.fields:
                if field.key.startswith(_PREFIX):
                    self._values.setdefault(field.key.removeprefix(_PREFIX), field.value)
        self.completes = any(layer.layer_name == "completeModeFormatting" for layer in stack.layers)
        """Whether the conversation is plain text that is to be continued."""

    @property
    def has_template(self) -> bool:
        """Whether the client brings a template of its own."""
        return "promptTemplate" in self._values and not self.completes

    @property
    def config(self) -> KvConfig:
        """All of them, to be sent back."""
        return KvConfig(tuple(KvField(_PREFIX + key, value) for key, value in self._values.items()))

    @property
    def marks(self) -> Marks:
        """What stands around thoughts."""
        return self._read("reasoning.parsing", _MARKS) or Marks()

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of an answer; None is as many as the context holds."""
        wanted = self._number("maxPredictedTokens")
        return None if wanted is None or wanted < 1 else min(int(wanted), _INT32_MAX)

    @property
    def stop(self) -> tuple[str, ...]:
        """The text ends before the first of these."""
        return tuple(text for text in self._read("stopStrings", _TEXTS) or () if text)

    @property
    def draft_tokens(self) -> int | None:
        """At most so many tokens are guessed ahead."""
        wanted = self._number("speculativeDecoding.numDraftTokensExact")
        return None if wanted is None else max(0, min(int(wanted), 64))

    def sampling(self) -> Sampling:
        """How the next token is chosen; a setting that is switched off is neutral, one that is missing the runtime's own."""
        default, mirostat = Sampling(), self._read("llama.mirostatSampling", _MIROSTAT) or Mirostat()
        seed = self._number("seed")
        return Sampling(
            temperature=self._within("temperature", 0, 100, default.temperature),
            top_p=self._within("topPSampling", 0, 1, default.top_p, off=1.0),
            top_k=int(self._within("topKSampling", 0, _INT32_MAX, default.top_k)),
            min_p=self._within("minPSampling", 0, 1, default.min_p),
            presence_penalty=self._within("llama.presencePenalty", -2, 2, default.presence_penalty),
            frequency_penalty=self._within("llama.frequencyPenalty", -2, 2, default.frequency_penalty),
            repeat_penalty=self._within("repeatPenalty", 0.01, 100, default.repeat_penalty, off=1.0),
            typical_p=self._within("llama.locallyTypicalSampling", 0, 1, default.typical_p, off=1.0),
            xtc_probability=self._within("llama.xtcProbability", 0, 1, default.xtc_probability),
            xtc_threshold=self._within("llama.xtcThreshold", 0, 1, default.xtc_threshold),
            mirostat=mirostat.version,
            mirostat_tau=max(0.0, mirostat.target_entropy),
            mirostat_eta=max(0.0, mirostat.learning_rate),
            seed=int(seed) if seed is not None and seed >= 0 else None,
        )

    def thinking(self) -> Thinking:
        """How much the model thinks."""
        budget = self._number("reasoning.budgetTokens")
        return Thinking(
            enabled=self._read("reasoning.enableThinking", _BOOL),
            budget_tokens=None if budget is None else max(0, min(int(budget), _INT32_MAX)),
        )

    def tools(self) -> tuple[tuple[Tool, ...], ToolMode]:
        """The tools that are offered, and whether they are called."""
        use = self._read("tools", _TOOL_USE) or ToolUse()
        choice = self._read("toolChoice", _TOOL_CHOICE) or ToolChoice()
        tools = tuple(to_tool(tool) for tool in use.tools or ()) if use.type == "toolArray" else ()
        return tools, "required" if use.force and tools else choice.mode

    def constraint(self) -> Constraint | None:
        """What form the answer must have; None leaves it free."""
        wanted, param = self._read("structured", _STRUCTURED) or Structured(), "structured"
        match wanted.type:
            case "none":
                return None
            case "gbnf":
                return Constraint("gbnf", wanted.gbnf_grammar, param=param)
            case "json":
                schema = bytes(wanted.json_schema).strip()
                if schema == b"null":
                    return Constraint("json_object", param=param)
                return Constraint("json_schema", schema.decode(), param=param)

    def _within(self, key: str, least: float, most: float, missing: float, *, off: float = 0.0) -> float:
        if key not in self._values:
            return missing
        wanted = self._number(key)
        return off if wanted is None else max(least, min(wanted, most))

    def _number(self, key: str) -> float | None:
        """A number, bare or with its checkbox; None where it is missing or switched off."""
        value = self._read(key, _NUMBER)
        if isinstance(value, Checkbox):
            value = value.value if value.checked else None
        return None if value is None or isinstance(value, bool) else value

    def _read(self, key: str, decoder: msgspec.json.Decoder[Value]) -> Value | None:
        return read_value(self._values, _PREFIX, key, decoder)


def read_value(values: Mapping[str, msgspec.Raw], prefix: str, key: str, decoder: msgspec.json.Decoder[Value]) -> Value | None:
    """Reads one setting, whose whole name begins with a prefix; None where it is missing. Raises InvalidRequest."""
    if key not in values:
        return None
    try:
        return decoder.decode(values[key])
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"'{prefix}{key}': {str(error).replace('`', '')}.", param=key, code="invalid_value") from error


def to_tool(body: ToolBody) -> Tool:
    """Translates a tool."""
    parameters = bytes(body.function.parameters).strip()
    return Tool(
        body.function.name,
        body.function.description,
        parameters.decode() if parameters.startswith(b"{") else _NO_PARAMETERS,
    )
