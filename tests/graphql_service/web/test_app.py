from typing import NoReturn

import pytest

from graphql_service.errors import StoreError
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.web.conftest import Client


def test_it_says_how_it_is(
    client: Client, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert [client.get(path).text for path in ("/healthz", "/readyz")] == ["alive\n", "ready\n"]

    def fail() -> NoReturn:
        raise StoreError("the store's file is gone")

    monkeypatch.setattr(store, "datastores", fail)
    monkeypatch.setattr("graphql_service.web.readiness._KEPT_SECONDS", 0.0)
    answered = client.get("/readyz")
    assert (answered.status_code, answered.text) == (503, "the store does not answer\n")
    assert "not ready: STORE_UNAVAILABLE" in caplog.text
    assert "the store's file" not in caplog.text
    assert client.get("/healthz").text == "alive\n"


def test_the_first_page_shows_a_query_that_runs(client: Client) -> None:
    page = client.get("/").text
    (line,) = [line for line in page.splitlines() if line.startswith("/graphql?")]
    assert client.get(line).json()["data"] == {"imageSets": {"nodes": []}}


def test_what_is_not_there_is_an_error_too(client: Client) -> None:
    refused = client.request("PUT", "/graphql")
    assert (refused.status_code, sorted(refused.headers["allow"].split(", "))) == (405, ["GET", "HEAD", "POST"])
    assert refused.json()["errors"] == [
        {"message": "Method Not Allowed: PUT", "extensions": {"code": "METHOD_NOT_ALLOWED"}}
    ]
    assert client.get("/graphql/").json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
    assert client.get("/nowhere").status_code == 404


def test_counts_are_told(client: Client) -> None:
    client.post("/graphql", json={"query": '{ imageSets(query: "pateint = 1") { nodes { id } } }'})
    told = client.get("/metrics").text
    assert 'imagesets_requests_total{method="POST",path="/graphql",status="200"}' in told
    assert 'imagesets_query_problems_total{code="unknown_field"}' in told
    assert 'imagesets_store_seconds_count{outcome="ok",store="sqlite"}' in told
