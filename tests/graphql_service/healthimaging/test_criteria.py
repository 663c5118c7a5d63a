from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import pytest
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.criteria import (
    And,
    Comparison,
    Condition,
    Everything,
    Not,
    Operator,
    Or,
    Range,
    Scalar,
    Search,
    SortKey,
    conjunction,
)
from grammar.values import normalise
from graphql_service.errors import InvalidArgument, UnsupportedSearch
from graphql_service.healthimaging.criteria import (
    CAPABILITIES,
    criteria_json,
    from_search_criteria,
    to_search_criteria,
)
from graphql_service.image_set import ImageSet
from graphql_service.matching import matches
from graphql_service.stores.base import Capabilities

OPERATION = botocore.session.get_session().get_service_model("medical-imaging").operation_model("SearchImageSets")
INPUT: Any = OPERATION.input_shape
DATASTORE_ID = "12345678901234567890123456789012"
NEWEST_FIRST = (SortKey("updatedAt", descending=True),)


def wire_body(criteria: dict[str, object]) -> object:
    """The JSON body that boto3 sends for the criteria, checked against AWS's own model on the way."""
    parameters = {"datastoreId": DATASTORE_ID, "searchCriteria": criteria}
    report = ParamValidator().validate(parameters, INPUT)
    assert not report.has_errors(), report.generate_report()
    request = create_serializer("rest-json").serialize_to_request(parameters, OPERATION)
    return json.loads(request["body"] or b"{}")


def eq(field: str, value: Scalar) -> Comparison:
    return Comparison(field, Operator.EQ, value)


def period(field: str, start: datetime | None, end: datetime | None) -> Comparison:
    return Comparison(field, Operator.RANGE, Range(start, end))


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micros: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC)


def study_moment(date: str, time: str) -> dict[str, object]:
    return {"DICOMStudyDateAndTime": {"DICOMStudyDate": date, "DICOMStudyTime": time}}


def test_capabilities() -> None:
    expected = Capabilities(
        kind="healthimaging",
        operators={
            "DICOMPatientId": (Operator.EQ,),
            "DICOMAccessionNumber": (Operator.EQ,),
            "DICOMStudyId": (Operator.EQ,),
            "DICOMStudyInstanceUID": (Operator.EQ,),
            "DICOMSeriesInstanceUID": (Operator.EQ,),
            "isPrimary": (Operator.EQ,),
            "createdAt": (Operator.RANGE,),
            "updatedAt": (Operator.RANGE,),
            "DICOMStudyDateAndTime": (Operator.RANGE,),
        },
        max_filters=2,
        max_text=512,
        sort_fields=("updatedAt", "createdAt", "DICOMStudyDateAndTime"),
        max_page=50,
        backward=False,
        counts=False,
        tokens=True,
    )
    assert expected == CAPABILITIES


def test_capabilities_are_what_the_model_has() -> None:
    criteria = INPUT.members["searchCriteria"]
    part = criteria.members["filters"].member
    assert set(CAPABILITIES.operators or ()) == set(part.members["values"].member.members)
    assert list(CAPABILITIES.sort_fields or ()) == criteria.members["sort"].members["sortField"].enum
    assert criteria.members["filters"].metadata == {"min": 1, "max": CAPABILITIES.max_filters}
    assert INPUT.members["maxResults"].metadata["max"] == CAPABILITIES.max_page


