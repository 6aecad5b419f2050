"""llama.cpp's grammars, against texts that they do and do not derive."""

from __future__ import annotations

import pytest
from byte_vocabulary import form, open_vocabulary, takes

from impetus.runtime.worker.backends.backend import Refusal
from impetus.runtime.worker.constraint.errors import NotHeld
from impetus.runtime.worker.constraint.gbnf import gbnf_to_lark

VOCABULARY = open_vocabulary()

JSON = r"""
# JSON with bounded blanks
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
      string ":" ws value
      ("," ws string ":" ws value)*   # more members
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
SUMS = r"""
root  ::= (expr "=" ws num "\n")+
expr  ::= term ([-+*/] term)*
term  ::= num | "(" ws expr ")" ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
MOVES = r"""
root    ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")*
move    ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn    ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle  ::= "O-O" "-O"?
"""


@pytest.mark.parametrize(
    ("grammar", "fits", "fits_not"),
    [
        (
            JSON,
            ['{"a": [1, -2.5, {"b": "x\\u00e9"}]}', "{}", "{\n  \n}"[:2] + "}"],
            ["[]", '{"a":  1}', '{"a": 01}', '{"a"}', ""],
        ),
        (SUMS, ["1+1=2\n", "(1 +2 )*3=9\n4=4\n"], ["1+=2\n", "1+1=\n", "1+1=2"]),
        (MOVES, ["1. e4 e5\n", "1. e4 e5\n2. Nf3 exd5+\n3. O-O O-O-O#\n"], ["1. e4 e5", "1. e9 e5\n", "1. O-O-O-O e5\n"]),
        ('root ::= [a-z]+ "s"', ["cats", "ss", "as"], ["s", "cat", "catS"]),
        ('root ::= [a-z]* "end"', ["end", "enend", "enxend"], ["en", "endx"]),
        ('root ::= ("a" | "ab") "bc"', ["abc", "abbc"], ["ab", "abcc"]),
        ('root ::= "ab"* "c"?', ["", "abab", "ababc"], ["aba", "cc"]),
        ('root ::= "a"{2} "b"{1,} "c"{0,2} "d"{ 1 , 2 }', ["aabd", "aabbbccdd"], ["abd", "aad", "aabcccd", "aabddd"]),
        ("root ::= [^a-c\\n]", ["d", "é", "\U0001f600", "-"], ["a", "b", "\n", "dd"]),
        ("root ::= [az-] [\\]\\[/^&] [+*.?|]", ["-]+", "a/.", "z[|", "a&*"], ["b]+", "a\\+"]),
        ('root ::= "\\x41\\u00e9\\U0001F600" .', ["Aé\U0001f600\n", "Aé\U0001f600x"], ["Aé\U0001f600", "aé\U0001f600x"]),
        ('root ::= "tab\\t\\"quote\\"\\\\\\r"', ['tab\t"quote"\\\r'], ["tab"]),
        ("root ::= [ぁ-ん]+", ["あい"], ["ア", "a"]),
        ('root ::= root "a" | "b"', ["b", "baa"], ["a", "ab"]),
        ('root ::= (("a"*)*)* "b"', ["b", "aaab"], ["a", "ba"]),
        ('root ::= a-b |\n  "x"\na-b ::= "1"\n# the end', ["1", "x"], ["", "1x"]),
        ('root ::= x\nx ::= "1"\nx ::= "2"', ["1", "2"], ["3"]),
        (
            'root ::= camelCase Camel_case camel-case\ncamelCase ::= "1"\nCamel_case ::= "2"\ncamel-case ::= "3"',
            ["123"],
            ["111"],
        ),
        ('root ::= ""', [""], ["a"]),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_a_grammar_takes_what_it_derives_and_nothing_else(grammar: str, fits: list[str], fits_not: list[str]) -> None:
    assert [text for text in fits if not takes(VOCABULARY.compile(form("gbnf", grammar)), text)] == []
    assert [text for text in fits_not if takes(VOCABULARY.compile(form("gbnf", grammar)), text)] == []


@pytest.mark.parametrize(
    ("grammar", "why"),
    [
        ("", "no rule 'root'"),
        ('item ::= "a"', "no rule 'root'"),
        ('root ::= "a"\nroot2 :: "b"', "line 2: '::='"),
        ("root ::= missing", "'missing' is used but not defined"),
        ('root ::= "a', "ends within a text"),
        ("root ::= [a", "ends within a text"),
        ("root ::= []", "empty class"),
        ("root ::= [z-a]", "range"),
        ('root ::= "\\q"', "escape"),
        ('root ::= "\\ud800"', "no such character"),
        ('root ::= ("a"', "'\\)' is expected"),
        ('root ::= "a" ) "b"', "new line"),
        ('root ::= "a"{2,1}', "repetition"),
        ('root ::= "a"{9999999}', "repetition"),
        ("root ::= " + "(" * 500 + '"a"' + ")" * 500, "nested"),
        ("root ::= !<think>", "<\\[id\\]>"),
        ("root ::= <a b>", "<\\[id\\]>"),
    ],
    ids=lambda value: value[:20],
)
def test_a_malformed_grammar_is_refused_with_its_line(grammar: str, why: str) -> None:
    with pytest.raises(NotHeld, match=why):
        gbnf_to_lark(grammar)


def test_a_grammar_that_derives_no_text_is_refused() -> None:
    for grammar in ("root ::= root", "root ::= a\na ::= b\nb ::= a"):
        with pytest.raises(Refusal) as caught:
            VOCABULARY.compile(form("gbnf", grammar, param="grammar"))
        assert caught.value.param == "grammar"


def test_tokens_can_be_named_by_their_ids() -> None:
    assert takes(VOCABULARY.compile(form("gbnf", "root ::= <[97]> !<[98]>")), "ac")
    assert not takes(VOCABULARY.compile(form("gbnf", "root ::= <[97]> !<[98]>")), "ab")
