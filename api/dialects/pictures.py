"""Pictures as clients send them: base64, alone or in a `data:` URL. Nothing is ever fetched."""

from __future__ import annotations

import base64
import binascii

from ...runtime.errors import InvalidRequest
from ...runtime.request import ImagePart


def to_picture(data: str, media_type: str, place: str) -> ImagePart:
    """Decodes base64; raises InvalidRequest, which names the place in the client's body."""
    try:
        return ImagePart(base64.b64decode(data, validate=True), media_type)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"'{place}': not valid base64.", param=place, code="invalid_value") from error


def to_picture_of_url(url: str, place: str) -> ImagePart:
    """Decodes a `data:` URL (RFC 2397); raises InvalidRequest for any other, and for what is no base64."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise InvalidRequest(
            f"'{place}': a picture must be a 'data:image/...;base64,...' URL; this server fetches nothing from elsewhere.",
            param=place,
            code="invalid_value",
        )
    return to_picture(data, head.removeprefix("data:").partition(";")[0], place)
