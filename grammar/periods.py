"""Dates of the language: what one names, as a half-open period, in a zone and at an instant.

A date names the whole of what it says: `2024` a year, `2024-03-11T10` an hour, `2024-03-11T10:00:00.5` a tenth of a
second. Reading a date (`read_when`) needs no clock; dating a search (`date_search`) does. The last microsecond of the
year 9999 stands for the end of time, so that every period has an end.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

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
    Search,
    Span,
    When,
    comparisons,
    conjunction,
    disjunction,
    negation,
)
from grammar.fields import BY_NAME, Field, FieldType
from grammar.problems import Fix, Problem, QueryError, Refused

_ABSOLUTE: Final = re.compile(
    r"(?P<year>\d{4})"
    r"(?:(?P<compact>\d{4})|(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:[Tt](?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?)?"
    r"(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?)?)?)?",
    re.ASCII,
)
_RELATIVE: Final = re.compile(
    r"(?P<base>today|yesterday|tomorrow|now)(?:(?P<sign>[+-])(?P<number>\d+)(?P<unit>[a-z]*))?",
    re.IGNORECASE | re.ASCII,
)
_DAY_MONTH_YEAR: Final = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})", re.ASCII)
_YEAR_MONTH_DAY: Final = re.compile(r"(\d{4})([/.])(\d{1,2})\2(\d{1,2})|(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_DASHES: Final = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))

_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks", "mo": "months", "y": "years"}
_MEANT_UNITS: Final = {
    word: unit
    for unit, words in {
        "min": "mins minute minutes",
        "h": "hr hrs hour hours",
        "d": "day days",
        "w": "wk wks week weeks",
        "mo": "mon month months",
        "y": "yr yrs year years",
    }.items()
    for word in words.split()
}
_MONTHS: Final = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_START: Final = datetime.min
_END: Final = datetime.max
_FORMS: Final = ("2024", "2024-03", "2024-03-11", "2024-03-11T10:30", "today", "today-7d", "now-90min")


@dataclass(frozen=True, slots=True)
class _Absolute:
    """A calendar date as far as it is written: local start, what it spans, and a zone if it has one."""

    start: datetime
    unit: str
    zone: timezone | None


@dataclass(frozen=True, slots=True)
class _Relative:
    """`today` and the like: days from today, or None for `now`; then `number` units."""

    days: int | None
    number: int
    unit: str


def find_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name, such as `Europe/Berlin`. Raises ValueError where there is none."""
    if name not in _zone_names():
        raise ValueError(f"{name!r} is no IANA time zone; write one such as UTC, Europe/Berlin or America/New_York")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    # The first is no name but this machine's zone, the second no zone but a sign that none was chosen.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def read_when(field: Field, text: str, span: Span, *, spaced: bool = False) -> When:
    """The date that the text writes, in its canonical spelling. Raises Refused.

    `spaced`: a space may stand for the T, as in quotes.
    """
    written = text
    if spaced and re.fullmatch(r"[\d-]{10} \S+", text, re.ASCII):
        text = text.replace(" ", "T")
    expression = _expression(text)
    if isinstance(expression, Problem):
        raise Refused(_placed(expression, span, len(written)))
    if isinstance(expression, _Absolute):
        if field.type is FieldType.DATE and expression.unit not in ("year", "month", "day"):
            date = expression.start.date().isoformat()
            raise Refused(
                Problem(
                    "time_not_allowed",
                    f"'{field.aliases[0]}' is a date without a time: write {date}",
                    span.start,
                    span.end,
                    fix=Fix(span.start, span.end, date),
                )
            )
        if expression.zone is not None and field.type is FieldType.WALL_CLOCK:
            local = _spell_absolute(text)[: -1 if text[-1] in "Zz" else -6]
            raise Refused(
                Problem(
                    "zone_not_allowed",
                    f"'{field.aliases[0]}' is the time on the scanner's clock and has no zone: write {local}",
                    span.start,
                    span.end,
                    fix=Fix(span.start, span.end, local),
                )
            )
        return When(_spell_absolute(text), span)
    if expression.days is None and field.type is FieldType.DATE:
        day = "today" if expression.unit in ("minutes", "hours") else text.lower().replace("now", "today", 1)
        raise Refused(
            Problem(
                "time_not_allowed",
                f"'{field.aliases[0]}' is a date without a time: write {day}",
                span.start,
                span.end,
                fix=Fix(span.start, span.end, day),
            )
        )
    return When(text.lower(), span)


