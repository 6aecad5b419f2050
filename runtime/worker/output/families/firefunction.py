"""FireFunction: `functools[{"name": …, "arguments": {…}}]`."""

from __future__ import annotations

from ..listed import ListedFamily, ListedParser


class FireFunctionParser(ListedParser):
    """Reads the list behind the word; without a bracket the word says nothing."""

    opens = ("functools[",)
    closes = ()


class FireFunction(ListedFamily):
    """A list of calls behind a word."""

    name = "firefunction"
    open = "functools"
    signs = ("functools[{",)
    parser = FireFunctionParser
