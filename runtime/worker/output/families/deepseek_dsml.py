"""DeepSeek V3.2 and V4: `<｜DSML｜invoke name="f"><｜DSML｜parameter name="a" string="true">text</｜DSML｜parameter>…`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from ....request import Tool
from ..argument_values import ArgumentValues, Said
from ..family import WrittenCall
from ..json_family import MORE
from ..reader import Steps
from ..tagged import MAX_HELD, TaggedFamily, TaggedParser, Tags, can_hold
from ..thoughts import ThoughtMarks
from ..tool_schema import JsonObject, held_or, read_properties, read_required, read_schema, value_types

_TOKEN = "｜DSML｜"  # noqa: S105 - of a vocabulary
_V32 = Tags(
    open=f"<{_TOKEN}function_calls>",
    close=f"</{_TOKEN}function_calls>",
    call_open=f'<{_TOKEN}invoke name="',
    name_end='">',
    call_close=f"</{_TOKEN}invoke>",
    key_open=f'<{_TOKEN}parameter name="',
    key_end='"',
    value_close=f"</{_TOKEN}parameter>",
    breaks="none",
    gap="\n",
    around="",
)
_V4 = replace(_V32, open=f"<{_TOKEN}tool_calls>", close=f"</{_TOKEN}tool_calls>")
_OF_OUTER = {tags.open: tags for tags in (_V32, _V4)}
_SAID: dict[str, Said | None] = {' string="true">': "text", ' string="false">': "json", ">": None}
"""What stands behind an argument's name."""


class DsmlParser(TaggedParser):
    """Reads such calls, also where the model forgot the outer tag, as it does behind long prompts."""

    tags = _V32
    opens = (*_OF_OUTER, _V32.call_open)

    def read_call(self) -> Steps[bool]:
        """Reads all calls of one pair of outer tags, or one that came without them."""
        self.tags = _OF_OUTER.get(self.mark, self.tags)
        return (yield from super().read_call())

    def begin_value(self, values: ArgumentValues) -> Steps[bool]:
        """Reads an argument's name, and whether its value is a string."""
        key = yield from self.read_name(self.tags.key_end)
        said = (yield from self.reader.option(*_SAID)) if key else ""
        if said:
            values.begin(key, _SAID[said])
        return bool(said)


class DsmlV4Parser(DsmlParser):
    """The same with the outer tag of V4, which stays open where the model forgot it."""

    tags = _V4


class DeepseekV32(TaggedFamily):
    """Calls between tags that tell a string from JSON."""

    name = "deepseek_v32"
    tags = _V32
    marks = (_TOKEN,)
    signs = ("DSML", "function_calls")
    parser = DsmlParser
    own_thoughts = ThoughtMarks("<think>", "</think>")

    def call_rules(self, tools: Sequence[Tool], *, parallel: bool) -> str:
        """Writes the rules of `calls`."""
        return f"calls: {_mark(self.tags.open)} {self._behind(parallel=parallel)}\n{self._rules(tools)}"

    def triggers(self) -> tuple[str, ...]:
        """The opening tag."""
        return (self.tags.open,)

    def call_grammar(self, tools: Sequence[Tool]) -> str:
        """Writes the grammar of what stands behind the opening tag."""
        return f"start: {self._behind(parallel=True)}\n{self._rules(tools)}"

    def write_call(self, call: WrittenCall) -> str:
        """Writes a call without its outer tags."""
        tags = self.tags
        parts = [f"{tags.call_open}{call.name}{tags.name_end}"]
        for key, value in cast("dict[str, object]", json.loads(call.arguments)).items():
            is_text = isinstance(value, str)
            said = value if is_text else json.dumps(value, ensure_ascii=False)
            parts.append(f"{tags.key_open}{key}{_behind_key(is_text=is_text)}{said}{tags.value_close}")
        return tags.gap.join((*parts, tags.call_close))

    def _behind(self, *, parallel: bool) -> str:
        more = f" (gap call){MORE}" if parallel else ""
        return f"gap call{more} gap {_mark(self.tags.close)}"

    def _rules(self, tools: Sequence[Tool]) -> str:
        tags = self.tags
        rules = [r"gap: /\n{1,2}/", "call: " + " | ".join(f"call_{at}" for at in range(len(tools)))]
        for at, tool in enumerate(tools):
            head = _mark(f"{tags.call_open}{tool.name}{tags.name_end}")
            rules.append(f"call_{at}: {head} {self._arguments(tool)} gap {_mark(tags.call_close)}")
        return "\n".join(rules)

    def _arguments(self, tool: Tool) -> str:
        """Writes what may stand in a call of a tool."""
        opening = self.tags.key_open
        schema = read_schema(tool)
        properties, required = read_properties(schema), read_required(schema)
        if not can_hold(properties, required):
            return f"(gap {_mark(opening)} /[A-Za-z0-9_.-]{{1,64}}/ ({self._text('')} | {self._json('', {})})){MORE}"
        parts: list[str] = []
        for key, of_one in properties.items():
            part = f"(gap ({self._value(f'{opening}{key}', of_one, schema)}))"
            parts.append(part if key in required else f"{part}?")
        return " ".join(parts)

    def _value(self, before: str, schema: JsonObject, root: JsonObject) -> str:
        """Writes what an argument may be.

        Args:
            before: its opening tag, up to the end of its name.
            schema: of its value.
            root: of all arguments, for the definitions in it.
        """
        options = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if isinstance(options, list) and 0 < len(cast("list[object]", options)) <= MAX_HELD:
            return " | ".join(self._option(before, option) for option in cast("list[object]", options))
        types = value_types(schema)
        definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
        others = sorted(types - {"string"})
        forms = [self._text(before)] if not types or "string" in types else []
        if types == frozenset(others):
            held = held_or({**schema, **definitions}, json.dumps({"type": others} if others else {}))
            forms.append(self._json(before, cast("JsonObject", json.loads(held))))
        elif others:
            forms.append(self._json(before, {"type": others}))
        return " | ".join(forms)

    def _option(self, before: str, option: object) -> str:
        is_text = isinstance(option, str)
        said = option if is_text else json.dumps(option)
        return _mark(f"{before}{_behind_key(is_text=is_text)}{said}{self.tags.value_close}")

    def _text(self, before: str) -> str:
        return f"{_mark(before + _behind_key(is_text=True))} %until {json.dumps(self.tags.value_close, ensure_ascii=False)}"

    def _json(self, before: str, schema: JsonObject) -> str:
        return f"{_mark(before + _behind_key(is_text=False))} %json {json.dumps(schema)} {_mark(self.tags.value_close)}"


class DeepseekV4(DeepseekV32):
    """The same with another outer tag."""

    name = "deepseek_v4"
    tags = _V4
    signs = ("DSML", "tool_calls")
    parser = DsmlV4Parser


def _behind_key(*, is_text: bool) -> str:
    return f'" string="{"true" if is_text else "false"}">'


def _mark(text: str) -> str:
    return f"%mark {json.dumps(text, ensure_ascii=False)}"
