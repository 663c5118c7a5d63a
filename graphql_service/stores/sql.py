"""Conditions and places as SQL for SQLite: what the language says, word for word, over one data store's two tables.

`image_sets` holds a row for each image set and a column for each field of the language, typed as `ImageSet.value`
types it: times as whole microseconds since 1970 (wall-clock times and dates as if in UTC), names and texts folded,
booleans as 0 and 1, everything that is missing as NULL; then the tags, and some of what they say, as it is answered.
`name_parts` holds the components of every stored name.
All values are parameters; nothing here talks to a database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from grammar.criteria import (
    And,
    Comparison,
    Condition,
    Everything,
    Interval,
    Not,
    Operator,
    Or,
    Range,
    SortKey,
    conjunction,
)
from grammar.fields import BY_NAME, TEMPORAL, FieldType
from grammar.values import ANY_CHARACTER, ANY_TEXT, fold
from graphql_service.errors import UnsupportedSearch
from graphql_service.matching import FOLDED
from graphql_service.patterns import Pattern, is_open, read_literal, read_pattern, split_pattern
from graphql_service.stores.base import STUDY_TIME, TAGS

SQLValue: TypeAlias = str | int | None

#: The column of each field of the language.
COLUMNS: Final[dict[str, str]] = {
    "imageSetId": "image_set_id",
    "version": "version",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "lastAccessedAt": "last_accessed_at",
    "storageTier": "storage_tier",
    "isPrimary": "is_primary",
    "DICOMPatientId": "patient_id",
    "DICOMAccessionNumber": "accession_number",
    "DICOMStudyId": "study_id",
    "DICOMStudyInstanceUID": "study_uid",
    "DICOMSeriesInstanceUID": "series_uid",
    "DICOMStudyDateAndTime": "study_at",
    "DICOMPatientBirthDate": "birth_date",
    "DICOMPatientName": "patient_name",
    "DICOMPatientSex": "sex",
    "DICOMStudyDescription": "description",
    "DICOMSeriesModality": "modality",
    "DICOMSeriesBodyPart": "body_part",
    "DICOMSeriesNumber": "series_number",
    "DICOMNumberOfStudyRelatedSeries": "series_count",
    "DICOMNumberOfStudyRelatedInstances": "instance_count",
}
#: The columns that answer and are in no condition: names and texts as they are written, and the time of a study since
#: midnight. There may be a time without a date, and in the column of both midnight looks as no time does.
WRITTEN: Final[dict[str, str]] = {
    "DICOMPatientName": "written_name",
    "DICOMStudyDescription": "written_description",
    STUDY_TIME: "study_time",
}

#: The column that answers for each field, `STUDY_TIME` and `TAGS`.
READ: Final[dict[str, str]] = COLUMNS | WRITTEN | {TAGS: "tags"}

_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOWEST: Final = -(1 << 63)
_HIGHEST: Final = (1 << 63) - 1


class Clause(NamedTuple):
    """A piece of SQL, its parameters in order, and how deeply its parentheses are nested."""

    text: str
    parameters: tuple[SQLValue, ...] = ()
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    """How names are looked up in `table`, that of their components.

    `each`: for one row after the other, by its name; else all at once, by the index of the components.
    """

    table: str
    each: bool = False

    @property
    def part(self) -> str:
        """The component. The plus sign keeps its index out of it."""
        return "+part" if self.each else "part"

    def having(self, found: Clause) -> Clause:
        """The image sets of the names among whose components one is found."""
        if self.each:
            text = f"EXISTS (SELECT 1 FROM {self.table} AS name_parts WHERE name = patient_name AND {found.text})"  # noqa: S608 - our names
        else:
            text = f"patient_name IN (SELECT name FROM {self.table} AS name_parts WHERE {found.text})"  # noqa: S608 - our names
        return Clause(text, found.parameters, found.depth + 1)


#: How many values the condition of a search for studies may have, times the sort keys: SQLite compiles so many within a
#: second or two, but takes longer than in proportion for more, and nothing stops it meanwhile.
_STUDY_PARAMETERS: Final = 2_000
EVERY_ROW: Final = Clause("TRUE")
_NOTHING: Final = Clause("FALSE")


@dataclass(frozen=True, slots=True)
class Key:
    """One column of an order, in the direction of reading."""

    column: str
    descending: bool
    type: FieldType

    @property
    def nullable(self) -> bool:
        """Whether rows may have no value here: only the id is always there."""
        return self.column != "image_set_id"


def microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970; a naive time is taken as if in UTC."""
    since = moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def column_value(field_type: FieldType, value: object) -> SQLValue:
    """A value of a field, as `ImageSet.value` gives it, in the form of the field's column."""
    match value:
        case None:
            return None
        case datetime():
            return microseconds(value)
        case str():
            return fold(value) if field_type in FOLDED else value
        case int():
            return int(value)
    raise TypeError(f"no value of an image set: {type(value).__name__}")


