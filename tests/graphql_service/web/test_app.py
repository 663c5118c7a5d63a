import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from graphql_service.errors import StoreError
from graphql_service.image_set import ImageSet
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app

DATASTORE = "d" * 32
JSON = "application/json"
PATIENT = "SUBJECT08701"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "store.db", create=True)
    tags = {"DICOMPatientId": "P1"}
    store.load(DATASTORE, [ImageSet(DATASTORE, "1" * 32, 1, None, None, None, None, None, tags)])
    yield store
    store.close()


@dataclass(frozen=True, slots=True)
class Client:
    """Sends single requests to an application."""

    app: Starlette

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **content)

        return anyio.run(send)

    def get(self, path: str, **content: Any) -> httpx.Response:
        return self.request("GET", path, **content)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.request("POST", path, **content)


@pytest.fixture
def client(store: SQLiteStore) -> Client:
    return Client(create_app(store, Settings(max_page=20)))


FOUND = {"data": {"imageSets": {"nodes": [{"version": 1}]}}}
DOCUMENT = "query ($q: String) { imageSets(query: $q) { nodes { version } } }"


def test_a_post_is_answered(client: Client) -> None:
    answered = client.post("/graphql", json={"query": DOCUMENT, "variables": {"q": "patient = P1"}})
    assert (answered.status_code, answered.headers["content-type"], answered.json()) == (200, JSON, FOUND)
    # Clients may say the charset, and null for what they leave out.
    body = json.dumps({"query": DOCUMENT, "variables": None, "operationName": None})
    again = client.post("/graphql", content=body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert again.json() == FOUND


def test_a_get_is_answered(client: Client) -> None:
    parameters = {"query": DOCUMENT, "variables": '{"q": "patient = P1"}', "operationName": ""}
    assert client.get("/graphql", params=parameters).json() == FOUND
    two = {"query": "query A { __typename } query B { b: __typename }", "operationName": "B"}
    assert client.get("/graphql", params=two).json() == {"data": {"b": "Query"}}


def test_the_page_limit_is_the_settings(client: Client) -> None:
    answered = client.post("/graphql", json={"query": "{ imageSets(first: 21) { nodes { id } } }"})
    assert answered.json()["errors"][0]["message"] == "'first' must be from 0 to 20; it is 21"


@pytest.mark.parametrize(
    ("content", "content_type", "status", "message"),
    [
        (b"{", JSON, 400, "the body must be JSON"),
        (b"\xff", JSON, 400, "the body must be JSON"),
        (b"null", JSON, 400, "the body must be a JSON object"),
        (b"[{}]", JSON, 400, "the body must be a JSON object"),
        (b"9" * 5000, JSON, 400, "the body must be JSON"),
        (b"[" * 5000, JSON, 400, "the body must be JSON"),
        (b"{}", JSON, 400, "'query' must be a GraphQL document"),
        (b'{"query": ""}', JSON, 400, "'query' must be a GraphQL document"),
        (b'{"query": 1}', JSON, 400, "'query' must be a GraphQL document"),
        (b'{"query": "{a}", "variables": []}', JSON, 400, "'variables' must be a JSON object"),
        (b'{"query": "{a}", "operationName": 1}', JSON, 400, "'operationName' must be a text"),
        (b"query={a}", "application/x-www-form-urlencoded", 415, "a POST's body must be application/json"),
        (b'{"query": "{a}"}', "text/plain", 415, "a POST's body must be application/json"),
    ],
)
def test_a_post_that_asks_nothing_is_refused(
    client: Client, content: bytes, content_type: str, status: int, message: str
) -> None:
    answered = client.post("/graphql", content=content, headers={"content-type": content_type})
    assert answered.status_code == status
    assert answered.json() == {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "'query' must be a GraphQL document"),
        ({"query": "{a}", "variables": "{"}, "the variables must be JSON"),
        ({"query": "{a}", "variables": "[]"}, "the variables must be a JSON object"),
    ],
)
def test_a_get_that_asks_nothing_is_refused(client: Client, parameters: dict[str, str], message: str) -> None:
    answered = client.get("/graphql", params=parameters)
    assert answered.status_code == 400
    assert answered.json() == {"errors": [{"message": message, "extensions": {"code": "BAD_REQUEST"}}]}


def test_other_methods_are_refused(client: Client) -> None:
    answered = client.request("PUT", "/graphql", json={"query": "{ __typename }"})
    assert (answered.status_code, sorted(answered.headers["allow"].split(", "))) == (405, ["GET", "HEAD", "POST"])


def test_tags_that_only_json_can_hold_are_answered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object) -> object:
        return {"data": {"tag": "\ud800", "number": 1 << 70}}

    monkeypatch.setattr("graphql_service.web.graphql.answer", answer)
    answered = client.post("/graphql", json={"query": "{ __typename }"})
    assert answered.content == b'{"data":{"tag":"\\ud800","number":1180591620717411303424}}'


def test_a_failure_at_the_edge_is_masked(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(*_: object) -> NoReturn:
        raise RuntimeError(PATIENT)

    monkeypatch.setattr("graphql_service.web.graphql.answer", answer)
    answered = client.post("/graphql", json={"query": "{ __typename }"})
    (error,) = answered.json()["errors"]
    incident = error["extensions"]["id"]
    assert answered.status_code == 500
    assert error == {
        "message": f"internal error: the service's log has it under {incident}",
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "id": incident},
    }
    assert incident in caplog.text
    assert PATIENT not in caplog.text


def test_it_says_how_it_is(client: Client, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [client.get(path).text for path in ("/healthz", "/readyz")] == ["alive\n", "ready\n"]

    def fail() -> NoReturn:
        raise StoreError("the store's file is gone")

    monkeypatch.setattr(store, "datastores", fail)
    answered = client.get("/readyz")
    assert (answered.status_code, answered.text) == (503, "the store's file is gone\n")
    assert client.get("/healthz").text == "alive\n"


def test_the_first_page_shows_a_query_that_runs(client: Client) -> None:
    page = client.get("/").text
    (line,) = [line for line in page.splitlines() if line.startswith("/graphql?")]
    assert client.get(line).json() == {"data": {"imageSets": {"nodes": []}}}
