"""How the next token is chosen, as OpenAI's and llama-server's clients say it.

Beside OpenAI's fields those of https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md, by their names there.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from ...runtime.request import Sampling

_INT32_MAX = 2**31 - 1

Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
TokenId = Annotated[int, Meta(ge=0, le=_INT32_MAX)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Repeat = Annotated[float, Meta(gt=0, le=100)]
LastTokens = Annotated[int, Meta(ge=-1, le=_INT32_MAX)]
"""How many of the newest tokens are looked at; -1 is all, 0 none."""

Value = TypeVar("Value")


class SamplingBody(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a body that choose tokens."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=_INT32_MAX)] | None = None
    """0 and -1 are off."""
    min_p: Share | None = None
    typical_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: Repeat | None = None
    repetition_penalty: Repeat | None = None
    """Another name of `repeat_penalty`, which wins."""
    repeat_last_n: LastTokens | None = None
    dry_multiplier: Annotated[float, Meta(ge=0, le=1000)] | None = None
    dry_base: Annotated[float, Meta(ge=1, le=1000)] | None = None
    dry_allowed_length: Annotated[int, Meta(ge=0, le=_INT32_MAX)] | None = None
    dry_penalty_last_n: LastTokens | None = None
    dry_sequence_breakers: Annotated[list[Annotated[str, Meta(max_length=40)]], Meta(max_length=32)] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    mirostat: Literal[0, 1, 2] | None = None
    mirostat_tau: Annotated[float, Meta(ge=0, le=1000)] | None = None
    mirostat_eta: Annotated[float, Meta(ge=0, le=1000)] | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Meta(max_length=4096)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    """A negative one draws a fresh seed, as none does."""


def to_sampling(body: SamplingBody) -> Sampling:
    """Gives what the body says, and the runtime's defaults for the rest."""
    default = Sampling()
    breakers = body.dry_sequence_breakers
    return Sampling(
        temperature=_given(body.temperature, default.temperature),
        top_p=_given(body.top_p, default.top_p),
        top_k=max(0, _given(body.top_k, default.top_k)),
        min_p=_given(body.min_p, default.min_p),
        presence_penalty=_given(body.presence_penalty, default.presence_penalty),
        frequency_penalty=_given(body.frequency_penalty, default.frequency_penalty),
        repeat_penalty=_given(body.repeat_penalty, _given(body.repetition_penalty, default.repeat_penalty)),
        repeat_last_n=_given(body.repeat_last_n, default.repeat_last_n),
        typical_p=_given(body.typical_p, default.typical_p),
        dry_multiplier=_given(body.dry_multiplier, default.dry_multiplier),
        dry_base=_given(body.dry_base, default.dry_base),
        dry_allowed_length=_given(body.dry_allowed_length, default.dry_allowed_length),
        dry_penalty_last_n=_given(body.dry_penalty_last_n, default.dry_penalty_last_n),
        dry_sequence_breakers=default.dry_sequence_breakers if breakers is None else tuple(breakers),
        xtc_probability=_given(body.xtc_probability, default.xtc_probability),
        xtc_threshold=_given(body.xtc_threshold, default.xtc_threshold),
        mirostat=_given(body.mirostat, default.mirostat),
        mirostat_tau=_given(body.mirostat_tau, default.mirostat_tau),
        mirostat_eta=_given(body.mirostat_eta, default.mirostat_eta),
        logit_bias=_given(body.logit_bias, default.logit_bias),
        seed=body.seed if body.seed is not None and body.seed >= 0 else None,
    )


def _given(value: Value | None, default: Value) -> Value:
    return default if value is None else value
