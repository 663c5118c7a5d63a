"""GraphQL errors as clients get them: each with a stable `extensions.code`, and nothing of what nobody foresaw.

What a message quotes goes to the asker alone. The log gets an unforeseen exception's type and place in the code under
an id that the asker gets too, never its text: that may hold a patient's values.
"""

from __future__ import annotations

import logging
from traceback import extract_tb, format_list
from typing import Any, Final
from uuid import uuid4

from graphql import GraphQLError, GraphQLSyntaxError

from grammar.problems import QueryError, to_json
from graphql_service.errors import LimitExceeded, ServiceError, Throttled
from graphql_service.metrics import QUERY_PROBLEMS

INVALID_QUERY: Final = "INVALID_QUERY"
INTERNAL: Final = "INTERNAL_SERVER_ERROR"

_logger = logging.getLogger(__name__)


def describe_error(error: GraphQLError, *, executing: bool) -> GraphQLError:
    """The error with its code; `executing` says whether the document was found valid before."""
    described = _describe(error, executing=executing)
    for problem in cause.problems if isinstance(cause := _cause(error), QueryError) else ():
        QUERY_PROBLEMS.labels(problem.code).inc()
    return described


def _describe(error: GraphQLError, *, executing: bool) -> GraphQLError:
    cause = _cause(error)
    match cause:
        case Throttled():
            return _recast(error, str(cause), code=cause.code, retryAfter=cause.retry_after)
        case LimitExceeded():
            return _recast(error, str(cause), **describe_limit(cause))
        case ServiceError():
            return _recast(error, str(cause), code=cause.code)
        case QueryError():
            problems = [to_json(cause.query, problem) for problem in cause.problems]
            return _recast(error, cause.problems[0].message, code=INVALID_QUERY, problems=problems)
        case GraphQLSyntaxError():
            return _recast(error, error.message, code="GRAPHQL_PARSE_FAILED")
        case None:
            # Only variables and arguments are refused by the executor itself.
            return _recast(error, error.message, code="BAD_USER_INPUT" if executing else "GRAPHQL_VALIDATION_FAILED")
        case _:
            message, incident = mask(cause)
            return _recast(error, message, code=INTERNAL, id=incident)


def describe_limit(limit: LimitExceeded) -> dict[str, Any]:
    """The extensions of an error that says which limit a request exceeds."""
    return {"code": limit.code, "limit": limit.limit, "maximum": limit.maximum, "actual": limit.actual}


def mask(error: Exception) -> tuple[str, str]:
    """What to tell of an exception that nobody foresaw: a message, and the id under which the log has it."""
    incident = uuid4().hex
    places = "".join(format_list(extract_tb(error.__traceback__)))
    _logger.error("internal error %s: %s\n%s", incident, type(error).__qualname__, places)
    return f"internal error: the service's log has it under {incident}", incident


def _cause(error: GraphQLError) -> Exception | None:
    """The exception behind GraphQL's own; None where GraphQL itself found the fault."""
    if isinstance(error, GraphQLSyntaxError) or error.original_error is None:
        return error if isinstance(error, GraphQLSyntaxError) else None
    if isinstance(error.original_error, GraphQLError):
        return _cause(error.original_error)
    return error.original_error


def _recast(error: GraphQLError, message: str, **extensions: object) -> GraphQLError:
    return GraphQLError(
        message, nodes=error.nodes, source=error.source, positions=error.positions, path=error.path,
        extensions=extensions,
    )  # fmt: skip
