import threading
from collections.abc import Sequence
from typing import Any

import pytest

from grammar.parser import parse
from graphql_service.analysis import plan_for_healthimaging
from graphql_service.api.node_ids import NodeId
from graphql_service.errors import InvalidArgument
from graphql_service.healthimaging.samples import LANGUAGES, sample
from graphql_service.stores.sqlite import SQLiteStore

DATASTORE = "d" * 32
FIRST = f"{1:032}"
FIRST_NODE = NodeId("ImageSet", DATASTORE, FIRST).encode()
GONE_NODE = NodeId("ImageSet", DATASTORE, "f" * 32).encode()
ELSEWHERE_NODE = NodeId("ImageSet", "e" * 32, FIRST).encode()
DATASTORE_NODE = NodeId("Datastore", DATASTORE).encode()

WHOLE = """
id imageSetId datastoreId version createdAt updatedAt lastAccessedAt storageTier isPrimary
patient { patientId name birthDate sex }
study { instanceUid studyId accessionNumber description date time seriesCount instanceCount }
series { instanceUid number modality bodyPart }
dicomTags
"""


def test_an_image_set_has_what_its_summary_says(ask: Any) -> None:
    assert ask(f'{{ imageSet(imageSetId: "{FIRST}") {{ {WHOLE} }} }}') == {
        "data": {
            "imageSet": {
                "id": FIRST_NODE,
                "imageSetId": FIRST,
                "datastoreId": DATASTORE,
                "version": 1,
                "createdAt": "2024-03-11T10:30:00.250Z",
                "updatedAt": "2024-03-12T10:30:00.250Z",
                "lastAccessedAt": None,
                "storageTier": "FREQUENT_ACCESS",
                "isPrimary": True,
                "patient": {"patientId": "P1", "name": "García^Ana", "birthDate": "1980-11-30", "sex": "F"},
                "study": {
                    "instanceUid": "1.2.3",
                    "studyId": "1",
                    "accessionNumber": "A1",
                    "description": "Chest CT",
                    "date": "1999-11-22",
                    "time": "14:07:28.500",
                    "seriesCount": 2,
                    "instanceCount": 300,
                },
                "series": {"instanceUid": "1.2.3.1", "number": 7, "modality": "CT", "bodyPart": "CHEST"},
                "dicomTags": {
                    "DICOMPatientId": "P1",
                    "DICOMPatientName": "García^Ana",
                    "DICOMPatientBirthDate": "19801130",
                    "DICOMPatientSex": "f",
                    "DICOMStudyInstanceUID": "1.2.3",
                    "DICOMStudyId": "1",
                    "DICOMStudyDescription": "Chest CT",
                    "DICOMNumberOfStudyRelatedSeries": 2,
                    "DICOMNumberOfStudyRelatedInstances": 300,
                    "DICOMAccessionNumber": "A1",
                    "DICOMStudyDate": "19991122",
                    "DICOMStudyTime": "140728.5",
                    "DICOMSeriesInstanceUID": "1.2.3.1",
                    "DICOMSeriesModality": "ct",
                    "DICOMSeriesBodyPart": "CHEST",
                    "DICOMSeriesNumber": 7,
                },
            }
        }
    }


def test_values_that_are_not_of_their_type_are_missing_but_kept(ask: Any) -> None:
    found = ask(f'{{ imageSet(imageSetId: "{2:032}") {{ study {{ date time }} series {{ number }} dicomTags }} }}')
    assert found["data"]["imageSet"] == {
        "study": {"date": None, "time": None},
        "series": {"number": None},
        "dicomTags": {
            "DICOMPatientId": "P2",
            "DICOMStudyDate": "no date",
            "DICOMSeriesModality": "MR",
            "DICOMSeriesNumber": 1 << 40,
        },
    }


def test_a_page_is_a_relay_connection(ask: Any) -> None:
    document = """query ($after: String) {
      imageSets(query: "updated >= $from sort imageSetId", variables: {from: "2024"}, first: 2, after: $after) {
        edges { cursor node { version } }
        nodes { version }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        totalCount { value precision }
        search { complete scanned requests notices { code } }
      }
    }"""
    first = ask(document)["data"]["imageSets"]
    cursors = [edge["cursor"] for edge in first["edges"]]
    assert first == {
        "edges": [
            {"cursor": cursor, "node": {"version": number}} for cursor, number in zip(cursors, (1, 2), strict=True)
        ],
        "nodes": [{"version": 1}, {"version": 2}],
        "pageInfo": {
            "hasNextPage": True,
            "hasPreviousPage": False,
            "startCursor": cursors[0],
            "endCursor": cursors[1],
        },
        "totalCount": {"value": 3, "precision": "EXACT"},
        "search": {"complete": True, "scanned": 2, "requests": 1, "notices": []},
    }
    second = ask(document, after=cursors[1])["data"]["imageSets"]
    assert second["nodes"] == [{"version": 3}]
    assert (second["pageInfo"]["hasNextPage"], second["pageInfo"]["hasPreviousPage"]) == (False, True)


