"""Responses that clients may come back to, in a small database: bounded, private to its user, and never worth an error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

log = logging.getLogger(__name__)

MOST_TURNS = 10_000
"""A longer chain of responses is a circle."""
_VERSION = 1
_BUSY_S = 2.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY, previous TEXT, used_at REAL NOT NULL, size_bytes INTEGER NOT NULL,
    input BLOB NOT NULL, answer BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON responses (used_at);
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, response TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_response ON items (response);
"""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response as it is kept."""

    id: str
    previous: str | None
    """The response that it follows."""
    input: bytes
    """The request's own items, as a JSON list."""
    answer: bytes
    """The response, as JSON."""


class ResponseStore:
    """Keeps responses while it is open; an async context manager.

    Where the disk cannot be written or read, or the file is damaged, one line of the log says so, and from then on nothing is
    kept and nothing found.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_responses: int,
        max_bytes: int,
        max_age_s: float,
        now_epoch_s: Callable[[], float] = time.time,
    ) -> None:
        """Touches nothing yet.

        Args:
            path: of the database; its folder is made.
            max_responses: so many are kept; the ones unused for longest make room.
            max_bytes: so much is kept of inputs and answers together.
            max_age_s: what nobody used for so long is deleted; 0 is never.
            now_epoch_s: the wall clock.
        """
        self._path = path
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._now_epoch_s = now_epoch_s
        # One thread: the database takes one writer at a time anyway, and nobody's turn is lost.
        self._thread = ThreadPoolExecutor(1, "response store")
        self._database: sqlite3.Connection | None = None
        self.works = True
        """False once the disk failed."""

    async def __aenter__(self) -> Self:
        """Gives itself; the file is opened when it is needed first."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the file."""
        await self._run(self._close, None)
        self._thread.shutdown(wait=False)

    async def put(self, response: StoredResponse, item_ids: Sequence[str]) -> None:
        """Keeps a response, findable by its id and by those of its output's items."""
        await self._run(lambda: self._put(response, item_ids), None)

    async def get(self, response_id: str) -> StoredResponse | None:
        """Finds a response."""
        return await self._run(lambda: self._get(response_id), None)

    async def chain(self, response_id: str) -> tuple[list[StoredResponse], str | None]:
        """Finds a response and all that it follows.

        Returns:
            The responses, the first of them first, and the id of one that is missing, or None.
        """
        return await self._run(lambda: self._chain(response_id), ([], response_id))

    async def owners(self, item_ids: Iterable[str]) -> list[StoredResponse]:
        """Finds the responses whose outputs have these items."""
        return await self._run(lambda: self._owners(sorted(set(item_ids))), [])

    async def delete(self, response_id: str) -> bool:
        """Deletes a response; False where there is none."""
        return await self._run(lambda: self._delete(response_id), default=False)

    async def _run(self, work: Callable[[], Result], default: Result) -> Result:
        """Works beside the event loop; gives the default once the disk failed."""
        if not self.works:
            return default
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            if self.works:
                self.works = False
                log.warning("responses are no longer stored: %s: %s", self._path, error)
            return default

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The files that SQLite puts beside it get the same mode.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        with contextlib.closing(sqlite3.connect(self._path, timeout=_BUSY_S)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError(f"it was written by another version of Impetus ({version})")
        database = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}")
        database.execute(f"PRAGMA journal_size_limit = {1024 * 1024}")
        database.executescript(f"{_SCHEMA} PRAGMA user_version = {_VERSION};")
        self._database = database
        return database

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _put(self, response: StoredResponse, item_ids: Sequence[str]) -> None:
        size_bytes = len(response.input) + len(response.answer)
        if size_bytes > self._max_bytes:
            log.info("the response %s is too large to be stored", response.id)
            return
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        try:
            database.execute(
                "INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?)",
                (response.id, response.previous, self._now_epoch_s(), size_bytes, response.input, response.answer),
            )
            database.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", [(id_, response.id) for id_ in item_ids])
            self._make_room(database)
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _make_room(self, database: sqlite3.Connection) -> None:
        if self._max_age_s:
            database.execute("DELETE FROM responses WHERE used_at < ?", (self._now_epoch_s() - self._max_age_s,))
        kept_bytes = 0
        newest_first = database.execute("SELECT id, size_bytes FROM responses ORDER BY used_at DESC, id").fetchall()
        for rank, (id_, size_bytes) in enumerate(newest_first):
            kept_bytes += size_bytes
            if rank >= self._max_responses or kept_bytes > self._max_bytes:
                database.execute("DELETE FROM responses WHERE id = ?", (id_,))

    def _get(self, response_id: str) -> StoredResponse | None:
        found = self._open().execute("SELECT id, previous, input, answer FROM responses WHERE id = ?", (response_id,))
        row = found.fetchone()
        return None if row is None else StoredResponse(*row)

    def _chain(self, response_id: str) -> tuple[list[StoredResponse], str | None]:
        chain: list[StoredResponse] = []
        wanted: str | None = response_id
        while wanted is not None and len(chain) < MOST_TURNS:
            response = self._get(wanted)
            if response is None:
                return [], wanted
            chain.append(response)
            wanted = response.previous
        # All of a chain grows old together: without its beginning the rest is worth nothing.
        now_epoch_s = self._now_epoch_s()
        self._open().executemany(
            "UPDATE responses SET used_at = ? WHERE id = ?", [(now_epoch_s, response.id) for response in chain]
        )
        return chain[::-1], None

    def _owners(self, item_ids: Sequence[str]) -> list[StoredResponse]:
        database = self._open()
        ids: set[str] = set()
        for item_id in item_ids:
            found = database.execute("SELECT response FROM items WHERE id = ?", (item_id,)).fetchone()
            if found is not None:
                ids.add(found[0])
        return [response for id_ in sorted(ids) if (response := self._get(id_)) is not None]

    def _delete(self, response_id: str) -> bool:
        return self._open().execute("DELETE FROM responses WHERE id = ?", (response_id,)).rowcount > 0
