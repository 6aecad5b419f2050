"""Seed-OSS: as Qwen3-Coder, with marks of its own around calls and thoughts."""

from __future__ import annotations

from dataclasses import replace

from ..tagged import TaggedFamily, TaggedParser
from ..thoughts import ThoughtMarks
from .qwen3_coder import Qwen3Coder

_TAGS = replace(Qwen3Coder.tags, open="<seed:tool_call>", close="</seed:tool_call>")


class SeedOssParser(TaggedParser):
    """Reads such calls."""

    tags = _TAGS
    opens = (_TAGS.open,)


class SeedOss(TaggedFamily):
    """Calls between tags, with values that are not in quotes."""

    name = "seed_oss"
    tags = _TAGS
    marks = (_TAGS.open, _TAGS.close)
    signs = (_TAGS.open,)
    parser = SeedOssParser
    own_thoughts = ThoughtMarks("<seed:think>", "</seed:think>")
