"""What a model's tokens stand for, and the constraints that were made for them."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...request import Constraint
from ..backends.backend import Refusal
from .errors import NotHeld
from .matcher import FormMatcher, Matcher
from .triggered import PieceIndex, TriggeredMatcher, Triggers

if TYPE_CHECKING:
    import llguidance

MAX_PREPARED = 16
"""Clients send the same few schemas with every turn."""
MAX_TEXT_BYTES = 256 * 1024
MAX_TRIGGERS = 16
SLOW_S = 0.5

MAX_LEXER_STATES = 50_000
"""Less memory than llguidance takes by itself, up to 2 KB for each."""
MAX_ROW_ITEMS = 20_000
"""An object with a thousand optional properties has several thousand ways to go on."""
MAX_STEP_ITEMS = 200_000
"""More work for one token: grammars that are held character by character need it."""
_CONTROL_MARK = b"\xff"
"""The matcher takes a token that begins so as none of a text's; no UTF-8 has this byte."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A vocabulary as an engine reads it."""

    pieces: Sequence[bytes]
    """What each token writes, by id; a control token's own text for those."""
    controls: frozenset[int]
    """Tokens that no text is made of."""
    ends: frozenset[int]
    """Tokens that end an answer."""
    tokenize: Callable[[str], list[int]] = field(repr=False)
    """Cuts text into tokens, none of them control tokens."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A vocabulary that was read."""

    tokens: Tokens
    tokenizer: llguidance.LLTokenizer
    index: PieceIndex
    controls: Mapping[str, int]
    """Control tokens by their text."""


class ConstraintVocabulary:
    """Makes matchers for one vocabulary.

    Args:
        read: reads the vocabulary; asked for once, when the first constraint comes, as it takes a quarter of a second.
    """

    def __init__(self, read: Callable[[], Tokens]) -> None:
        self._read = read
        self._opened: _Opened | None = None
        self._prepared: OrderedDict[Constraint, llguidance.LLMatcher | Triggers] = OrderedDict()
        """What answers with the same constraint begin with, the newest asked for last."""

    @property
    def tokens(self) -> Tokens:
        """The vocabulary; it is read now if no constraint came yet."""
        return self._open().tokens

    def compile(self, constraint: Constraint) -> Matcher:
        """Makes a matcher at the beginning of an answer.

        Raises:
            Refusal: the constraint is none that can be held, or the vocabulary has no token to end with.
        """
        try:
            opened = self._open()
            prepared = self._prepared.pop(constraint, None)
            if prepared is None:
                prepared = _prepare(constraint, opened)
        except NotHeld as error:
            param = constraint.param or ("response_format" if constraint.kind.startswith("json") else "grammar")
            raise Refusal("invalid", f"'{param}': {error}.", param=param) from error
        self._prepared[constraint] = prepared
        if len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)
        if isinstance(prepared, Triggers):
            return TriggeredMatcher(prepared)
        return FormMatcher(prepared.deep_copy(), ends=opened.tokens.ends, size=len(opened.tokens.pieces))

    def _open(self) -> _Opened:
        if self._opened is None:
            import llguidance  # here and below: it takes memory that only answers with a form need

            began_s = time.perf_counter()
            tokens = self._read()
            if not tokens.ends:
                raise NotHeld("this model has no token that ends an answer")
            wrapper = llguidance.TokenizerWrapper(_Source(tokens))
            tokenizer = llguidance.LLTokenizer(wrapper, eos_token=sorted(tokens.ends))
            controls = {tokens.pieces[token].decode("utf-8", "replace"): token for token in sorted(tokens.controls)}
            self._opened = _Opened(tokens, tokenizer, PieceIndex(tokens.pieces), controls)
            log.info("the vocabulary is ready for constraints after %.2f s", time.perf_counter() - began_s)
        return self._opened


class _Source:
    """A vocabulary as llguidance's wrapper asks for it."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokenize = tokens.tokenize
        self.eos_token_id = min(tokens.ends)
        self.bos_token_id = None
        # An empty token would be taken for one that may always come.
        self.tokens = [
            _CONTROL_MARK + piece if token in tokens.controls or not piece else piece
            for token, piece in enumerate(tokens.pieces)
        ]

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenize(text.decode("utf-8", "replace"))


def _prepare(constraint: Constraint, opened: _Opened) -> llguidance.LLMatcher | Triggers:
    if len(constraint.text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise NotHeld(f"it is longer than {MAX_TEXT_BYTES // 1024} KiB")
    grammar = None if constraint.kind == "without" else _build(constraint, opened)
    if grammar is not None and not constraint.triggers:
        return grammar
    if len(constraint.triggers) > MAX_TRIGGERS or not all(constraint.triggers):
        raise NotHeld(f"it takes up to {MAX_TRIGGERS} triggers, none of them empty")
    return Triggers(
        grammar,
        tuple(text.encode("utf-8", "replace") for text in constraint.triggers),
        repeats=constraint.repeats,
        index=opened.index,
        ends=opened.tokens.ends,
        tokenize=opened.tokenizer.tokenize_bytes,
    )


def _build(constraint: Constraint, opened: _Opened) -> llguidance.LLMatcher:
    import llguidance

    from .grammar import to_grammar

    began_s = time.perf_counter()
    limits = llguidance.LLParserLimits(
        max_items_in_row=MAX_ROW_ITEMS, max_lexer_states=MAX_LEXER_STATES, step_max_items=MAX_STEP_ITEMS, verbose_errors=False
    )
    grammar = llguidance.LLMatcher(opened.tokenizer, to_grammar(constraint, opened.controls), log_level=0, limits=limits)
    if not grammar.is_error():
        # Laying out the first token's choices also shows a grammar that allows nothing at all.
        grammar.compute_bitmask()
    took_s = time.perf_counter() - began_s
    if took_s > SLOW_S:
        log.warning("a constraint of %d bytes took %.1f s to compile", len(constraint.text), took_s)
    if grammar.is_error() or (grammar.is_stopped() and not grammar.is_accepting()):
        raise NotHeld(f"it cannot be held: {_in_our_words(grammar.get_error())}")
    return grammar


def _in_our_words(why: str) -> str:
    """Picks the line that says what is wrong, without the advice that llguidance gives to those who call it."""
    lines = [line.strip() for line in why.splitlines()]
    said = next((line for line in lines if line.startswith("error: ")), lines[0] if lines else "")
    if not said or said.startswith("NoExtension"):
        return "no text fits it"
    if said.startswith("panic: "):
        return "it is too large"
    if said.startswith("Unable to determine if regex is empty"):
        return "its patterns together are too complex"
    return said.removeprefix("error: ").partition(" Enable '")[0][:300].removesuffix(".")