def column_type(field_type: FieldType) -> str:
    """The SQL type of a field's column."""
    return "INTEGER" if field_type in TEMPORAL | {FieldType.INTEGER, FieldType.BOOLEAN} else "TEXT"


def read_keys(sort: Sequence[SortKey], *, backward: bool) -> tuple[Key, ...]:
    """The order to read in, down to the id, after which nothing is left to decide."""
    keys = []
    for key in sort:
        keys.append(Key(COLUMNS[key.field], key.descending != backward, BY_NAME[key.field].type))
        if not keys[-1].nullable:
            return tuple(keys)
    descending = sort[-1].descending if sort else False
    return (*keys, Key("image_set_id", descending != backward, FieldType.ID))


def order_by(keys: Iterable[Key]) -> str:
    """The terms of ORDER BY. SQLite has NULL lowest, as the language has."""
    return ", ".join(f"{key.column} DESC" if key.descending else key.column for key in keys)


def segments(where: Condition, keys: Sequence[Key], start: Sequence[SQLValue] | None, names: Names) -> Iterator[Clause]:
    """The WHERE clauses that, one after the other, read the rows beyond `start` in the order of the keys.

    Rows beyond a place are: those with the same keys and an id beyond; those with the same keys but the last, and that
    one beyond; and so on up to the first key. Each is a plain conjunction that an index can begin at, whatever the
    number of ties, where one condition for all would have SQLite read from the start of the range. For the same
    reason a period on the first key gives up the end that the place has passed.
    """
    others, period = take_period(where, keys[0])
    yield from segments_within(others, period, keys, start, names)


def segments_within(
    others: Condition,
    period: Period | None,
    keys: Sequence[Key],
    start: Sequence[SQLValue] | None,
    names: Names,
    upto: SQLValue = None,
) -> Iterator[Clause]:
    """As `segments`, of a condition whose periods on the first key have been taken from it.

    A `start` of the first key's value alone is behind all rows that have it. `upto` is a time: rows behind it, by the
    first key, are left out.
    """
    first = keys[0]
    rest = condition(others, names)
    left = period
    if isinstance(upto, int):
        left = (period or Period()).cut(*((upto, None) if first.descending else (None, upto + 1)))
    if start is None:
        if left and not period and not first.descending:
            yield every((rest, Clause(f"{first.column} IS NULL")))
        yield every((rest, *_within(first.column, left)))
        return
    if not period or period.holds(start[0]):
        for depth in reversed(range(1, len(start))):
            same = tuple(_same(key, value) for key, value in zip(keys[:depth], start, strict=False))
            for beyond in _beyond(keys[depth], start[depth]):
                yield every((rest, *same, beyond))
    firsts = _period_beyond(first, start[0], left) if first.type in TEMPORAL else _beyond(first, start[0])
    for beyond in firsts:
        yield every((rest, beyond))


def stretch(period: Period, key: Key, start: Sequence[SQLValue] | None) -> Clause:
    """The rows that have a time for the key which is beyond that of `start` and in the period."""
    if start is not None:
        return next(_period_beyond(key, start[0], period), _NOTHING)
    return _range(key.column, _LOWEST if period.start is None else period.start, period.end)


@dataclass(frozen=True, slots=True)
class Period:
    """Microseconds `[start, end)`; None is an open end."""

    start: int | None = None
    end: int | None = None

    def holds(self, value: SQLValue) -> bool:
        """Whether a column's value lies in it."""
        if not isinstance(value, int):
            return False
        return (self.start is None or self.start <= value) and (self.end is None or value < self.end)

    def cut(self, start: int | None, end: int | None) -> Period:
        """What lies in both."""
        starts = [each for each in (self.start, start) if each is not None]
        ends = [each for each in (self.end, end) if each is not None]
        return Period(max(starts, default=None), min(ends, default=None))


