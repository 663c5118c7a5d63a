import logging
import re
from typing import Any, NoReturn

import pytest

from graphql_service.errors import StoreError, Throttled
from graphql_service.stores.sqlite import SQLiteStore

PATIENT = "SUBJECT08701"


@pytest.mark.parametrize(
    ("document", "variables", "code"),
    [
        ("{ imageSets( ", {}, "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("{ imageSets(first: 1.5) { nodes { id } } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ('{ searchAnalysis(query: "*", now: "soon") { canonical } }', {}, "GRAPHQL_VALIDATION_FAILED"),
        ("mutation { imageSets { nodes { id } } }", {}, "GRAPHQL_VALIDATION_FAILED"),
        ("query ($n: Int) { imageSets(first: $n) { nodes { id } } }", {"n": "x"}, "BAD_USER_INPUT"),
        ('query ($t: DateTime) { searchAnalysis(query: "", now: $t) { plan } }', {"t": "soon"}, "BAD_USER_INPUT"),
        ("query ($i: ID!) { node(id: $i) { id } }", {}, "BAD_USER_INPUT"),
        ("{ imageSets(first: 501) { nodes { id } } }", {}, "INVALID_ARGUMENT"),
        ("{ imageSets(variables: [1]) { nodes { id } } }", {}, "INVALID_ARGUMENT"),
        ('{ imageSets(after: "x") { nodes { id } } }', {}, "INVALID_CURSOR"),
        ('{ datastores(after: "x") { nodes { id } } }', {}, "INVALID_CURSOR"),
        ('{ imageSets(datastoreId: "x") { nodes { id } } }', {}, "DATASTORE_NOT_FOUND"),
        ('{ imageSets(query: "pateint = 1") { nodes { id } } }', {}, "INVALID_QUERY"),
    ],
)
def test_every_error_has_a_code(
    ask: Any, caplog: pytest.LogCaptureFixture, document: str, variables: dict[str, object], code: str
) -> None:
    found = ask(document, **variables)
    assert [error["extensions"]["code"] for error in found["errors"]] == [code]
    assert ("data" in found) == ("path" in found["errors"][0])
    assert caplog.records == []


def test_a_bad_query_comes_with_its_problems(ask: Any) -> None:
    assert ask('{ imageSets(query: "patient = X and\\n pateint = 1") { nodes { id } } }')["errors"] == [
        {
            "message": "unknown field 'pateint': did you mean 'patient'?",
            "locations": [{"line": 1, "column": 3}],
            "path": ["imageSets"],
            "extensions": {
                "code": "INVALID_QUERY",
                "problems": [
                    {
                        "code": "unknown_field",
                        "message": "unknown field 'pateint': did you mean 'patient'?",
                        "start": 17,
                        "end": 24,
                        "utf16Start": 17,
                        "utf16End": 24,
                        "line": 2,
                        "column": 2,
                        "expected": ["a field"],
                        "suggestions": ["patient"],
                        "fix": {"start": 17, "end": 24, "text": "patient"},
                    }
                ],
            },
        }
    ]


@pytest.mark.parametrize(("method", "directive"), [("fetch_columns", ""), ("fetch", "@include(if: true)")])
def test_what_nobody_foresaw_is_masked(
    ask: Any,
    store: SQLiteStore,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    directive: str,
) -> None:
    def fail(*_: object) -> NoReturn:
        try:
            raise KeyError(PATIENT)
        except KeyError as error:
            raise RuntimeError(f"no row of {PATIENT}") from error

    monkeypatch.setattr(store, method, fail)
    (error,) = ask(f'{{ imageSets(query: "patient = {PATIENT}") {directive} {{ nodes {{ id }} }} }}')["errors"]
    incident = error["extensions"]["id"]
    assert re.fullmatch("[0-9a-f]{32}", incident)
    assert error["message"] == f"internal error: the service's log has it under {incident}"
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    logged = record.getMessage()
    assert logged.startswith(f"internal error {incident}: RuntimeError\n")
    assert 'searching.py", line' in logged
    assert PATIENT not in caplog.text


def test_a_store_that_does_not_answer_says_so(
    ask: Any, store: SQLiteStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise StoreError("the store's disk is full")

    monkeypatch.setattr(store, "count", fail)
    found = ask("{ imageSets { totalCount { value } } }")
    (error,) = found["errors"]
    assert (error["message"], error["path"]) == ("the store's disk is full", ["imageSets", "totalCount"])
    assert error["extensions"] == {"code": "STORE_UNAVAILABLE"}
    assert caplog.records == []


def test_a_count_is_taken_only_where_it_is_selected(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "count", None)
    assert ask("{ imageSets(first: 1) { nodes { version } } }") == {"data": {"imageSets": {"nodes": [{"version": 3}]}}}


def test_a_throttled_search_says_how_long_to_wait(
    ask: Any, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise Throttled("ask again in 2 s", 2.0)

    monkeypatch.setattr(store, "datastores", fail)
    (error,) = ask("{ imageSets { nodes { id } } }")["errors"]
    assert (error["message"], error["extensions"]) == ("ask again in 2 s", {"code": "THROTTLED", "retryAfter": 2.0})
