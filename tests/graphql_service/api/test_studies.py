import threading
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from graphql_service.api.context import Context
from graphql_service.api.execution import Asked
from graphql_service.api.node_ids import NodeId
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.api.conftest import DATASTORE, EXECUTOR, LIMITS, image_set

WHOLE = """
id datastoreId instanceUid patient { patientId name birthDate sex } studyId accessionNumber description date time
seriesCount instanceCount modalities imageSetCount
"""
NODE = NodeId("Study", DATASTORE, "1.2.3").encode()


@pytest.fixture(autouse=True)
def _more(store: SQLiteStore) -> None:
    """The study of the sample gets a second image set, which is no primary one, and there is another study."""
    store.load(
        DATASTORE,
        [
            image_set(4, DICOMPatientId="P4", DICOMStudyInstanceUID="1.2.3", DICOMSeriesModality="SR"),
            image_set(5, DICOMPatientId="P5", DICOMStudyInstanceUID="1.2.4", DICOMNumberOfStudyRelatedSeries=1 << 40),
        ],
    )


def test_a_study_is_told_by_all_its_image_sets(ask: Any) -> None:
    found = ask(f'{{ studies(query: "patient = P4") {{ nodes {{ {WHOLE} imageSets {{ nodes {{ version }} }} }} }} }}')
    study = {
        "id": NODE,
        "datastoreId": DATASTORE,
        "instanceUid": "1.2.3",
        "patient": {"patientId": "P1", "name": "García^Ana", "birthDate": "1980-11-30", "sex": "F"},
        "studyId": "1",
        "accessionNumber": "A1",
        "description": "Chest CT",
        "date": "1999-11-22",
        "time": "14:07:28.500",
        "seriesCount": 2,
        "instanceCount": 300,
        "modalities": ["CT", "SR"],
        "imageSetCount": 2,
    }
    assert found == {
        "data": {"studies": {"nodes": [study | {"imageSets": {"nodes": [{"version": 4}, {"version": 1}]}}]}}
    }
    assert ask(f'{{ node(id: "{NODE}") {{ ... on Study {{ {WHOLE} }} }} }}') == {"data": {"node": study}}


def test_a_page_of_studies_is_a_relay_connection(ask: Any) -> None:
    document = """query ($first: Int, $last: Int, $after: String, $before: String) {
      studies(query: "sort updated", first: $first, last: $last, after: $after, before: $before) {
        edges { cursor node { instanceUid } } nodes { instanceUid seriesCount }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        totalCount { value precision } search { complete scanned requests notices { code } }
      }
    }"""
    first = ask(document, first=1)["data"]["studies"]
    cursor = first["edges"][0]["cursor"]
    assert first == {
        "edges": [{"cursor": cursor, "node": {"instanceUid": "1.2.3"}}],
        "nodes": [{"instanceUid": "1.2.3", "seriesCount": 2}],
        "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "startCursor": cursor, "endCursor": cursor},
        "totalCount": {"value": 2, "precision": "EXACT"},
        "search": {"complete": True, "scanned": 1, "requests": 1, "notices": []},
    }
    second = ask(document, after=cursor)["data"]["studies"]
    assert second["nodes"] == [{"instanceUid": "1.2.4", "seriesCount": None}]
    assert ask(document, last=1)["data"]["studies"]["nodes"] == second["nodes"]
    before = second["pageInfo"]["startCursor"]
    assert ask(document, last=5, before=before)["data"]["studies"]["nodes"] == first["nodes"]
    refused = ask(
        'query ($after: String) { imageSets(query: "sort updated", after: $after) { nodes { id } } }', after=cursor
    )
    assert refused["errors"][0]["extensions"] == {"code": "INVALID_CURSOR"}


