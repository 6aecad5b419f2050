"""Remembers what models' bytes said, from one start to the next, so that only new and changed ones are opened."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from ..formats.adapter import AdapterHeader
from ..formats.header import Header

log = logging.getLogger(__name__)

FILE_NAME = "headers.msgpack"

Fingerprint = tuple[tuple[str, int, int], ...]
"""Path, size and age in nanoseconds of each file of a model."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in a model's files."""

    fingerprint: Fingerprint
    header: Header | None
    problem: str | None
    adapter: AdapterHeader | None = None


class _Kept(msgspec.Struct, frozen=True):
    made_by: str
    readings: dict[str, Reading]


class HeaderCache:
    """A file with the readings of the last scan; one that is damaged, or was made by other code, counts as none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Mapping[Path, Reading] | None = None

    def load(self) -> dict[Path, Reading]:
        """Gives what is remembered; blocks."""
        try:
            kept = msgspec.msgpack.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.info("%s is made anew: %s", self._path, error)
            return {}
        if kept.made_by != _made_by():
            return {}
        self._written = {Path(path): reading for path, reading in kept.readings.items()}
        return dict(self._written)

    def save(self, readings: Mapping[Path, Reading]) -> None:
        """Remembers readings, where they are others than before; blocks. What cannot be written is told in the log."""
        if readings == self._written:
            return
        body = msgspec.msgpack.encode(_Kept(_made_by(), {str(path): reading for path, reading in readings.items()}))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._path.parent, prefix=f"{FILE_NAME}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(body)
                Path(name).replace(self._path)
            except OSError:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror or error)
            return
        self._written = dict(readings)


@cache
def _made_by() -> str:
    """Names the code that reads headers: another one may see more in the same bytes."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.joinpath("formats").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