def read_period(period: Range) -> Period:
    """A range of times as its column has them."""
    return Period(
        None if period.start is None else microseconds(period.start),
        None if period.end is None else microseconds(period.end),
    )


def take_period(where: Condition, key: Key) -> tuple[Condition, Period | None]:
    """The condition without its periods on the key's column, and what they have in common; None: there are none."""
    others, taken = [], None
    for part in where.conditions if isinstance(where, And) else (where,):
        match part:
            case Comparison(field, Operator.RANGE, Range() as period) if COLUMNS[field] == key.column:
                found = read_period(period)
                taken = found if taken is None else taken.cut(found.start, found.end)
            case _:
                others.append(part)
    return conjunction(others), taken


def _within(column: str, period: Period | None) -> tuple[Clause, ...]:
    if period is None:
        return ()
    return (_range(column, period.start, period.end),)


def _range(column: str, start: int | None, end: int | None) -> Clause:
    if start is None:
        return Clause(f"{column} IS NOT NULL") if end is None else Clause(f"{column} < ?", (end,))
    if end is None:
        return Clause(f"{column} >= ?", (start,))
    return Clause(f"({column} >= ? AND {column} < ?)", (start, end), 1)


def _same(key: Key, value: SQLValue) -> Clause:
    return Clause(f"{key.column} IS NULL") if value is None else Clause(f"{key.column} = ?", (value,))


def _beyond(key: Key, value: SQLValue) -> Iterator[Clause]:
    """The stretches of rows whose value comes after this one, in order."""
    if value is None:
        if not key.descending:
            yield Clause(f"{key.column} IS NOT NULL")
        return
    yield Clause(f"{key.column} {'<' if key.descending else '>'} ?", (value,))
    if key.descending and key.nullable:
        yield Clause(f"{key.column} IS NULL")


def _period_beyond(key: Key, value: SQLValue, period: Period | None) -> Iterator[Clause]:
    """As `_beyond`, for times: one range that an index serves, made of the place and what is left of the period."""
    whole = period or Period()
    if value is None:
        if not key.descending:
            # IS NOT NULL alone would have SQLite read the missing ones from the start of the index.
            yield _range(key.column, _LOWEST if whole.start is None else whole.start, whole.end)
        return
    if not isinstance(value, int):
        raise TypeError("a place in a sort by time holds no time")
    left = whole.cut(None, value) if key.descending else whole.cut(value + 1, None)
    yield _range(key.column, left.start, left.end)
    if key.descending and period is None:
        yield Clause(f"{key.column} IS NULL")


def first_of_study(where: Condition, sort: Sequence[SortKey], table: str, names: Names, index: str) -> Clause:
    """Whether a row of the query's table, there named `this`, is the first of its study in the order of the sort.

    That is: no row of its study that meets the condition comes before it. The first key decides, or where it is the
    same the next, and so on: each of these is a search of its own, which the index of studies can begin at. The index
    is named, since SQLite cannot know that a study has few rows. Where a study has very many, a row that comes before
    is soon found from the end of the index at which the order begins, since dates mostly rise together.

    Raises UnsupportedSearch for a condition that has too many values to be written so often.
    """
    end = "updated_at DESC" if sort and sort[0].descending else "updated_at"
    keys = read_keys(sort, backward=False)
    met = condition(where, names)
    if len(met.parameters) * len(keys) > _STUDY_PARAMETERS:
        raise UnsupportedSearch(
            "the search is larger than studies can be found by: use fewer values with wildcards, or fewer sort keys"
        )
    clauses = [Clause("this.study_uid IS NOT NULL")]
    for depth, key in enumerate(keys):
        same = [f"earlier.{other.column} IS this.{other.column}" for other in keys[:depth]]
        for before in _before(key):
            tests = " AND ".join((met.text, *same, before))
            clauses.append(
                Clause(
                    # Not EXISTS: that would drop the ORDER BY.
                    f"(SELECT 1 FROM {table} AS earlier INDEXED BY {index}"  # noqa: S608 - our own names
                    f" WHERE {tests} AND earlier.study_uid = this.study_uid"
                    f" ORDER BY earlier.{end} LIMIT 1) IS NULL",
                    met.parameters,
                    met.depth + 1,
                )
            )
    return Clause(
        " AND ".join(clause.text for clause in clauses),
        tuple(parameter for clause in clauses for parameter in clause.parameters),
    )


