from typing import NoReturn

import pytest

from graphql_service.errors import StoreError
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.web.conftest import Client


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
    assert client.get(line).json()["data"] == {"imageSets": {"nodes": []}}


def test_counts_are_told(client: Client) -> None:
    client.post("/graphql", json={"query": '{ imageSets(query: "pateint = 1") { nodes { id } } }'})
    told = client.get("/metrics").text
    assert 'imagesets_requests_total{method="POST",path="/graphql",status="200"}' in told
    assert 'imagesets_query_problems_total{code="unknown_field"}' in told
    assert 'imagesets_store_seconds_count{outcome="ok",store="sqlite"}' in told
