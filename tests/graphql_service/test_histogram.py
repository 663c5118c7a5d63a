"""Histograms: each bucket counts what a search for its date finds, whatever the zone, and no image set is left out."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammar.criteria import Condition, Everything
from grammar.problems import QueryError
from graphql_service.auditing import word
from graphql_service.errors import InvalidArgument, ScanBudget
from graphql_service.healthimaging.criteria import CAPABILITIES
from graphql_service.histogram import Bucket, Histogram, Interval, histogram
from graphql_service.image_set import ImageSet
from graphql_service.matching import predicate
from graphql_service.searching import Inquiry, date_inquiry, read_inquiry
from graphql_service.stores.base import Store
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.test_scanning import LimitedStore, limited
from tests.strategies import DATASTORE_ID, collections, conditions

NOW = datetime(2024, 3, 11, 12, tzinfo=UTC)

#: With summer time over midnight, at 00:01, at half and odd hours; a day that never was; offsets of odd seconds.
ZONES = (
    "UTC",
    "Europe/Lisbon",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Africa/Monrovia",
    "Europe/Amsterdam",
)

_MICROSECOND = timedelta(microseconds=1)
_TURNS = (
    datetime(2011, 12, 30, 10, tzinfo=UTC),  # Apia skips a day
    datetime(2024, 3, 10, 5, tzinfo=UTC),  # a day of 23 hours in New York
    datetime(2024, 3, 11, 4, tzinfo=UTC),
    datetime(2024, 10, 27, tzinfo=UTC),  # a day of 25 hours in Lisbon, from summer time
    datetime(2024, 10, 26, 23, tzinfo=UTC),
    datetime(2024, 10, 28, tzinfo=UTC),
    datetime(2006, 10, 29, 2, 31, tzinfo=UTC),  # St. John's goes back over midnight
    datetime(2006, 10, 29, 3, 30, tzinfo=UTC),
    datetime(2018, 11, 4, 3, tzinfo=UTC),  # a day that begins at 01:00 in São Paulo
    datetime(1971, 5, 1, 0, 44, 30, tzinfo=UTC),  # midnight in Monrovia
    datetime(1930, 3, 1, 23, 40, 28, tzinfo=UTC),  # midnight in Amsterdam
    datetime(1970, 1, 1, tzinfo=UTC),
)
instants = st.datetimes(datetime(1900, 1, 1), datetime(2060, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
near_turns = st.builds(
    datetime.__add__,
    st.sampled_from(_TURNS),
    st.sampled_from((-timedelta(hours=1), -_MICROSECOND, timedelta(), _MICROSECOND, timedelta(minutes=59))),
)
days = st.dates(date(1900, 1, 1), date(2060, 1, 1)).map(lambda day: f"{day:%Y%m%d}") | st.sampled_from(
    ("20240229", "20240301", "00010101", "99991230", "no date", "")
)


@st.composite
def many_image_sets(draw: st.DrawFn) -> list[ImageSet]:
    """Image sets whose dates lie near each other and near what zones do at midnight."""
    return [
        ImageSet(
            DATASTORE_ID,
            f"{number:032}",
            number % 3,
            draw(instants | near_turns | st.none()),
            draw(near_turns),
            draw(near_turns | st.none()),
            None,
            None,
            {
                "DICOMStudyDate": draw(days),
                "DICOMStudyTime": draw(st.sampled_from(("000000", "235959.999999", ""))),
                "DICOMPatientBirthDate": draw(days),
            },
        )
        for number in range(draw(st.integers(0, 15)))
    ]


fields = st.sampled_from(("createdAt", "updatedAt", "lastAccessedAt", "DICOMStudyDateAndTime", "DICOMPatientBirthDate"))


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    """One file for all examples of a property: each makes its data store and erases it."""
    with closing(SQLiteStore(tmp_path_factory.mktemp("stores") / "store.db", create=True)) as opened:
        yield opened


def reference(rows: list[ImageSet], inquiry: Inquiry, field: str, interval: Interval) -> Histogram:
    """Each bucket from what the query language says of its date."""
    found = [row for row in filter(predicate(date_inquiry(inquiry, NOW).where), rows) if row.value(field)]
    buckets: list[Bucket] = []
    for year, month, day in sorted({key for row in found for key in around(row.value(field), interval)}):
        first = date(year, month, day)
        written = first.isoformat()[: interval.value]
        asked = replace(inquiry, query=f"{field} = {written}", filter=Everything())
        count = len(list(filter(predicate(date_inquiry(asked, NOW).where), found)))
        if count:
            buckets.append(Bucket(first, last_day(first, interval), count))
    assert sum(bucket.count for bucket in buckets) == len(found)
    return Histogram(tuple(buckets), exact=True, search=word(read_inquiry(inquiry)), dated=NOW)


def around(value: object, interval: Interval) -> set[tuple[int, int, int]]:
    """The first days of the buckets that a moment may be in: a zone is at most a day away."""
    assert isinstance(value, datetime)
    near = {max(value.date().toordinal() + step, 1) for step in (-1, 0, 1)}
    near = {min(ordinal, date.max.toordinal()) for ordinal in near}
    parts = {Interval.DAY: 3, Interval.MONTH: 2, Interval.YEAR: 1}[interval]
    return {((*date.fromordinal(each).timetuple()[:parts], 1, 1)[:3]) for each in near}  # type: ignore[misc]


def last_day(first: date, interval: Interval) -> date:
    if interval is Interval.DAY:
        return first
    if interval is Interval.YEAR:
        return date(first.year, 12, 31)
    following = first.replace(day=28) + timedelta(days=4) if first < date(9999, 12, 1) else date.max
    return following - timedelta(days=following.day) if first < date(9999, 12, 1) else date.max


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=many_image_sets() | collections,
    where=conditions | st.just(Everything()),
    field=fields,
    interval=st.sampled_from(Interval),
    zone=st.sampled_from(ZONES),
)
def test_a_bucket_counts_what_a_search_for_its_date_finds(
    embedded: SQLiteStore, rows: list[ImageSet], where: Condition, field: str, interval: Interval, zone: str
) -> None:
    inquiry = Inquiry(DATASTORE_ID, filter=where, time_zone=zone)
    wanted = reference(rows, inquiry, field, interval)
    embedded.load(DATASTORE_ID, rows)
    try:
        assert histogram(embedded, inquiry, field, interval, NOW) == wanted
    finally:
        embedded.remove_datastore(DATASTORE_ID)
    store = LimitedStore(rows, CAPABILITIES)
    assert histogram(store, inquiry, field, interval, NOW) == wanted
    for one, other in pairwise(wanted.buckets):
        assert one.last < other.first


def updated(*moments: datetime) -> list[ImageSet]:
    return [
        ImageSet(DATASTORE_ID, f"{number:032}", 1, moment, moment, None, None, None, {})
        for number, moment in enumerate(moments)
    ]


HOURLY = updated(*(datetime(2024, 3, 9, tzinfo=UTC) + timedelta(hours=hour) for hour in range(24 * 4)))


@pytest.fixture
def stores(embedded: SQLiteStore) -> Iterator[tuple[Store, ...]]:
    embedded.load(DATASTORE_ID, HOURLY)
    yield embedded, limited(HOURLY)
    embedded.remove_datastore(DATASTORE_ID)


def test_a_day_may_have_23_hours(stores: tuple[Store, ...]) -> None:
    for store in stores:
        found = histogram(store, Inquiry(DATASTORE_ID, time_zone="America/New_York"), "updatedAt", Interval.DAY, NOW)
        assert [(bucket.first.day, bucket.last.day, bucket.count) for bucket in found.buckets] == [
            (8, 8, 5), (9, 9, 24), (10, 10, 23), (11, 11, 24), (12, 12, 20),
        ]  # fmt: skip
        found = histogram(store, Inquiry(DATASTORE_ID, "updated = today"), "updatedAt", Interval.MONTH, NOW)
        assert (found.buckets, found.exact) == ((Bucket(date(2024, 3, 1), date(2024, 3, 31), 24),), True)


def test_what_is_wrong_with_a_search_is_said(stores: tuple[Store, ...]) -> None:
    for store in stores:
        with pytest.raises(QueryError, match="unknown_field"):
            histogram(store, Inquiry(DATASTORE_ID, "pateint = A"), "updatedAt", Interval.DAY)
        with pytest.raises(InvalidArgument, match="'timeZone' must be an IANA name"):
            histogram(store, Inquiry(DATASTORE_ID, time_zone="Mars/Base"), "updatedAt", Interval.DAY)


def test_too_many_buckets_are_an_error(embedded: SQLiteStore) -> None:
    start = datetime(1990, 1, 1, tzinfo=UTC)
    embedded.load(DATASTORE_ID, updated(*(start + timedelta(days=day) for day in range(10_001))))
    with pytest.raises(InvalidArgument) as refused:
        histogram(embedded, Inquiry(DATASTORE_ID), "updatedAt", Interval.DAY)
    assert str(refused.value) == "a histogram has at most 10,000 buckets, and this one has 10,001: take MONTH or YEAR"
    most = histogram(embedded, Inquiry(DATASTORE_ID, "updated > 1990-01-01"), "updatedAt", Interval.DAY)
    assert len(most.buckets) == 10_000
    assert len(histogram(embedded, Inquiry(DATASTORE_ID), "updatedAt", Interval.YEAR).buckets) == 28
    embedded.remove_datastore(DATASTORE_ID)


def test_a_budget_that_ends_early_is_said() -> None:
    """The latest are read first, where the store sorts by the field."""
    store = limited(HOURLY, scan_requests=1)
    found = histogram(store, Inquiry(DATASTORE_ID), "updatedAt", Interval.DAY, NOW)
    assert not found.exact
    assert [(bucket.first.day, bucket.count) for bucket in found.buckets] == [(10, 2), (11, 24), (12, 24)]
    store = limited(HOURLY, scan_requests=2)
    found = histogram(store, Inquiry(DATASTORE_ID), "updatedAt", Interval.DAY, NOW)
    assert (found.exact, sum(bucket.count for bucket in found.buckets)) == (True, 96)
    found = histogram(store, Inquiry(DATASTORE_ID), "lastAccessedAt", Interval.DAY)
    assert (found.buckets, found.exact) == ((), True)


def test_a_budget_that_ends_before_anything_is_found_is_an_error() -> None:
    store = limited(HOURLY, scan_requests=1)
    with pytest.raises(ScanBudget) as refused:
        histogram(store, Inquiry(DATASTORE_ID, "version = 2"), "updatedAt", Interval.DAY, NOW)
    assert str(refused.value) == (
        "nothing was found within the budget of one page: IMAGESETS_SCAN_REQUESTS and IMAGESETS_SCAN_SECONDS set how"
        " much is read; a narrower search needs less"
    )


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York", "UTC"])
def test_moments_beyond_the_calendar_of_a_zone_are_in_its_first_and_last_days(embedded: SQLiteStore, zone: str) -> None:
    ends = (datetime.min, datetime.min + timedelta(hours=1), datetime.max - timedelta(hours=1), datetime.max)
    rows = updated(*(moment.replace(tzinfo=UTC) for moment in ends))
    embedded.load(DATASTORE_ID, rows)
    stores: tuple[Store, ...] = (embedded, limited(rows))
    for store in stores:
        for interval, first, last in (
            (Interval.DAY, date(1, 1, 1), date(9999, 12, 31)),
            (Interval.MONTH, date(1, 1, 31), date(9999, 12, 1)),
            (Interval.YEAR, date(1, 12, 31), date(9999, 1, 1)),
        ):
            found = histogram(store, Inquiry(DATASTORE_ID, time_zone=zone), "updatedAt", interval)
            assert found.buckets == (Bucket(date.min, first, 2), Bucket(last, date.max, 2))
    embedded.remove_datastore(DATASTORE_ID)
