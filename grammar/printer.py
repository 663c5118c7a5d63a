"""Search to text, and search to the `meaning` form: the two ways in which a search is said back."""

from __future__ import annotations

from datetime import datetime
from typing import Final, cast

from grammar.criteria import (
    And,
    Comparison,
    Condition,
    Everything,
    Interval,
    Not,
    Operand,
    Operator,
    Or,
    Range,
    Scalar,
    Search,
    When,
)
from grammar.fields import BY_NAME, SEXES, TIERS, FieldType
from grammar.values import BARE, KEYWORDS

_SYMBOLS: Final = {Operator.EQ: "=", Operator.LT: "<", Operator.LE: "<=", Operator.GT: ">", Operator.GE: ">="}
_MASKED: Final = When("?")
_MASKED_INTERVAL: Final = Interval(_MASKED, _MASKED)
_SHORT_TIERS: Final = {name: short for short, name in TIERS.items()}


def canonical(search: Search) -> str:
    """The one way to write a search: it parses to the same meaning.

    A search that is dated already is written with its dates in UTC, for reading alone.
    """
    where = "*" if isinstance(search.where, Everything) else _write(search.where)
    keys = [f"{key.field} {'desc' if key.descending else 'asc'}" for key in search.sort]
    return f"{where} sort {', '.join(keys)}" if keys else where


def shape(search: Search) -> str:
    """A search with `?` for each of its values: what may be told where those may not."""
    return canonical(Search(_mask(search.where), search.sort))


def _mask(condition: Condition) -> Condition:
    match condition:
        case And(children):
            return And(tuple(map(_mask, children)))
        case Or(children):
            return Or(tuple(map(_mask, children)))
        case Not(child):
            return Not(_mask(child))
        case Comparison(field, Operator.RANGE):
            return Comparison(field, Operator.BETWEEN, _MASKED_INTERVAL)
        case Comparison(field, operator, operand):
            return Comparison(field, operator, _mask_operand(operator, operand))
        case Everything():
            return condition


def _mask_operand(operator: Operator, operand: Operand) -> Operand:
    match operator:
        case Operator.EXISTS:
            return None
        case Operator.BETWEEN:
            return _MASKED_INTERVAL
        case Operator.IN:
            assert isinstance(operand, tuple)
            # For the printer alone: a list of a search holds no dates.
            return cast("tuple[Scalar, ...]", (_MASKED,) * len(operand))
        case Operator.LIKE:
            return _MASKED.text
        case _:
            return _MASKED


def _write(condition: Condition) -> str:
    match condition:
        case And(children):
            return " and ".join(f"({_write(child)})" if isinstance(child, Or) else _write(child) for child in children)
        case Or(children):
            return " or ".join(f"({_write(child)})" if _is_joined(child) else _write(child) for child in children)
        case Not(Comparison() as comparison):
            return _write_negated(comparison)
        case Not(child):
            return f"not ({_write(child)})"
        case Comparison():
            return _write_comparison(condition, "")
        case Everything():
            return "*"


def _write_negated(comparison: Comparison) -> str:
    match comparison.operator:
        case Operator.EQ:
            return _write_comparison(comparison, "").replace(" = ", " != ", 1)
        case Operator.EXISTS:
            return f"{comparison.field} is null"
        case Operator.LIKE | Operator.IN | Operator.BETWEEN:
            return _write_comparison(comparison, "not ")
        case _:
            written = _write_comparison(comparison, "")
            return f"not ({written})" if _is_joined(comparison) else f"not {written}"


def _is_joined(condition: Condition) -> bool:
    """Whether the condition is written with an "and" between its parts."""
    match condition:
        case And() | Comparison(operand=Range(datetime(), datetime())):
            return True
        case _:
            return False


def _write_comparison(comparison: Comparison, negation: str) -> str:
    field, operand = comparison.field, comparison.operand
    match comparison.operator:
        case Operator.EXISTS:
            return f"{field} is not null"
        case Operator.IN:
            assert isinstance(operand, tuple)
            return f"{field} {negation}in ({', '.join(_write_value(field, value) for value in operand)})"
        case Operator.LIKE:
            assert isinstance(operand, str)
            return f"{field} {negation}like {_write_pattern(operand)}"
        case Operator.BETWEEN:
            assert isinstance(operand, Interval)
            return f"{field} {negation}between {_write_value(field, operand.low)}..{_write_value(field, operand.high)}"
        case Operator.RANGE:
            assert isinstance(operand, Range)
            return _write_range(field, operand)
        case operator:
            return f"{field} {_SYMBOLS[operator]} {_write_value(field, operand)}"


def _write_range(field: str, dates: Range) -> str:
    ends = [
        f"{field} {symbol} {write_moment(field, end)}"
        for symbol, end in ((">=", dates.start), ("<", dates.end))
        if end is not None
    ]
    return " and ".join(ends) or f"{field} is not null"


def _write_value(field: str, value: Operand) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case When(text):
            return text
        case str():
            kind = BY_NAME[field].type
            if kind is FieldType.TIER:
                return _SHORT_TIERS.get(value, value)
            if kind is FieldType.SEX:
                return value if value in SEXES else _quote(value)
            return write_text(value)
        case _:
            raise TypeError(f"no value to write: {value!r}")


def write_text(text: str) -> str:
    """A text as a value of the language: bare where it can stand so and means the same, else in double quotes."""
    bare = BARE.fullmatch(text) and text.upper() not in KEYWORDS
    return text if bare and "*" not in text and "?" not in text else _quote(text)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write_pattern(pattern: str) -> str:
    if BARE.fullmatch(pattern):
        return pattern
    # The pattern's own escapes stay as they are.
    escaped = pattern.replace('"', '\\"')
    return f'"{escaped}"'


def write_moment(field: str, moment: datetime) -> str:
    """A date in the form of `meaning`: an instant with `Z`, a wall-clock time without zone, a date without time.

    A fraction only where there is one, of three digits, six where three do not hold it.
    """
    kind = BY_NAME[field].type
    if kind is FieldType.DATE:
        return moment.date().isoformat()
    digits = "seconds" if not moment.microsecond else "microseconds" if moment.microsecond % 1000 else "milliseconds"
    text = moment.replace(tzinfo=None).isoformat(timespec=digits)
    return f"{text}Z" if kind is FieldType.INSTANT else text


def meaning(search: Search) -> dict[str, object]:
    """What a dated search asks for, as JSON: the form in which clients and tests compare meanings."""
    sort = [{"field": key.field, "dir": "desc" if key.descending else "asc"} for key in search.sort]
    return {"where": _mean(search.where), "sort": sort}


def _mean(condition: Condition) -> dict[str, object]:
    match condition:
        case Everything():
            return {"all": True}
        case And(children):
            return {"and": [_mean(child) for child in children]}
        case Or(children):
            return {"or": [_mean(child) for child in children]}
        case Not(child):
            return {"not": _mean(child)}
        case Comparison(field, operator, operand):
            return {"field": field, "op": operator.value, **_mean_operand(field, operator, operand)}


def _mean_operand(field: str, operator: Operator, operand: Operand) -> dict[str, object]:
    match operand:
        case None:
            return {}
        case Interval(low, high):
            return {"low": low, "high": high}
        case Range(start, end):
            ends = {"from": start, "to": end}
            return {name: write_moment(field, moment) for name, moment in ends.items() if moment is not None}
        case tuple():
            return {"values": list(operand)}
        case _:
            return {"pattern" if operator is Operator.LIKE else "value": operand}
