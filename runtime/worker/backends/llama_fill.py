"""The tokens a GGUF model knows for gaps."""

from __future__ import annotations

from typing import cast

from llama_cpp import llama_cpp as native

from ..fill import FillTokens


def read_fill_tokens(vocab: native.llama_vocab_p) -> FillTokens | None:
    """Reads a vocabulary's tokens for gaps; None where one of the three that are needed is missing."""
    prefix = _known(native.llama_vocab_fim_pre(vocab))
    suffix = _known(native.llama_vocab_fim_suf(vocab))
    middle = _known(native.llama_vocab_fim_mid(vocab))
    if prefix is None or suffix is None or middle is None:
        return None
    return FillTokens(
        prefix,
        suffix,
        middle,
        repository=_known(native.llama_vocab_fim_rep(vocab)),
        file=_known(native.llama_vocab_fim_sep(vocab)),
        bos=_known(native.llama_vocab_bos(vocab)) if native.llama_vocab_get_add_bos(vocab) else None,
    )


def _known(token: object) -> int | None:
    # The binding declares its C type, but ctypes gives a plain int; -1 is none.
    number = cast("int", token)
    return number if number >= 0 else None
