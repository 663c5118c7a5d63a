"""What is told of requests: a line of the log each, and counts. Neither has a patient's value in it.

The log says which operations were asked for and the shape of their searches (`patient = ? and updated between ?..?`),
never an address, a parameter, a name that a client chose, or the text of an exception. The only user of structlog.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from random import getrandbits
from traceback import extract_tb, format_list
from typing import Any, Final, cast

import orjson
import structlog
from starlette.types import Scope

from graphql_service.auditing import Reading
from graphql_service.metrics import OPERATION_SECONDS, REQUESTS

#: The first parts of paths that are told; any other is "other", for an address may hold anything.
_PATHS: Final = frozenset(("graphql", "datastore", "healthz", "readyz", "metrics", "static", ""))
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"))

_STATE: Final = "imagesets.told"

_log: Final = structlog.get_logger()


@dataclass(slots=True)
class Told:
    """What is told of one request, gathered on its way. `operations` are root fields, or one action of HealthImaging's.

    `errors` are the codes of those that an answer of GraphQL's holds, each once.
    `principal` is who asked, as the access log of a door has it; None before that is known.
    """

    # It tells requests apart, and is no secret.
    request_id: str = field(default_factory=lambda: f"{getrandbits(128):032x}")
    begun: float = field(default_factory=time.perf_counter)
    principal: str | None = None
    door: str = "graphql"
    operations: Sequence[str] = ()
    errors: Sequence[str] = ()
    readings: Sequence[Reading] = ()


def begin(scope: Scope) -> Told:
    """Starts a request's record."""
    told = Told()
    scope[_STATE] = told
    return told


def told_of(scope: Scope) -> Told:
    """A request's record, also where no edge has begun one."""
    return cast("Told", scope.get(_STATE)) or begin(scope)


def finish(scope: Scope, told: Told, status: int, store: str) -> None:
    """Logs and counts an answered request."""
    seconds = time.perf_counter() - told.begun
    said = describe(scope, told, status)
    _requests(said["path"], said["method"], status).inc()
    for operation in told.operations:
        _operation_seconds(operation, store).observe(seconds)
    with suppress(OSError):  # nobody reads the log any more
        _log.info("request", milliseconds=round(seconds * 1000, 2), **said)


# Finding a label takes longer than counting under it.
_requests: Final = lru_cache(1_024)(REQUESTS.labels)
_operation_seconds: Final = lru_cache(1_024)(OPERATION_SECONDS.labels)


def describe(scope: Scope, told: Told, status: int) -> dict[str, Any]:
    """What may be said of a request: nothing that whoever sent it has chosen, but for the shape of its searches."""
    first = scope["path"].removeprefix(scope.get("root_path", "")).split("/", 2)[1:2]
    return {
        "requestId": told.request_id,
        "method": scope["method"] if scope["method"] in _METHODS else "other",
        "path": f"/{first[0]}" if first and first[0] in _PATHS else "other",
        "status": status,
        "principal": told.principal,
        "operations": list(told.operations),
        "errors": list(told.errors),
        "searches": [reading.search.shape for reading in told.readings if reading.search is not None],
        "imageSets": sum(len(reading.image_set_ids) for reading in told.readings),
    }


class _Handler(logging.Handler):
    """Has what the standard library's loggers are told written as the rest of the log is.

    Another library's words may quote what it was given, and an exception's text too: of these only the logger's name
    and the places in the code are told.
    """

    def emit(self, record: logging.LogRecord) -> None:
        ours = record.name.partition(".")[0] in ("graphql_service", "uvicorn")
        event = record.getMessage().rstrip() if ours else "a library's message, not told"
        told: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            told |= {
                "exception": record.exc_info[0].__qualname__,
                "places": format_list(extract_tb(record.exc_info[2])),
            }
        # structlog knows the named levels alone.
        _log.log(min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL), event, **told)


def configure_log(level: str) -> None:
    """Has everything that is logged written to standard error, one JSON object a line, from this level on."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(max(number, logging.WARNING))
