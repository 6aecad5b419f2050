"""A request's body: read within its limit, decoded, and refused in words that name the field."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from aiohttp import web

from ..runtime.errors import InvalidRequest
from .errors import BodyTooLarge
from .keys import SETTINGS

MIB = 1024 * 1024

Body = TypeVar("Body")

_PLACE = re.compile(r" - at `(?:key` in `)?\$\.?([^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]+)`")
_BYTE = re.compile(r"\(byte (\d+)\)")
_VALUE_AT_END = re.compile(rb'"([^"\\]{1,80})"\s*:\s*(?:"(?:[^"\\]|\\.)*|[^",{}\[\]]*)$', re.DOTALL)
_LOOK_BACK_BYTES = 1024


async def read_body(request: web.Request, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Reads and decodes the body, whatever content type it claims.

    Raises:
        InvalidRequest: it is not the JSON that is wanted; `param` is the field at fault, where there is one.
        BodyTooLarge: it is over the limit; nothing more of it is read than the limit.
    """
    limit_mb = request.app[SETTINGS].max_body_mb
    if (request.content_length or 0) > limit_mb * MIB:
        raise BodyTooLarge(limit_mb)
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise BodyTooLarge(limit_mb) from error
    except web.RequestPayloadError as error:
        raise InvalidRequest(f"The body cannot be read: {error}", code="invalid_body") from error
    return decode_body(body, decoder)


def decode_body(body: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """Decodes a JSON body; raises InvalidRequest."""
    if not body.strip():
        raise InvalidRequest("The body is empty; a JSON object is expected.", code="invalid_json")
    try:
        body.decode()  # msgspec skips fields it does not know without looking at their text
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid_value(str(error)) from error
    except UnicodeDecodeError as error:
        field = _field_at(body, error.start)
        raise InvalidRequest(f"The body is not valid UTF-8 at byte {error.start}.", param=field, code="invalid_utf8") from error
    except msgspec.DecodeError as error:
        at = _BYTE.search(str(error))
        field = _field_at(body, int(at[1])) if at else None
        raise InvalidRequest(f"The body is not valid JSON: {error}.", param=field, code="invalid_json") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.", code="invalid_json") from error


def _invalid_value(said: str) -> InvalidRequest:
    """Puts msgspec's words into ours, with the path of the field as the client wrote it."""
    place = _PLACE.search(said)
    path = place[1] if place else ""
    reason = (said[: place.start()] if place else said).replace("`", "")
    if missing := _MISSING.search(said):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return InvalidRequest(f"The field '{path}' is missing.", param=path, code="missing_required_parameter")
    reason = reason[:1].lower() + reason[1:]
    message = f"'{path}': {reason}." if path else f"The body: {reason}."
    return InvalidRequest(message, param=path or None, code="invalid_type" if ", got " in reason else "invalid_value")


def _field_at(body: bytes, position: int) -> str | None:
    """The name whose value stands at this byte; None where the fault is not in a value."""
    found = _VALUE_AT_END.search(body[max(0, position - _LOOK_BACK_BYTES) : position])
    return found[1].decode("utf-8", "replace") if found else None
