from typing import Any

import pytest

from graphql_service.api.inputs import input_name

SEARCH = "query ($f: ImageSetFilter) { imageSets(filter: $f, orderBy: [{field: IMAGE_SET_ID}]) { nodes { version } } }"


@pytest.mark.parametrize(
    ("canonical", "name"),
    [
        ("DICOMPatientId", "patientId"),
        ("DICOMStudyInstanceUID", "studyInstanceUid"),
        ("DICOMNumberOfStudyRelatedSeries", "numberOfStudyRelatedSeries"),
        ("isPrimary", "isPrimary"),
    ],
)
def test_names_of_inputs_come_from_the_table(canonical: str, name: str) -> None:
    assert input_name(canonical) == name


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, [1, 2, 3]),
        ({}, [1, 2, 3]),
        ({"patientId": {"eq": "P1"}}, [1]),
        ({"patientId": {"ne": "P1"}}, [2, 3]),
        ({"patientId": {"in": ["P1", "P3"]}}, [1, 3]),
        ({"patientId": {"in": "P3"}}, [3]),
        ({"patientId": {"notIn": ["P1", "P3"]}}, [2]),
        ({"patientId": {"like": "P?", "notLike": "*3"}}, [1, 2]),
        ({"patientId": {"eq": "P*"}}, []),
        ({"patientName": {"eq": "garcia"}}, [1]),
        ({"patientSex": {"eq": "F"}}, [1]),
        ({"studyDescription": {"like": "*ct"}}, [1]),
        ({"seriesModality": {"isNull": True}}, [3]),
        ({"seriesModality": {"isNull": False}}, [1, 2]),
        ({"seriesModality": {"ne": "CT"}}, [2, 3]),
        ({"studyInstanceUid": {"like": "1.2.*"}}, [1]),
        ({"isPrimary": {"eq": True}}, [1]),
        ({"isPrimary": {"in": [True, False]}}, [1, 2, 3]),
        ({"storageTier": {"eq": "FREQUENT_ACCESS"}}, [1, 2, 3]),
        ({"storageTier": {"in": ["ARCHIVE_INSTANT_ACCESS"]}}, []),
        ({"version": {"between": {"from": 2}}}, [2, 3]),
        ({"version": {"between": {"from": 1, "to": 2}}}, [1, 2]),
        ({"version": {"gt": 1, "lt": 3}}, [2]),
        ({"version": {"ge": 2, "le": 2}}, [2]),
        ({"updatedAt": {"between": {"to": "2024-03-13"}}}, [1, 2]),
        ({"updatedAt": {"eq": "2024-03-14"}}, [3]),
        ({"updatedAt": {"in": ["2024-03-12", "2024-03-14"]}}, [1, 3]),
        ({"studyDateAndTime": {"eq": "1999"}}, [1]),
        ({"patientBirthDate": {"lt": "1981"}}, [1]),
        ({"version": {"le": 2}, "seriesModality": {"eq": "mr"}}, [2]),
        ({"or": [{"patientId": {"eq": "P1"}}, {"patientId": {"eq": "P3"}}]}, [1, 3]),
        ({"and": [{"version": {"ge": 2}}, {"not": {"patientId": {"eq": "P2"}}}]}, [3]),
        ({"not": {"seriesModality": {"eq": "CT"}}, "or": [{"version": {"le": 2}}]}, [2]),
    ],
)
def test_a_filter_finds_what_the_language_would(ask: Any, given: object, found: list[int]) -> None:
    assert ask(SEARCH, f=given) == {"data": {"imageSets": {"nodes": [{"version": version} for version in found]}}}


