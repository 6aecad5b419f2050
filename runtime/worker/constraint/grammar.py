"""A request's constraint in llguidance's own language."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from ...request import Constraint
from .errors import NotHeld
from .gbnf import gbnf_to_lark
from .patterns import MAX_LENGTH, MAX_PRODUCT, repetition_product
from .schema import translate_schema

BETWEEN = r"(?: |\n[ \t]{0,20})"
"""What may stand between two parts of a JSON text, once: a space, or a new line with its indentation. With more a small model
writes blanks until its tokens are used up."""
MAX_GRAMMAR = 48 * 1024
"""Characters of a grammar without the schemas in it."""
_ESCAPES = 'nrbtf\\"'
"""What may follow a backslash. A name spelled with \\u is another one to the matcher, but the same to whoever reads it."""
_OBJECT = '{"type": "object"}'
_LARK = re.compile(r"^\s*%llguidance\b")
_DECODER = json.JSONDecoder()
_INLINE_SCHEMA = re.compile(r"%json\s*(?=\{)")
_IS_CONTROL = re.compile(r"\W.+\W", re.DOTALL)
"""Texts of control tokens that are looked for within others: a word could be meant as one."""
_MARK = re.compile(r'%(mark|until)\s*("(?:[^"\\\n]|\\.)*")')


def to_grammar(constraint: Constraint, controls: Mapping[str, int]) -> str:
    """Translates a constraint; raises NotHeld where it is malformed or cannot be held.

    Args:
        constraint: what the client asked for, or a family of models needs.
        controls: the control tokens by their text, which `%mark` and `%until` of a Lark grammar look for.
    """
    from llguidance import LLMatcher  # what answers without a constraint need not pay for

    match constraint.kind:
        case "json_object":
            return _json_grammar(_OBJECT)
        case "json_schema":
            return _json_grammar(translate_schema(constraint.text))
        case "gbnf" if not _LARK.match(constraint.text):
            _check_text(constraint.text, MAX_GRAMMAR, counts=False)
            return LLMatcher.grammar_from_lark(gbnf_to_lark(constraint.text))
        case "gbnf" | "lark":
            return LLMatcher.grammar_from_lark(_hold_schemas(_place_marks(constraint.text, controls)))
        case "regex":
            _check_text(constraint.text, MAX_LENGTH)
            return LLMatcher.grammar_from_regex(constraint.text)
        case "without":
            raise NotHeld("it is held without a grammar")


def _json_grammar(schema: str) -> str:
    from llguidance import LLMatcher

    try:
        return LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_pattern": BETWEEN, "json_allowed_escapes": _ESCAPES}
        )
    except ValueError as error:
        raise NotHeld(str(error)) from error


def _place_marks(text: str, controls: Mapping[str, int]) -> str:
    """Replaces `%mark "text"` by a control token or the text, and `%until "text"` by a rule that ends with either.

    Of a text with control tokens in it, those are the tokens and the rest is text.
    """
    rules: dict[str, str] = {}
    """By the text that ends them."""
    known = sorted(filter(_IS_CONTROL.fullmatch, controls), key=len, reverse=True)
    inner = re.compile(f"({'|'.join(map(re.escape, known)) or '(?!)'})")

    def write(parts: list[str]) -> str:
        """Writes texts and tokens in turn, a text first."""
        written = (f"<[{controls[part]}]>" if at % 2 else json.dumps(part) for at, part in enumerate(parts) if part)
        return " ".join(written) or '""'

    def place(match: re.Match[str]) -> str:
        word, quoted = match.groups()
        said: str = json.loads(quoted)
        parts = ["", said, ""] if said in controls else inner.split(said)
        if word == "mark":
            return write(parts)
        name = f"until_{len(rules)}"
        if len(parts) == 1:
            rule = f"{name}[suffix={quoted}]: /(?s:.*)/"
        else:
            before = re.escape(parts[0]).replace("/", r"\/").replace("\n", r"\n")
            rule = f"{name}: /(?s:.*){before}/ {write(['', *parts[1:]])}"
        return rules.setdefault(quoted, rule).partition(":")[0].partition("[")[0]

    return "\n".join([_MARK.sub(place, text), *rules.values()])


def _hold_schemas(text: str) -> str:
    """Holds the schemas within a grammar (`%json {…}`) as those that come alone."""
    parts: list[str] = []
    at = 0
    for match in _INLINE_SCHEMA.finditer(text):
        if match.start() < at:
            continue
        try:
            _, end = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError) as error:
            raise NotHeld(f"a schema within the grammar is not valid JSON: {error}") from error
        schema = {
            **json.loads(translate_schema(text[match.end() : end])),
            "x-guidance": {"whitespace_pattern": BETWEEN, "json_allowed_escapes": _ESCAPES},
        }
        parts += text[at : match.end()], json.dumps(schema)
        at = end
    parts.append(text[at:])
    _check_text("".join(parts[::2]), MAX_GRAMMAR)
    return "".join(parts)


def _check_text(text: str, longest: int, *, counts: bool = True) -> None:
    """Bounds what the matcher must lay out; in a grammar by characters (GBNF) counted repetitions cost nothing."""
    if len(text) > longest:
        raise NotHeld(f"it is longer than {longest} characters")
    if counts and repetition_product(text) > MAX_PRODUCT:
        raise NotHeld("it repeats its parts too often")