def _before(key: Key) -> Iterator[str]:
    """The stretches of `earlier` rows whose value comes before that of `this` one."""
    earlier, this = f"earlier.{key.column}", f"this.{key.column}"
    if not key.descending:
        yield f"{earlier} < {this}"
        if key.nullable:
            yield f"{this} IS NOT NULL AND {earlier} IS NULL"
    else:
        yield f"{earlier} > {this}"
        if key.nullable:
            yield f"{this} IS NULL AND {earlier} IS NOT NULL"


def condition(where: Condition, names: Names) -> Clause:
    """A dated condition: true where it holds, false or NULL where it does not."""
    match where:
        case Everything():
            return EVERY_ROW
        case And(conditions):
            return every([condition(child, names) for child in conditions])
        case Or(conditions):
            return _any([condition(child, names) for child in conditions])
        case Not(Comparison(field, Operator.EXISTS)):
            return Clause(f"{COLUMNS[field]} IS NULL")
        case Not(child):
            refused = condition(child, names)
            return Clause(f"({refused.text}) IS NOT TRUE", refused.parameters, refused.depth + 1)
        case Comparison():
            return _comparison(where, names)


def every(clauses: Sequence[Clause]) -> Clause:
    """Whether all of these hold."""
    return _join("AND", [clause for clause in clauses if clause.text != "TRUE"]) if clauses else EVERY_ROW


def _any(clauses: Sequence[Clause]) -> Clause:
    return _join("OR", clauses)


def _join(word: str, clauses: Sequence[Clause]) -> Clause:
    """The clauses in pairs of pairs, the deepest first.

    SQLite limits the depth of an expression (1,000) and how much may stand open before a parenthesis (100 symbols).
    """
    ordered = sorted(clauses, key=lambda clause: clause.depth, reverse=True)
    while len(ordered) > 1:
        pairs = [
            Clause(f"({left.text} {word} {right.text})", left.parameters + right.parameters, left.depth + 1)
            for left, right in zip(ordered[::2], ordered[1::2], strict=False)
        ]
        ordered = pairs + ordered[len(ordered) & ~1 :]
    return ordered[0] if ordered else EVERY_ROW


def _comparison(comparison: Comparison, names: Names) -> Clause:
    """One comparison. A value that no stored one can equal (with NUL, too large) makes it false, not an error."""
    field_type, column = BY_NAME[comparison.field].type, COLUMNS[comparison.field]
    operator, operand = comparison.operator, comparison.operand
    match operator, operand:
        case Operator.EXISTS, None:
            return Clause(f"{column} IS NOT NULL")
        case Operator.RANGE, Range():
            period = read_period(operand)
            return _range(column, period.start, period.end)
        case Operator.BETWEEN, Interval(int(low), int(high)):
            return _between(column, low, high)
        case ((Operator.LT | Operator.LE), int(bound)):
            return _between(column, _LOWEST, bound - (operator is Operator.LT))
        case ((Operator.GT | Operator.GE), int(bound)):
            return _between(column, bound + (operator is Operator.GT), _HIGHEST)
        case Operator.LIKE, str(text):
            return _like(field_type, column, text, names)
        case Operator.EQ, str() | int():
            return _equal(field_type, column, (operand,), names)
        case Operator.IN, tuple():
            return _equal(field_type, column, operand, names)
    raise TypeError(f"{comparison.field}: {operator} takes no {type(operand).__name__} here")


def _between(column: str, low: int, high: int) -> Clause:
    """The integers from `low` to `high`, both inside, as far as 64 bits go."""
    low, high = max(low, _LOWEST), min(high, _HIGHEST)
    return Clause(f"{column} BETWEEN ? AND ?", (low, high)) if low <= high else _NOTHING


def _equal(field_type: FieldType, column: str, operands: Sequence[object], names: Names) -> Clause:
    values = [operand for operand in operands if storable(operand)]
    if not values:
        return _NOTHING
    if field_type is not FieldType.PERSON_NAME:
        return one_of(column, [column_value(field_type, value) for value in values])
    patterns = [read_literal(str(value), folded=True) for value in values]
    components = [pattern[0] for pattern in patterns if pattern and len(split_pattern(pattern)) == 1]
    clauses = [_name(pattern, names) for pattern in patterns if len(split_pattern(pattern)) > 1]
    if components:
        clauses.append(names.having(one_of(names.part, [str(component) for component in components])))
    return _any(clauses) if clauses else _NOTHING