def is_point(when: When) -> bool:
    """Whether the date is a point in time (`now`, `now-1h`), which nothing can be equal to."""
    return when.text.startswith("now")


def is_moving(condition: Condition) -> bool:
    """Whether a condition holds a date that depends on when it is asked."""
    return any(_moves(comparison.operand) for comparison in comparisons(condition))


def _moves(operand: object) -> bool:
    match operand:
        case When(text):
            return text[0] in "tyn"
        case Interval(low, high):
            return _moves(low) or _moves(high)
        case _:
            return False


def _spell_absolute(text: str) -> str:
    text = text.upper()
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdigit() else text


def _placed(problem: Problem, span: Span, length: int) -> Problem:
    """The problem of a value, moved to where the value stands (to the whole of it where it is quoted or bound)."""
    if span.end - span.start != length:
        fix = problem.fix and Fix(span.start, span.end, problem.suggestions[0]) if problem.suggestions else None
        return Problem(problem.code, problem.message, span.start, span.end, problem.expected, problem.suggestions, fix)
    fix = problem.fix and Fix(span.start + problem.fix.start, span.start + problem.fix.end, problem.fix.text)
    return Problem(
        problem.code,
        problem.message,
        span.start + problem.start,
        span.start + problem.end,
        problem.expected,
        problem.suggestions,
        fix,
    )


@lru_cache(maxsize=1024)
def _expression(text: str) -> _Absolute | _Relative | Problem:
    """What a date says, or why it is none (with positions inside the text)."""
    if match := _ABSOLUTE.fullmatch(text):
        return _absolute(match)
    if match := _RELATIVE.fullmatch(text):
        return _relative(match)
    return _not_a_date(text)


def _absolute(match: re.Match[str]) -> _Absolute | Problem:
    parts = match.groupdict()
    if compact := parts["compact"]:
        parts["month"], parts["day"] = compact[:2], compact[2:]
    text = match[0]
    year, month, day = int(parts["year"]), int(parts["month"] or 1), int(parts["day"] or 1)
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    if year == 0:
        return _bad_date(text, "there is no year 0000")
    if not 1 <= month <= 12:
        return _bad_date(text, f"there is no month {month:02d}")
    days = monthrange(year, month)[1]
    if not 1 <= day <= days:
        return _bad_date(text, f"{_MONTHS[month - 1]} {year} has {days} days")
    if hour > 23:
        return _bad_date(text, "hours go from 00 to 23")
    if minute > 59 or second > 59:
        return _bad_date(text, "minutes and seconds go from 00 to 59")
    offset = None
    if zone := parts["zone"]:
        if zone in "Zz":
            offset = UTC
        else:
            hours, minutes = int(zone[1:3]), int(zone[4:])
            if hours > 23 or minutes > 59:
                return _bad_date(text, "a zone goes from -23:59 to +23:59")
            delta = timedelta(hours=hours, minutes=minutes)
            offset = timezone(-delta if zone[0] == "-" else delta)
    fraction = parts["fraction"]
    named = [name for name in ("year", "month", "day", "hour", "minute", "second") if parts[name]]
    unit = str(len(fraction)) if fraction else named[-1]
    start = datetime(year, month, day, hour, minute, second, int((fraction or "").ljust(6, "0") or 0))
    return _Absolute(start, unit, offset)


def _relative(match: re.Match[str]) -> _Relative | Problem:
    base, unit = match["base"].lower(), (match["unit"] or "").lower()
    days = {"now": None, "today": 0, "yesterday": -1, "tomorrow": 1}[base]
    if match["sign"] is None:
        return _Relative(days, 0, "days")
    start, end = match.span("unit")
    if unit == "m":
        suggestions = ("min", "mo") if base == "now" else ("mo",)
        return Problem(
            "ambiguous_unit",
            f"'m' could be minutes or months: write {' or '.join(suggestions)}",
            start,
            end,
            tuple(_UNITS),
            suggestions,
            None if base == "now" else Fix(start, end, "mo"),
        )
    if not unit:
        return _bad_date(match[0], f"the unit is missing, as in {base}-7d")
    if unit not in _UNITS:
        meant = _MEANT_UNITS.get(unit)
        message = f"'{match['unit']}' is no unit: write min, h, d, w, mo or y, as in {base}-7d"
        fix = Fix(start, end, meant) if meant and (base == "now" or meant not in ("min", "h")) else None
        return Problem("bad_date", message, start, end, tuple(_UNITS), (meant,) if meant else (), fix)
    if unit in ("min", "h") and base != "now":
        return Problem(
            "bad_date",
            f"'{base}' is a whole day: '{unit}' goes only with now, as in now-{match['number']}{unit}",
            start,
            end,
            ("d", "w", "mo", "y"),
        )
    number = int(match["number"][:9]) if len(match["number"]) <= 9 else 10**9
    return _Relative(days, -number if match["sign"] == "-" else number, _UNITS[unit])


