"""What can be asked of every model that writes without computing: its tokens, their text, its chat template."""

from __future__ import annotations

from collections.abc import Sequence

from ..questions import ApplyTemplate, Count, Counted, Detokenize, Detokenized, Rendered, Tokenize, Tokenized
from ..request import GenerateRequest
from .backends.backend import PromptTooLong, Refusal
from .prompts import PromptReader
from .vocabulary import Vocabulary

MOST_CHARACTERS = 4_000_000
"""Longer texts are not cut into tokens: it would take seconds, in which nobody else gets a token."""

WordQuestion = Tokenize | Detokenize | ApplyTemplate | Count


def answer_words(
    question: WordQuestion, vocabulary: Vocabulary, prompts: PromptReader | None
) -> Tokenized | Detokenized | Rendered | Counted:
    """Answers at once.

    Args:
        question: what is asked.
        vocabulary: the model's.
        prompts: writes prompts as for a generation; None for a model that is not spoken with.

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
            return Rendered("".join(segment.text for segment in _spoken_with(prompts).render(messages)))
        case Count(prompt):
            try:
                return Counted(len(_spoken_with(prompts).read(GenerateRequest("", prompt)).ids))
            except PromptTooLong as error:
                return Counted(error.prompt_tokens)


def _spoken_with(prompts: PromptReader | None) -> PromptReader:
    if prompts is None:
        raise Refusal("invalid", "This model takes no conversations: it does not write text.", param="model")
    return prompts


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
