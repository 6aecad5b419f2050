"""Finds a zip archive's table of contents without reading what it lists.

Source: sections 4.3.12 to 4.3.16 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 0xFFFF
_LARGEST_BYTES = 32 << 20
"""Some hundred thousand entries; what claims to be larger is not kept in memory."""


@lru_cache(maxsize=8)
def read_contents(path: Path, size_bytes: int, _age_ns: int) -> bytes | None:
    """Gives a table of contents as it stands in the file; None where there is none, or not the whole of it.

    A file is asked about more than once while it is looked at, so the last ones are remembered.
    """
    try:
        with path.open("rb") as file:
            start = max(0, size_bytes - _END.size - _LONGEST_COMMENT)
            file.seek(start)
            tail = file.read()
            at = tail.rfind(b"PK\5\6")
            if at < 0 or len(tail) - at < _END.size:
                return None
            _, _, _, _, _, count, offset, _ = _END.unpack_from(tail, at)
            if (locator_at := at - _LOCATOR_64.size) >= 0 and tail.startswith(b"PK\6\7", locator_at):
                file.seek(_LOCATOR_64.unpack_from(tail, locator_at)[2])
                *_, count, offset = _END_64.unpack(file.read(_END_64.size))
            end = start + at
            if offset + count > end or count > _LARGEST_BYTES:
                return None
            file.seek(offset)
            table = file.read(count)
    except (OSError, struct.error, OverflowError):
        return None
    return table if table.startswith(b"PK\1\2") or not count else None
