"""Answers on disk: one SQLite file (WAL) a store, each answer committed before anybody sees it.

    answers   key, model, request and reply (JSON; zlib from 4 kB on), tokens, seconds, time
    dead      requests that failed: key, model, code, cause, what came instead, attempts, time
    spent     per budget scope: requests, tokens, dollars; written in the transaction of the answer it counts

All that arrives in one turn of the event loop is one transaction, run in the loop's own thread: a writer thread costs
more in thread switches than it saves. `kill -9` loses no committed answer; a power cut may lose the last few
(synchronous = NORMAL) and never damages the file. Several processes may share it. A damaged file is put aside as
`*.damaged` and a new one begun; a damaged answer is asked again. Cost: about 50 microseconds of CPU to write an answer
of 2 kB, 20 to read it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftrecipe.errors import StepError

__all__ = ["Answer", "Cache", "DeadLetter", "Spent"]

log = logging.getLogger("sftrecipe.models")
BUSY_SECONDS = 30.0
ZIPPED_FROM = 4096
"""Characters; below, starting the compressor costs more than the bytes do."""

TABLES = """
CREATE TABLE IF NOT EXISTS answers(key BLOB PRIMARY KEY, model TEXT NOT NULL, request NOT NULL, reply NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, seconds REAL NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS dead(key BLOB PRIMARY KEY, model TEXT NOT NULL, code TEXT NOT NULL, cause TEXT NOT NULL,
    raw TEXT NOT NULL, request NOT NULL, attempts INTEGER NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS spent(scope TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,
    dollars REAL NOT NULL) WITHOUT ROWID;
"""
PUT = "INSERT OR REPLACE INTO answers VALUES(?,?,?,?,?,?,?,?)"
BURY = "INSERT OR REPLACE INTO dead VALUES(?,?,?,?,?,?,?,?)"
SPEND = """INSERT INTO spent VALUES(?,?,?,?) ON CONFLICT(scope) DO UPDATE SET requests = requests + excluded.requests,
    tokens = tokens + excluded.tokens, dollars = dollars + excluded.dollars"""

Statement = tuple[str, tuple[Any, ...]]
Spending = tuple[str, "Spent"]


@dataclass(frozen=True)
class Spent:
    """What a scope has cost so far, over all runs in this store."""

    requests: int = 0
    tokens: int = 0
    dollars: float = 0.0


@dataclass(frozen=True)
class Answer:
    """One answer to keep. `request` and `reply` are JSON texts; `seconds` is how long the server took."""

    key: bytes
    model: str
    request: str
    reply: str
    tokens_in: int
    tokens_out: int
    seconds: float


@dataclass(frozen=True)
class DeadLetter:
    """A request that failed for good in its run:

    the next run asks again. `request` is a JSON text, `raw` what came instead.
    """

    key: bytes
    model: str
    code: str
    cause: str
    request: str
    attempts: int
    raw: str = ""


class Cache:
    """The file `path`, created when missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = self._open()
        self._dead = {row[0] for row in self._db.execute("SELECT key FROM dead")}
        self._waiting: list[_Job] = []

    def get(self, key: bytes) -> dict[str, Any] | None:
        """The reply stored under `key`, or None. One that cannot be read any more counts as not there."""
        try:
            found = self._db.execute("SELECT reply FROM answers WHERE key = ?", (key,)).fetchone()
            return None if found is None else dict(json.loads(_unpack(found[0])))
        except (sqlite3.DatabaseError, zlib.error, ValueError, TypeError) as error:
            log.warning("an answer in %s cannot be read and is asked again: %s", self.path, error)
            return None

    async def put(self, answer: Answer, spent: Spending | None = None) -> None:
        """Returns when the answer, and what it cost the scope, are committed."""
        row = (answer.key, answer.model, _pack(answer.request), _pack(answer.reply))
        figures = (answer.tokens_in, answer.tokens_out, answer.seconds, time.time())
        work: list[Statement] = [(PUT, row + figures)]
        if answer.key in self._dead:
            work.append(("DELETE FROM dead WHERE key = ?", (answer.key,)))
        await self._write(work, spent)

    async def bury(self, letter: DeadLetter) -> None:
        """Records a failed request."""
        row = (letter.key, letter.model, letter.code, letter.cause, letter.raw, _pack(letter.request))
        self._dead.add(letter.key)
        await self._write([(BURY, (*row, letter.attempts, time.time()))])

    async def forget(self, *keys: bytes) -> None:
        """Lets answers go that turned out to be none."""
        await self._write([("DELETE FROM answers WHERE key = ?", (key,)) for key in keys])

    def spent(self, scope: str) -> Spent:
        """What `scope` has cost in all runs so far."""
        found = self._db.execute("SELECT requests, tokens, dollars FROM spent WHERE scope = ?", (scope,)).fetchone()
        return Spent(*found) if found else Spent()

    def seconds(self, model: str, limit: int = 200) -> list[float]:
        """How long answers of this model took: for estimates."""
        asked = "SELECT seconds FROM answers WHERE model = ? LIMIT ?"
        return [row[0] for row in self._db.execute(asked, (model, limit))]

    def dead_letters(self, model: str | None = None) -> Iterator[DeadLetter]:
        """Failed requests that no later run has answered, oldest first."""
        wanted = (
            "SELECT key, model, code, cause, request, attempts, raw FROM dead WHERE ? IS NULL OR model = ? "
            "ORDER BY created, key"
        )
        for key, name, code, cause, request, attempts, raw in self._db.execute(wanted, (model, model)):
            yield DeadLetter(key, name, code, cause, _unpack(request), attempts, raw)

    def close(self) -> None:
        """Commits what waits and lets go of the file. Harmless when called twice."""
        if self._waiting:
            self._flush()
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._connect()
        except (OSError, sqlite3.OperationalError) as error:
            raise _unusable(self.path, error) from error
        except sqlite3.DatabaseError as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            log.warning(
                "%s is damaged (%s): put aside as %s, its answers are asked again", self.path, error, aside.name
            )
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            self.path.replace(aside)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        # rows may be worked off on another thread than the one that built the session; never on two at a time
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            db.executescript("PRAGMA synchronous = NORMAL;" + TABLES)
        except sqlite3.DatabaseError:
            db.close()
            raise
        if mode != "wal":
            db.close()
            raise _unusable(self.path, f"this file system allows no write-ahead log (journal mode {mode})")
        return db

    async def _write(self, work: list[Statement], spent: Spending | None = None) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append(_Job(work, spent, done))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        # a row that is cancelled now must not take its answer with it: what is queued is committed all the same
        await asyncio.shield(done)

    def _flush(self) -> None:
        jobs, self._waiting = self._waiting, []
        error = self._commit(jobs) if jobs else None
        for job in jobs:
            if job.done.done() or job.done.get_loop().is_closed():
                continue
            if error is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(error)

    def _commit(self, jobs: list[_Job]) -> StepError | None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                for statement, values in job.work:
                    self._db.execute(statement, values)
            for scope, spent in _sums(jobs).items():
                self._db.execute(SPEND, (scope, spent.requests, spent.tokens, spent.dollars))
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return _unusable(self.path, error)
        return None


@dataclass(frozen=True)
class _Job:
    """What waits for the next transaction."""

    work: list[Statement]
    spent: Spending | None
    done: asyncio.Future[None]


def _sums(jobs: list[_Job]) -> dict[str, Spent]:
    sums: dict[str, Spent] = {}
    for scope, more in (job.spent for job in jobs if job.spent is not None):
        so_far = sums.get(scope, Spent())
        sums[scope] = Spent(so_far.requests + more.requests, so_far.tokens + more.tokens, so_far.dollars + more.dollars)
    return sums


def _pack(text: str) -> str | bytes:
    return text if len(text) < ZIPPED_FROM else zlib.compress(text.encode("ascii"), 1)


def _unpack(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else zlib.decompress(stored).decode("ascii")


def _unusable(path: Path, why: object) -> StepError:
    return StepError(
        f"the record of answers {path} cannot be used: {why}",
        code="R627",
        help="free the disk or allow writing there; `--requests off` keeps no record, and pays again after a stop",
    )