def storable(value: object) -> bool:
    """Whether a column may hold the value: no NUL, no lone surrogate, at most 64 bits."""
    if isinstance(value, str):
        surrogates = not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)
        return not surrogates and "\0" not in value
    return isinstance(value, int) and _LOWEST <= value <= _HIGHEST


def one_of(column: str, values: Sequence[SQLValue]) -> Clause:
    """The list is one parameter, whatever its length: SQLite limits their number."""
    if len(values) == 1:
        return Clause(f"{column} = ?", (values[0],))
    return Clause(f"{column} IN (SELECT value FROM json_each(?))", (json.dumps(values),), 1)  # noqa: S608 - our own names


def _like(field_type: FieldType, column: str, text: str, names: Names) -> Clause:
    if not storable(text):
        return _NOTHING
    pattern = read_pattern(text, folded=field_type in FOLDED)
    return _name(pattern, names) if field_type is FieldType.PERSON_NAME else glob(column, pattern)


def glob(column: str, pattern: Pattern) -> Clause:
    """The pattern as GLOB, which unlike LIKE minds case; with the range of its prefix, for an index."""
    if not pattern:
        return Clause(f"{column} = ''")
    if is_open(pattern):
        return Clause(f"{column} IS NOT NULL")
    prefix = pattern[0] if isinstance(pattern[0], str) else ""
    if prefix and len(pattern) == 1:
        return Clause(f"{column} = ?", (prefix,))
    # The plus sign keeps SQLite from finding the prefix itself, for which it would compile anew for every pattern.
    clauses = [Clause(f"+{column} GLOB ?", ("".join(map(_glob_part, pattern)),))]
    if prefix:
        clauses.append(Clause(f"{column} >= ?", (prefix,)))
        end = prefix_end(prefix)
        if end is not None:
            clauses.append(Clause(f"{column} < ?", (end,)))
    return every(clauses)


def _glob_part(part: object) -> str:
    if part is ANY_TEXT:
        return "*"
    if part is ANY_CHARACTER:
        return "?"
    return "".join(f"[{character}]" if character in "[*?" else character for character in str(part))


def prefix_end(prefix: str) -> str | None:
    """The first text after all that begin with the prefix; None where none comes after them."""
    for place in reversed(range(len(prefix))):
        point = ord(prefix[place])
        if point < 0x10FFFF:
            return prefix[:place] + ("\ue000" if point == 0xD7FF else chr(point + 1))
    return None


def _name(pattern: Pattern, names: Names) -> Clause:
    """A person name, found through its components: any one of them, or where `^` was written, each in its place."""
    parts = written_parts(pattern)
    if parts is None:
        return _NOTHING
    if not parts:
        return Clause("patient_name IS NOT NULL")
    first, *others = parts
    return names.having(every((first.clause(names.part), *beside(others, names.table))))


@dataclass(frozen=True, slots=True)
class NamePart:
    """A component that a name must have, and its place from 0; None: any."""

    pattern: Pattern
    place: int | None

    def clause(self, column: str = "part") -> Clause:
        """Whether a row of `name_parts` is it."""
        found = glob(column, self.pattern)
        if self.place is None:
            return found
        return Clause(f"position = ? AND {found.text}", (self.place, *found.parameters), found.depth)


def written_parts(pattern: Pattern) -> tuple[NamePart, ...] | None:
    """The components by which a written name is found: none where every name matches, None where no name does."""
    components = split_pattern(pattern)
    if len(components) == 1:
        if is_open(pattern):
            return () if pattern else None
        return (NamePart(pattern, None),)
    return tuple(NamePart(component, place) for place, component in enumerate(components) if not is_open(component))


def beside(parts: Iterable[NamePart], name_parts: str) -> Iterator[Clause]:
    """Whether these components stand in the same group of the same name as a row of `name_parts`."""
    for part in parts:
        found = part.clause()
        yield Clause(
            f"EXISTS (SELECT 1 FROM {name_parts} AS other WHERE other.name = name_parts.name"  # noqa: S608 - our names
            f" AND other.name_group = name_parts.name_group AND {found.text})",
            found.parameters,
            found.depth + 1,
        )
