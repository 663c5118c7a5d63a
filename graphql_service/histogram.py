"""Histograms: how many image sets a search finds by day, month or year of a date field.

A bucket is the period that the query language gives to its date in the request's zone, so that `updated = 2024-03-31`
finds what the bucket of that day counts, of 23 or 25 hours too. What has no value is in no bucket.
"""

from __future__ import annotations

import sys
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Final
from zoneinfo import ZoneInfo

from grammar.criteria import Comparison, Condition, Operator, Range, Search, SortKey, When, conjunction
from grammar.fields import BY_NAME, FieldType
from grammar.periods import period
from graphql_service.auditing import Wording, word
from graphql_service.errors import InvalidArgument, ScanBudget
from graphql_service.metrics import SCAN_REQUESTS, SCANNED
from graphql_service.planning import make_plan
from graphql_service.scanning import scan
from graphql_service.searching import DEFAULT_SORT, Inquiry, date_inquiry, read_inquiry, read_zone
from graphql_service.stores.base import Store

BUCKET_LIMIT: Final = 10_000
_DAY: Final = timedelta(days=1)
#: Days of every zone begin at a multiple of this today; where one did not, the step is counted in two parts.
_QUARTER: Final = timedelta(minutes=15)


class Interval(Enum):
    """How long a bucket is; the value is how much of a day's date (`2024-03-11`) names it."""

    DAY = 10
    MONTH = 7
    YEAR = 4


