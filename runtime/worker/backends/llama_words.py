"""What can be asked of every GGUF model without computing: its tokens, their text, its chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...questions import ApplyTemplate, Detokenize, Detokenized, Rendered, Tokenize, Tokenized
from ...request import Message
from ..prompt import Segment
from .backend import Refusal
from .llama_vocab import Vocabulary

MOST_CHARACTERS = 4_000_000
"""Longer texts are not cut into tokens: it would take seconds, in which nobody else gets a token."""

Render = Callable[[Sequence[Message]], list[Segment]]


def answer_words(
    question: Tokenize | Detokenize | ApplyTemplate, vocabulary: Vocabulary, render: Render
) -> Tokenized | Detokenized | Rendered:
    """Answers at once.

    Args:
        question: what is asked.
        vocabulary: the model's.
        render: writes a conversation by the model's chat template.

    Raises:
        Refusal: a token is not known, a text is too long, or the template does not take the messages.
    """
    match question:
        case Tokenize():
            ids = _tokenize(question, vocabulary)
            return Tokenized(tuple(ids), tuple(map(vocabulary.bytes_of, ids)))
        case Detokenize(token_ids):
            _check(token_ids, vocabulary, "tokens")
            return Detokenized(vocabulary.text(token_ids))
        case ApplyTemplate(messages):
            return Rendered("".join(segment.text for segment in render(messages)))


def _tokenize(question: Tokenize, vocabulary: Vocabulary) -> list[int]:
    size = sum(len(piece) for piece in question.content if isinstance(piece, str))
    if size > MOST_CHARACTERS:
        raise Refusal(
            "invalid", f"A text of {size:,} characters is too long; {MOST_CHARACTERS:,} is the most.", param="content"
        )
    _check([piece for piece in question.content if isinstance(piece, int)], vocabulary, "content")
    ids: list[int] = []
    for at, piece in enumerate(question.content):
        if isinstance(piece, int):
            ids.append(piece)
        else:
            ids += vocabulary.tokenize(piece, control=question.control, whole=question.whole and at == 0)
    return ids


def _check(token_ids: Sequence[int], vocabulary: Vocabulary, param: str) -> None:
    if not vocabulary.are_known(token_ids):
        raise Refusal("invalid", f"There is a token id outside of 0 to {vocabulary.size - 1}.", param=param)
