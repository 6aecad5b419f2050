"""How an answer is made, as Ollama's clients say it: `options`, `think`, `format`, `keep_alive`.

After https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx#valid-parameters-and-values and
https://github.com/ollama/ollama/blob/main/docs/api.md. What is out of range is brought into it where that keeps the meaning.
"""

from __future__ import annotations

import math
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from ...runtime.errors import InvalidRequest
from ...runtime.request import Constraint, Sampling, Thinking

NULL = msgspec.Raw(b"null")
"""Stands for a field that is not given where its value is kept as it was written."""
Model = Annotated[str, Meta(min_length=1, max_length=1024)]
_INT32_MAX = 2**31 - 1
_SEED_MAX = 2**63 - 1
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCH_WORDS = {"true": True, "false": False, "none": False}


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The `options` of a request, and the `parameters` of a model that a client made.

    How a model is held is not for a request to say, so `num_ctx`, `num_gpu`, `num_thread` and the like are read over:
    `num_ctx` would refuse, or cut, what fits well into the context that is served.
    """

    temperature: float | None = None
    top_k: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    seed: float | int | None = None
    """A negative one draws a fresh seed, as none does."""
    num_predict: float | None = None
    """0 and below is as many as the context holds."""
    stop: str | list[str] | None = None
    repeat_penalty: float | None = None
    repeat_last_n: float | None = None
    """-1 is the whole context."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    mirostat: float | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    echo_tps: float | None = None
    """Not Ollama's: the speed of the model `echo`."""

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of the answer; None is as many as the context holds."""
        return _whole(self.num_predict, 0, _INT32_MAX, 0) or None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        texts = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in texts if text)


def merge(over: Options | None, under: Options) -> Options:
    """Gives the first one's values, and the second one's where it has none."""
    if over is None:
        return under
    given = {name: value for name in over.__struct_fields__ if (value := getattr(over, name)) is not None}
    return msgspec.structs.replace(under, **given)


def to_sampling(options: Options) -> Sampling:
    """Gives what the options say, and the runtime's defaults for the rest; raises InvalidRequest."""
    default = Sampling()
    if options.repeat_penalty is not None and options.repeat_penalty <= 0:
        raise _wrong("repeat_penalty", "it must be more than 0; 1 is off")
    mirostat = options.mirostat or 0
    if mirostat not in (0, 1, 2):
        raise _wrong("mirostat", "it is 0, 1 or 2")
    seed = _whole(options.seed, -1, _SEED_MAX, -1)
    return Sampling(
        temperature=_within(options.temperature, 0, 100, default.temperature),
        top_k=_whole(options.top_k, 0, _INT32_MAX, default.top_k),
        top_p=_within(options.top_p, 0, 1, default.top_p),
        min_p=_within(options.min_p, 0, 1, default.min_p),
        typical_p=_within(options.typical_p, 0, 1, default.typical_p),
        presence_penalty=_within(options.presence_penalty, -2, 2, default.presence_penalty),
        frequency_penalty=_within(options.frequency_penalty, -2, 2, default.frequency_penalty),
        repeat_penalty=_within(options.repeat_penalty, 0.01, 100, default.repeat_penalty),
        repeat_last_n=_whole(options.repeat_last_n, -1, _INT32_MAX, default.repeat_last_n),
        mirostat=2 if mirostat == 2 else 1 if mirostat == 1 else 0,
        mirostat_tau=_within(options.mirostat_tau, 0, 1000, default.mirostat_tau),
        mirostat_eta=_within(options.mirostat_eta, 0, 1000, default.mirostat_eta),
        seed=seed if seed >= 0 else None,
    )


def to_thinking(think: bool | str | None) -> Thinking:
    """Reads `think`: yes, no, or how much; None leaves it to the model."""
    if isinstance(think, str):
        word = think.strip().lower()
        if word and word not in _SWITCH_WORDS:
            return Thinking(enabled=True, effort=word)
        think = _SWITCH_WORDS.get(word)
    return Thinking(enabled=think)


def to_constraint(wanted: msgspec.Raw) -> Constraint | None:
    """Reads `format`: "json", or a JSON Schema; None leaves the answer free. Raises InvalidRequest."""
    written = bytes(wanted).strip()
    if written in (b"null", b'""'):
        return None
    if written == b'"json"':
        return Constraint("json_object", param="format")
    if written.startswith(b"{"):
        return Constraint("json_schema", written.decode(), param="format")
    raise _wrong("format", 'it is "json" or a JSON Schema')


def to_keep_alive(wanted: float | str | None) -> float | None:
    """Reads `keep_alive`, in seconds or as "5m" or "1h30m": infinity for what is negative, None where it is not given.

    Raises:
        InvalidRequest: it is no duration.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        wanted = _read_duration(wanted.strip())
    return math.inf if wanted < 0 else wanted


def _read_duration(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text)
    pieces = _DURATION.findall(rest)
    if not pieces or "".join(number + unit for number, unit in pieces) != rest:
        raise InvalidRequest(
            f"'keep_alive': '{text[:40]}' is no duration; write seconds, or as \"5m\".",
            param="keep_alive",
            code="invalid_value",
        )
    return sign * sum(float(number) * _UNIT_S[unit] for number, unit in pieces)


def _within(value: float | None, least: float, most: float, default: float) -> float:
    return default if value is None else min(max(value, least), most)


def _whole(value: float | None, least: int, most: int, default: int) -> int:
    if value is None:
        return default
    return least if value <= least else most if value >= most else int(value)


def _wrong(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}': {why}.", param=name, code="invalid_value")
