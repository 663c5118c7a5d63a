"""Documents that are asked for by their ids: read when the service starts, answered as any other."""

from pathlib import Path

import pytest

from graphql_service.errors import SettingError
from graphql_service.settings import Limits, Settings, read_settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.graphql_service.web.conftest import GRAPHQL, Client

DOCUMENT = "query Find($q: String) { imageSets(query: $q) { nodes { version } } } query Other { __typename }"
VALUES = {"q": "patient = P1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "documents"
    path.mkdir()
    (path / "find:1.graphql").write_text(DOCUMENT)
    (path / "README.md").write_text("{")
    return path


def client_of(store: SQLiteStore, folder: Path, *, only: bool = False) -> Client:
    return Client(create_app(store, Settings(documents=str(folder), documents_only=only)))


def test_an_id_stands_for_its_document(store: SQLiteStore, folder: Path) -> None:
    client = client_of(store, folder)
    whole = client.post("/graphql", json={"query": DOCUMENT, "variables": VALUES, "operationName": "Find"})
    assert whole.json()["data"] == {"imageSets": {"nodes": [{"version": 1}]}}
    asked = {"documentId": "find:1", "variables": VALUES, "operationName": "Find"}
    by_id = client.post("/graphql", json=asked)
    assert (by_id.status_code, by_id.json()) == (200, whole.json())
    got = client.get("/graphql", params={"documentId": "find:1", "operationName": "Other"})
    assert got.json()["data"] == {"__typename": "Query"}


def test_what_is_no_id_is_refused(store: SQLiteStore, folder: Path) -> None:
    client = client_of(store, folder)
    for document_id in ("find", "README", "../find:1", ""):
        answered = client.post("/graphql", json={"documentId": document_id}, headers={"accept": GRAPHQL})
        (error,) = answered.json()["errors"]
        assert (answered.status_code, error["extensions"]["code"]) == (400, "DOCUMENT_NOT_FOUND")
        assert error["message"] == "no document with this 'documentId' is allowed here"
    for body, message in (
        ({"documentId": "find:1", "query": DOCUMENT}, "'query' and 'documentId' cannot be given together"),
        ({"documentId": 1}, "'documentId' must be a text"),
        ({}, "'query' must be a GraphQL document"),
    ):
        answered = client.post("/graphql", json=body)
        assert (answered.status_code, answered.json()["errors"][0]["message"]) == (400, message)


def test_only_allowed_documents_are_answered_where_it_is_said(store: SQLiteStore, folder: Path) -> None:
    client = client_of(store, folder, only=True)
    asked = {"documentId": "find:1", "variables": VALUES, "operationName": "Find"}
    assert client.post("/graphql", json=asked).json()["data"]["imageSets"]["nodes"]
    for query in (DOCUMENT, "{ __typename }", "{"):
        answered = client.post("/graphql", json={"query": query}, headers={"accept": GRAPHQL})
        (error,) = answered.json()["errors"]
        assert (answered.status_code, error["extensions"]["code"]) == (400, "DOCUMENT_NOT_ALLOWED")


def test_a_folder_is_checked_when_the_service_starts(store: SQLiteStore, folder: Path) -> None:
    with pytest.raises(SettingError, match=r"^IMAGESETS_DOCUMENTS: .* cannot be read: No such file or directory$"):
        client_of(store, folder / "none")
    bad = folder / "bad.graphql"
    for content, reason in (
        (b"{ nothing }", "bad: Cannot query field 'nothing' on type 'Query'."),
        (b"{", "bad: Syntax Error: Expected Name, found <EOF>."),
        (b"\xff", f"{folder} cannot be read: a document in it is not UTF-8"),
    ):
        bad.write_bytes(content)
        with pytest.raises(SettingError) as refused:
            client_of(store, folder)
        assert str(refused.value) == f"IMAGESETS_DOCUMENTS: {reason}"
    bad.unlink()
    (folder / "a b.graphql").write_text(DOCUMENT)
    with pytest.raises(SettingError, match="'a b' is no id"):
        client_of(store, folder)
    (folder / "a b.graphql").rename(folder / "ab.graphql")
    with pytest.raises(SettingError, match="IMAGESETS_MAX_DOCUMENT_TOKENS"):
        create_app(store, Settings(documents=str(folder), limits=Limits(document_tokens=3)))


def test_only_needs_a_folder() -> None:
    with pytest.raises(SettingError, match=r"^IMAGESETS_DOCUMENTS must be set where IMAGESETS_DOCUMENTS_ONLY is on$"):
        read_settings({"IMAGESETS_DOCUMENTS_ONLY": "on"})
