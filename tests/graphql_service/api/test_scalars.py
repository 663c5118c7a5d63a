from datetime import UTC, datetime, time, timedelta, timezone

import pytest
from graphql import GraphQLError

from graphql_service.api.scalars import read_instant, write_clock, write_instant


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2022, 12, 6, 21, 40, 59, 429_000, tzinfo=UTC), "2022-12-06T21:40:59.429Z"),
        (datetime(2022, 12, 6, 21, 40, 59, tzinfo=UTC), "2022-12-06T21:40:59.000Z"),
        (datetime(2022, 12, 6, 21, 40, 59, 1, tzinfo=UTC), "2022-12-06T21:40:59.000001Z"),
        (datetime(2022, 12, 6, 1, tzinfo=timezone(timedelta(hours=2))), "2022-12-05T23:00:00.000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_instants_are_written_in_utc(moment: datetime, text: str) -> None:
    assert write_instant(moment) == text
    assert read_instant(text) == moment


@pytest.mark.parametrize(
    ("clock", "text"),
    [
        (time(14, 7, 28), "14:07:28"),
        (time(14, 7, 28, 500_000), "14:07:28.500"),
        (time(0, 0, 0, 1), "00:00:00.000001"),
    ],
)
def test_clock_times_have_a_fraction_only_where_there_is_one(clock: time, text: str) -> None:
    assert write_clock(clock) == text


@pytest.mark.parametrize("value", ["2024-03-11", "2024-03-11T10:30:00", "yesterday", "", 5, None, "2024-03-11 10:30Z"])
def test_an_instant_needs_an_offset(value: object) -> None:
    with pytest.raises(GraphQLError) as refused:
        read_instant(value)
    assert refused.value.message == "a DateTime is a text such as 2024-03-11T10:30:00Z, with its offset from UTC"


def test_an_instant_lies_in_the_calendar() -> None:
    with pytest.raises(GraphQLError) as refused:
        read_instant("0001-01-01T00:00:00+01:00")
    assert refused.value.message == "the DateTime lies outside the years 1 to 9999"
