import re
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
)

from grammar.fields import FIELDS, OPERATORS
from graphql_service.api.schema import print_schema

SCHEMA = build_schema(print_schema())


def test_schema_graphql_holds_the_schema() -> None:
    assert (Path(__file__).parents[3] / "schema.graphql").read_text(encoding="utf-8") == print_schema()


def fields(name: str) -> dict[str, str]:
    """The fields of a type, each with its arguments and type as the schema language writes them."""
    kind = SCHEMA.type_map[name]
    assert isinstance(kind, GraphQLObjectType | GraphQLInputObjectType | GraphQLInterfaceType)
    return {
        field_name: ", ".join(f"{argument}: {it.type}" for argument, it in getattr(field, "args", {}).items())
        + f" -> {field.type}"
        for field_name, field in kind.fields.items()
    }


PAGE = "first: Int, after: String, last: Int, before: String"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "Query",
            {
                "imageSets": "datastoreId: ID, query: String, variables: JSON, filter: ImageSetFilter, "
                f"orderBy: [ImageSetOrder!], timeZone: String, {PAGE} -> ImageSetConnection!",
                "imageSet": "datastoreId: ID, imageSetId: ID! -> ImageSet",
                "studies": "datastoreId: ID, query: String, variables: JSON, filter: ImageSetFilter, "
                f"orderBy: [ImageSetOrder!], timeZone: String, {PAGE} -> StudyConnection!",
                "imageSetHistogram": "datastoreId: ID, query: String, variables: JSON, filter: ImageSetFilter, "
                "timeZone: String, field: HistogramField!, interval: Interval! -> [HistogramBucket!]!",
                "node": "id: ID! -> Node",
                "nodes": "ids: [ID!]! -> [Node]!",
                "datastores": f"{PAGE} -> DatastoreConnection!",
                "datastore": "id: ID! -> Datastore",
                "searchFields": " -> [SearchField!]!",
                "searchAnalysis": "query: String!, variables: JSON, timeZone: String, now: DateTime, datastoreId: ID"
                " -> SearchAnalysis!",
                "searchCompletions": "query: String!, position: Int!, datastoreId: ID -> [Completion!]!",
            },
        ),
        (
            "ImageSetConnection",
            {
                "edges": " -> [ImageSetEdge!]!",
                "nodes": " -> [ImageSet!]!",
                "pageInfo": " -> PageInfo!",
                "totalCount": " -> TotalCount!",
                "search": " -> SearchReport!",
            },
        ),
        (
            "StudyConnection",
            {
                "edges": " -> [StudyEdge!]!",
                "nodes": " -> [Study!]!",
                "pageInfo": " -> PageInfo!",
                "totalCount": " -> TotalCount!",
                "search": " -> SearchReport!",
            },
        ),
        ("StudyEdge", {"cursor": " -> String!", "node": " -> Study!"}),
        (
            "Study",
            {
                "id": " -> ID!",
                "datastoreId": " -> ID!",
                "instanceUid": " -> String!",
                "patient": " -> PatientAttributes!",
                "studyId": " -> String",
                "accessionNumber": " -> String",
                "description": " -> String",
                "date": " -> Date",
                "time": " -> Time",
                "seriesCount": " -> Int",
                "instanceCount": " -> Int",
                "modalities": " -> [String!]!",
                "imageSetCount": " -> Int!",
                "imageSets": "query: String, variables: JSON, filter: ImageSetFilter, "
                f"orderBy: [ImageSetOrder!], timeZone: String, {PAGE} -> ImageSetConnection!",
            },
        ),
        (
            "HistogramBucket",
            {"from": " -> Date!", "to": " -> Date!", "count": " -> Int!", "precision": " -> CountPrecision!"},
        ),
        ("ImageSetEdge", {"cursor": " -> String!", "node": " -> ImageSet!"}),
        (
            "PageInfo",
            {
                "hasNextPage": " -> Boolean!",
                "hasPreviousPage": " -> Boolean!",
                "startCursor": " -> String",
                "endCursor": " -> String",
            },
        ),
        ("Node", {"id": " -> ID!"}),
        ("TotalCount", {"value": " -> Int!", "precision": " -> CountPrecision!"}),
        (
            "SearchReport",
            {
                "complete": " -> Boolean!",
                "scanned": " -> Int!",
                "requests": " -> Int!",
                "notices": " -> [Problem!]!",
            },
        ),
        (
            "ImageSet",
            {
                "id": " -> ID!",
                "imageSetId": " -> ID!",
                "datastoreId": " -> ID!",
                "version": " -> Int",
                "createdAt": " -> DateTime",
                "updatedAt": " -> DateTime",
                "lastAccessedAt": " -> DateTime",
                "storageTier": " -> StorageTier",
                "isPrimary": " -> Boolean",
                "patient": " -> PatientAttributes!",
                "study": " -> StudyAttributes!",
                "series": " -> SeriesAttributes!",
                "dicomTags": " -> JSON!",
                "metadata": " -> JSON",
                "versions": " -> [ImageSetVersion!]!",
            },
        ),
        (
            "ImageSetVersion",
            {"version": " -> Int", "createdAt": " -> DateTime", "updatedAt": " -> DateTime", "state": " -> String!"},
        ),
        (
            "PatientAttributes",
            {"patientId": " -> String", "name": " -> String", "birthDate": " -> Date", "sex": " -> String"},
        ),
        (
            "StudyAttributes",
            {
                "instanceUid": " -> String",
                "studyId": " -> String",
                "accessionNumber": " -> String",
                "description": " -> String",
                "date": " -> Date",
                "time": " -> Time",
                "seriesCount": " -> Int",
                "instanceCount": " -> Int",
            },
        ),
        (
            "SeriesAttributes",
            {"instanceUid": " -> String", "number": " -> Int", "modality": " -> String", "bodyPart": " -> String"},
        ),
        (
            "SearchAnalysis",
            {
                "canonical": " -> String",
                "meaning": " -> JSON",
                "timeZone": " -> String!",
                "notices": " -> [Problem!]!",
                "problems": " -> [Problem!]!",
                "searchCriteria": " -> [JSON!]!",
                "plan": " -> JSON",
                "sample": "language: SampleLanguage! -> String",
            },
        ),
        ("ImageSetOrder", {"field": " -> ImageSetOrderField!", "direction": " -> OrderDirection!"}),
        ("IntegerRange", {"from": " -> Int", "to": " -> Int"}),
        ("PeriodRange", {"from": " -> String", "to": " -> String"}),
    ],
)
def test_the_schema_keeps_its_contract(name: str, expected: dict[str, str]) -> None:
    assert fields(name) == expected


