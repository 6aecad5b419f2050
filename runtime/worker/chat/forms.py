"""What holds an answer: the form that the request or its tools ask for, and the end of a thought that grew too long."""

from __future__ import annotations

import logging

from ...request import Constraint
from ..backends.backend import Refusal
from ..constraint.free_thought import FreeThought
from ..constraint.matcher import Matcher
from ..constraint.vocabulary import ConstraintVocabulary
from .conversation import ThoughtLimit, Written
from .thought_limit import LimitedThought

log = logging.getLogger(__name__)


def open_form(constraints: ConstraintVocabulary, asked: Constraint | None, written: Written | None) -> Matcher | None:
    """Makes what holds an answer; None leaves it free.

    Args:
        constraints: makes matchers for the model's vocabulary.
        asked: what the request asks for.
        written: the conversation; None for a prompt that is none, which is held to just what was asked for.

    Raises:
        Refusal: the form is none that can be held.
    """
    if written is None:
        return None if asked is None else constraints.compile(asked)
    form = _first(constraints, written)
    if written.limit is None:
        return form
    if form is not None and any(asked.triggers and asked.repeats for asked in written.forms):
        form = _free(constraints, form, written.limit)
    return form if written.limit.tokens is None else _limit(constraints, form, written.limit, written.limit.tokens)


def _first(constraints: ConstraintVocabulary, written: Written) -> Matcher | None:
    """Opens the first form that can be held."""
    for at, form in enumerate(written.forms):
        try:
            return constraints.compile(form)
        except Refusal as error:
            if written.needs_form and at == len(written.forms) - 1:
                raise
            log.info("a form for tool calls cannot be held: %s", error.message)
    return None


def _free(constraints: ConstraintVocabulary, form: Matcher, thought: ThoughtLimit) -> Matcher:
    """Lets calls be quoted in a thought, as long as it goes on."""
    opening, closing = thought.open.encode(), thought.close.encode()
    return FreeThought(form, pieces=constraints.tokens.pieces, opening=opening, closing=closing, begun=thought.begun)


def _limit(constraints: ConstraintVocabulary, form: Matcher | None, limit: ThoughtLimit, tokens: int) -> Matcher:
    vocabulary = constraints.tokens
    closing = limit.close.strip()
    known = next((token for token in sorted(vocabulary.controls) if vocabulary.pieces[token] == closing.encode()), None)
    return LimitedThought(
        form,
        pieces=vocabulary.pieces,
        opening=limit.open.encode(),
        closing=closing.encode(),
        closing_tokens=vocabulary.tokenize(closing) if known is None else [known],
        begun=limit.begun,
        limit=tokens,
    )
