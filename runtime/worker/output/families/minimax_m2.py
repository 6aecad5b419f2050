"""MiniMax M2: `<minimax:tool_call><invoke name="NAME"><parameter name="KEY">VALUE</parameter></invoke></minimax:tool_call>`."""

from __future__ import annotations

from ..tagged import TaggedFamily, TaggedParser, Tags
from ..thoughts import ThoughtMarks

_TAGS = Tags(
    open="<minimax:tool_call>",
    close="</minimax:tool_call>",
    call_open='<invoke name="',
    name_end='">',
    call_close="</invoke>",
    key_open='<parameter name="',
    key_end='">',
    value_close="</parameter>",
    breaks="paired",
    gap="\n",
    around="",
)


class MinimaxM2Parser(TaggedParser):
    """Reads such calls; several share the outer tags."""

    tags = _TAGS
    opens = (_TAGS.open,)


class MinimaxM2(TaggedFamily):
    """Calls between tags, with values that are not in quotes."""

    name = "minimax_m2"
    tags = _TAGS
    marks = (_TAGS.open, _TAGS.close)
    signs = (_TAGS.open,)
    parser = MinimaxM2Parser
    own_thoughts = ThoughtMarks("<think>", "</think>")
