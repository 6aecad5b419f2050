"""Apriel 1.5 and 1.6: `<tool_calls>[{"name": …, "arguments": {…}}]</tool_calls>`."""

from __future__ import annotations

from ..listed import ListedFamily, ListedParser


class AprielParser(ListedParser):
    """Reads the list between the tags, or between those of one call, which the prompt of 1.5 names as well."""

    opens = ("<tool_calls>", "<tool_call>")
    closes = ("</tool_calls>", "</tool_call>")


class Apriel(ListedFamily):
    """A list of calls between tags."""

    name = "apriel"
    open = "<tool_calls>"
    close = "</tool_calls>"
    marks = (*AprielParser.opens, *AprielParser.closes)
    signs = ("<tool_calls>[", "]</tool_calls>")
    parser = AprielParser
