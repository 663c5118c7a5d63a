"""Finds what a search asks for, where its rows are many and where they are few, without knowing beforehand which.

A page can be read in two ways. *In order*: go along the index of the order and test each row until the page is full,
which is soon where many rows match. *By a source* (`sources.py`): take what an index of a condition has, test it and
sort it, which is soon where few match. Which of them is short depends on values, and on how these go together, which no
statistics tell. So both are tried in turn, each time with more rows, until one of them is through. That costs little
more than the shorter way alone, however many rows the data store has.
"""

# ruff: noqa: S608 - SQL is put together from names of our own; every value is a parameter.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from grammar.criteria import And, Comparison, Condition, Everything, Operator
from grammar.fields import BY_NAME, TEMPORAL
from graphql_service.stores import sql
from graphql_service.stores.base import Request
from graphql_service.stores.schema import INDEXES, index_name
from graphql_service.stores.sources import Source, is_broad, sources
from graphql_service.stores.sql import COLUMNS, EVERY_ROW, Clause, Key, SQLValue

Row: TypeAlias = tuple[Any, ...]

#: Of each turn: how many rows a source may have to be taken, and how many more are tested in order. Those of a source
#: are counted within its index, some 20 times as fast as they are tested: so a search costs at most about 2.5 times
#: what the better way does.
TURNS: Final = tuple((500 * 4**turn, 500 * 4**turn) for turn in range(8))

#: The indexes of two columns or more, by these two.
_BEGINNINGS: Final = {columns[:2]: columns for columns in INDEXES}


def read_rows(connection: sqlite3.Connection, number: int, request: Request, columns: str) -> list[Row]:
    """The rows from where a request begins reading, one more than it wants where there are so many."""
    reading = _begin(connection, number, request, columns)
    if isinstance(reading.others, Everything):
        return reading.read_any_way()
    index = _find_index(reading.others, reading.keys[0])
    if index is not None:
        return reading.read_index(index)
    found = sources(request.where, number)
    return reading.read(found) if found else reading.read_any_way()


def count_rows(connection: sqlite3.Connection, number: int, where: Condition, limit: int) -> int:
    """How many rows meet a condition, counting no further than `limit`."""
    found = sources(where, number)
    if not found:
        met = sql.condition(where, sql.Names(f"name_parts_{number}"))
        return _count(connection, Clause(f"SELECT 1 FROM image_sets_{number} WHERE {met.text}", met.parameters), limit)
    if found[0].exact:
        query = found[0].query
        rows = query.text if found[0].once else f"SELECT DISTINCT rowid FROM ({query.text})"
        return _count(connection, Clause(rows, query.parameters), limit)
    met = sql.condition(where, sql.Names(f"name_parts_{number}", each=True))
    last = connection.execute(f"SELECT max(rowid) FROM image_sets_{number}").fetchone()[0] or 0
    count = start = 0
    for most, width in TURNS:
        few = _find_few(connection, found, most)
        if few is not None:
            rows = f"SELECT 1 FROM image_sets_{number} AS this NOT INDEXED WHERE {few.text} AND {met.text}"
            return _count(connection, Clause(rows, few.parameters + met.parameters), limit)
        end = last if (most, width) == TURNS[-1] else start + width
        rows = f"SELECT 1 FROM image_sets_{number} AS this NOT INDEXED WHERE rowid > ? AND rowid <= ? AND {met.text}"
        count += _count(connection, Clause(rows, (start, end, *met.parameters)), limit - count)
        start = end
        if count == limit or start >= last:
            break
    return count


def all_rows(connection: sqlite3.Connection, number: int, where: Condition) -> Clause:
    """What stands behind FROM to read all rows that meet a condition, in no order; "AND" may follow."""
    found = sources(where, number)
    for most, _ in TURNS[:-1] if found else ():
        few = _find_few(connection, found, most)
        if few is not None:
            met = sql.condition(where, sql.Names(f"name_parts_{number}", each=True))
            text = f"image_sets_{number} AS this NOT INDEXED WHERE {few.text} AND {met.text}"
            return Clause(text, few.parameters + met.parameters)
    met = sql.condition(where, sql.Names(f"name_parts_{number}"))
    return Clause(f"image_sets_{number} WHERE {met.text}", met.parameters)


def _find_few(connection: sqlite3.Connection, found: Sequence[Source], most: int) -> Clause | None:
    """That a row is of the first source that has no more than so many rows; None: each has more.

    Those that are not quick have their turn after others had theirs.
    """
    for source in found:
        if not source.quick and most == TURNS[0][0]:
            continue
        if _count(connection, source.query, most + 1) <= most:
            return Clause(f"this.rowid IN ({source.query.text})", source.query.parameters)
    return None


def _count(connection: sqlite3.Connection, rows: Clause, limit: int) -> int:
    query = f"SELECT count(*) FROM (SELECT 1 FROM ({rows.text}) LIMIT ?)"
    return int(connection.execute(query, (*rows.parameters, limit)).fetchone()[0])


