"""The reference meaning of the language: whether an image set satisfies criteria.

Every store's own answer must equal this one over all rows; it is also what filters what a store cannot. Only dated
criteria have a meaning here: a date still as written is a mistake of the caller's (TypeError).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from grammar.criteria import And, Comparison, Condition, Everything, Interval, Not, Operator, Or, Range
from grammar.fields import BY_NAME, FieldType
from grammar.values import ANY_TEXT, fold
from graphql_service.image_set import ImageSet, Value
from graphql_service.patterns import (
    Pattern,
    is_open,
    read_literal,
    read_pattern,
    split_name,
    split_pattern,
)

Predicate: TypeAlias = Callable[[ImageSet], bool]
_Test: TypeAlias = Callable[[Value], bool]

#: The types whose values compare without case and accents.
FOLDED: Final = frozenset({FieldType.PERSON_NAME, FieldType.TEXT})


def matches(condition: Condition, image_set: ImageSet) -> bool:
    """Whether the image set meets the dated condition. `Not` is the exact complement, also of what is missing."""
    return predicate(condition)(image_set)


def predicate(condition: Condition) -> Predicate:
    """The condition made ready once, for many image sets."""
    match condition:
        case Everything():
            return lambda _: True
        case And(conditions):
            every = tuple(predicate(child) for child in conditions)
            return lambda image_set: all(holds(image_set) for holds in every)
        case Or(conditions):
            some = tuple(predicate(child) for child in conditions)
            return lambda image_set: any(holds(image_set) for holds in some)
        case Not(child):
            refused = predicate(child)
            return lambda image_set: not refused(image_set)
        case Comparison(name):
            test = _test(condition)
            return lambda image_set: (value := image_set.value(name)) is not None and test(value)


def _test(comparison: Comparison) -> _Test:
    """The comparison over a value that is not missing: a missing one is equal to nothing and in no range."""
    field_type = BY_NAME[comparison.field].type
    operator, operand = comparison.operator, comparison.operand
    match operator, operand:
        case Operator.EXISTS, None:
            return lambda _: True
        case Operator.RANGE, Range():
            return _range_test(operand)
        case Operator.BETWEEN, Interval(int(low), int(high)):
            return lambda value: isinstance(value, int) and low <= value <= high
        case ((Operator.LT | Operator.LE | Operator.GT | Operator.GE), int(bound)):
            return _order_test(operator, bound)
        case Operator.LIKE, str(text):
            return _pattern_test(field_type, read_pattern(text, folded=field_type in FOLDED))
        case Operator.EQ, str() | int():
            return _equality_test(field_type, (operand,))
        case Operator.IN, tuple():
            return _equality_test(field_type, operand)
    raise TypeError(f"{comparison.field}: {operator} takes no {type(operand).__name__} here")


def _range_test(period: Range) -> _Test:
    start, end = period.start, period.end
    return lambda value: (start is None or value >= start) and (end is None or value < end)  # type: ignore[operator]


def _order_test(operator: Operator, bound: int) -> _Test:
    match operator:
        case Operator.LT:
            return lambda value: isinstance(value, int) and value < bound
        case Operator.LE:
            return lambda value: isinstance(value, int) and value <= bound
        case Operator.GT:
            return lambda value: isinstance(value, int) and value > bound
        case _:
            return lambda value: isinstance(value, int) and value >= bound


def _equality_test(field_type: FieldType, operands: tuple[str | int | bool, ...]) -> _Test:
    if field_type is FieldType.PERSON_NAME:
        tests = tuple(_name_test(read_literal(str(operand), folded=True)) for operand in operands)
        return lambda value: any(test(value) for test in tests)
    if field_type is FieldType.TEXT:
        texts = frozenset(fold(str(operand)) for operand in operands)
        return lambda value: fold(str(value)) in texts
    values = frozenset(operands)
    return lambda value: value in values


def _pattern_test(field_type: FieldType, pattern: Pattern) -> _Test:
    if field_type is FieldType.PERSON_NAME:
        return _name_test(pattern)
    expression = _expression(pattern)
    if field_type is FieldType.TEXT:
        return lambda value: expression.fullmatch(fold(str(value))) is not None
    return lambda value: expression.fullmatch(str(value)) is not None


def _name_test(pattern: Pattern) -> _Test:
    components = split_pattern(pattern)
    expressions = tuple(None if is_open(component) else _expression(component) for component in components)
    if len(components) == 1:
        expression = expressions[0]
        if expression is None:
            return lambda _: bool(pattern)
        return lambda value: any(
            component and expression.fullmatch(component)
            for group in split_name(fold(str(value)))
            for component in group
        )
    return lambda value: any(_in_place(expressions, group) for group in split_name(fold(str(value))))


def _in_place(expressions: tuple[re.Pattern[str] | None, ...], group: list[str]) -> bool:
    """Each written component against the stored one at its place, '' where the group has fewer."""
    return all(
        expression is None or expression.fullmatch(group[place] if place < len(group) else "")
        for place, expression in enumerate(expressions)
    )


def _expression(pattern: Pattern) -> re.Pattern[str]:
    """The pattern as a regular expression for `fullmatch`.

    What stands between two `*` is found at its first place and kept there (an atomic group): for such patterns the
    first place is always as good as a later one, and so no text and pattern can make the matcher try them all.
    """
    stretches = [""]
    for part in pattern:
        if part is ANY_TEXT:
            stretches.append("")
        else:
            stretches[-1] += re.escape(part) if isinstance(part, str) else "."
    first, *others = stretches
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{stretch})" for stretch in middle) + ".*" + last, re.DOTALL)
