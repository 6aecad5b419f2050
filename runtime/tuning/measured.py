"""Keeps in SQLite how fast models really ran, so that no prediction stands where a measurement can."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE_NAME: Final = "speeds.sqlite"
SETTLED_TOKENS: Final = 64
"""So many decoded tokens make a measurement."""
MEMORY_TOKENS: Final = 1024
"""A run of so many tokens moves the mean half of the way to itself."""
_BUSY_S: Final = 2.0
_SCHEMA: Final = """
create table if not exists speeds (
  model text not null, quantization text not null, engine text not null, chip text not null,
  decode_tps real, decode_tokens integer not null, prefill_tps real, prefill_tokens integer not null,
  runs integer not null, at_epoch_s real not null,
  primary key (model, quantization, engine, chip)
)
"""


@dataclass(frozen=True, slots=True)
class SpeedKey:
    """What a speed belongs to: another one of these may be faster."""

    model: str
    quantization: str
    engine: str
    """Name and version."""
    chip: str


@dataclass(frozen=True, slots=True)
class Run:
    """What one request, or one burst of a benchmark, measured."""

    decode_tps: float | None = None
    decode_tokens: int = 0
    prefill_tps: float | None = None
    prefill_tokens: int = 0


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """The mean of all runs under one key, in which newer ones weigh more."""

    key: SpeedKey
    decode_tps: float | None
    decode_tokens: int
    """Of all runs."""
    prefill_tps: float | None
    prefill_tokens: int
    runs: int
    at_epoch_s: float
    """Of the newest run."""

    @property
    def is_settled(self) -> bool:
        """Whether it may replace a prediction."""
        return self.decode_tps is not None and self.decode_tokens >= SETTLED_TOKENS


class SpeedBook:
    """The file; each call opens and closes it, as nothing is asked often. All block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, key: SpeedKey, run: Run) -> MeasuredSpeed:
        """Adds a run to the mean of its key; raises OSError or sqlite3.Error where the file cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as book, book:
            # Locked before it is read: another process may note a run of the same key.
            book.execute("begin immediate")
            old = self._find(book, key) or MeasuredSpeed(key, None, 0, None, 0, 0, 0.0)
            new = MeasuredSpeed(
                key,
                _mean(old.decode_tps, run.decode_tps, run.decode_tokens),
                old.decode_tokens + run.decode_tokens,
                _mean(old.prefill_tps, run.prefill_tps, run.prefill_tokens),
                old.prefill_tokens + run.prefill_tokens,
                old.runs + 1,
                time.time(),
            )
            book.execute("insert or replace into speeds values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _to_row(new))
        return new

    def read(self) -> list[MeasuredSpeed]:
        """Gives all, the newest first; none where the file is missing or damaged."""
        if not self._path.is_file():
            return []
        try:
            with self._open() as book:
                rows = book.execute("select * from speeds order by at_epoch_s desc").fetchall()
        except sqlite3.Error:
            return []
        return [_from_row(row) for row in rows]

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as book:
            book.execute(_SCHEMA)
            yield book

    def _find(self, book: sqlite3.Connection, key: SpeedKey) -> MeasuredSpeed | None:
        wanted = (key.model, key.quantization, key.engine, key.chip)
        row = book.execute(
            "select * from speeds where model = ? and quantization = ? and engine = ? and chip = ?", wanted
        ).fetchone()
        return None if row is None else _from_row(row)


def _mean(old_tps: float | None, tps: float | None, tokens: int) -> float | None:
    if tps is None or tokens <= 0:
        return old_tps
    return tps if old_tps is None else old_tps + (tps - old_tps) * tokens / (tokens + MEMORY_TOKENS)


def _to_row(speed: MeasuredSpeed) -> tuple[str | float | int | None, ...]:
    key = speed.key
    return (
        key.model, key.quantization, key.engine, key.chip, speed.decode_tps, speed.decode_tokens, speed.prefill_tps,
        speed.prefill_tokens, speed.runs, speed.at_epoch_s,
    )  # fmt: skip


def _from_row(row: tuple[str, str, str, str, float | None, int, float | None, int, int, float]) -> MeasuredSpeed:
    return MeasuredSpeed(SpeedKey(*row[:4]), *row[4:])