@pytest.mark.parametrize(
    ("where", "sort", "expected"),
    [
        (Everything(), (), {}),
        (
            eq("DICOMPatientId", "1234567"),
            (),
            {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "1234567"}]}]},
        ),
        (
            period("DICOMStudyDateAndTime", datetime(1990, 1, 1), datetime(2023, 1, 1)),
            (SortKey("DICOMStudyDateAndTime"),),
            {
                "filters": [
                    {
                        "operator": "BETWEEN",
                        "values": [
                            study_moment("19891231", "235959.000000"),
                            study_moment("20230101", "000000.000000"),
                        ],
                    }
                ],
                "sort": {"sortField": "DICOMStudyDateAndTime", "sortOrder": "ASC"},
            },
        ),
        (
            period("createdAt", at(1985, 4, 12, 23, 20, 50, 520_000), None),
            (),
            {
                "filters": [
                    {
                        "operator": "BETWEEN",
                        "values": [
                            {"createdAt": at(1985, 4, 12, 23, 20, 49)},
                            {"createdAt": at(9999, 12, 31, 23, 59, 59)},
                        ],
                    }
                ]
            },
        ),
        (
            And((eq("DICOMSeriesInstanceUID", "1.1.123"), period("updatedAt", None, at(2024, 3, 11, 10, 0, 0, 1)))),
            (SortKey("updatedAt"),),
            {
                "filters": [
                    {"operator": "EQUAL", "values": [{"DICOMSeriesInstanceUID": "1.1.123"}]},
                    {
                        "operator": "BETWEEN",
                        "values": [{"updatedAt": at(1, 1, 1)}, {"updatedAt": at(2024, 3, 11, 10, 0, 1)}],
                    },
                ],
                "sort": {"sortField": "updatedAt", "sortOrder": "ASC"},
            },
        ),
        (
            eq("isPrimary", value=False),
            NEWEST_FIRST,
            {
                "filters": [{"operator": "EQUAL", "values": [{"isPrimary": False}]}],
                "sort": {"sortField": "updatedAt", "sortOrder": "DESC"},
            },
        ),
    ],
    ids=["all", "seed 1", "seed 2", "seed 3", "seed 4", "flag"],
)
def test_to_search_criteria(where: Condition, sort: tuple[SortKey, ...], expected: dict[str, object]) -> None:
    criteria = to_search_criteria(where, sort)
    assert criteria == expected
    wire_body(criteria)


def test_the_end_of_a_study_period_is_a_whole_day() -> None:
    criteria = to_search_criteria(
        period("DICOMStudyDateAndTime", datetime(2024, 3, 11, 8), datetime(2024, 3, 11, 8, 30))
    )
    assert criteria == {
        "filters": [
            {
                "operator": "BETWEEN",
                "values": [study_moment("20240311", "075959.000000"), study_moment("20240312", "000000.000000")],
            }
        ]
    }


def test_periods_at_the_end_of_time() -> None:
    first, last = datetime(1, 1, 1), datetime.max
    assert to_search_criteria(period("DICOMStudyDateAndTime", first, last)) == {
        "filters": [
            {
                "operator": "BETWEEN",
                "values": [study_moment("00010101", "000000.000000"), study_moment("99991231", "235959.000000")],
            }
        ]
    }
    end = at(9999, 12, 31, 23, 59, 58, 1)
    assert to_search_criteria(period("updatedAt", first.replace(tzinfo=UTC), end)) == {
        "filters": [
            {
                "operator": "BETWEEN",
                "values": [{"updatedAt": at(1, 1, 1)}, {"updatedAt": at(9999, 12, 31, 23, 59, 59)}],
            }
        ]
    }


def test_json() -> None:
    criteria = to_search_criteria(
        And((period("updatedAt", at(2024, 3, 11), at(2024, 3, 13)), eq("isPrimary", value=True))), NEWEST_FIRST
    )
    assert criteria_json(criteria) == {
        "filters": [
            {
                "operator": "BETWEEN",
                "values": [{"updatedAt": "2024-03-10T23:59:59Z"}, {"updatedAt": "2024-03-13T00:00:00Z"}],
            },
            {"operator": "EQUAL", "values": [{"isPrimary": True}]},
        ],
        "sort": {"sortField": "updatedAt", "sortOrder": "DESC"},
    }


PATIENT = eq("DICOMPatientId", "A")


@pytest.mark.parametrize(
    ("where", "sort"),
    [
        (Not(PATIENT), ()),
        (Or((PATIENT, eq("DICOMStudyId", "1"))), ()),
        (eq("DICOMPatientName", "A"), ()),
        (Comparison("DICOMPatientId", Operator.LIKE, "A*"), ()),
        (Comparison("DICOMPatientId", Operator.IN, ("A", "B")), ()),
        (Comparison("updatedAt", Operator.EXISTS, None), ()),
        (period("lastAccessedAt", None, None), ()),
        (And((PATIENT, eq("DICOMStudyId", "1"), eq("isPrimary", value=True))), ()),
        (PATIENT, (SortKey("updatedAt"), SortKey("createdAt"))),
        (PATIENT, (SortKey("version"),)),
    ],
    ids=repr,
)
def test_what_cannot_be_said(where: Condition, sort: tuple[SortKey, ...]) -> None:
    with pytest.raises(UnsupportedSearch):
        to_search_criteria(where, sort)


