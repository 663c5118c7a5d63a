"""Where the rows that can meet a condition are found, as SQL: a source has what one index says of it.

The whole condition is always tested as well, so a source may hold too many rows, and one of them twice, but never miss
one. Nothing here talks to a database.
"""

# ruff: noqa: S608 - SQL is put together from names of our own; every value is a parameter.

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from grammar.criteria import And, Comparison, Condition, Not, Operator, Or, Range
from grammar.fields import BY_NAME, TEMPORAL, FieldType
from graphql_service.matching import FOLDED
from graphql_service.patterns import Pattern, is_open, read_literal, read_pattern
from graphql_service.stores import sql
from graphql_service.stores.schema import INDEXES, index_name
from graphql_service.stores.sql import COLUMNS, Clause
from graphql_service.stores.texts import GRAM, cut_grams

#: So many parts of an "and" are tried, the most promising ones.
_ALTERNATIVES: Final = 4
#: So many queries may be one source together: SQLite takes 500, and longer to compile them than to read without.
_BRANCHES: Final = 50
#: Of so many grams of a pattern the rarest is looked up, as far as it is rarer than so many texts.
_GRAMS: Final = 12
_COMMON: Final = 1_000

_INDEXED: Final = frozenset(columns[0] for columns in INDEXES) | {"image_set_id"}
_CODES: Final = ("body_part", "modality")
#: Fields whose values many image sets share come last.
_BROAD: Final = frozenset({FieldType.CODE}) | TEMPORAL


@dataclass(frozen=True, slots=True)
class Source:
    """A query for the rowids of all rows that meet a condition.

    `exact`: and of no others. `once`: of each once. `quick`: they are found by steps in indexes; else an index is read
    from its beginning to its end. `branches` is how many queries are put together in it.
    """

    query: Clause
    exact: bool = True
    once: bool = True
    quick: bool = True
    branches: int = 1


def sources(where: Condition, number: int) -> tuple[Source, ...]:
    """Where to find the rows that meet a condition, the more promising first; none where no index narrows it down."""
    match where:
        case And(conditions):
            promising = sorted(conditions, key=lambda each: (is_broad(each), _is_like(each)))
            found = [source for each in promising for source in sources(each, number)]
            both = _of_both_codes(conditions, number)
            return both[:1] if both and both[0].exact else (*both, *(_part(source) for source in found))[:_ALTERNATIVES]
        case Or(conditions) if len(conditions) <= _BRANCHES:
            branches = [sources(condition, number) for condition in conditions]
            return _union([branch[0] for branch in branches]) if all(branches) else ()
        case Not(Comparison(field, Operator.EXISTS)) if COLUMNS[field] in _INDEXED:
            return (Source(_rows(number, Clause(f"{COLUMNS[field]} IS NULL"))),)
        case Comparison():
            return _of_comparison(where, number)
        case _:
            return ()


def is_broad(condition: Condition) -> bool:
    """Whether many image sets are likely to meet it."""
    return not isinstance(condition, Comparison) or BY_NAME[condition.field].type in _BROAD


def _part(source: Source) -> Source:
    """The source of a part of an "and"."""
    return replace(source, exact=False)


def _is_like(condition: Condition) -> bool:
    return isinstance(condition, Comparison) and condition.operator is Operator.LIKE


def _union(found: Sequence[Source]) -> tuple[Source, ...]:
    """All of them as one source; none where they are none, or too many."""
    branches = sum(each.branches for each in found)
    if branches > _BRANCHES or len(found) < 2:
        return () if branches > _BRANCHES else tuple(found)
    query = Clause(
        " UNION ALL ".join(each.query.text for each in found),
        tuple(value for each in found for value in each.query.parameters),
    )
    return (
        Source(
            query,
            exact=all(each.exact for each in found),
            once=False,
            quick=all(each.quick for each in found),
            branches=branches,
        ),
    )


def _rows(number: int, condition: Clause) -> Clause:
    return Clause(f"SELECT rowid FROM image_sets_{number} WHERE {condition.text}", condition.parameters)


def _of_both_codes(conditions: Sequence[Condition], number: int) -> tuple[Source, ...]:
    """Where there are conditions on each column of the index of two codes: they are broad alone, but not together."""
    codes = [
        each
        for each in conditions
        if isinstance(each, Comparison)
        and each.operator in (Operator.EQ, Operator.IN)
        and COLUMNS[each.field] in _CODES
    ]
    if {COLUMNS[each.field] for each in codes} != set(_CODES):
        return ()
    met = sql.every([sql.condition(each, _names(number)) for each in codes])
    index = index_name(number, _CODES)
    query = Clause(f"SELECT rowid FROM image_sets_{number} INDEXED BY {index} WHERE {met.text}", met.parameters)
    return (Source(query, exact=len(codes) == len(conditions)),)