@dataclass(frozen=True, slots=True)
class Bucket:
    """From one day to another, both inside, and how many image sets it holds (one at least)."""

    first: date
    last: date
    count: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Buckets in the order of time. Where they are not exact each may hold more, and others may be missing.

    `search` is what was searched for, in words, and `dated` the instant that its relative dates were counted from.
    """

    buckets: tuple[Bucket, ...]
    exact: bool
    search: Wording
    dated: datetime


def histogram(store: Store, inquiry: Inquiry, field: str, interval: Interval, now: datetime | None = None) -> Histogram:
    """The histogram of a search, whose order counts for nothing, over a date field (by canonical name).

    A store that is scanned is read, the latest first where it sorts by the field, as far as the budget of one page
    goes. Raises as `searching.search` does, InvalidArgument for more than `BUCKET_LIMIT` buckets, ScanBudget where
    the budget ended before anything was found.
    """
    zone = read_zone(inquiry.time_zone)
    search = word(read_inquiry(inquiry))
    instant = now or datetime.now(UTC)
    where = date_inquiry(inquiry, instant).where
    calendar = _Calendar(field, interval, zone)
    if store.capabilities.tokens:
        exact = _scan(store, inquiry.datastore_id, where, calendar)
        return Histogram(calendar.buckets(), exact, search, instant)
    step = _DAY if not calendar.has_zone or zone.key == "UTC" else _QUARTER
    for start, found in store.histogram(inquiry.datastore_id, where, field, step):
        _count_step(store, inquiry.datastore_id, where, calendar, start, step, found)
    return Histogram(calendar.buckets(), exact=True, search=search, dated=instant)


def _count_step(
    store: Store,
    datastore_id: str,
    where: Condition,
    calendar: _Calendar,
    start: datetime,
    step: timedelta,
    found: int,
) -> None:
    """Count what one step holds; one that a bucket ends in is parted there."""
    end = _add(start, step)
    while found and (border := calendar.end_at(start)) < end:
        inside = Comparison(calendar.field, Operator.RANGE, Range(start, border))
        first = store.count(datastore_id, conjunction((where, inside)), found)
        calendar.add(start, first)
        start, found = border, found - first
    calendar.add(start, found)


def _scan(store: Store, datastore_id: str, where: Condition, calendar: _Calendar) -> bool:
    """Count what is found within the budget of one page; says whether that is everything."""
    sortable = store.capabilities.sort_fields
    sorts = sortable is None or calendar.field in sortable
    sort = (SortKey(calendar.field, descending=True),) if sorts else DEFAULT_SORT
    plan = make_plan(Search(where, sort), store.capabilities)
    found = scan(store, datastore_id, plan, sys.maxsize)
    SCANNED.observe(found.scanned)
    SCAN_REQUESTS.observe(found.requests)
    for image_set in found.image_sets:
        value = image_set.value(calendar.field)
        if isinstance(value, datetime):
            calendar.add(value, 1)
    if not (found.ended or calendar.holds_any):
        raise ScanBudget(
            "nothing was found within the budget of one page: IMAGESETS_SCAN_REQUESTS and IMAGESETS_SCAN_SECONDS set"
            " how much is read; a narrower search needs less"
        )
    return found.ended


def _add(moment: datetime, step: timedelta) -> datetime:
    """Later by the step, as far as the calendar goes."""
    latest = datetime.max.replace(tzinfo=moment.tzinfo)
    return moment + step if moment <= latest - step else latest


@dataclass(slots=True)
class _Open:
    """A bucket that is being filled: its days, and its period `[start, end)`."""

    first: date
    last: date
    start: datetime
    end: datetime
    count: int = 0


class _Calendar:
    """Finds the bucket of each moment. Moments mostly come in order: the last bucket is tried first."""

    def __init__(self, field: str, interval: Interval, zone: ZoneInfo) -> None:
        self.field = field
        self.has_zone = BY_NAME[field].type is FieldType.INSTANT
        self._interval = interval
        self._zone = zone
        self._open: dict[date, _Open] = {}
        self._last: _Open | None = None

    def add(self, moment: datetime, count: int) -> None:
        """Count so many at a moment."""
        if count:
            self._find(moment).count += count

    @property
    def holds_any(self) -> bool:
        """Whether anything was counted."""
        return any(each.count for each in self._open.values())

    def end_at(self, moment: datetime) -> datetime:
        """Where the bucket of a moment ends."""
        return self._find(moment).end

    def buckets(self) -> tuple[Bucket, ...]:
        """Those that hold any. Raises InvalidArgument for too many."""
        filled = sorted((each for each in self._open.values() if each.count), key=lambda each: each.first)
        if len(filled) > BUCKET_LIMIT:
            larger = {Interval.DAY: "MONTH or YEAR", Interval.MONTH: "YEAR", Interval.YEAR: "a narrower search"}
            raise InvalidArgument(
                f"a histogram has at most {BUCKET_LIMIT:,} buckets, and this one has {len(filled):,}: take"
                f" {larger[self._interval]}"
            )
        return tuple(Bucket(each.first, each.last, each.count) for each in filled)

    def _find(self, moment: datetime) -> _Open:
        if self._last is not None and self._last.start <= moment < self._last.end:
            return self._last
        found = self._bucket(self._local(moment).date())
        # Where clocks were set over midnight, the language's day is not that which the clock showed.
        while moment < found.start and found.first > date.min:
            found = self._bucket(found.first - _DAY)
        while moment >= found.end and found.last < date.max:
            found = self._bucket(found.last + _DAY)
        self._last = found
        return found

    def _local(self, moment: datetime) -> datetime:
        if not self.has_zone:
            return moment
        try:
            return moment.astimezone(self._zone)
        except OverflowError:  # the calendar's first or last day in UTC is in no year of the zone
            return moment

    def _bucket(self, day: date) -> _Open:
        first, last = self._days(day)
        known = self._open.get(first)
        if known is None:
            name = When(day.isoformat()[: self._interval.value])
            start, end = period(BY_NAME[self.field], name, self._zone, _NO_MATTER)
            if last == date.max:
                end = datetime.max.replace(tzinfo=end.tzinfo)
            known = self._open[first] = _Open(first, last, start, end)
        return known

    def _days(self, day: date) -> tuple[date, date]:
        match self._interval:
            case Interval.DAY:
                return day, day
            case Interval.MONTH:
                return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
            case Interval.YEAR:
                return date(day.year, 1, 1), date(day.year, 12, 31)


#: No date that names a bucket depends on when it is asked.
_NO_MATTER: Final = datetime(2000, 1, 1, tzinfo=UTC)