def _bad_date(text: str, reason: str) -> Problem:
    return Problem("bad_date", f"'{text}' is no date: {reason}", 0, len(text), _FORMS)


def _not_a_date(text: str) -> Problem:
    """Why a text that has none of the forms is no date, with what it may have been meant for."""
    whole = len(text)
    if match := _DAY_MONTH_YEAR.fullmatch(text):
        first, _, second, third = match.groups()
        last = int(third) if len(third) == 4 else 2000 + int(third)
        orders = [(last, int(second), int(first)), (last, int(first), int(second))]
        if len(third) == 2:
            orders.append((2000 + int(first), int(second), int(third)))
        readings = {
            reading
            for named, month, day in orders
            if isinstance(_expression(reading := f"{named}-{month:02d}-{day:02d}"), _Absolute)
        }
        suggestions = tuple(sorted(readings))
        several = "can be read in more than one way; " if len(suggestions) != 1 else "is no date: "
        meant = f": {' or '.join(suggestions)}?" if suggestions else ""
        return Problem(
            "ambiguous_date",
            f"'{text}' {several}write year-month-day{meant}",
            0,
            whole,
            _FORMS,
            suggestions,
            Fix(0, whole, suggestions[0]) if len(suggestions) == 1 and len(third) == 4 else None,
        )
    meant_text = text.translate(_DASHES)
    if match := _YEAR_MONTH_DAY.fullmatch(meant_text):
        year, month, day = (part for part in match.groups() if part and part not in "/.")
        meant_text = f"{year}-{int(month):02d}-{int(day):02d}"
    elif match := re.fullmatch(r"(.*[Tt]\d\d.*[+-]\d\d)(\d\d)?", meant_text, re.ASCII):
        meant_text = f"{match[1]}:{match[2] or '00'}"
    if meant_text != text and isinstance(_expression(meant_text), _Absolute):
        return Problem(
            "bad_date",
            f"'{text}' is no date: write {meant_text}",
            0,
            whole,
            _FORMS,
            (meant_text,),
            Fix(0, whole, meant_text),
        )
    return Problem(
        "bad_date", f"'{text}' is no date: write one such as 2024-03-11, 2024-03-11T10:30 or today-7d", 0, whole, _FORMS
    )


def date_search(search: Search, zone: ZoneInfo, now: datetime) -> Search:
    """The search with every date as a `Range`, dated at the aware instant `now`. Raises QueryError."""
    problems: list[Problem] = []
    dated = Search(date_condition(search.where, zone, now, problems), search.sort)
    if problems:
        raise QueryError("", problems)
    return dated


def date_condition(condition: Condition, zone: ZoneInfo, now: datetime, problems: list[Problem]) -> Condition:
    """The condition with every date as a `Range`; what cannot be dated is left out and added to the problems."""
    match condition:
        case And(children):
            return conjunction([date_condition(child, zone, now, problems) for child in children])
        case Or(children):
            return disjunction([date_condition(child, zone, now, problems) for child in children])
        case Not(child):
            return negation(date_condition(child, zone, now, problems))
        case Comparison(name, operator, When() | Interval(When()) as operand):
            try:
                return _date_comparison(BY_NAME[name], operator, operand, zone, now)
            except Refused as refused:
                problems.extend(refused.problems)
                return Everything()
        case _:
            return condition


