"""Answers of Gemma 4 and of DeepSeek V3.2 and V4 as the models write them, slips included, and what holds required calls."""

from __future__ import annotations

import json
import random
from itertools import product

import pytest
from byte_vocabulary import form
from family_outputs import Said, decoded, read, read_all_ways
from mark_vocabulary import MarkVocabulary

from impetus.runtime.request import Tool
from impetus.runtime.worker.output.families.deepseek_dsml import DeepseekV4, DeepseekV32
from impetus.runtime.worker.output.families.gemma4 import FunctionGemma, Gemma4
from impetus.runtime.worker.output.family import Family, WrittenCall

SCHEMA = {
    "type": "object",
    "properties": {
        "at": {"type": "string"},
        "n": {"type": "integer"},
        "on": {"type": "boolean"},
        "kind": {"enum": ["wet", "dry air", 3]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "box": {"type": "object", "properties": {"h": {"type": "number"}, "w": {"type": ["string", "null"]}}},
        "any": {},
    },
    "required": ["at"],
}
TOOLS = (Tool("look", parameters=json.dumps(SCHEMA)), Tool("go", parameters='{"type": "object", "properties": {}}'))
GEMMA, FUNCTION_GEMMA, V32, V4 = Gemma4(), FunctionGemma(), DeepseekV32(), DeepseekV4()
TEXTS = (
    "x",
    "",
    " a  b ",
    "Zoë 🦊\n\t日本",
    '{"a": ["}", \'b\']}, c:d',
    "a <b> </b> <|x|> <｜",
    "\\n \\ \" ' ,",
    "12",
    "null",
    "call:look{at:1}",
)
OTHERS: tuple[dict[str, object], ...] = (
    {},
    {"n": -40},
    {"on": True, "tags": []},
    {"tags": ["a,b", "]", ""], "any": None},
    {"box": {"h": 1.5, "w": None}, "any": [[1], {"k": "v"}, "t"]},
)


def gemma_value(value: object, gap: str) -> str:
    if isinstance(value, str):
        return f'<|"|>{value}<|"|>'
    if isinstance(value, dict):
        return "{" + f",{gap}".join(f"{key}:{gap}{gemma_value(one, gap)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + f",{gap}".join(gemma_value(one, gap) for one in value) + "]"
    return json.dumps(value)


def gemma_call(name: str, arguments: dict[str, object], gap: str = "") -> str:
    return f"<|tool_call>call:{name}{gemma_value(arguments, gap)}<tool_call|>"


def dsml_call(name: str, arguments: dict[str, object], gap: str = "\n") -> str:
    parts = [f'<｜DSML｜invoke name="{name}">']
    for key, value in arguments.items():
        is_text = isinstance(value, str)
        said = value if is_text else json.dumps(value)
        parts.append(f'<｜DSML｜parameter name="{key}" string="{str(is_text).lower()}">{said}</｜DSML｜parameter>')
    return gap.join((*parts, "</｜DSML｜invoke>"))


def dsml(outer: str, *calls: str, gap: str = "\n") -> str:
    return gap.join((f"<｜DSML｜{outer}>", *calls, f"</｜DSML｜{outer}>"))


@pytest.mark.parametrize("family", [GEMMA, V32, V4], ids=lambda family: family.name)
def test_hundreds_of_answers_are_read_however_they_are_cut(family: Family) -> None:
    count = 0
    for text, others, before, thought, gap, calls in product(
        TEXTS, OTHERS, ("", "I look: {it}"), ("", "Hm,\nwell."), ("", "\n"), (1, 2)
    ):
        first = {"at": text, **others}
        named: list[tuple[str, dict[str, object]]] = [("look", first), ("go", {})][:calls]
        expected: Said = [("reasoning", thought)] if thought else []
        expected += [("text", before)] if before else []
        for name, arguments in named:
            expected += [("call", name), ("arguments", arguments)]
        if family is GEMMA:
            thinking = f"<|channel>thought\n{thought}\n<channel|>" if thought else ""
            written = "".join(gemma_call(name, arguments, gap) for name, arguments in named)
        else:
            thinking = f"<think>{thought}</think>" if thought else ""
            outer = "function_calls" if family is V32 else "tool_calls"
            written = "\n\n" + dsml(outer, *(dsml_call(name, arguments, gap) for name, arguments in named), gap=gap)
        answer = thinking + before + written
        assert decoded(read_all_ways(family, answer, tools=TOOLS)) == expected, answer
        count += 1
    assert count >= 300


Q = '<|"|>'


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("{}", {}),
        ("", {}),
        (f"{{at:{Q}say {Q}hi{Q} now{Q},n:1}}", {"at": f"say {Q}hi{Q} now", "n": 1}),
        ('{tags:["a", "b\\"c"]}', {"tags": ["a", 'b"c']}),
        ("{tags:['it''s', 'b']}", {"tags": ["it''s", "b"]}),
        ('{"box":{"h": 2}, "at": "x"}', {"box": {"h": 2}, "at": "x"}),
        (f"{{{Q}at{Q}:{Q}x{Q}}}", {"at": "x"}),
        (f"{{at:weather in Tokyo{Q}}}", {"at": "weather in Tokyo"}),
        (f"{{at:Paris, France{Q},n:5}}", {"at": "Paris, France", "n": 5}),
        ("{at:weather in Tokyo}", {"at": "weather in Tokyo"}),
        ("{at:5,n:7}", {"at": "5", "n": 7}),
        (f"{{n:{Q}7{Q},on:{Q}true{Q}}}", {"n": 7, "on": True}),
        (f"{{tags:{Q}[1]{Q},box:{Q}{{}}{Q}}}", {"tags": [1], "box": {}}),
        (f"{{any:None,on:False,box:{{w:None}},n:{Q}x{Q}}}", {"any": None, "on": False, "box": {"w": None}, "n": "x"}),
        (f"{{ at : {Q}x{Q} , n : 3 , }}", {"at": "x", "n": 3}),
        (f"{{at:{Q}x{Q},tags:[a, b c]}}", {"at": "x", "tags": ["a", "b c"]}),
        (f"{{at:{Q}x{Q}}}}}", {"at": "x"}),
        (f"{{any:1.5e10,new-name.x:{Q}y{Q}}}", {"any": 1.5e10, "new-name.x": "y"}),
    ],
)
def test_gemmas_slips_are_read_as_they_are_meant(written: str, arguments: dict[str, object]) -> None:
    answer = f"<|tool_call>call:look{written}<tool_call|>"
    assert decoded(read_all_ways(GEMMA, answer, tools=TOOLS)) == [("call", "look"), ("arguments", arguments)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("<|channel>thought\nHm<channel|>Yes.", [("reasoning", "Hm"), ("text", "Yes.")]),
        ("<|channel>thought<channel|>Yes.", [("text", "Yes.")]),
        ("<|channel>thought\n<channel|>Yes.<channel|>", [("text", "Yes.")]),
        ("Yes.<|channel>thought\n<channel|>", [("text", "Yes.")]),
        ("Yes.<|channel>thought\n<channel|><channel|>", [("text", "Yes.")]),
        ("<|channel><|channel>thought\n<channel|>Yes.", [("text", "Yes.")]),
        ("One.<|channel>thought\nHm\n<channel|>Two.", [("text", "One."), ("reasoning", "Hm"), ("text", "Two.")]),
        ("A <channel|> is a mark, <|channel> as well.", [("text", "A <channel|> is a mark, <|channel> as well.")]),
    ],
)
def test_gemma_thinks_wherever_it_likes(answer: str, said: Said) -> None:
    assert read_all_ways(GEMMA, answer, tools=TOOLS) == said
    assert read_all_ways(GEMMA, answer, tools=()) == said


