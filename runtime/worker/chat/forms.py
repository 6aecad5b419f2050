"""What holds an answer: the form that the request or its tools ask for, and the end of a thought that grew too long."""

from __future__ import annotations

import logging

from ...request import Constraint
from ..backends.backend import Refusal
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
    return form if written.limit is None else _limit(constraints, form, written.limit)


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


def _limit(constraints: ConstraintVocabulary, form: Matcher | None, limit: ThoughtLimit) -> Matcher:
    tokens = constraints.tokens
    closing = limit.close.strip()
    known = next((token for token in sorted(tokens.controls) if tokens.pieces[token] == closing.encode()), None)
    return LimitedThought(
        form,
        pieces=tokens.pieces,
        opening=limit.open.encode(),
        closing=closing.encode(),
        closing_tokens=tokens.tokenize(closing) if known is None else [known],
        begun=limit.begun,
        limit=limit.tokens,
    )
