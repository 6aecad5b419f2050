"""Responses as they are kept for later requests: what goes into the store, and what a client or a model reads of it again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from ...runtime.errors import InvalidRequest
from .responses_answers import Response, new_id

MOST_ITEMS = 100
"""Of one page."""

_Fields = dict[str, msgspec.Raw]
_FIELDS = msgspec.json.Decoder(_Fields)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_ID_KINDS = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


class OutputBody(msgspec.Struct, frozen=True):
    """The items of a kept response."""

    output: list[msgspec.Raw]


class IdBody(msgspec.Struct, frozen=True):
    """What an item is named by."""

    id: str


class InputText(msgspec.Struct, frozen=True):
    """Text as a part."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: tuple[()] | msgspec.UnsetType = msgspec.UNSET


class ItemPage(msgspec.Struct, frozen=True):
    """Some of a response's input items."""

    data: list[msgspec.Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


_OUTPUT = msgspec.json.Decoder(OutputBody)
_ID = msgspec.json.Decoder(IdBody)


def pack_input(items: Sequence[msgspec.Raw]) -> bytes:
    """Writes a request's items in the form that they are listed in: with ids, types, and content in parts."""
    return _encode([_complete(_FIELDS.decode(item)) for item in items])


def item_ids(response: Response) -> list[str]:
    """Gives the ids of a response's output."""
    return [item.id for item in response.output]


def unpack(written_input: bytes, answer: bytes) -> list[msgspec.Raw]:
    """Gives what a kept response adds to a conversation."""
    return [*_ITEMS.decode(written_input), *_OUTPUT.decode(answer).output]


def find_items(answer: bytes, ids: Collection[str]) -> dict[str, msgspec.Raw]:
    """Gives those items of a kept response's output that have these ids."""
    items = {_ID.decode(item).id: item for item in _OUTPUT.decode(answer).output}
    return {id_: item for id_, item in items.items() if id_ in ids}


def to_page(written_input: bytes, *, limit: str, order: str, after: str | None) -> ItemPage:
    """Lists input items.

    Args:
        written_input: as it was packed.
        limit: how many, as the client wrote it.
        order: `asc` or `desc`.
        after: the id behind which the page begins.

    Raises:
        InvalidRequest: one of these is wrong.
    """
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= MOST_ITEMS):
        raise InvalidRequest(f"'limit' must be a number from 1 to {MOST_ITEMS}.", param="limit", code="invalid_value")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", param="order", code="invalid_value")
    items = _ITEMS.decode(written_input)[:: 1 if order == "asc" else -1]
    ids = [_ID.decode(item).id for item in items]
    if after is not None and after not in ids:
        raise InvalidRequest(f"'after': there is no item '{after}' here.", param="after", code="invalid_value")
    begin = 0 if after is None else ids.index(after) + 1
    end = begin + int(limit)
    page = ids[begin:end]
    return ItemPage(items[begin:end], page[0] if page else None, page[-1] if page else None, end < len(ids))


def _complete(fields: _Fields) -> _Fields:
    kind = _text(fields, "type") or "message"
    completed: _Fields = {"id": _raw(new_id(_ID_KINDS.get(kind, "item"))), "type": _raw(kind)}
    completed |= {name: value for name, value in fields.items() if bytes(value) != b"null"}
    if kind == "message":
        completed.setdefault("status", _raw("completed"))
        content = completed.get("content", _raw(""))
        if bytes(content).startswith(b'"'):
            text = msgspec.json.decode(content, type=str)
            said = _text(fields, "role") == "assistant"
            part = InputText("output_text", text, ()) if said else InputText("input_text", text)
            completed["content"] = msgspec.Raw(_encode([part]))
    return completed


def _text(fields: _Fields, name: str) -> str:
    written = fields.get(name)
    return msgspec.json.decode(written, type=str) if written is not None and bytes(written).startswith(b'"') else ""


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(_encode(text))
