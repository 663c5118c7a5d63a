"""Connections to one SQLite file: opened, kept for the next reader, stopped in time, with sqlite3's errors as ours."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from grammar.problems import QueryError
from graphql_service.deadlines import NotBrief, expires, is_brief
from graphql_service.errors import ServiceError, StoreError, StoreFileError, StoreTimeout, UnsupportedSearch
from graphql_service.metrics import count_store_call, outcome_of

_BUSY_SECONDS: Final = 10.0
#: 16 MB: building indexes was slower with more.
_CACHE: Final = "PRAGMA cache_size = -16384"
#: Steps of SQLite's machine between two looks at the clock: a fraction of a millisecond.
_STEPS: Final = 4_000
#: A page of 50 takes about 1,500 steps; one of 500, twice read, would still be brief.
_BRIEF_STEPS: Final = 1_000
_BRIEF_LOOKS: Final = 20
#: What became of a call that was to be brief and was not: it is made again, and counted then.
_AGAIN: Final = "again"


class _Clock:
    """Says when a connection is to stop: at the instant `end`, or once it was asked so often as `looks` says."""

    def __init__(self) -> None:
        self.end = self.looks = inf

    def __call__(self) -> bool:
        """Whether it has to; SQLite asks after each so many steps."""
        self.looks -= 1
        return self.looks < 0 or time.monotonic() > self.end


class _Idle(NamedTuple):
    """A connection that nobody reads by, and its clock."""

    connection: sqlite3.Connection
    clock: _Clock


class Connections:
    """Connections to a file that exists. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[_Idle] = []
        self._idle_brief: list[_Idle] = []
        self._shared = threading.local()
        self._closed = False

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection that sees one state of the file from beginning to end, and cannot write.

        What it is asked ends by its deadline. Where the work is to be brief, it raises NotBrief instead of waiting.
        """
        return getattr(self._shared, "reading", None) or self._read()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Every search begins one of these: what they need is said here, in one place that costs little."""
        brief, begun = is_brief(), time.perf_counter()
        idle, outcome, whole = None, "ok", False
        try:
            idle = self._take(brief=brief)
            connection, clock = idle
            clock.end, clock.looks = expires(), _BRIEF_LOOKS if brief else inf
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
            whole = True
        except NotBrief:
            outcome, whole = _AGAIN, True
            raise
        except (QueryError, ServiceError) as error:
            whole = True  # the connection has no fault: SQLite's own errors come below
            if isinstance(error, StoreError):
                outcome = error.code
            raise
        except sqlite3.Error as error:
            if brief and _has_to_wait(error):
                outcome, whole = _AGAIN, True
                raise NotBrief from None
            raised = self._read_error(error)
            outcome = raised.code
            raise raised from error
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            if idle is not None:
                self._give_back(idle, brief=brief, whole=whole)
            if outcome != _AGAIN:
                count_store_call("sqlite", outcome, time.perf_counter() - begun)

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Whatever this thread reads within, it reads by one connection: it sees one state of the file."""
        before = getattr(self._shared, "reading", None)
        with self.reading() as connection:
            self._shared.reading = nullcontext(connection)
            try:
                yield
            finally:
                self._shared.reading = before

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection that writes."""
        try:
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
                connection.execute(_CACHE)
                connection.execute("PRAGMA threads = 2")  # sorting for an index, beside reading for it
                yield connection
        except sqlite3.Error as error:
            raise self._read_error(error) from error

    def close(self) -> None:
        """Close those that are idle; what is being read ends first, and nothing more is."""
        self._closed = True
        for idle in (self._idle, self._idle_brief):
            while idle:
                idle.pop().connection.close()

    def _take(self, *, brief: bool) -> _Idle:
        if self._closed:
            raise StoreError("the store is closed")
        try:
            return (self._idle_brief if brief else self._idle).pop()
        except IndexError:
            connection, clock = self._connect(), _Clock()
            connection.execute("PRAGMA query_only = ON")
            if brief:
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute(_CACHE)  # there is one of these: it keeps the upper pages of the indexes
            connection.set_progress_handler(clock, _BRIEF_STEPS if brief else _STEPS)
            return _Idle(connection, clock)

    def _give_back(self, idle: _Idle, *, brief: bool, whole: bool) -> None:
        """Keeps a connection for the next reader, unless what was read failed otherwise than by not being brief."""
        connection, clock = idle
        clock.end = clock.looks = inf
        if not whole or self._closed:
            connection.close()
            return
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        (self._idle_brief if brief else self._idle).append(idle)

    def _read_error(self, error: sqlite3.Error) -> ServiceError:
        """One clear sentence; SQLite's own messages name tables and columns, never values."""
        path, primary = self._path, _primary_code(error)
        if primary == sqlite3.SQLITE_FULL:
            return StoreFileError(f"the disk of {path} is full; the last step was undone, and nothing was lost")
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(f"another program is writing to {path}; try again when it is done")
        if primary == sqlite3.SQLITE_INTERRUPT:
            return StoreTimeout("the search took longer than this service lets a request take: narrow it")
        if primary == sqlite3.SQLITE_NOTADB:
            return StoreFileError(f"{path} is no database")
        if primary == sqlite3.SQLITE_CORRUPT:
            return StoreFileError(f"{path} is damaged: {error}")
        if any(words in str(error) for words in _TOO_LARGE):
            return UnsupportedSearch(f"the search is larger than the embedded store can take: {error}")
        return StoreFileError(f"{path}: {error}")

    def _connect(self) -> sqlite3.Connection:
        # check_same_thread: a connection serves one thread after the other, never two at once.
        return sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )


#: What sqlite3 says when a search is larger than it can compile or match.
_TOO_LARGE: Final = ("parser stack overflow", "Expression tree is too large", "too many", "too complex", "too big")


def _has_to_wait(error: sqlite3.Error) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY)


def _primary_code(error: sqlite3.Error) -> int:
    """Without the rest of its code, which says more of the same."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and the only writer meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself has rolled back where the disk was full
            connection.execute("ROLLBACK")
        raise