INSTANTS = st.datetimes(timezones=st.just(UTC))
WALL_CLOCKS = st.datetimes()


def ranges_on(field: str, moments: st.SearchStrategy[datetime]) -> st.SearchStrategy[Condition]:
    ends = st.tuples(st.none() | moments, st.none() | moments).filter(
        lambda pair: pair[0] is None or pair[1] is None or pair[0] < pair[1]
    )
    return ends.map(lambda pair: period(field, *pair))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).map(
    normalise
)
UIDS = st.text("0123456789.", min_size=1, max_size=64)
EQUALS = st.one_of(
    st.builds(eq, st.sampled_from(("DICOMPatientId", "DICOMAccessionNumber", "DICOMStudyId")), TEXTS),
    st.builds(eq, st.sampled_from(("DICOMStudyInstanceUID", "DICOMSeriesInstanceUID")), UIDS),
    st.builds(eq, st.just("isPrimary"), st.booleans()),
)
RANGES = st.one_of(
    ranges_on("updatedAt", INSTANTS),
    ranges_on("createdAt", INSTANTS),
    ranges_on("DICOMStudyDateAndTime", WALL_CLOCKS),
)
SORTS = st.builds(SortKey, st.sampled_from(tuple(CAPABILITIES.sort_fields or ())), st.booleans()).map(
    lambda key: (key,)
)


@settings(max_examples=200, deadline=None)
@given(st.lists(EQUALS, max_size=2).map(conjunction), SORTS)
def test_equals_come_back_as_they_went(where: Condition, sort: tuple[SortKey, ...]) -> None:
    assert from_search_criteria(wire_body(to_search_criteria(where, sort))) == Search(where, sort)


@settings(max_examples=300, deadline=None)
@given(st.data(), RANGES)
def test_ranges_come_back_no_narrower_and_hardly_wider(data: st.DataObject, where: Comparison) -> None:
    asked = where.operand
    read = from_search_criteria(wire_body(to_search_criteria(where))).where
    assert isinstance(asked, Range)
    assert isinstance(read, Comparison)
    assert isinstance(read.operand, Range)
    assert (read.field, read.operator) == (where.field, Operator.RANGE)
    back = read.operand
    if asked.start is None:
        assert back.start is None
    elif back.start is not None:
        assert timedelta() < asked.start - back.start <= timedelta(seconds=2)
    if asked.end is None:
        assert back.end is None
    elif back.end is not None:
        slack = timedelta(days=1) if where.field == "DICOMStudyDateAndTime" else timedelta(seconds=1)
        assert timedelta() < back.end - asked.end <= slack
    if where.field != "DICOMStudyDateAndTime":
        row = ImageSet(
            DATASTORE_ID, "a" * 32, 1, data.draw(INSTANTS), data.draw(INSTANTS), None, None, is_primary=None, tags={}
        )
        assert matches(read, row) or not matches(where, row)


def test_no_criteria_are_everything_newest_first() -> None:
    assert from_search_criteria({}) == Search(Everything(), NEWEST_FIRST)