def test_every_field_of_the_language_can_be_filtered_by_the_operators_of_its_type() -> None:
    inputs = {
        "DICOMStudyInstanceUID": "studyInstanceUid",
        "DICOMPatientId": "patientId",
        "imageSetId": "imageSetId",
        "DICOMStudyDateAndTime": "studyDateAndTime",
        "DICOMNumberOfStudyRelatedSeries": "numberOfStudyRelatedSeries",
    }
    found = fields("ImageSetFilter")
    assert {name: found[shown] for name, shown in inputs.items()} == {
        "DICOMStudyInstanceUID": " -> UidFilter",
        "DICOMPatientId": " -> IdFilter",
        "imageSetId": " -> IdFilter",
        "DICOMStudyDateAndTime": " -> DateAndTimeFilter",
        "DICOMNumberOfStudyRelatedSeries": " -> IntegerFilter",
    }
    assert list(found)[-3:] == ["and", "or", "not"]
    assert len(found) == len(FIELDS) + 3
    words = {"=": {"eq", "ne"}, "in": {"in", "notIn"}, "like": {"like", "notLike"}, "is": {"isNull"}}
    words |= {"<": {"lt"}, "<=": {"le"}, ">": {"gt"}, ">=": {"ge"}, "between": {"between"}, "!=": set()}
    for field, kind in zip(FIELDS, found.values(), strict=False):
        operators = set().union(*(words[word] for word in OPERATORS[field.type]))
        assert set(fields(kind.removeprefix(" -> "))) == operators, field.name


def test_every_field_of_the_language_can_be_ordered_by() -> None:
    order = SCHEMA.type_map["ImageSetOrderField"]
    assert isinstance(order, GraphQLEnumType)
    assert len(order.values) == len(FIELDS)
    assert {"PATIENT_ID", "STUDY_INSTANCE_UID", "UPDATED_AT", "NUMBER_OF_STUDY_RELATED_INSTANCES"} <= set(order.values)


def test_a_histogram_can_be_over_every_date_field() -> None:
    field = SCHEMA.type_map["HistogramField"]
    assert isinstance(field, GraphQLEnumType)
    assert list(field.values) == [
        "CREATED_AT",
        "UPDATED_AT",
        "LAST_ACCESSED_AT",
        "STUDY_DATE_AND_TIME",
        "PATIENT_BIRTH_DATE",
    ]


def described(schema: GraphQLSchema) -> dict[str, str | None]:
    """Everything in the schema that can have a description, with the one it has."""
    found: dict[str, str | None] = {}
    for name, kind in schema.type_map.items():
        if name.startswith("__") or name in ("Boolean", "ID", "Int", "String"):
            continue
        found[name] = kind.description
        for field_name, field in getattr(kind, "fields", {}).items():
            found[f"{name}.{field_name}"] = field.description
            for argument_name, argument in getattr(field, "args", {}).items():
                found[f"{name}.{field_name}({argument_name})"] = argument.description
        for value_name, value in getattr(kind, "values", {}).items():
            found[f"{name}.{value_name}"] = value.description
    return found


def test_everything_is_described() -> None:
    found = described(SCHEMA)
    assert [name for name, description in found.items() if not description] == []
    assert len(found) > 250


def test_names_are_written_as_graphql_has_them() -> None:
    styles = {"type": r"[A-Z][A-Za-z0-9]*", "field": r"[a-z][A-Za-z0-9]*", "value": r"[A-Z][A-Z0-9_]*"}
    for name, kind in SCHEMA.type_map.items():
        if name.startswith("__"):
            continue
        assert re.fullmatch(styles["type"], name)
        assert not name.endswith(("Type", "Enum", "Interface", "Input"))
        for field_name in getattr(kind, "fields", {}):
            assert re.fullmatch(styles["field"], field_name)
        for value_name in getattr(kind, "values", {}):
            assert re.fullmatch(styles["value"], value_name)