def _find_index(condition: Condition, key: Key) -> tuple[str, ...] | None:
    """The index that begins with a condition and goes on with the key."""
    if not isinstance(condition, Comparison) or condition.operator is not Operator.EQ:
        return None
    return _BEGINNINGS.get((COLUMNS[condition.field], key.column))


@dataclass(frozen=True, slots=True)
class _Reading:
    """What there is to read, and of which data store."""

    connection: sqlite3.Connection
    number: int
    request: Request
    columns: str
    keys: tuple[Key, ...]
    start: tuple[SQLValue, ...] | None
    #: The condition without its periods on the first key, and what these have in common.
    others: Condition
    period: sql.Period | None

    def read_any_way(self) -> list[Row]:
        """Leaves the way to SQLite."""
        return self._read("", EVERY_ROW, self.start)

    def read_index(self, columns: tuple[str, ...]) -> list[Row]:
        """Reads an index that has no other rows. SQLite would take the order's own for those that tie with a place."""
        return self._read(f"INDEXED BY {index_name(self.number, columns)}", EVERY_ROW, self.start)

    def read(self, found: Sequence[Source]) -> list[Row]:
        """Tries the order and the sources in turn."""
        order = self._order()
        start: tuple[SQLValue, ...] | None = self.start
        rows: list[Row] = []
        for most, width in TURNS:
            few = _find_few(self.connection, found, most)
            if few is not None:
                return self._read("NOT INDEXED", few, self.start)
            if order is None:
                continue
            upto = self._find_end(order, start, width)
            indexed = f"INDEXED BY {index_name(self.number, order.columns)}"
            rows += self._read(indexed, EVERY_ROW, start, upto, len(rows))
            if upto is None or len(rows) > self.request.limit:
                return rows
            start = (upto,)
        if order is None:
            return self.read_any_way()
        return rows + self._read(indexed, EVERY_ROW, start, None, len(rows))

    def _order(self) -> _Order | None:
        """The index of an order by time; where one begins with a condition that has one value, that one."""
        key = self.keys[0]
        if key.type not in TEMPORAL:
            return None
        parts = self.others.conditions if isinstance(self.others, And) else (self.others,)
        for part in sorted(parts, key=is_broad):
            columns = _find_index(part, key)
            if columns is not None:
                return _Order(columns, sql.condition(part, sql.Names("")))
        columns = (key.column, "image_set_id")
        return _Order(columns, EVERY_ROW) if columns in INDEXES else None

    def _find_end(self, order: _Order, start: tuple[SQLValue, ...] | None, width: int) -> int | None:
        """The time that the row so many behind the start has; None: there are not so many that have one."""
        key = self.keys[0]
        beyond = sql.stretch(self.period or sql.Period(), key, start)
        ends = self.connection.execute(
            f"SELECT {key.column} FROM image_sets_{self.number} INDEXED BY {index_name(self.number, order.columns)}"
            f" WHERE {order.condition.text} AND {beyond.text} ORDER BY {sql.order_by(self.keys[:1])} LIMIT 1 OFFSET ?",
            (*order.condition.parameters, *beyond.parameters, width),
        ).fetchone()
        return None if ends is None else int(ends[0])

    def _read(
        self,
        how: str,
        narrowed: Clause,
        start: tuple[SQLValue, ...] | None,
        upto: int | None = None,
        there: int = 0,
    ) -> list[Row]:
        """The rows beyond `start` up to the time `upto`, as many as are wanted where so many are there already."""
        request, rows = self.request, list[Row]()
        names = sql.Names(f"name_parts_{self.number}", each=bool(how))
        chosen = EVERY_ROW
        if request.studies:
            [columns] = [columns for columns in INDEXES if columns[0] == "study_uid"]
            table, index = f"image_sets_{self.number}", index_name(self.number, columns)
            chosen = sql.first_of_study(request.where, request.sort, table, names, index)
        for where in sql.segments_within(self.others, self.period, self.keys, start, names, upto):
            rows += self.connection.execute(
                f"SELECT {self.columns} FROM image_sets_{self.number} AS this {how}"
                f" WHERE {narrowed.text} AND {where.text} AND {chosen.text} ORDER BY {sql.order_by(self.keys)} LIMIT ?",
                (
                    *narrowed.parameters,
                    *where.parameters,
                    *chosen.parameters,
                    request.limit + 1 - there - len(rows),
                ),
            )
            if there + len(rows) > request.limit:
                break
        return rows


@dataclass(frozen=True, slots=True)
class _Order:
    """An index in whose order rows are read, and the condition that its columns before the order's are for."""

    columns: tuple[str, ...]
    condition: Clause


def _begin(connection: sqlite3.Connection, number: int, request: Request, columns: str) -> _Reading:
    start = request.before if request.backward else request.after
    keys = sql.read_keys(request.sort, backward=request.backward)
    begin = None
    if start is not None:
        types = (BY_NAME[key.field].type for key in request.sort)
        begin = (*map(sql.column_value, types, start.values), start.image_set_id)[: len(keys)]
    return _Reading(connection, number, request, columns, keys, begin, *sql.take_period(request.where, keys[0]))
