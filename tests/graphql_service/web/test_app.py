from typing import NoReturn

import pytest

from graphql_service.errors import StoreError
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
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


def test_a_browser_gets_pages(client: Client) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    graphiql, portal = client.get("/graphql", headers=browser), client.get("/", headers=browser)
    assert "<title>GraphiQL" in graphiql.text
    assert 'data-graphiql="on"' in portal.text
    # The pages' own headers stand, the edge adds the others.
    for page in (graphiql, portal):
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["x-frame-options"] == "DENY"
    # A program that reads anything gets JSON, and so does a browser that asks a query.
    for headers in ({}, browser):
        answered = client.get("/graphql", params={"query": "{ __typename }"}, headers=headers)
        assert answered.json()["data"] == {"__typename": "Query"}


def test_graphiql_can_be_off(store: SQLiteStore) -> None:
    client = Client(create_app(store, Settings(graphiql=False)))
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert client.get("/graphql", headers=browser).headers["content-type"] == "application/json"
    assert 'data-graphiql="off"' in client.get("/", headers=browser).text


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
