"""The histogram of a search, for charts."""

from __future__ import annotations

from datetime import date
from enum import Enum, EnumType
from typing import Annotated, Final

import strawberry
from anyio.to_thread import run_sync

from grammar.fields import FIELDS, TEMPORAL
from graphql_service.api.arguments import (
    DatastoreArgument,
    FilterArgument,
    QueryArgument,
    TimeZoneArgument,
    VariablesArgument,
    read_search,
)
from graphql_service.api.context import RequestInfo
from graphql_service.api.inputs import field_value
from graphql_service.api.types import CountPrecision
from graphql_service.auditing import Reading
from graphql_service.histogram import Histogram, histogram
from graphql_service.histogram import Interval as Length
from graphql_service.searching import Inquiry, choose_datastore


def _make_field() -> EnumType:
    """An enum of the date fields; written as a call, since its members are data."""
    members = EnumType.__prepare__("HistogramField", (Enum,))
    for known in FIELDS:
        if known.type in TEMPORAL:
            name, value = field_value(known)
            members[name] = value
    return EnumType("HistogramField", (Enum,), members)


HistogramField: Final = strawberry.enum(
    _make_field(), description="What a histogram can be over: every date field of the query language."
)


@strawberry.enum(description="How long a bucket of a histogram is.")
class Interval(Enum):
    """How long a bucket is."""

    DAY = strawberry.enum_value("DAY", description="A day.")
    MONTH = strawberry.enum_value("MONTH", description="A calendar month.")
    YEAR = strawberry.enum_value("YEAR", description="A calendar year.")


@strawberry.type(
    description="One bucket of a histogram, with one image set at least. Its days are those of the request's time zone,"
    " so that they may have 23 or 25 hours; study and birth dates have no zone. `between` with its two days as ends"
    " finds just what it counts."
)
class HistogramBucket:
    """One bucket of a histogram."""

    from_: date = strawberry.field(name="from", description="Its first day.")
    to: date = strawberry.field(description="Its last day, itself included.")
    count: int = strawberry.field(description="How many image sets it holds.")
    precision: CountPrecision = strawberry.field(
        description="AT_LEAST where the store's budget ended before everything was read: each bucket may hold more, and"
        " there may be others."
    )


def _read_buckets(found: Histogram) -> list[HistogramBucket]:
    precision = CountPrecision.EXACT if found.exact else CountPrecision.AT_LEAST
    return [
        HistogramBucket(from_=bucket.first, to=bucket.last, count=bucket.count, precision=precision)
        for bucket in found.buckets
    ]


async def count_image_sets(
    info: RequestInfo,
    *,
    datastore_id: DatastoreArgument = None,
    query: QueryArgument = None,
    variables: VariablesArgument = None,
    filter: FilterArgument = None,  # noqa: A002  # the argument's name in the schema
    time_zone: TimeZoneArgument = None,
    field: Annotated[Enum, strawberry.argument(description="The date to count by.", graphql_type=HistogramField)],
    interval: Annotated[Interval, strawberry.argument(description="How long a bucket is.")],
) -> list[HistogramBucket]:
    """Counted in the store where it can count, else as far as a page's budget goes."""
    store = info.context.store
    ask = read_search(info, query, variables, filter, None, time_zone)

    def run() -> tuple[Inquiry, Histogram]:
        with store.sharing():
            inquiry = ask(choose_datastore(store, datastore_id).datastore_id)
            return inquiry, histogram(store, inquiry, field.value, Length[interval.name])

    inquiry, found = await run_sync(run)
    info.context.readings.append(
        Reading("imageSetHistogram", inquiry.datastore_id, (), found.search, inquiry.time_zone, found.dated)
    )
    return _read_buckets(found)
