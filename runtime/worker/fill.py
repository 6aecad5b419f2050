"""A gap between two texts as the tokens of a model that was trained to fill it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..request import FillPrompt
from .backends.backend import Refusal

REPOSITORY = "repository"
HERE = "here"
"""What stands for the names of the project and of the file with the gap, which no client tells."""
SNIPPET = "\n\n--- snippet ---\n\n"
"""What stands before another file for models that have no token for it, as llama-server does."""

Tokenizer = Callable[[str], list[int]]
"""Cuts text into tokens, none of which is a control token."""


@dataclass(frozen=True, slots=True)
class FillTokens:
    """The control tokens a gap is told with."""

    prefix: int
    suffix: int
    middle: int
    """After it the model writes."""
    repository: int | None = None
    """Begins the name of a project; None where the model knows none."""
    file: int | None = None
    """Begins a file's path; None where the model knows none."""
    bos: int | None = None
    """Begins every prompt; None where the model wants none."""


def fill_tokens(prompt: FillPrompt, tokens: FillTokens | None, tokenize: Tokenizer) -> list[int]:
    """Writes a gap in the order prefix, suffix, middle, and other files before it as Qwen2.5-Coder knows them.

    The order is the same for every model with these tokens: https://arxiv.org/abs/2207.14255, and for several files
    https://arxiv.org/abs/2409.12186, figure 3. Nothing is cut.

    Raises:
        Refusal: the model was not made for it.
    """
    if tokens is None:
        raise Refusal(
            "invalid",
            "This model was not made to fill gaps: its vocabulary has no tokens for prefix, suffix and middle. Models for "
            "code usually have them, as Qwen2.5-Coder, CodeGemma, StarCoder2, DeepSeek-Coder and Granite-Code.",
            param="suffix",
        )
    ids = [] if tokens.bos is None else [tokens.bos]
    if prompt.files:
        if tokens.repository is not None:
            ids += [tokens.repository, *tokenize(f"{REPOSITORY}\n")]
        for file in prompt.files:
            head = tokenize(SNIPPET) if tokens.file is None else [tokens.file, *tokenize(f"{file.path}\n")]
            ids += [*head, *tokenize(file.text)]
        if tokens.file is not None:
            ids += [tokens.file, *tokenize(f"{HERE}\n")]
    return [*ids, tokens.prefix, *tokenize(prompt.prefix), tokens.suffix, *tokenize(prompt.suffix), tokens.middle]
