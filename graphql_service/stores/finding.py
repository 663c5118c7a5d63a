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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from grammar.criteria import And, Comparison, Condition, Everything, Operator, SortKey, comparisons
from grammar.fields import BY_NAME, TEMPORAL, FieldType
from graphql_service.deadlines import NotBrief, is_brief
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

#: So many names are compiled within a millisecond or two.
_FEW_NAMES: Final = 8

#: The indexes of two columns or more, by these two.
_BEGINNINGS: Final = {columns[:2]: columns for columns in INDEXES}


def read_rows(connection: sqlite3.Connection, number: int, request: Request, columns: str) -> list[Row]:
    """The rows from where a request begins reading, one more than it wants where there are so many. Raises NotBrief."""
    find_way = _recall_way if request.recurs else _find_way
    way = find_way(number, request.where, request.sort, request.backward)
    if is_brief() and not way.brief:
        raise NotBrief
    reading = _Reading(connection, number, request, columns, way, _find_start(request, way.keys))
    if way.how is not None:
        return reading.read_at_once(way.how)
    found = sources(request.where, number)
    return reading.read_in_turns(found) if found else reading.read_at_once("")


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


@dataclass(frozen=True, slots=True)
class _Way:
    """What the condition and the order of a request come to, wherever it begins.

    `brief`: it can be stopped where it takes its time. `others` is the condition without its periods on the first key,
    and `period` what these have in common. `how` is what stands behind the table where no other way has to be tried,
    and `beginning` then what the rows from the first one on are read by.
    """

    brief: bool
    keys: tuple[Key, ...]
    others: Condition
    period: sql.Period | None
    how: str | None
    beginning: tuple[Clause, ...]


def _find_way(number: int, where: Condition, sort: tuple[SortKey, ...], backward: bool) -> _Way:  # noqa: FBT001 - a cache is slow with names
    brief, keys = _can_be_stopped(where), sql.read_keys(sort, backward=backward)
    others, period = sql.take_period(where, keys[0])
    index = _find_index(others, keys[0])
    if index is not None:
        # It has no other rows. SQLite would take the order's own index for those that tie with a place.
        how = f"INDEXED BY {index_name(number, index)}"
    elif isinstance(others, Everything):
        how = ""
    else:
        return _Way(brief, keys, others, period, None, ())
    return _Way(brief, keys, others, period, how, tuple(sql.segments_within(others, period, keys, None, sql.Names(""))))


_recall_way: Final = lru_cache(1_024)(_find_way)


def _can_be_stopped(where: Condition) -> bool:
    """Whether nothing in it takes long in one step: a match with a pattern is one, and compiling many names is none."""
    found = list(comparisons(where))
    names = sum(
        len(each.operand) if isinstance(each.operand, tuple) else 1
        for each in found
        if BY_NAME[each.field].type is FieldType.PERSON_NAME
    )
    return names <= _FEW_NAMES and all(each.operator is not Operator.LIKE for each in found)


def _find_start(request: Request, keys: tuple[Key, ...]) -> tuple[SQLValue, ...] | None:
    """The values of the keys at the place from which a request is read."""
    start = request.before if request.backward else request.after
    if start is None:
        return None
    types = (BY_NAME[key.field].type for key in request.sort)
    return (*map(sql.column_value, types, start.values), start.image_set_id)[: len(keys)]


def _find_index(condition: Condition, key: Key) -> tuple[str, ...] | None:
    """The index that begins with a condition and goes on with the key."""
    if not isinstance(condition, Comparison) or condition.operator is not Operator.EQ:
        return None
    return _BEGINNINGS.get((COLUMNS[condition.field], key.column))


class _Reading(NamedTuple):
    """What there is to read, and of which data store."""

    connection: sqlite3.Connection
    number: int
    request: Request
    columns: str
    way: _Way
    start: tuple[SQLValue, ...] | None

    def read_at_once(self, how: str) -> list[Row]:
        """Reads in the one way there is, or leaves it to SQLite."""
        known = self.start is None and self.way.how is not None
        return self._read(how, EVERY_ROW, self.way.beginning if known else self._segments(how, self.start))

    def read_in_turns(self, found: Sequence[Source]) -> list[Row]:
        """Tries the order and the sources in turn."""
        order = self._order()
        start: tuple[SQLValue, ...] | None = self.start
        rows: list[Row] = []
        for most, width in TURNS:
            few = _find_few(self.connection, found, most)
            if few is not None:
                how = "NOT INDEXED"
                return self._read(how, few, self._segments(how, self.start))
            if order is None:
                continue
            upto = self._find_end(order, start, width)
            how = f"INDEXED BY {index_name(self.number, order.columns)}"
            rows += self._read(how, EVERY_ROW, self._segments(how, start, upto), len(rows))
            if upto is None or len(rows) > self.request.limit:
                return rows
            start = (upto,)
        if order is None:
            return self.read_at_once("")
        return rows + self._read(how, EVERY_ROW, self._segments(how, start), len(rows))

    def _order(self) -> _Order | None:
        """The index of an order by time; where one begins with a condition that has one value, that one."""
        key = self.way.keys[0]
        if key.type not in TEMPORAL:
            return None
        parts = self.way.others.conditions if isinstance(self.way.others, And) else (self.way.others,)
        for part in sorted(parts, key=is_broad):
            columns = _find_index(part, key)
            if columns is not None:
                return _Order(columns, sql.condition(part, sql.Names("")))
        columns = (key.column, "image_set_id")
        return _Order(columns, EVERY_ROW) if columns in INDEXES else None

    def _find_end(self, order: _Order, start: tuple[SQLValue, ...] | None, width: int) -> int | None:
        """The time that the row so many behind the start has; None: there are not so many that have one."""
        key = self.way.keys[0]
        beyond = sql.stretch(self.way.period or sql.Period(), key, start)
        by_key = sql.order_by(self.way.keys[:1])
        ends = self.connection.execute(
            f"SELECT {key.column} FROM image_sets_{self.number} INDEXED BY {index_name(self.number, order.columns)}"
            f" WHERE {order.condition.text} AND {beyond.text} ORDER BY {by_key} LIMIT 1 OFFSET ?",
            (*order.condition.parameters, *beyond.parameters, width),
        ).fetchone()
        return None if ends is None else int(ends[0])

    def _segments(self, how: str, start: tuple[SQLValue, ...] | None, upto: int | None = None) -> Iterator[Clause]:
        """The conditions on the rows beyond `start`, up to the time `upto`, one stretch after the other."""
        return sql.segments_within(self.way.others, self.way.period, self.way.keys, start, self._names(how), upto)

    def _names(self, how: str) -> sql.Names:
        return sql.Names(f"name_parts_{self.number}", each=bool(how))

    def _read(self, how: str, narrowed: Clause, stretches: Iterable[Clause], there: int = 0) -> list[Row]:
        """The rows of these stretches, as many as are wanted where so many are there already."""
        request, rows = self.request, list[Row]()
        chosen = EVERY_ROW
        if request.studies:
            [columns] = [columns for columns in INDEXES if columns[0] == "study_uid"]
            table, index = f"image_sets_{self.number}", index_name(self.number, columns)
            chosen = sql.first_of_study(request.where, request.sort, table, self._names(how), index)
        order = sql.order_by(self.way.keys)
        for where in stretches:
            rows += self.connection.execute(
                f"SELECT {self.columns} FROM image_sets_{self.number} AS this {how}"
                f" WHERE {narrowed.text} AND {where.text} AND {chosen.text} ORDER BY {order} LIMIT ?",
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
