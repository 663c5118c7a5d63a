from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web import tracing
from graphql_service.web.app import create_app
from tests.graphql_service.web.conftest import PATIENT, Client


def trace(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> ReadableSpan:
    """The span of one request to a service that lives no longer."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "OTLPSpanExporter", lambda: exporter)
    app = create_app(store, Settings(traces=True))
    Client(app).get("/graphql", **asked)

    async def end() -> None:
        async with app.router.lifespan_context(app):
            pass

    anyio.run(end)
    (span,) = exporter.get_finished_spans()
    return span


def test_a_request_is_a_span_of_its_callers_trace(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    caller, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    document = f'{{ imageSets(query: "patient = {PATIENT}") {{ nodes {{ id }} }} }}'
    headers = {"traceparent": f"00-{caller}-{parent}-01"}
    span = trace(store, monkeypatch, params={"query": document}, headers=headers)
    assert span.name == "GET /graphql"
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == caller
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == parent
    attributes = dict(span.attributes or {})
    assert attributes["imagesets.searches"] == ("DICOMPatientId = ? sort updatedAt desc",)
    assert attributes["imagesets.operations"] == ("imageSets",)
    assert attributes["http.response.status_code"] == 200
    assert span.resource.attributes["service.name"] == "imagesets"
    assert PATIENT not in span.to_json()


def test_a_failure_is_a_span_too(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphql_service.web.graphql._read", lambda *_: 1 / 0)
    span = trace(store, monkeypatch, params={"query": "{ __typename }"})
    assert span.status.status_code is StatusCode.ERROR
