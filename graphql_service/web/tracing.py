"""Traces for OpenTelemetry: a span for each request, with what the log says of it and no more.

The only user of opentelemetry, which the extra `otel` installs. Where spans go, and how many, its own variables say
(`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …).
"""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import Scope

from graphql_service.errors import SettingError
from graphql_service.web.telemetry import Told, describe

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise SettingError("IMAGESETS_TRACES needs OpenTelemetry: install imagesets with its extra 'otel'") from error


class Tracing:
    """Records requests as spans, as part of the caller's trace where its `traceparent` header names one."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        named = Resource({SERVICE_NAME: "imagesets"}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=named)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("imagesets")
        self._propagator = TraceContextTextMapPropagator()

    def record(self, scope: Scope, told: Told, status: int) -> None:
        """One answered request."""
        said = describe(scope, told, status)
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{said['method']} {said['path']}",
            context=self._propagator.extract(Headers(scope=scope)),
            kind=SpanKind.SERVER,
            start_time=end - int((time.perf_counter() - told.begun) * 1e9),
            attributes={
                "http.request.method": said["method"],
                "http.route": said["path"],
                "http.response.status_code": status,
                "imagesets.request_id": told.request_id,
                "imagesets.operations": said["operations"],
                "imagesets.searches": said["searches"],
                "imagesets.image_sets": said["imageSets"],
            },
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()