def test_a_page_carries_the_notices_of_its_query(ask: Any) -> None:
    document = (
        '{ imageSets(query: "version = 1 or version = 2 and version = 2") { search { notices { code start } } } }'
    )
    assert ask(document)["data"]["imageSets"]["search"]["notices"] == [{"code": "mixed_and_or", "start": 27}]


def test_nodes_are_found_by_their_global_ids(ask: Any) -> None:
    document = "query ($id: ID!) { node(id: $id) { __typename id ... on Datastore { name } } }"
    for node, found in (
        (FIRST_NODE, {"__typename": "ImageSet", "id": FIRST_NODE}),
        (DATASTORE_NODE, {"__typename": "Datastore", "id": DATASTORE_NODE, "name": "sample"}),
        (GONE_NODE, None),
        (ELSEWHERE_NODE, None),
        (NodeId("Datastore", "e" * 32).encode(), None),
        (NodeId("Patient", DATASTORE, "P1").encode(), None),
    ):
        assert ask(document, id=node) == {"data": {"node": found}}


def test_nodes_come_in_the_order_of_their_ids_in_one_call_a_data_store(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, list[str]]] = []
    image_sets = store.image_sets

    def counted(datastore_id: str, ids: list[str]) -> object:
        calls.append((datastore_id, ids))
        return image_sets(datastore_id, ids)

    monkeypatch.setattr(store, "image_sets", counted)
    second = NodeId("ImageSet", DATASTORE, f"{2:032}").encode()
    document = "query ($ids: [ID!]!, $id: ID!) { nodes(ids: $ids) { id } node(id: $id) { id } }"
    found = ask(document, id=second, ids=[second, GONE_NODE, "bad", DATASTORE_NODE, FIRST_NODE, second])
    assert found["data"] == {
        "nodes": [{"id": second}, None, None, {"id": DATASTORE_NODE}, {"id": FIRST_NODE}, {"id": second}],
        "node": {"id": second},
    }
    assert [(error["path"], error["extensions"]["code"]) for error in found["errors"]] == [
        (["nodes", 2], "INVALID_ARGUMENT")
    ]
    assert calls == [(DATASTORE, [f"{2:032}", "f" * 32, FIRST])]


