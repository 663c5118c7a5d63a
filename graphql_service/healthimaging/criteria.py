"""Search to SearchCriteria and back: the wire names of SearchImageSets live here and nowhere else.

On the way out ranges grow a little, since AWS does not document whether BETWEEN holds its ends; what comes back has to
be filtered again. On the way in the criteria are read literally, with both ends inside, and whatever is not understood
is refused: an ignored term would answer rows that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from grammar.criteria import (
    And,
    Comparison,
    Condition,
    Everything,
    Operator,
    Range,
    Search,
    SortKey,
    conjunction,
)
from grammar.values import normalise
from graphql_service.errors import InvalidArgument, UnsupportedSearch
from graphql_service.image_set import read_date, read_time, utc
from graphql_service.stores.base import Capabilities

# The attributes that SearchImageSets can search; the fields of the language have the same names.
_TEXTS: Final = ("DICOMPatientId", "DICOMAccessionNumber", "DICOMStudyId")
_UIDS: Final = ("DICOMStudyInstanceUID", "DICOMSeriesInstanceUID")
_FLAG: Final = "isPrimary"
_INSTANTS: Final = ("createdAt", "updatedAt")
_STUDY_MOMENT: Final = "DICOMStudyDateAndTime"
_STUDY_DATE: Final = "DICOMStudyDate"
_STUDY_TIME: Final = "DICOMStudyTime"
_SORT_FIELDS: Final = ("updatedAt", "createdAt", _STUDY_MOMENT)
_ORDERS: Final = {"ASC": False, "DESC": True}
_MAX_FILTERS: Final = 2
_MAX_TEXT: Final = 512
_UID: Final = re.compile(r"[0-9.]+")

#: What one SearchImageSets request can say. EQUAL on a date and two filters on one attribute are undocumented, so
#: neither is used.
CAPABILITIES: Final = Capabilities(
    kind="healthimaging",
    operators=dict.fromkeys((*_TEXTS, *_UIDS, _FLAG), (Operator.EQ,))
    | dict.fromkeys((*_INSTANTS, _STUDY_MOMENT), (Operator.RANGE,)),
    max_filters=_MAX_FILTERS,
    max_text=_MAX_TEXT,
    sort_fields=_SORT_FIELDS,
    max_page=50,
    backward=False,
    counts=False,
    tokens=True,
)

_EPOCH: Final = datetime(1970, 1, 1)
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)
# BETWEEN needs both ends: these stand for an open one. The last is a whole second, since a float of epoch seconds
# could not hold the last microsecond; on the way back both mean an open end again.
_EARLIEST: Final = datetime(1, 1, 1)
_LATEST: Final = datetime(9999, 12, 31, 23, 59, 59)


def to_search_criteria(where: Condition, sort: tuple[SortKey, ...] = ()) -> dict[str, object]:
    """The SearchCriteria, as boto3 takes it, of a branch's condition and order.

    Instants are aware datetimes in UTC. A range is written in whole seconds (the AWS CLI sends no more) and surely
    holds all that the condition's range holds. Raises `UnsupportedSearch` for what `CAPABILITIES` do not have.
    """
    match where:
        case Everything():
            parts: tuple[Condition, ...] = ()
        case And(children):
            parts = children
        case _:
            parts = (where,)
    filters = [_write_filter(part) for part in parts]
    if len(filters) > _MAX_FILTERS or len(sort) > 1:
        raise UnsupportedSearch("SearchImageSets takes at most two filters and one field to sort by.")
    criteria: dict[str, object] = {"filters": filters} if filters else {}
    for key in sort:
        if key.field not in _SORT_FIELDS:
            raise UnsupportedSearch(f"SearchImageSets cannot sort by {key.field}.")
        criteria["sort"] = {"sortField": key.field, "sortOrder": "DESC" if key.descending else "ASC"}
    return criteria


def criteria_json(criteria: Mapping[str, object]) -> dict[str, object]:
    """SearchCriteria as JSON holds it, as the AWS CLI takes it: instants as `2024-03-11T00:00:00Z`."""
    return {name: _json(value) for name, value in criteria.items()}


def from_search_criteria(body: object) -> Search:
    """The dated search that the decoded JSON body of a SearchImageSets request asks for.

    Timestamps are epoch seconds, as all clients send them; both ends of BETWEEN are inside, to the microsecond; EQUAL
    on a date is that very moment. No sort: updatedAt, newest first. Raises `InvalidArgument` for what SearchImageSets
    refuses or does not document.
    """
    criteria = _read_structure(body, "the search criteria", required=(), optional=("filters", "sort"))
    where: Condition = Everything()
    if "filters" in criteria:
        filters = criteria["filters"]
        if not isinstance(filters, list) or not 1 <= len(filters) <= _MAX_FILTERS:
            raise InvalidArgument("'filters' must be a list of 1 or 2 filters.")
        where = conjunction(_read_filter(part) for part in filters)
    sort = _read_sort(criteria["sort"]) if "sort" in criteria else SortKey("updatedAt", descending=True)
    return Search(where, (sort,))


def _write_filter(condition: Condition) -> dict[str, object]:
    match condition:
        case Comparison(field, Operator.EQ, value) if field in (*_TEXTS, *_UIDS, _FLAG):
            return {"operator": "EQUAL", "values": [{field: value}]}
        case Comparison(field, Operator.RANGE, Range(start, end)) if field in _INSTANTS:
            bounds = (_lower_bound(start), _upper_bound(end, _SECOND))
            return {"operator": "BETWEEN", "values": [{field: bound.replace(tzinfo=UTC)} for bound in bounds]}
        case Comparison(field, Operator.RANGE, Range(start, end)) if field == _STUDY_MOMENT:
            # A study time that is no time counts as 00:00 here; AWS may read it as any time of that day.
            bounds = (_lower_bound(start), _upper_bound(end, _DAY))
            return {"operator": "BETWEEN", "values": [{field: _write_study_moment(bound)} for bound in bounds]}
        case _:
            raise UnsupportedSearch("SearchImageSets has no filter for this condition.")


def _lower_bound(start: datetime | None) -> datetime:
    """The last whole second that is surely before the start, without a zone."""
    if start is None or _without_zone(start) < _EARLIEST + _SECOND:
        return _EARLIEST
    return _without_zone(start).replace(microsecond=0) - _SECOND


def _upper_bound(end: datetime | None, unit: timedelta) -> datetime:
    """The first whole unit at or after the (exclusive) end, without a zone."""
    if end is None or _without_zone(end) > _LATEST - unit:
        return _LATEST
    return _EARLIEST - (_EARLIEST - _without_zone(end)) // unit * unit


def _without_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else utc(moment).replace(tzinfo=None)


def _write_study_moment(moment: datetime) -> dict[str, object]:
    # Not strftime: its %Y has fewer than four digits for early years on some systems.
    return {
        _STUDY_DATE: f"{moment.year:04}{moment.month:02}{moment.day:02}",
        _STUDY_TIME: f"{moment.hour:02}{moment.minute:02}{moment.second:02}.{moment.microsecond:06}",
    }


def _json(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dict():
            return {name: _json(member) for name, member in value.items()}
        case list():
            return [_json(member) for member in value]
        case _:
            return value


def _read_filter(part: object) -> Comparison:
    members = _read_structure(part, "a filter", required=("operator", "values"))
    values = members["values"]
    match members["operator"]:
        case "EQUAL":
            count = 1
        case "BETWEEN":
            count = 2
        case _:
            raise InvalidArgument("A filter's operator must be EQUAL or BETWEEN.")
    if not isinstance(values, list) or len(values) != count:
        raise InvalidArgument(f"A filter with {members['operator']} needs a list of {count} in 'values'.")
    read = [_read_value(value) for value in values]
    field, low = read[0]
    last, high = read[-1]
    if field != last:
        raise InvalidArgument("Both values of BETWEEN must be of the same attribute.")
    match low, high:
        case datetime(), datetime():
            # [?] BETWEEN with its ends the wrong way round: read literally, nothing lies between them.
            return Comparison(field, Operator.RANGE, Range(_start(low), _end(high)))
        case ((str() | bool()), _) if count == 1:
            return Comparison(field, Operator.EQ, low)
        case _:
            raise InvalidArgument(f"BETWEEN needs dates, and '{field}' is no date: use EQUAL.")


def _read_value(value: object) -> tuple[str, str | bool | datetime]:
    """The one attribute that a value names, and what it is compared with."""
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidArgument("A value must be an object with exactly one attribute.")
    field, content = next(iter(value.items()))
    if field in _TEXTS or field in _UIDS:
        return field, _read_text(field, content)
    if field == _FLAG:
        if not isinstance(content, bool):
            raise InvalidArgument(f"'{field}' must be true or false.")
        return field, content
    if field in _INSTANTS:
        return field, _read_instant(field, content)
    if field == _STUDY_MOMENT:
        return field, _read_study_moment(content)
    raise InvalidArgument(f"A value must name one of {', '.join(CAPABILITIES.operators or ())}.")


def _read_text(field: str, content: object) -> str:
    if not isinstance(content, str) or len(content) > _MAX_TEXT or (field in _UIDS and not _UID.fullmatch(content)):
        kind = "digits and dots" if field in _UIDS else "characters"
        raise InvalidArgument(f"'{field}' must be a string of at most {_MAX_TEXT} {kind}.")
    if any("\ud800" <= character <= "\udfff" or character == "\0" for character in content):
        raise InvalidArgument(f"'{field}' must be valid Unicode without NUL.")
    return normalise(content)


def _read_instant(field: str, content: object) -> datetime:
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise InvalidArgument(f"'{field}' must be a number: seconds since 1970-01-01T00:00:00Z.")
    try:
        return (_EPOCH + timedelta(seconds=content)).replace(tzinfo=UTC)
    except (OverflowError, ValueError) as error:
        raise InvalidArgument(f"'{field}' must be a time between the years 1 and 9999.") from error


def _read_study_moment(content: object) -> datetime:
    members = _read_structure(content, f"'{_STUDY_MOMENT}'", required=(_STUDY_DATE,), optional=(_STUDY_TIME,))
    date = read_date(members[_STUDY_DATE])
    if date is None:
        raise InvalidArgument(f"'{_STUDY_DATE}' must be a date as yyyyMMdd.")
    time = read_time(members[_STUDY_TIME]) if _STUDY_TIME in members else timedelta()
    if time is None:
        raise InvalidArgument(f"'{_STUDY_TIME}' must be a time as HHmmss.FFFFFF.")
    return date + time


def _start(low: datetime) -> datetime | None:
    return None if _without_zone(low) == _EARLIEST else low


def _end(high: datetime) -> datetime | None:
    """The exclusive end that keeps the moment itself inside."""
    return None if _without_zone(high) >= _LATEST else high + _MICROSECOND


def _read_sort(sort: object) -> SortKey:
    members = _read_structure(sort, "'sort'", required=("sortField", "sortOrder"))
    field, order = members["sortField"], members["sortOrder"]
    if not isinstance(field, str) or field not in _SORT_FIELDS:
        raise InvalidArgument(f"'sortField' must be one of {', '.join(_SORT_FIELDS)}.")
    if not isinstance(order, str) or order not in _ORDERS:
        raise InvalidArgument("'sortOrder' must be ASC or DESC.")
    return SortKey(field, _ORDERS[order])


def _read_structure(
    value: object, name: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, object]:
    """The members of a JSON object that has all that it needs, and nothing else."""
    allowed = (*required, *optional)
    if not isinstance(value, dict) or not set(required) <= value.keys() <= set(allowed):
        raise InvalidArgument(f"{name[0].upper()}{name[1:]} must be an object of {' and '.join(allowed)}.")
    return value
