"""What a schema's `$ref`s name; nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import unquote

from .errors import NotHeld
from .json_types import Json

_VALUES = frozenset({"enum", "const", "default", "examples"})
"""Keywords that hold values and no schemas."""


class References:
    """Finds the places in one schema."""

    def __init__(self, root: Json) -> None:
        self._root = root
        own_id = root.get("$id") if isinstance(root, dict) else None
        self._own_id = own_id.rstrip("#") if isinstance(own_id, str) else None
        self._anchors: dict[str, Json] | None = None

    def place(self, reference: str) -> str:
        """Gives the part behind the `#`, "" for the root; raises NotHeld for another document."""
        document, _, place = reference.partition("#")
        if document and document != self._own_id:
            _refuse(reference, "only references within the schema are followed")
        return place

    def find(self, reference: str) -> Json:
        """Gives the schema that is named; raises NotHeld where there is none."""
        place = unquote(self.place(reference))
        if self._anchors is None:
            self._anchors = self._read_anchors()
        if not place:
            return self._root
        if not place.startswith("/"):
            if place not in self._anchors:
                _refuse(reference, "there is no such anchor")
            return self._anchors[place]
        found = self._root
        for step in place[1:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                _refuse(reference, "it names nothing in the schema")
        return found

    def _read_anchors(self) -> dict[str, Json]:
        """Reads the anchors; raises NotHeld where a part has an id of its own, as references would start from there."""
        anchors: dict[str, Json] = {}
        for part in _walk(self._root):
            if part is not self._root and isinstance(part.get("$id"), str):
                raise NotHeld("'$id' below the schema's root is not supported together with '$ref'")
            for keyword in ("$anchor", "$dynamicAnchor"):
                name = part.get(keyword)
                if isinstance(name, str):
                    anchors.setdefault(name, part)
        return anchors


def _walk(root: Json) -> Iterator[dict[str, Json]]:
    waiting = [root]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(value for keyword, value in one.items() if keyword not in _VALUES)
        elif isinstance(one, list):
            waiting.extend(one)


def _refuse(reference: str, why: str) -> NoReturn:
    raise NotHeld(f"the '$ref' to '{reference}' is not supported: {why}")
