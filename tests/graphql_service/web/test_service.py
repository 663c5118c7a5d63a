"""Who is let in by which door, and that a data store which they may not search does not exist for them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from graphql_service.access.keys import WireKey, add_bearer_key, add_wire_key
from graphql_service.access.principals import Principal
from graphql_service.api.node_ids import NodeId
from graphql_service.image_set import ImageSet
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.graphql_service.web.conftest import DATASTORE, Client

HIDDEN = "e" * 32
MISSING = "f" * 32


@pytest.fixture
def keys(tmp_path: Path, store: SQLiteStore) -> dict[str, str]:
    store.load(
        HIDDEN,
        [
            ImageSet(
                HIDDEN, "2" * 32, 7, None, None, None, None, None, {"DICOMPatientId": "P2", "DICOMSeriesModality": "CT"}
            )
        ],
    )
    path = tmp_path / "keys.json"
    return {
        "portal": add_bearer_key(path, Principal("portal", frozenset({DATASTORE}))),
        "all": add_bearer_key(path, Principal("all", None)),
        "none": add_bearer_key(path, Principal("none", frozenset())),
    }


@pytest.fixture
def client(store: SQLiteStore, keys: dict[str, str], tmp_path: Path) -> Client:
    assert keys  # in the file
    settings = Settings(auth="keys", keys_file=tmp_path / "keys.json", audit_log=str(tmp_path / "audit.log"))
    return Client(create_app(store, settings))


def ask(client: Client, key: str, query: str, **variables: object) -> Any:
    asked = {"query": query, "variables": variables}
    return client.post("/graphql", json=asked, headers={"authorization": f"Bearer {key}"}).json()


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer imagesets_0_0", "Basic YTpi"])
def test_nobody_comes_in_without_a_key(client: Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answered = client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    assert (answered.status_code, answered.headers["www-authenticate"]) == (401, "Bearer")
    assert answered.json()["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED"}
    wire = client.get("/datastore", headers=headers)
    assert wire.status_code == 403
    assert wire.headers["x-amzn-errortype"] in ("MissingAuthenticationTokenException", "IncompleteSignatureException")


def test_what_is_not_for_a_principal_does_not_exist_for_it(client: Client, keys: dict[str, str]) -> None:
    everything = ask(client, keys["all"], "{ datastores { nodes { datastoreId } } }")
    assert [node["datastoreId"] for node in everything["data"]["datastores"]["nodes"]] == [DATASTORE, HIDDEN]
    page = (
        "query ($d: ID, $c: String)"
        " { imageSets(datastoreId: $d, first: 1, after: $c) { edges { cursor node { id } } } }"
    )
    (edge,) = ask(client, keys["all"], page, d=HIDDEN)["data"]["imageSets"]["edges"]

    def seen(key: str) -> tuple[Any, ...]:
        return (
            ask(client, keys[key], "{ datastores { nodes { datastoreId } } }")["data"],
            ask(client, keys[key], "query ($d: ID!) { datastore(id: $d) { id } }", d=HIDDEN)["data"],
            ask(
                client,
                keys[key],
                "query ($n: ID!) { node(id: $n) { id } nodes(ids: [$n]) { id } }",
                n=edge["node"]["id"],
            )["data"],
            ask(client, keys[key], page, d=HIDDEN)["errors"],
            ask(client, keys[key], page, d=HIDDEN, c=edge["cursor"])["errors"],
        )

    gone = {"code": "DATASTORE_NOT_FOUND"}
    for key, ids in (("portal", [DATASTORE]), ("none", [])):
        listed, found, nodes, search, following = seen(key)
        assert listed == {"datastores": {"nodes": [{"datastoreId": each} for each in ids]}}
        assert found == {"datastore": None}
        assert nodes == {"node": None, "nodes": [None]}
        assert [search[0]["extensions"], following[0]["extensions"]] == [gone, gone]
    # Where only one is left, it need not be named.
    assert ask(client, keys["portal"], "{ imageSets { nodes { version } } }")["data"]["imageSets"]["nodes"] == [
        {"version": 1}
    ]
    missing = ask(client, keys["portal"], page, d="f" * 32)["errors"]
    assert missing[0]["message"] == seen("portal")[3][0]["message"]


SEARCHES = (
    """($d: ID) {
    imageSets(datastoreId: $d, query: "patient = P2") { nodes { id } }
}""",
    """($d: ID) {
    imageSets(datastoreId: $d, query: "patient = P2") { totalCount { value } }
}""",
    """($d: ID) {
    imageSet(datastoreId: $d, imageSetId: "22222222222222222222222222222222") { id }
}""",
    """($d: ID) {
    studies(datastoreId: $d) { nodes { instanceUid } }
}""",
    """($d: ID) {
    studies(datastoreId: $d) { totalCount { value } }
}""",
    """($d: ID) {
    imageSetHistogram(datastoreId: $d, field: UPDATED_AT, interval: DAY) { count }
}""",
    """($d: ID) {
    searchAnalysis(datastoreId: $d, query: "patient = P2") { canonical searchCriteria }
}""",
    """($d: ID) {
    searchCompletions(datastoreId: $d, query: "modality = ", position: 11) { label }
}""",
)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_hidden_data_store_is_searched_as_one_that_does_not_exist(
    client: Client, keys: dict[str, str], search: str
) -> None:
    def answer(key: str, datastore_id: str) -> str:
        return json.dumps(ask(client, keys[key], f"query {search}", d=datastore_id)).replace(datastore_id, "ID")

    for key in ("portal", "none"):
        assert answer(key, HIDDEN) == answer(key, MISSING) == answer("all", MISSING)
    assert "errors" not in answer("all", HIDDEN)
    assert answer("all", HIDDEN) != answer("all", MISSING)


@pytest.mark.parametrize(("kind", "key_in_it"), [("ImageSet", "2" * 32), ("Datastore", "")])
def test_nothing_of_a_hidden_data_store_is_found_by_its_global_id(
    client: Client, keys: dict[str, str], kind: str, key_in_it: str
) -> None:
    found = "query ($n: ID!, $m: [ID!]!) { node(id: $n) { id } nodes(ids: $m) { id } }"

    def answer(key: str, datastore_id: str) -> Any:
        node_id = NodeId(kind, datastore_id, key_in_it).encode()
        return ask(client, keys[key], found, n=node_id, m=[node_id, node_id])

    for key in ("portal", "none"):
        assert answer(key, HIDDEN) == answer(key, MISSING)
        assert answer(key, HIDDEN)["data"] == {"node": None, "nodes": [None, None]}
    assert answer("all", HIDDEN)["data"]["node"] == {"id": NodeId(kind, HIDDEN, key_in_it).encode()}
    assert answer("all", MISSING)["data"]["node"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/datastore/{}"),
        ("POST", "/datastore/{}/searchImageSets"),
        ("POST", f"/datastore/{{}}/imageSet/{'2' * 32}/getImageSet"),
        ("POST", f"/datastore/{{}}/imageSet/{'2' * 32}/listImageSetVersions"),
    ],
)
def test_a_hidden_data_store_does_not_exist_for_who_signs(
    client: Client, tmp_path: Path, method: str, path: str
) -> None:
    some = add_wire_key(tmp_path / "keys.json", Principal("scanner", frozenset({DATASTORE})))
    every = add_wire_key(tmp_path / "keys.json", Principal("archive", None))

    def answer(key: WireKey, datastore_id: str) -> tuple[int, str | None, str]:
        body = b"{}" if path.endswith("searchImageSets") else b""
        request = AWSRequest(method, f"http://localhost{path.format(datastore_id)}", data=body)
        SigV4Auth(Credentials(key.id, key.secret), "medical-imaging", "us-east-1").add_auth(request)
        answered = client.request(method, path.format(datastore_id), headers=dict(request.headers), content=body)
        told = answered.headers.get("x-amzn-errortype")
        return answered.status_code, told, answered.text.replace(datastore_id, "ID")

    assert answer(some, HIDDEN) == answer(some, MISSING)
    assert answer(some, HIDDEN)[:2] == (404, "ResourceNotFoundException")
    assert answer(every, HIDDEN)[:2] == (200, None)
    assert answer(every, MISSING) == answer(some, MISSING)


def test_the_audit_log_names_who_asked_by_which_door(
    client: Client, store: SQLiteStore, keys: dict[str, str], tmp_path: Path
) -> None:
    ask(client, keys["portal"], '{ imageSets(query: "patient = P1") { nodes { id } } }')
    anybody = Client(create_app(store, replace(Settings(), audit_log=str(tmp_path / "audit.log"))))
    anybody.post(f"/datastore/{DATASTORE}/searchImageSets", content=b"{}")
    anybody.post(f"/datastore/{DATASTORE}/imageSet/{'1' * 32}/getImageSet")
    anybody.post(f"/datastore/{DATASTORE}/imageSet/{'9' * 32}/getImageSetMetadata")
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    # What was asked for in vain is written down too.
    gone = lines.pop()
    assert (gone["operation"], gone["named"], gone["imageSets"]) == ("GetImageSetMetadata", ["9" * 32], 0)
    assert lines[2]["named"] == ["1" * 32]
    assert [
        (line["principal"], line["door"], line["operation"], line["query"], line["imageSets"]) for line in lines
    ] == [
        ("portal", "graphql", "imageSets", "DICOMPatientId = P1 sort updatedAt desc", 1),
        ("anonymous", "healthimaging", "SearchImageSets", "* sort updatedAt desc", 1),
        ("anonymous", "healthimaging", "GetImageSet", None, 1),
    ]


def test_a_wire_key_is_no_bearer_key(client: Client, tmp_path: Path) -> None:
    key = add_wire_key(tmp_path / "keys.json", Principal("scanner", None))
    for credentials in (key.id, key.secret, f"imagesets_{key.id}_{key.secret}"):
        answered = client.post(
            "/graphql", json={"query": "{ __typename }"}, headers={"authorization": f"Bearer {credentials}"}
        )
        assert answered.status_code == 401
