"""Keeps benchmarks in SQLite."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ..errors import InvalidRequest
from .bench_result import BenchResult

log = logging.getLogger(__name__)

FILE_NAME: Final = "benchmarks.sqlite"
_SCHEMA: Final = "create table if not exists benchmarks (id integer primary key, model text not null, body blob not null)"


class BenchBook:
    """The file; each call opens and closes it. All block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, result: BenchResult) -> BenchResult:
        """Keeps a benchmark; gives it back with its number."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as book, book:
            row = (result.model, msgspec.json.encode(result))
            number = book.execute("insert into benchmarks (model, body) values (?, ?)", row).lastrowid
        return msgspec.structs.replace(result, id=number)

    def get(self, number: int) -> BenchResult:
        """Finds one; raises InvalidRequest where there is none of this number."""
        found = self.all()
        result = next((each for each in found if each.id == number), None)
        if result is None:
            have = ", ".join(f"{each.id} ({each.model})" for each in found[-10:]) or "none"
            raise InvalidRequest(f"There is no benchmark {number}; kept are: {have}.")
        return result

    def all(self) -> list[BenchResult]:
        """Gives all, oldest first."""
        if not self._path.is_file():
            return []
        with self._open() as book:
            rows = book.execute("select id, body from benchmarks order by id").fetchall()
        found: list[BenchResult] = []
        for number, body in rows:
            try:
                result = msgspec.json.decode(body, type=BenchResult)
            except msgspec.MsgspecError as error:
                log.warning("benchmark %d was kept by another version, or is damaged: %s", number, error)
            else:
                found.append(msgspec.structs.replace(result, id=number))
        return found

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=2.0)) as book:
                book.execute(_SCHEMA)
                yield book
        except sqlite3.Error as error:
            raise InvalidRequest(f"{self._path} cannot be used: {error}") from error