@pytest.mark.parametrize("family", [V32, V4], ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("answer", "calls"),
    [
        (dsml("function_calls", dsml_call("go", {})), [{}]),
        (dsml("tool_calls", dsml_call("go", {}), dsml_call("look", {"at": "x"})), [{}, {"at": "x"}]),
        (dsml_call("look", {"at": "x"}), [{"at": "x"}]),
        (dsml_call("look", {"at": "x"}) + "\n" + dsml_call("go", {}) + "\n</｜DSML｜tool_calls>", [{"at": "x"}, {}]),
        ('<｜DSML｜invoke name="go">\n\n</｜DSML｜invoke>', [{}]),
    ],
)
def test_outer_tags_may_be_forgotten_or_mixed_up(family: Family, answer: str, calls: list[object]) -> None:
    said = decoded(read_all_ways(family, answer, tools=TOOLS))
    if answer.endswith("tool_calls>") and not answer.startswith("<｜DSML｜tool") and family is V32:
        said = said[:-1]  # a closing tag of the other version, which nobody opened
    assert [value for kind, value in said if kind == "arguments"] == calls
    assert {kind for kind, _ in said} == {"call", "arguments"}


@pytest.mark.parametrize(
    ("key", "is_text", "value", "meant"),
    [
        ("at", "true", "5", "5"),
        ("at", "false", "5", "5"),
        ("at", "false", '"x y"', "x y"),
        ("at", "false", "x y", "x y"),
        ("n", "true", "5", 5),
        ("n", "false", "five", "five"),
        ("n", "false", "null", None),
        ("any", "true", "[1]", "[1]"),
        ("any", "false", "[1]", [1]),
        ("any", "false", '"a\\nb"', "a\nb"),
        ("box", "true", '{"h": 1}', {"h": 1}),
        ("box", "false", '{"h": 1, "w": "</x>"}', {"h": 1, "w": "</x>"}),
        ("on", "false", "True", True),
    ],
)
def test_a_value_is_what_the_tool_and_the_model_say(key: str, is_text: str, value: str, meant: object) -> None:
    answer = dsml(
        "tool_calls",
        f'<｜DSML｜invoke name="look">\n<｜DSML｜parameter name="{key}" string="{is_text}">{value}</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>",
    )
    assert decoded(read_all_ways(V4, answer, tools=TOOLS)) == [("call", "look"), ("arguments", {key: meant})]


