"""llama.cpp's grammars (GBNF) in llguidance's language, character by character.

After https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md. llguidance cuts text into the longest lexemes,
where GBNF tries every way to derive it: `[a-z]+ "s"` never ends there. So every character is a lexeme of its own here, which
leaves nothing to cut and is exact; it costs about a millisecond for each token.
"""

from __future__ import annotations

import re
from typing import NoReturn

from .errors import NotHeld

MAX_DEPTH = 100
MAX_REPEAT = 100_000

_SPACE = re.compile(r"(?:[ \t]|#[^\n\r]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\n\r]|#[^\n\r]*)*")
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_DEFINED_AS = re.compile(r"::=")
_COUNT = re.compile(r"\{\s*(\d+)\s*(?:(,)\s*(\d+)?\s*)?\}")
_TOKEN = re.compile(r"(!)?<(?:\[(\d+)\]|([^<>\s]+))>")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([tnr\"\\\[\]]))")
_LETTERS = {"t": "\t", "n": "\n", "r": "\r"}


def gbnf_to_lark(text: str) -> str:
    """Translates a grammar; raises NotHeld, with the line at fault, where it is malformed."""
    return _Reader(text).read()


class _Reader:
    """Reads one grammar from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._rules: dict[str, int] = {}
        """Numbers of the rules by name; names of our own cannot collide in another alphabet."""
        self._bodies: dict[str, str] = {}
        self._depth = 0

    def read(self) -> str:
        """Reads all rules and gives them in llguidance's language."""
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            name = self._expect(_NAME, "a rule's name")
            self._skip(_SPACE)
            self._expect(_DEFINED_AS, "'::='")
            self._skip(_SPACE_AND_LINES)
            body = self._alternatives()
            self._bodies[name] = f"{self._bodies[name]} | {body}" if name in self._bodies else body
            self._skip(_SPACE)
            if self._at < len(self._text) and self._peek() not in "\n\r":
                self._fail("a new line is expected after a rule")
            self._skip(_SPACE_AND_LINES)
        if "root" not in self._bodies:
            self._fail("there is no rule 'root'")
        for name in self._rules:
            if name not in self._bodies:
                self._fail(f"the rule '{name}' is used but not defined")
        rules = "".join(f"{self._rule(name)}: {body}\n" for name, body in self._bodies.items())
        return f"%llguidance {{}}\nstart: {self._rule('root')}\n{rules}"

    def _rule(self, name: str) -> str:
        return f"rule_{self._rules.setdefault(name, len(self._rules))}"

    def _alternatives(self) -> str:
        """Reads what stands between two `|`, up to the end of the rule or the group."""
        options = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            self._skip(_SPACE_AND_LINES)
            options.append(self._sequence())
        return " | ".join(options)

    def _sequence(self) -> str:
        parts: list[str] = []
        while (part := self._item()) is not None:
            self._skip_inside()
            count = self._repetition()
            # `(a b)*` repeats the whole, and so does `"ab"*`.
            parts.append(f"({part}){count}" if count else part)
            self._skip_inside()
        return " ".join(parts) or '""'

    def _item(self) -> str | None:
        """Reads one thing that can be repeated; None where there is none."""
        match self._peek():
            case '"':
                return self._literal()
            case "[":
                return self._class()
            case ".":
                self._at += 1
                return "/(?s:.)/"
            case "(":
                return self._group()
            case "<" | "!":
                return self._token()
            case character if _NAME.match(character):
                return self._rule(self._expect(_NAME, "a rule's name"))
            case _:
                return None

    def _group(self) -> str:
        if self._depth >= MAX_DEPTH:
            self._fail("the grammar is nested too deeply")
        self._at += 1
        self._depth += 1
        self._skip(_SPACE_AND_LINES)
        body = self._alternatives()
        if self._peek() != ")":
            self._fail("')' is expected")
        self._at += 1
        self._depth -= 1
        return f"({body})"

    def _literal(self) -> str:
        self._at += 1
        characters: list[str] = []
        while self._peek() != '"':
            characters.append(f"/{_spell(self._character())}/")
        self._at += 1
        return f"({' '.join(characters)})" if len(characters) > 1 else "".join(characters) or '""'

    def _class(self) -> str:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[str] = []
        while self._peek() != "]":
            first = self._character()
            last = first
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                last = self._character()
            if last < first:
                self._fail(f"the range from '{first}' to '{last}' is empty")
            ranges.append(_spell(first) if first == last else f"{_spell(first)}-{_spell(last)}")
        self._at += 1
        if not ranges:
            self._fail("an empty class fits no character")
        return f"/[{'^' * negated}{''.join(ranges)}]/"

    def _token(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            self._fail("a token is written <[id]> or <text>")
        self._at = match.end()
        denied, number, text = match.groups()
        if number is None and denied:
            self._fail("a token that must not come is written !<[id]>")
        return f"<{text}>" if number is None else f"<[{'^' * bool(denied)}{number}]>"

    def _repetition(self) -> str:
        character = self._peek()
        if character and character in "*+?":
            self._at += 1
            return character
        match = _COUNT.match(self._text, self._at)
        if match is None:
            return ""
        least, comma, most = match.groups()
        if max(int(least), int(most or 0)) > MAX_REPEAT or (most and int(most) < int(least)):
            self._fail(f"a repetition must rise, and end at {MAX_REPEAT}")
        self._at = match.end()
        return f"{{{least},{most or ''}}}" if comma else f"{{{least}}}"

    def _character(self) -> str:
        """Reads one character of a literal or a class, spelled out or not."""
        character = self._peek()
        if not character:
            self._fail("the grammar ends within a text")
        if character != "\\":
            self._at += 1
            return character
        match = _ESCAPE.match(self._text, self._at)
        if match is None:
            self._fail("this escape is not known")
        self._at = match.end()
        letter = match[4]
        code = match[1] or match[2] or match[3]
        if letter:
            return _LETTERS.get(letter, letter)
        if int(code, 16) > 0x10FFFF or 0xD800 <= int(code, 16) <= 0xDFFF:
            self._fail("there is no such character")
        return chr(int(code, 16))

    def _skip_inside(self) -> None:
        """Within parentheses a rule may go on in the next line."""
        self._skip(_SPACE_AND_LINES if self._depth else _SPACE)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _expect(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            self._fail(f"{what} is expected")
        self._at = match.end()
        return match[0]

    def _fail(self, why: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        raise NotHeld(f"line {line}: {why}")


def _spell(character: str) -> str:
    return character if character.isascii() and character.isalnum() else f"\\u{{{ord(character):x}}}"
