"""The schema's own scalars: instants in UTC, dates and clock times as ISO 8601 writes them, JSON as it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Final, NewType

import strawberry
from graphql import GraphQLError
from graphql import value_from_ast_untyped as read_json_literal
from strawberry.types.scalar import ScalarDefinition

#: Any JSON value, as it is.
JSON = NewType("JSON", object)


def write_instant(moment: datetime) -> str:
    """An aware time in UTC with milliseconds, or microseconds where they count: `2022-12-06T21:40:59.429Z`."""
    moment = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='microseconds' if moment.microsecond % 1000 else 'milliseconds')}Z"


def write_clock(clock: time) -> str:
    """A clock time without a zone, with a fraction only where there is one: `14:07:28`, `14:07:28.500`."""
    if not clock.microsecond:
        return clock.isoformat(timespec="seconds")
    return clock.isoformat(timespec="microseconds" if clock.microsecond % 1000 else "milliseconds")


def read_instant(value: object) -> datetime:
    """A time with its offset from UTC. Raises GraphQLError."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and "T" in value.upper() else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise GraphQLError("a DateTime is a text such as 2024-03-11T10:30:00Z, with its offset from UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise GraphQLError("the DateTime lies outside the years 1 to 9999") from None


_RFC3339: Final = "https://www.rfc-editor.org/rfc/rfc3339#section-5.6"

#: Which scalar stands for which Python type.
SCALARS: Final[dict[object, ScalarDefinition]] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, in answers always in UTC with three or six digits of a second:"
        " `2022-12-06T21:40:59.429Z`.",
        specified_by_url=_RFC3339,
        serialize=write_instant,
        parse_value=read_instant,
    ),
    date: strawberry.scalar(
        name="Date",
        description="A calendar day without a time zone: `1999-11-22`.",
        specified_by_url=_RFC3339,
        serialize=date.isoformat,
    ),
    time: strawberry.scalar(
        name="Time",
        description="A time of day as the scanner's clock showed it, without a time zone: `14:07:28`,"
        " with a fraction where there is one.",
        specified_by_url=_RFC3339,
        serialize=write_clock,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
        parse_value=lambda value: value,
        parse_literal=read_json_literal,
    ),
}