@pytest.mark.parametrize(
    "text",
    [
        "<|tool_call>",
        "<|tool_call>call:",
        "<|tool_call>call:look",
        "<|tool_call>call:look is written so",
        "<|tool_call>call:unheard_of(a) and so on",
        "call:look{at:1}",
        "<tool_call|>",
        '<|"|>quoted<|"|>',
        "<｜DSML｜tool_calls>",
        "<｜DSML｜tool_calls>\n<｜DSML｜invoke>",
        '<｜DSML｜invoke name="',
        '<｜DSML｜invoke name="unheard_of">\n</｜DSML｜invoke>',
        '<｜DSML｜invoke name="look"> is not it',
        "<｜DSML｜function_calls>...</｜DSML｜function_calls>",
        "</｜DSML｜invoke>",
        "｜DSML｜",
    ],
)
def test_what_only_begins_like_a_call_stays_as_it_is(text: str) -> None:
    for family in (GEMMA, FUNCTION_GEMMA, V32, V4):
        for answer in (text, f"So: {text}", f"{text}\n\nDone."):
            assert read_all_ways(family, answer, tools=TOOLS) == [("text", answer)]


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("{n:1;; n=3}<tool_call|>Done.", '{"n": "1;; n=3"}'),
        ("{n:1,;n=3}<tool_call|>Done.", '{"n": 1;n=3}'),
        ('{at:<|"|>x, n: 3}<tool_call|>', '{"at": "x, n: 3}'),
        ('{at:<|"|>x}<tool_call|><|tool_call>call:go{}<tool_call|>', '{"at": "x}'),
        ('{at:<|"|>a <tool_call|> b<|"|>}<tool_call|>Done.', '{"at": "a <tool_call|> b"}'),
    ],
)
def test_broken_arguments_are_passed_on(written: str, arguments: str) -> None:
    said = read_all_ways(GEMMA, f"<|tool_call>call:look{written}", tools=TOOLS)
    assert said[:2] == [("call", "look"), ("arguments", arguments)]
    rest = [("text", "Done.")] if written.endswith("Done.") else []
    assert said[2:] == ([("call", "go"), ("arguments", "{}")] if "call:go" in written else rest)


@pytest.mark.parametrize("family", [GEMMA, FUNCTION_GEMMA], ids=lambda family: family.name)
def test_a_cut_leaves_no_piece_of_a_mark_in_a_value(family: Family) -> None:
    arguments = {"at": 'a "b", {c}', "tags": ["x", "y"], "box": {"h": 1.5, "w": "z"}, "on": True, "any": "q"}
    answer = family.write([WrittenCall("look", json.dumps(arguments))] * 2, text="So:")
    whole = json.dumps(arguments)
    calls = read(family, [answer], tools=TOOLS)
    assert [value for kind, value in calls if kind == "arguments"] == [whole, whole]
    for end in range(len(answer)):
        said = read_all_ways(family, answer[:end], tools=TOOLS)
        for kind, value in said:
            if kind == "arguments":
                assert whole.startswith(str(value)), answer[:end]
            elif kind == "text":
                assert answer.startswith(str(value)) or answer[:end].endswith(str(value))


