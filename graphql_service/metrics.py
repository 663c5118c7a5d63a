"""What the service counts, for Prometheus: one name each, labelled by words of our own and never by what anybody sent.

Whoever does a thing counts it here; `web` shows the counts. Where several workers serve, each counts in files of a
folder that all of them read, so that any of them shows what all have counted. The only user of prometheus_client.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from graphql_service.errors import ServiceError

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES: Final = (0, 1, 10, 50, 100, 500, 1_000, 5_000, 10_000, 100_000)

#: Where the library, and so every worker, looks for the folder; and the worker's number.
_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_WORKER: Final = "IMAGESETS_WORKER_NUMBER"

if _FOLDER in os.environ and (_number := os.environ.get(_WORKER)):
    # Files by number, not by process: whoever takes a worker's place goes on counting where it ended.
    values.ValueClass = values.MultiProcessValue(lambda: _number)  # type: ignore[no-untyped-call]

REQUESTS: Final = Counter("imagesets_requests", "HTTP requests answered.", ["path", "method", "status"])
IN_FLIGHT: Final = Gauge("imagesets_requests_in_flight", "Requests being worked on.", multiprocess_mode="livesum")
OPERATION_SECONDS: Final = Histogram(
    "imagesets_operation_seconds",
    "From the request to its answer, by GraphQL root field or HealthImaging operation, and store.",
    ["operation", "store"],
    buckets=_SECONDS,
)
QUERY_PROBLEMS: Final = Counter("imagesets_query_problems", "Problems in search queries.", ["code"])
ERRORS: Final = Counter("imagesets_errors", "Errors of GraphQL answers; a query with problems is one.", ["code"])
STORE_SECONDS: Final = Histogram(
    "imagesets_store_seconds",
    "Calls to the store, those that share one state as one, and how long each took.",
    ["store", "outcome"],
    buckets=_SECONDS,
)
HEALTHIMAGING_RETRIES: Final = Counter(
    "imagesets_healthimaging_retries", "Attempts at calls to AWS HealthImaging after a call's first."
)
HEALTHIMAGING_THROTTLES: Final = Counter(
    "imagesets_healthimaging_throttles", "Attempts at calls that AWS HealthImaging throttled."
)
SCANNED: Final = Histogram("imagesets_scanned", "Image sets read for one page of a scanned search.", buckets=_SIZES)
SCAN_REQUESTS: Final = Histogram(
    "imagesets_scan_requests", "Requests to the store for one page of a scanned search.", buckets=_SIZES
)
DOCUMENTS: Final = Counter("imagesets_documents", "GraphQL documents, by whether they had been read before.", ["cache"])


@contextmanager
def time_store(store: str) -> Iterator[None]:
    """Counts and times one call to a store of this kind, by the code of the error that it raises, or "ok"."""
    begun, outcome = time.perf_counter(), "ok"
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error)
        raise
    finally:
        count_store_call(store, outcome, time.perf_counter() - begun)


def outcome_of(error: BaseException) -> str:
    """The outcome of a call to a store that raised an error."""
    return error.code if isinstance(error, ServiceError) else "unforeseen"


def count_store_call(store: str, outcome: str, seconds: float) -> None:
    """The same, of a call that has been timed."""
    _store_seconds(store, outcome).observe(seconds)


@cache
def _store_seconds(store: str, outcome: str) -> Histogram:
    """Finding a label takes longer than counting under it."""
    return STORE_SECONDS.labels(store, outcome)


def expose() -> tuple[bytes, str]:
    """Every count in Prometheus's text format, of all workers where there are several, and its media type."""
    registry = REGISTRY
    if _FOLDER in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST


def worker_environment(folder: Path, number: int) -> Mapping[str, str]:
    """What a worker's environment must say, before it imports this module, for it to count with the others."""
    return {_FOLDER: str(folder), _WORKER: str(number)}


def end_worker(folder: Path, number: int) -> None:
    """A worker has ended: what it counted stays, what it had in hand goes."""
    mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]
