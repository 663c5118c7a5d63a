"""What a search asks for: frozen values that every door makes and every store answers.

A search is *written* while its dates still stand as the person wrote them (operands of type `When`), and *dated*
once `periods.date_search` has turned each of them into a half-open `Range`. Both are the same types, so the printer
can write either. Where a value stood in the text never counts when two searches are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias


class Operator(StrEnum):
    """The operators of the `meaning` form. `!=`, `not in` and `is null` are `Not` around one of them."""

    EQ = "eq"
    LIKE = "like"
    IN = "in"
    RANGE = "range"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"
    BETWEEN = "between"
    EXISTS = "exists"

    # That of Enum is written in Python, and searches are kept by what they are.
    __hash__ = str.__hash__


class Span(NamedTuple):
    """A stretch of the query text: code points from 0, `end` exclusive."""

    start: int
    end: int


NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True)
class When:
    """A date as written, in its one canonical spelling (`2024-03-11T10:00-05:00`, `today-7d`)."""

    text: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open period `[start, end)`; None is an open end. A missing value is in no range.

    Instants are aware datetimes in UTC; wall-clock values and dates are naive ones.
    """

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Interval:
    """The two ends of a `between`, both inside: integers, or dates as written."""

    low: int | When
    high: int | When


Scalar: TypeAlias = str | int | bool
Operand: TypeAlias = Scalar | tuple[Scalar, ...] | When | Interval | Range | None


@dataclass(frozen=True, slots=True)
class Comparison:
    r"""One field, one operator, one operand.

    | operator    | operand                                                                         |
    | ----------- | ------------------------------------------------------------------------------- |
    | eq          | str, int, bool; `When` while the search is written                              |
    | like        | str: a pattern, where `*` and `?` are wildcards and `\*`, `\?`, `\\` are not  |
    | in          | a tuple of str, int or bool                                                     |
    | lt le gt ge | int; `When` while the search is written                                         |
    | between     | `Interval`, of integers once the search is dated                                |
    | range       | `Range`: a dated search has no other operator on dates                          |
    | exists      | None                                                                            |
    """

    field: str
    operator: Operator
    operand: Operand


@dataclass(frozen=True, slots=True)
class Everything:
    """Every image set: the meaning of an empty query and of `*`."""


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more conditions, none of them an `And`."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more conditions, none of them an `Or`."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The exact complement of a condition that is not itself a `Not`."""

    condition: Condition


Condition: TypeAlias = Everything | And | Or | Not | Comparison


@dataclass(frozen=True, slots=True)
class SortKey:
    """One field to sort by. Missing values are lowest, so first when ascending and last when descending."""

    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """Which image sets, in which order. No sort keys: the order is left to whoever answers."""

    where: Condition = Everything()
    sort: tuple[SortKey, ...] = ()


def conjunction(conditions: Iterable[Condition]) -> Condition:
    """All of the conditions, flattened; `Everything` where there are none, the condition itself where there is one."""
    flat: list[Condition] = []
    for condition in conditions:
        if isinstance(condition, And):
            flat.extend(condition.conditions)
        elif not isinstance(condition, Everything):
            flat.append(condition)
    return flat[0] if len(flat) == 1 else And(tuple(flat)) if flat else Everything()


def disjunction(conditions: Iterable[Condition]) -> Condition:
    """Any of the conditions (at least one), flattened; the condition itself where there is one."""
    flat: list[Condition] = []
    for condition in conditions:
        flat.extend(condition.conditions if isinstance(condition, Or) else (condition,))
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negation(condition: Condition) -> Condition:
    """The complement, with a double "not" dropped."""
    return condition.condition if isinstance(condition, Not) else Not(condition)


def comparisons(condition: Condition) -> Iterator[Comparison]:
    """Every comparison in the condition, in the order of writing."""
    match condition:
        case Comparison():
            yield condition
        case And(conditions) | Or(conditions):
            for child in conditions:
                yield from comparisons(child)
        case Not(child):
            yield from comparisons(child)
        case Everything():
            return


def measure(condition: Condition) -> int:
    """How large it is: the characters and other values that its operands have together."""
    return sum(_measure(comparison.operand) for comparison in comparisons(condition))


def _measure(operand: object) -> int:
    match operand:
        case str():
            return len(operand)
        case tuple():
            return sum(map(_measure, operand))
        case _:
            return 1