def _of_comparison(comparison: Comparison, number: int) -> tuple[Source, ...]:
    field_type, column = BY_NAME[comparison.field].type, COLUMNS[comparison.field]
    operator, operand = comparison.operator, comparison.operand
    if column not in _INDEXED or (isinstance(operand, str) and not sql.storable(operand)):
        return ()
    match operator, operand:
        case Operator.RANGE, Range(start, end) if start is not None or end is not None:
            return (Source(_rows(number, sql.condition(comparison, _names(number)))),)
        case Operator.LIKE, str(text):
            pattern = read_pattern(text, folded=field_type in FOLDED)
            if field_type is FieldType.PERSON_NAME:
                return _of_names([pattern], number)
            if is_open(pattern):
                return ()
            if field_type is FieldType.TEXT:
                return (_of_text(pattern, number),)
            return (Source(_rows(number, sql.glob(column, pattern)), quick=isinstance(pattern[0], str)),)
        case ((Operator.EQ | Operator.IN), _) if field_type is FieldType.PERSON_NAME:
            operands = operand if isinstance(operand, tuple) else (operand,)
            return _of_names([read_literal(str(each), folded=True) for each in operands if sql.storable(each)], number)
        case ((Operator.EQ | Operator.IN), _):
            return (Source(_rows(number, sql.condition(comparison, _names(number)))),)
    return ()


def _names(number: int) -> sql.Names:
    return sql.Names(f"name_parts_{number}")


def _of_text(pattern: Pattern, number: int) -> Source:
    found = _find_texts(number, "description", pattern)
    tables = f"{_texts(number, pattern)} CROSS JOIN image_sets_{number} AS this"
    rows = f"SELECT this.rowid FROM {tables} WHERE {found.text} AND this.description = texts.text"
    return Source(Clause(rows, found.parameters), quick=_has_index(pattern))


def _of_names(patterns: Sequence[Pattern], number: int) -> tuple[Source, ...]:
    components, found = [], []
    for pattern in patterns:
        parts = sql.written_parts(pattern)
        if parts == ():
            return ()
        if parts is not None and len(parts) == 1 and parts[0].place is None and _is_literal(parts[0].pattern):
            components.append(str(parts[0].pattern[0]))
        elif parts is not None:
            found.append(_of_name(parts, number))
    return _union([*found, *([_of_components(components, number)] if components else [])])


def _of_components(components: Sequence[str], number: int) -> Source:
    """Names that have one of these components."""
    met = sql.one_of("name_parts.part", components)
    tables = f"name_parts_{number} AS name_parts CROSS JOIN image_sets_{number} AS this"
    rows = f"SELECT this.rowid FROM {tables} WHERE {met.text} AND this.patient_name = name_parts.name"
    return Source(Clause(rows, met.parameters), once=False)


def _of_name(parts: tuple[sql.NamePart, ...], number: int) -> Source:
    first = max(parts, key=lambda part: len(_longest(part.pattern)))
    tables = f"name_parts_{number} AS name_parts CROSS JOIN image_sets_{number} AS this"
    tests = [
        *sql.beside([part for part in parts if part is not first], f"name_parts_{number}"),
        Clause("this.patient_name = name_parts.name"),
    ]
    if _is_literal(first.pattern):
        tests.append(first.clause("name_parts.part"))
    else:
        tables = f"{_texts(number, first.pattern)} CROSS JOIN {tables}"
        tests += [_find_texts(number, "part", first.pattern), Clause("name_parts.part = texts.text")]
        if first.place is not None:
            tests.append(Clause("name_parts.position = ?", (first.place,)))
    found = sql.every(tests)
    # A name may have the component twice.
    rows = Clause(f"SELECT this.rowid FROM {tables} WHERE {found.text}", found.parameters)
    return Source(rows, once=False, quick=_has_index(first.pattern))


def _is_literal(pattern: Pattern) -> bool:
    """Whether a pattern has no wildcards, and one text matches."""
    return len(pattern) == 1 and isinstance(pattern[0], str)


def _has_index(pattern: Pattern) -> bool:
    """Whether the texts that match are found by a gram or by their beginning, and not by reading all there are."""
    return isinstance(pattern[0], str) or bool(_grams(pattern))


def _texts(number: int, pattern: Pattern) -> str:
    """The tables in which the texts of a pattern are found, first those to begin with."""
    if _grams(pattern):
        return f"grams_{number} AS grams CROSS JOIN texts_{number} AS texts"
    return f"texts_{number} AS texts"


def _find_texts(number: int, field: str, pattern: Pattern) -> Clause:
    """The texts of a field that match a pattern: found by a gram, else by the pattern's beginning, else one by one."""
    matching = sql.every((Clause("texts.field = ?", (field,)), sql.glob("texts.text", pattern)))
    grams = _grams(pattern)
    if not grams:
        return matching
    rarest = (
        "(SELECT value FROM json_each(?) ORDER BY (SELECT count(*) FROM"
        f" (SELECT 1 FROM grams_{number} WHERE gram = value LIMIT {_COMMON})) LIMIT 1)"
    )
    by_gram = Clause(f"grams.gram = {rarest} AND texts.id = grams.id", (json.dumps(grams),))
    return sql.every((by_gram, matching))


def _grams(pattern: Pattern) -> list[str]:
    """Grams that every text that matches has; none where its beginning will do, or nothing in it is as long."""
    if isinstance(pattern[0], str) and len(pattern[0]) >= GRAM:
        return []
    return sorted(cut_grams(_longest(pattern)))[:_GRAMS]


def _longest(pattern: Pattern) -> str:
    return max((part for part in pattern if isinstance(part, str)), key=len, default="")
