"""What the bodies of OpenAI's generating endpoints share."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .lora import AdapterBodies
from .openai_format import FormBody

Count = Annotated[int, Meta(ge=1, le=2**53)]
Limit = Annotated[int, Meta(ge=-(2**31), le=2**53)]
"""A count where a negative number stands for none, as llama-server and LM Studio have it; 0 is refused."""


class StreamOptions(msgspec.Struct, frozen=True):
    """What a stream says besides its text."""

    include_usage: bool | None = None


class GenerationBody(FormBody, frozen=True, kw_only=True):
    """What both endpoints share."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=16)] | None = None
    max_tokens: Limit | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    num_ctx: Count | None = None
    """The client's own bound on prompt and answer together; the model is held as it is."""
    cache_prompt: bool | None = None
    """Not given, it is true."""
    draft_tokens: Annotated[int, Meta(ge=0, le=64)] | None = None
    """At most so many tokens are guessed ahead; 0 is none."""
    lora: AdapterBodies | None = None
    """[] is none, also where `model` is an alias with adapters."""
    echo_tps: Annotated[float, Meta(ge=0, le=1e9)] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)
