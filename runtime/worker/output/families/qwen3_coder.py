"""Qwen3-Coder, Qwen 3.5, Nemotron 3: `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`."""

from __future__ import annotations

from ..tagged import TaggedFamily, TaggedParser, Tags
from ..thoughts import ThoughtMarks

_TAGS = Tags(
    open="<tool_call>",
    close="</tool_call>",
    call_open="<function=",
    name_end=">",
    call_close="</function>",
    key_open="<parameter=",
    key_end=">",
    value_close="</parameter>",
    breaks="each",
    gap="\n",
    around="\n",
)


class Qwen3CoderParser(TaggedParser):
    """Reads such calls, also where the model forgot the outer tag, as it often does."""

    tags = _TAGS
    opens = (_TAGS.open, _TAGS.call_open)


class Qwen3Coder(TaggedFamily):
    """Calls between tags, with values that are not in quotes."""

    name = "qwen3_coder"
    tags = _TAGS
    marks = (_TAGS.open, _TAGS.close)
    signs = ("<tool_call>", "<function=", "<parameter=")
    parser = Qwen3CoderParser
    own_thoughts = ThoughtMarks("<think>", "</think>")