def _date_comparison(
    field: Field, operator: Operator, operand: When | Interval, zone: ZoneInfo, now: datetime
) -> Comparison:
    if isinstance(operand, Interval):
        assert isinstance(operand.low, When)
        assert isinstance(operand.high, When)
        start, _ = period(field, operand.low, zone, now)
        _, end = period(field, operand.high, zone, now)
        if start >= end:
            span = operand.low.span
            raise Refused(
                Problem(
                    "reversed_range",
                    f"the range goes backwards: write {operand.high.text}..{operand.low.text}",
                    span.start,
                    span.end,
                    fix=_swap(operand.low, operand.high),
                )
            )
        return Comparison(field.name, Operator.RANGE, Range(start, end))
    start, end = period(field, operand, zone, now)
    bounds = {
        Operator.EQ: Range(start, end),
        Operator.LT: Range(None, start),
        Operator.LE: Range(None, end),
        Operator.GT: Range(end, None),
        Operator.GE: Range(start, None),
    }
    return Comparison(field.name, Operator.RANGE, bounds[operator])


def _swap(low: When, high: When) -> Fix | None:
    """One edit that exchanges the two ends, where that makes a range and both stand in the text."""
    if low.text == high.text or high.span.end <= low.span.start:
        return None
    return Fix(low.span.start, high.span.end, f"{high.text}..{low.text}")


def period(field: Field, when: When, zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    """The period `[start, end)` that a date names; aware and in UTC for instants, naive otherwise.

    A relative date on a field without zone is found by the wall clock of the zone.
    """
    expression = _expression(when.text)
    assert not isinstance(expression, Problem)
    local_zone = zone if field.type is FieldType.INSTANT else None
    try:
        if isinstance(expression, _Absolute):
            return _absolute_period(expression, local_zone)
        return _relative_period(expression, zone, now, local_zone)
    except OverflowError:
        span = when.span
        raise Refused(
            Problem("bad_date", f"'{when.text}' lies outside the years 0001 to 9999", span.start, span.end, _FORMS)
        ) from None


def _absolute_period(date: _Absolute, zone: tzinfo | None) -> tuple[datetime, datetime]:
    start, unit = date.start, date.unit
    if unit in ("year", "month", "day"):
        try:
            if unit == "year":
                end = start.replace(year=start.year + 1)
            elif unit == "month":
                end = _add_months(start, 1)
            else:
                end = start + timedelta(days=1)
        except (ValueError, OverflowError):
            end = _END
        return _in_utc(start, zone), _in_utc(end, zone)
    step = timedelta(microseconds=10 ** (6 - int(unit))) if unit.isdigit() else timedelta(**{f"{unit}s": 1})
    # Up to an hour the end is counted in elapsed time: an hour that comes twice means the first one alone.
    begin = _in_utc(start, date.zone or zone)
    latest = _END if begin.tzinfo is None else _END.replace(tzinfo=UTC)
    return begin, begin + step if begin < latest - step else latest


def _relative_period(
    date: _Relative, zone: ZoneInfo, now: datetime, local_zone: tzinfo | None
) -> tuple[datetime, datetime]:
    here = now.astimezone(zone).replace(tzinfo=None)
    if date.days is None:
        if date.unit in ("minutes", "hours"):
            moment = now + timedelta(**{date.unit: date.number})
            point = moment.astimezone(UTC) if local_zone else moment.astimezone(zone).replace(tzinfo=None)
        elif date.number == 0:
            point = now.astimezone(UTC) if local_zone else here
        else:
            point = _in_utc(_step(here, date), local_zone)
        return point, point
    day = _step(here.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=date.days), date)
    return _absolute_period(_Absolute(day, "day", None), local_zone)


def _step(moment: datetime, date: _Relative) -> datetime:
    """The calendar step; months and years stop at the month's last day. Raises OverflowError."""
    if date.unit in ("days", "weeks"):
        return moment + timedelta(**{date.unit: date.number})
    return _add_months(moment, date.number * (12 if date.unit == "years" else 1))


def _add_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def _in_utc(local: datetime, zone: tzinfo | None) -> datetime:
    """A local time in UTC: one that comes twice means the first, one that is skipped moves forward (PEP 495, fold=0).

    Without a zone, the time itself. What leaves the calendar on the way stops at its end.
    """
    if zone is None:
        return local
    try:
        return local.replace(tzinfo=zone).astimezone(UTC)
    except OverflowError:
        return (_END if local.year > 1 else _START).replace(tzinfo=UTC)