def vocabularies(family: Family) -> list[MarkVocabulary]:
    """Without any control tokens, and with those that the family's models have."""
    marks = [mark for mark in family.controls if mark != "<|channel>thought"]
    return [MarkVocabulary(()), MarkVocabulary(sorted(marks))]


WALKED = [GEMMA, FUNCTION_GEMMA, V32, V4]


@pytest.mark.parametrize("family", WALKED, ids=lambda family: family.name)
def test_a_required_call_is_what_the_model_writes(family: Family) -> None:
    grammar = family.grammar(TOOLS, parallel=True, thinks=True)
    whole = {
        "at": "a </ <b>\n",
        "n": -3,
        "on": True,
        "kind": "dry air",
        "tags": ["x", "y"],
        "box": {"h": 1.5, "w": None},
        "any": {"q": [1, "2", {}]},
    }
    calls = [
        [WrittenCall("look", '{"at": "x"}')],
        [WrittenCall("go", "{}"), WrittenCall("look", json.dumps(whole)), WrittenCall("go", "{}")],
        [WrittenCall("look", '{"at": "", "kind": 3, "any": "t"}')],
    ]
    refused = [
        [WrittenCall("look", '{"n": 3}')],
        [WrittenCall("rm", "{}")],
        [WrittenCall("look", '{"at": "x", "n": 1.5}')],
        [WrittenCall("look", '{"at": "x", "kind": "hot"}')],
        [WrittenCall("look", '{"at": "x", "more": 1}')],
        [],
    ]
    for vocabulary in vocabularies(family):
        free = form("lark", family.call_grammar(TOOLS), triggers=family.triggers())
        for some in calls:
            answer = family.write(some, reasoning="Hm.\nSo" if family.thoughts else "")
            assert vocabulary.refused(vocabulary.constraints.compile(form("lark", grammar)), answer) is None
            behind = family.write(some, text="So:")
            assert vocabulary.refused(vocabulary.constraints.compile(free), behind) is None
        for some in refused:
            answer = family.write(some, text="" if some else "  ")
            assert vocabulary.refused(vocabulary.constraints.compile(form("lark", grammar)), answer) is not None


def test_gemma_may_sort_names_as_its_template_does() -> None:
    answer = '<|tool_call>call:look{any:1,at:<|"|>x<|"|>,box:{h:1},kind:3,n:2,on:false,tags:[]}<tool_call|>'
    grammar = form("lark", GEMMA.grammar(TOOLS, parallel=False, thinks=False))
    for vocabulary in vocabularies(GEMMA):
        assert vocabulary.refused(vocabulary.constraints.compile(grammar), answer) is None
        twice = vocabulary.refused(vocabulary.constraints.compile(grammar), answer + answer)
        assert twice == answer


@pytest.mark.parametrize("family", WALKED, ids=lambda family: family.name)
@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_grammar_lets_through_is_read_as_calls(family: Family, seed: int) -> None:
    grammar = family.grammar(TOOLS, parallel=True, thinks=False)
    vocabulary = vocabularies(family)[1]
    answer = vocabulary.wander(vocabulary.constraints.compile(form("lark", grammar)), random.Random(seed), 3000)
    said = decoded(read_all_ways(family, answer, tools=TOOLS))
    assert {kind for kind, _ in said} == {"call", "arguments"}, answer
    assert len(said) % 2 == 0
    for (_, name), (_, arguments) in zip(said[::2], said[1::2], strict=True):
        assert name in ("look", "go")
        assert isinstance(arguments, dict)
        if name == "look":
            assert isinstance(arguments["at"], str)
            assert isinstance(arguments.get("n", 0), int)
            assert arguments.get("kind", 3) in ("wet", "dry air", 3)
            assert all(isinstance(tag, str) for tag in arguments.get("tags", []))
            assert arguments.keys() <= SCHEMA["properties"].keys()