def body_of(operator: str, *values: object) -> dict[str, object]:
    return {"filters": [{"operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (body_of("EQUAL", {"DICOMPatientId": "Jose\u0301"}), eq("DICOMPatientId", "Jos\u00e9")),
        (body_of("EQUAL", {"isPrimary": False}), eq("isPrimary", value=False)),
        (
            # JS sends milliseconds, the CLI whole seconds: both ends are inside, at the moment that was sent.
            body_of("BETWEEN", {"updatedAt": 1710115200.123}, {"updatedAt": 1710115260}),
            period("updatedAt", at(2024, 3, 11, 0, 0, 0, 123_000), at(2024, 3, 11, 0, 1, 0, 1)),
        ),
        (
            body_of("BETWEEN", {"createdAt": -1.5}, {"createdAt": 1710115200.123456}),
            period("createdAt", at(1969, 12, 31, 23, 59, 58, 500_000), at(2024, 3, 11, 0, 0, 0, 123_457)),
        ),
        (
            body_of("EQUAL", {"updatedAt": 1710115200.5}),
            period("updatedAt", at(2024, 3, 11, 0, 0, 0, 500_000), at(2024, 3, 11, 0, 0, 0, 500_001)),
        ),
        (
            body_of("EQUAL", {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20240311"}}),
            period("DICOMStudyDateAndTime", datetime(2024, 3, 11), datetime(2024, 3, 11, 0, 0, 0, 1)),
        ),
        (
            body_of("BETWEEN", study_moment("19900101", "000000"), study_moment("20230101", "235959.5")),
            period("DICOMStudyDateAndTime", datetime(1990, 1, 1), datetime(2023, 1, 1, 23, 59, 59, 500_001)),
        ),
        (
            body_of("BETWEEN", {"updatedAt": 10}, {"updatedAt": 0}),
            period("updatedAt", at(1970, 1, 1, 0, 0, 10), at(1970, 1, 1, 0, 0, 0, 1)),
        ),
        (
            {
                "filters": [
                    {"operator": "EQUAL", "values": [{"DICOMStudyId": "1"}]},
                    {"operator": "EQUAL", "values": [{"DICOMStudyId": "2"}]},
                ]
            },
            And((eq("DICOMStudyId", "1"), eq("DICOMStudyId", "2"))),
        ),
    ],
)
def test_from_search_criteria(body: object, where: Condition) -> None:
    assert from_search_criteria(body) == Search(where, NEWEST_FIRST)


FILTER = {"operator": "EQUAL", "values": [{"DICOMPatientId": "SECRET"}]}
FILTERS = "'filters' must be a list of 1 or 2 filters."
STRUCTURE = "A filter must be an object of operator and values."
UNION = "A value must be an object with exactly one attribute."
ATTRIBUTES = (
    "A value must name one of DICOMPatientId, DICOMAccessionNumber, DICOMStudyId, DICOMStudyInstanceUID, "
    "DICOMSeriesInstanceUID, isPrimary, createdAt, updatedAt, DICOMStudyDateAndTime."
)
INSTANT = "'updatedAt' must be a number: seconds since 1970-01-01T00:00:00Z."
YEARS = "'updatedAt' must be a time between the years 1 and 9999."
UID = "'DICOMStudyInstanceUID' must be a string of at most 512 digits and dots."
STUDY_DATE = "'DICOMStudyDate' must be a date as yyyyMMdd."
STUDY_TIME = "'DICOMStudyTime' must be a time as HHmmss.FFFFFF."
SORT = "'sort' must be an object of sortField and sortOrder."


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "The search criteria must be an object of filters and sort."),
        (None, "The search criteria must be an object of filters and sort."),
        ({"searchCriteria": {}}, "The search criteria must be an object of filters and sort."),
        ({"filters": []}, FILTERS),
        ({"filters": None}, FILTERS),
        ({"filters": FILTER}, FILTERS),
        ({"filters": [FILTER] * 3}, FILTERS),
        ({"filters": ["SECRET"]}, STRUCTURE),
        ({"filters": [{"operator": "EQUAL"}]}, STRUCTURE),
        ({"filters": [FILTER | {"negate": True}]}, STRUCTURE),
        (body_of("LIKE", {"DICOMPatientId": "SECRET"}), "A filter's operator must be EQUAL or BETWEEN."),
        (body_of("equal", {"DICOMPatientId": "SECRET"}), "A filter's operator must be EQUAL or BETWEEN."),
        ({"filters": [{"operator": [], "values": []}]}, "A filter's operator must be EQUAL or BETWEEN."),
        (body_of("EQUAL"), "A filter with EQUAL needs a list of 1 in 'values'."),
        (
            body_of("EQUAL", {"DICOMPatientId": "SECRET"}, {"DICOMPatientId": "B"}),
            "A filter with EQUAL needs a list of 1 in 'values'.",
        ),
        (body_of("BETWEEN", {"updatedAt": 1}), "A filter with BETWEEN needs a list of 2 in 'values'."),
        (
            {"filters": [{"operator": "EQUAL", "values": {"DICOMPatientId": "SECRET"}}]},
            "A filter with EQUAL needs a list of 1 in 'values'.",
        ),
        (
            body_of("BETWEEN", {"updatedAt": 1}, {"createdAt": 2}),
            "Both values of BETWEEN must be of the same attribute.",
        ),
        (
            body_of("BETWEEN", {"DICOMPatientId": "A"}, {"DICOMPatientId": "SECRET"}),
            "BETWEEN needs dates, and 'DICOMPatientId' is no date: use EQUAL.",
        ),
        (body_of("EQUAL", {}), UNION),
        (body_of("EQUAL", {"DICOMPatientId": "SECRET", "DICOMStudyId": "1"}), UNION),
        (body_of("EQUAL", "SECRET"), UNION),
        (body_of("EQUAL", {"DICOMPatientName": "SECRET"}), ATTRIBUTES),
        (
            body_of("EQUAL", {"DICOMPatientId": 1}),
            "'DICOMPatientId' must be a string of at most 512 characters.",
        ),
        (
            body_of("EQUAL", {"DICOMPatientId": "x" * 513}),
            "'DICOMPatientId' must be a string of at most 512 characters.",
        ),
        (
            body_of("EQUAL", {"DICOMPatientId": "SECRET\ud800"}),
            "'DICOMPatientId' must be valid Unicode without NUL.",
        ),
        (body_of("EQUAL", {"DICOMPatientId": "SECRET\0"}), "'DICOMPatientId' must be valid Unicode without NUL."),
        (body_of("EQUAL", {"DICOMStudyInstanceUID": "1.2a"}), UID),
        (body_of("EQUAL", {"DICOMStudyInstanceUID": ""}), UID),
        (body_of("EQUAL", {"DICOMStudyInstanceUID": "1.2\n"}), UID),
        (body_of("EQUAL", {"DICOMStudyInstanceUID": "\u0661.\u0662"}), UID),
        (body_of("EQUAL", {"isPrimary": 1}), "'isPrimary' must be true or false."),
        (body_of("EQUAL", {"updatedAt": "2024-03-11T00:00:00Z"}), INSTANT),
        (body_of("EQUAL", {"updatedAt": True}), INSTANT),
        (body_of("EQUAL", {"updatedAt": None}), INSTANT),
        (body_of("EQUAL", {"updatedAt": math.nan}), YEARS),
        (body_of("EQUAL", {"updatedAt": math.inf}), YEARS),
        (body_of("EQUAL", {"updatedAt": 1e300}), YEARS),
        (body_of("EQUAL", {"updatedAt": 1710115200000}), YEARS),
        (
            body_of("EQUAL", {"DICOMStudyDateAndTime": "20240311"}),
            "'DICOMStudyDateAndTime' must be an object of DICOMStudyDate and DICOMStudyTime.",
        ),
        (
            body_of("EQUAL", {"DICOMStudyDateAndTime": {"DICOMStudyTime": "00"}}),
            "'DICOMStudyDateAndTime' must be an object of DICOMStudyDate and DICOMStudyTime.",
        ),
        (body_of("EQUAL", study_moment("2024-03-11", "000000")), STUDY_DATE),
        (body_of("EQUAL", study_moment("20240230", "000000")), STUDY_DATE),
        (body_of("EQUAL", study_moment("20240311", "240000")), STUDY_TIME),
        (body_of("EQUAL", study_moment("20240311", "00:00")), STUDY_TIME),
        (body_of("EQUAL", study_moment("20240311", "")), STUDY_TIME),
        ({"sort": {}}, SORT),
        ({"sort": None}, SORT),
        ({"sort": {"sortField": "updatedAt"}}, SORT),
        (
            {"sort": {"sortField": "DICOMPatientId", "sortOrder": "ASC"}},
            "'sortField' must be one of updatedAt, createdAt, DICOMStudyDateAndTime.",
        ),
        ({"sort": {"sortField": "updatedAt", "sortOrder": "asc"}}, "'sortOrder' must be ASC or DESC."),
        (
            {"sort": {"sortField": [], "sortOrder": "ASC"}},
            "'sortField' must be one of updatedAt, createdAt, DICOMStudyDateAndTime.",
        ),
    ],
)
def test_criteria_that_are_refused(body: object, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        from_search_criteria(body)
    assert str(refusal.value) == message


def test_sort_that_was_asked_for() -> None:
    body = {"sort": {"sortField": "createdAt", "sortOrder": "ASC"}}
    assert from_search_criteria(body) == Search(Everything(), (SortKey("createdAt"),))