def nested(depth: int) -> dict[str, object]:
    given: dict[str, object] = {"patientId": {"eq": "P1"}}
    for _ in range(depth):
        given = {"and": [given]}
    return given


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"patientId": {}}, [("missing_value", "filter.patientId: it is empty: was a variable forgotten?")]),
        (
            {"patientId": None},
            [("use_is_null", "filter.patientId: null compares with nothing: leave it out, or use isNull")],
        ),
        (
            {"patientId": {"eq": None}, "version": {"between": {"from": None, "to": 1}}},
            [
                ("use_is_null", "filter.patientId.eq: null compares with nothing: leave it out, or use isNull"),
                ("use_is_null", "filter.version.between.from: null compares with nothing: leave it out, or use isNull"),
            ],
        ),
        (
            {"version": {"isNull": None}},
            [("use_is_null", "filter.version.isNull: null compares with nothing: leave it")],
        ),
        ({"version": {"between": {}}}, [("empty_range", "filter.version.between: a range needs at least one end")]),
        ({"and": []}, [("empty_list", "filter.and: the list is empty: it must hold at least one filter")]),
        ({"or": [{}]}, [("missing_value", "filter.or[0]: it is empty: was a variable forgotten?")]),
        ({"not": {}}, [("missing_value", "filter.not: it is empty: was a variable forgotten?")]),
        ({"not": None}, [("use_is_null", "filter.not: null compares with nothing: leave it out, or use isNull")]),
        ({"patientId": {"in": []}}, [("empty_list", "filter.patientId.in: the list is empty")]),
        ({"patientId": {"eq": ""}}, [("empty_value", "filter.patientId.eq: the value is empty")]),
        ({"patientId": {"like": "P1"}}, [("like_without_wildcard", "filter.patientId.like: 'like' needs a wildcard")]),
        ({"studyInstanceUid": {"eq": "x"}}, [("bad_uid", "filter.studyInstanceUid.eq: a UID holds digits")]),
        ({"updatedAt": {"lt": "11/03/2024"}}, [("ambiguous_date", "filter.updatedAt.lt: '11/03/2024' can be read")]),
        ({"patientId": {"in": ["P1"] * 201}}, [("too_many_values", "filter.patientId.in: a list has at most 200")]),
        (
            {"or": [{"patientId": {"eq": "P1"}}] * 51},
            [("too_many_comparisons", "filter.or[50].patientId.eq: a filter has at most 50 comparisons")],
        ),
        (
            nested(17),
            [("too_deep", f"filter{'.and[0]' * 17}: a filter has at most 16 levels of 'and', 'or' and 'not'")],
        ),
    ],
)
def test_a_filter_that_might_widen_a_search_is_refused(
    ask: Any, given: object, problems: list[tuple[str, str]]
) -> None:
    (error,) = ask(SEARCH, f=given)["errors"]
    assert error["extensions"]["code"] == "INVALID_QUERY"
    assert error["message"] == error["extensions"]["problems"][0]["message"]
    found = error["extensions"]["problems"]
    assert [problem["code"] for problem in found] == [code for code, _ in problems]
    for problem, (_, message) in zip(found, problems, strict=True):
        assert problem["message"].startswith(message)


def test_a_filter_may_go_to_its_limits(ask: Any) -> None:
    for given in (nested(16), {"or": [{"patientId": {"eq": "P1"}}] * 50}):
        assert ask(SEARCH, f=given) == {"data": {"imageSets": {"nodes": [{"version": 1}]}}}


def test_a_variable_without_a_value_is_refused_anywhere_in_a_filter(ask: Any) -> None:
    document = """query ($p: String, $f: IdFilter, $l: [ImageSetFilter!]) {
      imageSets(filter: {patientId: $f, studyId: {eq: "1", ne: $p}, and: $l}) { nodes { version } }
    }"""
    (error,) = ask(document)["errors"]
    assert [(problem["code"], problem["message"]) for problem in error["extensions"]["problems"]] == [
        ("unbound_parameter", "filter.patientId: the variable $f has no value"),
        ("unbound_parameter", "filter.studyId.ne: the variable $p has no value"),
        ("unbound_parameter", "filter.and: the variable $l has no value"),
    ]
    in_list = (
        "query ($p: String) { imageSets(filter: {and: [{patientId: {eq: $p}, version: {eq: 1}}]}) { nodes { id } } }"
    )
    (error,) = ask(in_list)["errors"]
    assert error["message"] == "filter.and[0].patientId.eq: the variable $p has no value"


def test_a_variable_with_a_default_has_a_value(ask: Any) -> None:
    document = 'query ($p: String = "P2") { imageSets(filter: {patientId: {eq: $p}}) { nodes { version } } }'
    assert ask(document) == {"data": {"imageSets": {"nodes": [{"version": 2}]}}}


def test_an_order_has_keys_and_directions(ask: Any) -> None:
    document = "query ($o: [ImageSetOrder!]) { imageSets(orderBy: $o) { nodes { version } } }"
    for order, found in (
        (None, [3, 2, 1]),
        ([], [3, 2, 1]),
        ([{"field": "UPDATED_AT"}], [1, 2, 3]),
        ([{"field": "SERIES_MODALITY"}], [3, 1, 2]),
        ([{"field": "SERIES_MODALITY", "direction": "DESC"}], [2, 1, 3]),
        ([{"field": "STORAGE_TIER"}, {"field": "PATIENT_ID", "direction": "DESC"}], [3, 2, 1]),
    ):
        assert ask(document, o=order) == {"data": {"imageSets": {"nodes": [{"version": version} for version in found]}}}
