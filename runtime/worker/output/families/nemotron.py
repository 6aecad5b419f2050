"""Nemotron Nano 2 and its kin: `<TOOLCALL>[{"name": …, "arguments": {…}}]</TOOLCALL>`."""

from __future__ import annotations

from ..listed import ListedFamily, ListedParser
from ..thoughts import ThoughtMarks


class NemotronParser(ListedParser):
    """Reads the list between the tags."""

    opens = ("<TOOLCALL>",)
    closes = ("</TOOLCALL>",)


class Nemotron(ListedFamily):
    """A list of calls between tags."""

    name = "nemotron"
    open = "<TOOLCALL>"
    close = "</TOOLCALL>"
    marks = ("<TOOLCALL>", "</TOOLCALL>")
    signs = ("<TOOLCALL>",)
    parser = NemotronParser
    own_thoughts = ThoughtMarks("<think>", "</think>")