def test_the_image_sets_of_a_study_are_searched_as_all_are(ask: Any) -> None:
    document = """query ($query: String, $after: String, $filter: ImageSetFilter, $v: JSON) {
      studies(query: "sort updated", first: 1) { nodes { imageSets(
        query: $query, variables: $v, filter: $filter, first: 1, after: $after, timeZone: "Asia/Tokyo"
      ) {
        nodes { version } pageInfo { hasNextPage endCursor } totalCount { value }
      } } }
    }"""

    def page(**arguments: object) -> Any:
        (study,) = ask(document, **arguments)["data"]["studies"]["nodes"]
        return study["imageSets"]

    first = page(query="sort version")
    assert (first["nodes"], first["pageInfo"]["hasNextPage"], first["totalCount"]["value"]) == (
        [{"version": 1}],
        True,
        2,
    )
    second = page(query="sort version", after=first["pageInfo"]["endCursor"])
    assert (second["nodes"], second["pageInfo"]["hasNextPage"]) == ([{"version": 4}], False)
    assert page(query="modality = $m", v={"m": "SR"}, filter={"patientId": {"eq": "P4"}})["nodes"] == [{"version": 4}]
    assert page(query="patient = P5")["nodes"] == []
    (error,) = ask(document, query="pateint = P5")["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["studies", "nodes", 0, "imageSets"], "INVALID_QUERY")


def test_a_page_of_studies_takes_two_calls_and_their_image_sets_one_thread(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    threads: list[int] = []
    studies, fetch = store.studies, store.fetch

    def count_studies(datastore_id: str, uids: Sequence[str]) -> Any:
        calls.append(list(uids))
        return studies(datastore_id, uids)

    def count_fetch(request: Any) -> Any:
        calls.append(request.studies)
        threads.append(threading.get_ident())
        return fetch(request)

    monkeypatch.setattr(store, "studies", count_studies)
    monkeypatch.setattr(store, "fetch", count_fetch)
    ask(f"{{ studies {{ nodes {{ {WHOLE} }} edges {{ node {{ {WHOLE} }} }} }} }}")
    assert calls == [True, ["1.2.4", "1.2.3"]]
    calls.clear()
    threads.clear()
    ask("{ studies { nodes { imageSets { nodes { id } } } } }")
    assert calls == [True, ["1.2.4", "1.2.3"], False, False]
    assert threads[1] == threads[2] != threading.get_ident()
    calls.clear()
    ids = [NODE, NodeId("Study", DATASTORE, "1.2.4").encode(), NODE]
    found = ask("query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Study { instanceUid } } }", ids=ids)
    assert [node["id"] for node in found["data"]["nodes"]] == ids
    assert calls == [["1.2.3", "1.2.4"]]


def test_studies_that_are_not_there_are_null(ask: Any) -> None:
    document = "query ($id: ID!) { node(id: $id) { id } }"
    for uid in ("1.2.5", "no: UID", "é"):
        assert ask(document, id=NodeId("Study", DATASTORE, uid).encode()) == {"data": {"node": None}}
    assert ask(document, id=NodeId("Study", "e" * 32, "1.2.3").encode()) == {"data": {"node": None}}


def test_a_study_is_counted_only_where_it_is_selected(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "count", None)
    assert ask("{ studies(first: 1) { nodes { instanceUid } } }") == {
        "data": {"studies": {"nodes": [{"instanceUid": "1.2.4"}]}}
    }


HISTOGRAM = """query ($query: String, $field: HistogramField!, $interval: Interval!, $zone: String) {
  imageSetHistogram(query: $query, field: $field, interval: $interval, timeZone: $zone) { from to count precision }
}"""


def test_a_histogram_is_a_list_of_buckets(ask: Any) -> None:
    def buckets(**arguments: object) -> list[tuple[str, str, int]]:
        found = ask(HISTOGRAM, **arguments)["data"]["imageSetHistogram"]
        assert {bucket["precision"] for bucket in found} <= {"EXACT"}
        return [(bucket["from"], bucket["to"], bucket["count"]) for bucket in found]

    assert buckets(field="CREATED_AT", interval="MONTH") == [("2024-03-01", "2024-03-31", 5)]
    assert buckets(field="UPDATED_AT", interval="DAY", query="version <= 2", zone="Pacific/Apia") == [
        ("2024-03-12", "2024-03-12", 1),
        ("2024-03-13", "2024-03-13", 1),
    ]
    assert buckets(field="STUDY_DATE_AND_TIME", interval="YEAR") == [("1999-01-01", "1999-12-31", 1)]
    assert buckets(field="LAST_ACCESSED_AT", interval="YEAR") == []
    between = "imageSets(filter: {studyDateAndTime: {between: {from: $from, to: $to}}}) { totalCount { value } }"
    found = ask(f"query ($from: String, $to: String) {{ {between} }}", **{"from": "1999-01-01", "to": "1999-12-31"})
    assert found == {"data": {"imageSets": {"totalCount": {"value": 1}}}}


def test_a_histogram_of_a_bad_query_is_an_error(ask: Any) -> None:
    (error,) = ask(HISTOGRAM, field="CREATED_AT", interval="DAY", query="pateint = P")["errors"]
    assert error["extensions"]["code"] == "INVALID_QUERY"


def test_what_is_read_of_studies_is_written_down(store: SQLiteStore) -> None:
    document = f"""{{
      studies(query: "patient = P4") {{
        nodes {{ patient {{ name }} imageSets(query: "version = 4") {{ nodes {{ id }} }} }}
      }}
      node(id: "{NODE}") {{ id }}
      imageSetHistogram(query: "version = 4", field: CREATED_AT, interval: DAY) {{ count }}
    }}"""
    context = Context(store, LIMITS, 500)
    anyio.run(lambda: EXECUTOR.answer(Asked(document, {}), context))
    first, fourth = f"{1:032}", f"{4:032}"
    newest = "sort updatedAt desc"
    assert {
        (
            reading.operation,
            reading.datastore_id,
            reading.search and reading.search.canonical,
            reading.image_set_ids,
        )
        for reading in context.readings
    } == {
        ("studies", DATASTORE, f"DICOMPatientId = P4 {newest}", (first,)),
        ("imageSets", DATASTORE, f"version = 4 and DICOMStudyInstanceUID = 1.2.3 {newest}", (fourth,)),
        ("study", DATASTORE, None, (first,)),
        ("imageSetHistogram", DATASTORE, f"version = 4 {newest}", ()),
    }


@pytest.mark.parametrize(
    "document",
    [
        "query ($after: String) { studies(after: $after) { nodes { id } } }",
        "query ($after: String) { studies { nodes { imageSets(after: $after) { nodes { id } } } } }",
    ],
)
def test_a_cursor_longer_than_any_is_refused_before_it_is_read(ask: Any, document: str) -> None:
    assert ask(document, after="A" * 20_000)["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
