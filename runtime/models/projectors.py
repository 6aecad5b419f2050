"""Which file beside a model makes it take pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import FormatError
from ..formats.gguf_companion import ProjectorHeader, read_projector
from ..formats.header import Header
from .model import Projector
from .quantization import find_quantization

log = logging.getLogger(__name__)

_PRECISIONS = ("F16", "Q8_0", "BF16", "F32")
"""The best ones first: BF16 is slow where a processor does not know it, and F32 gives nothing more."""

_Stamp = tuple[int, int]


class Projectors:
    """Reads projectors' headers, each once as long as it does not change."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Stamp, ProjectorHeader | None]] = {}

    def choose(self, paths: Sequence[Path], header: Header) -> Projector | None:
        """Chooses among files the one that fits a model; None where none does, or the model's pictures are not served."""
        if header.format != "gguf" or header.ability != "text" or header.rope_by_rows:
            return None
        found = [(path, projector) for path in paths if (projector := self._read(path)) is not None]
        fitting = [
            (path, projector)
            for path, projector in found
            if projector.embedding_length is None or projector.embedding_length == header.embedding_length
        ]
        if not fitting:
            return None
        path, projector = min(fitting, key=lambda one: (_rank(one[0]), one[0].name))
        return Projector(path, projector.size_bytes)

    def _read(self, path: Path) -> ProjectorHeader | None:
        try:
            stat = path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                known = self._known[path] = (stamp, read_projector(path))
            return known[1]
        except FormatError as error:
            log.warning("%s", error.message)
        except OSError as error:
            log.warning("%s cannot be read: %s", path, error.strerror or error)
        return None


def _rank(path: Path) -> int:
    precision = find_quantization(path.name)
    return _PRECISIONS.index(precision) if precision in _PRECISIONS else len(_PRECISIONS)