def test_too_many_nodes_are_refused(ask: Any) -> None:
    (error,) = ask("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[FIRST_NODE] * 501)["errors"]
    assert (
        error["message"] == "ids that 'nodes' is asked for: 501, and at most 500 are allowed (IMAGESETS_MAX_NODE_IDS)"
    )


def test_a_data_store_is_found_by_either_id(ask: Any) -> None:
    document = "query ($id: ID!) { datastore(id: $id) { id datastoreId name status } }"
    found = {"id": DATASTORE_NODE, "datastoreId": DATASTORE, "name": "sample", "status": "ACTIVE"}
    assert ask(document, id=DATASTORE) == ask(document, id=DATASTORE_NODE) == {"data": {"datastore": found}}
    assert ask(document, id="e" * 32) == ask(document, id=FIRST_NODE) == {"data": {"datastore": None}}
    assert ask(document, id="sample")["errors"][0]["extensions"] == {"code": "INVALID_ARGUMENT"}


def test_data_stores_are_paged_by_id(ask: Any, store: SQLiteStore) -> None:
    ids = [character * 32 for character in "abde"]
    for datastore_id in ids:
        store.create_datastore(datastore_id)
    document = """query ($first: Int, $last: Int, $after: String, $before: String) {
      datastores(first: $first, last: $last, after: $after, before: $before) {
        edges { cursor node { datastoreId } } nodes { datastoreId }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
      }
    }"""

    def page(**arguments: object) -> tuple[str, bool, bool]:
        found = ask(document, **arguments)["data"]["datastores"]
        info, nodes, edges = found["pageInfo"], found["nodes"], found["edges"]
        assert [edge["node"] for edge in edges] == nodes
        assert [edge["cursor"] for edge in edges][:1] == ([info["startCursor"]] if nodes else [])
        assert [edge["cursor"] for edge in edges][-1:] == ([info["endCursor"]] if nodes else [])
        return "".join(node["datastoreId"][0] for node in nodes), info["hasNextPage"], info["hasPreviousPage"]

    def cursor(letter: str) -> str:
        return NodeId("Datastore", letter * 32).encode()

    assert page() == ("abde", False, False)
    assert page(first=2) == ("ab", True, False)
    assert page(first=2, after=cursor("b")) == ("de", False, True)
    assert page(last=3) == ("bde", False, True)
    assert page(last=3, before=cursor("d")) == ("ab", True, False)
    assert page(first=5, after=cursor("a"), before=cursor("e")) == ("bd", False, True)
    assert page(last=0) == ("", False, True)
    assert page(after=cursor("e")) == ("", False, True)


def test_the_fields_of_the_language_are_listed(ask: Any) -> None:
    document = "{ searchFields { name aliases type operators sortable servedBy description } }"
    found = {field["name"]: field for field in ask(document)["data"]["searchFields"]}
    assert len(found) == 22
    assert found["DICOMPatientId"] == {
        "name": "DICOMPatientId",
        "aliases": ["patient", "patientId", "mrn"],
        "type": "ID",
        "operators": ["=", "!=", "in", "like", "is"],
        "sortable": True,
        "servedBy": "STORE",
        "description": "Patient ID (0010,0020)",
    }


ANALYSIS = """query ($q: String!, $v: JSON, $z: String) {
  searchAnalysis(query: $q, variables: $v, timeZone: $z, now: "2024-03-11T23:30:00Z") {
    canonical meaning timeZone notices { code } problems { code message start end fix { start end text } }
    searchCriteria plan
  }
}"""


def test_an_analysis_says_what_a_query_means(ask: Any) -> None:
    found = ask(ANALYSIS, q="patient = $p and updated = today sort updated", v={"p": "A B"}, z="Asia/Tokyo")
    assert found["data"]["searchAnalysis"] == {
        "canonical": 'DICOMPatientId = "A B" and updatedAt = today sort updatedAt asc',
        "meaning": {
            "where": {
                "and": [
                    {"field": "DICOMPatientId", "op": "eq", "value": "A B"},
                    {
                        "field": "updatedAt",
                        "op": "range",
                        "from": "2024-03-11T15:00:00Z",
                        "to": "2024-03-12T15:00:00Z",
                    },
                ]
            },
            "sort": [{"field": "updatedAt", "dir": "asc"}],
        },
        "timeZone": "Asia/Tokyo",
        "notices": [],
        "problems": [],
        "searchCriteria": [
            {
                "filters": [
                    {"operator": "EQUAL", "values": [{"DICOMPatientId": "A B"}]},
                    {
                        "operator": "BETWEEN",
                        "values": [{"updatedAt": "2024-03-11T14:59:59Z"}, {"updatedAt": "2024-03-12T15:00:00Z"}],
                    },
                ],
                "sort": {"sortField": "updatedAt", "sortOrder": "ASC"},
            }
        ],
        "plan": found["data"]["searchAnalysis"]["plan"],
    }
    assert found["data"]["searchAnalysis"]["plan"]["store"] == "AWS HealthImaging"


def test_an_analysis_of_an_order_that_healthimaging_has_not_says_why(ask: Any) -> None:
    found = ask(ANALYSIS, q="sort name")["data"]["searchAnalysis"]
    assert found["searchCriteria"] == []
    assert found["plan"] == {
        "store": "AWS HealthImaging",
        "refused": "This store cannot sort by DICOMPatientName: it sorts by one of updatedAt, createdAt,"
        " DICOMStudyDateAndTime.",
    }


def test_an_analysis_answers_a_bad_query_with_its_problems(ask: Any) -> None:
    assert ask(ANALYSIS, q="pateint = X") == {
        "data": {
            "searchAnalysis": {
                "canonical": None,
                "meaning": None,
                "timeZone": "UTC",
                "notices": [],
                "problems": [
                    {
                        "code": "unknown_field",
                        "message": "unknown field 'pateint': did you mean 'patient'?",
                        "start": 0,
                        "end": 7,
                        "fix": {"start": 0, "end": 7, "text": "patient"},
                    }
                ],
                "searchCriteria": [],
                "plan": None,
            }
        }
    }


SAMPLE = """query ($q: String!, $d: ID) {
  searchAnalysis(query: $q, datastoreId: $d) {
    cli: sample(language: CLI) python: sample(language: PYTHON) javascript: sample(language: JAVASCRIPT)
    java: sample(language: JAVA) cpp: sample(language: CPP)
  }
}"""


def test_an_analysis_writes_samples(ask: Any) -> None:
    query = "patient = P1 sort updated"
    plan = plan_for_healthimaging(parse(query))
    written = {language: sample(plan, DATASTORE, language) for language in LANGUAGES}
    assert ask(SAMPLE, q=query, d=DATASTORE) == {"data": {"searchAnalysis": written}}
    # Where there is one data store it is the one.
    assert ask(SAMPLE, q=query) == {"data": {"searchAnalysis": written}}


@pytest.mark.parametrize("query", ["pateint = P1", "patient = P1 sort name"])
def test_an_analysis_writes_no_sample_of_what_cannot_be_sent(ask: Any, query: str) -> None:
    assert ask(SAMPLE, q=query) == {"data": {"searchAnalysis": dict.fromkeys(LANGUAGES)}}


def test_an_analysis_refuses_an_unknown_zone(ask: Any) -> None:
    (error,) = ask(ANALYSIS, q="", z="Mars/Base")["errors"]
    assert error["message"] == "'timeZone' must be an IANA name such as Europe/Lisbon; there is no 'Mars/Base'"
    assert error["extensions"] == {"code": "INVALID_ARGUMENT"}


def test_an_analysis_refuses_an_unknown_data_store(ask: Any) -> None:
    document = 'query ($id: ID) { searchAnalysis(query: "*", datastoreId: $id) { canonical } }'
    assert ask(document, id=DATASTORE) == {"data": {"searchAnalysis": {"canonical": "*"}}}
    assert ask(document, id="e" * 32)["errors"][0]["extensions"] == {"code": "DATASTORE_NOT_FOUND"}


COMPLETIONS = """query ($q: String!, $p: Int!, $d: ID) {
  searchCompletions(query: $q, position: $p, datastoreId: $d) { insert start end utf16Start utf16End kind }
}"""


def test_completions_know_the_values_of_the_data_store(ask: Any) -> None:
    query = "name = 🩻 and modality = "
    place = {"start": 24, "end": 24, "utf16Start": 25, "utf16End": 25, "kind": "VALUE"}
    assert ask(COMPLETIONS, q=query, p=len(query), d=DATASTORE)["data"]["searchCompletions"] == [
        {"insert": "CT", **place},
        {"insert": "MR", **place},
    ]
    assert ask(COMPLETIONS, q=query, p=len(query)) == ask(COMPLETIONS, q=query, p=len(query), d=DATASTORE)


def test_completions_are_none_where_the_data_store_is_not_known(ask: Any, store: SQLiteStore) -> None:
    store.create_datastore("another")
    assert ask(COMPLETIONS, q="modality = ", p=11) == {"data": {"searchCompletions": []}}
    assert ask(COMPLETIONS, q="modality = ", p=11, d="x" * 32)["errors"][0]["extensions"] == {
        "code": "DATASTORE_NOT_FOUND"
    }


def test_versions_and_metadata_are_asked_for_once_in_a_request(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    versions = store.versions

    def count_versions(datastore_id: str, ids: Sequence[str]) -> Any:
        asked.append(("versions", threading.current_thread() is threading.main_thread(), sorted(ids)))
        return versions(datastore_id, ids)

    def count_metadata(_: str, ids: Sequence[str]) -> Any:
        asked.append(("metadata", threading.current_thread() is threading.main_thread(), sorted(ids)))
        return {f"{2:032}": {"SchemaVersion": "1.1", "Study": {"Series": {}}}}

    monkeypatch.setattr(store, "versions", count_versions)
    monkeypatch.setattr(store, "metadata", count_metadata)
    ids = [f"{number:032}" for number in (1, 2, 3)]
    documents = [
        {
            "metadata": {"SchemaVersion": "1.1", "Study": {"Series": {}}} if number == 2 else None,
            "versions": [
                {
                    "version": number,
                    "createdAt": "2024-03-11T10:30:00.250Z",
                    "updatedAt": f"2024-03-{11 + number}T10:30:00.250Z",
                    "state": "ACTIVE",
                }
            ],
        }
        for number in (1, 2, 3)
    ]
    order = "orderBy: {field: IMAGE_SET_ID}"
    versions_of = "versions { version createdAt updatedAt state }"
    assert ask(
        f"{{ imageSets({order}) {{ nodes {{ metadata {versions_of} }} edges {{ node {{ metadata }} }} }} }}"
    ) == {
        "data": {
            "imageSets": {
                "nodes": documents,
                "edges": [{"node": {"metadata": document["metadata"]}} for document in documents],
            }
        }
    }
    assert sorted(asked) == [("metadata", False, ids), ("versions", False, ids)]


def test_metadata_that_cannot_be_read_is_null_with_an_error(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise InvalidArgument("the metadata of these image sets is too large")

    monkeypatch.setattr(store, "metadata", refuse)
    assert ask(f'{{ imageSet(imageSetId: "{FIRST}") {{ imageSetId metadata }} }}') == {
        "errors": [
            {
                "message": "the metadata of these image sets is too large",
                "locations": [{"line": 1, "column": 73}],
                "path": ["imageSet", "metadata"],
                "extensions": {"code": "INVALID_ARGUMENT"},
            }
        ],
        "data": {"imageSet": {"imageSetId": FIRST, "metadata": None}},
    }
