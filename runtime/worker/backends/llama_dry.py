"""The sampler against repeated stretches (DRY), made once for each set of values and copied from then on.

Making one looks through the whole vocabulary for tokens that hold a sequence breaker: about 16 ms for 49,000 tokens.
"""

from __future__ import annotations

import ctypes
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from llama_cpp import llama_cpp as native

from ...request import Sampling

if TYPE_CHECKING:
    from collections.abc import Callable

    _InitDry = Callable[..., native.llama_sampler_p]

MAX_KEPT = 8

_Key = tuple[float, float, int, int, tuple[str, ...]]


class DrySamplers:
    """Makes such samplers for one vocabulary."""

    def __init__(self, vocab: native.llama_vocab_p) -> None:
        self._vocab = vocab
        self._unused: OrderedDict[_Key, native.llama_sampler_p] = OrderedDict()
        """What others are copied from, the newest asked for last."""

    def make(self, sampling: Sampling, last_n: int) -> native.llama_sampler_p:
        """Makes one that looks at so many of the newest tokens; it saw none yet, and is the caller's to free."""
        breakers = tuple(filter(None, sampling.dry_sequence_breakers))
        key = (sampling.dry_multiplier, sampling.dry_base, sampling.dry_allowed_length, last_n, breakers)
        unused = self._unused.pop(key, None)
        if unused is None:
            texts = (ctypes.c_char_p * len(breakers))(*(text.encode("utf-8", "replace") for text in breakers))
            # The binding leaves the type of one parameter open.
            init_dry = cast("_InitDry", native.llama_sampler_init_dry)  # pyright: ignore[reportUnknownMemberType]
            unused = init_dry(self._vocab, *key[:4], texts, len(breakers))
        self._unused[key] = unused
        if len(self._unused) > MAX_KEPT:
            native.llama_sampler_free(self._unused.popitem(last=False)[1])
        return native.llama_sampler_clone(unused)
