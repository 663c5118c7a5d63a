"""GraphQL over HTTP, as its specification (https://graphql.github.io/graphql-over-http/draft/) has it.

POST with a JSON body, GET with parameters. Whatever is no such request is refused with a code and a status of HTTP's;
a request that is one, but at fault, has status 400 under `application/graphql-response+json`, and 200 under
`application/json`, which older clients read by that status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, cast
from urllib.parse import unquote_to_bytes

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_service.api.context import Context
from graphql_service.api.documents import read_folder
from graphql_service.api.errors import INTERNAL, describe_limit, mask
from graphql_service.api.execution import Asked, Executor
from graphql_service.deadlines import do_briefly
from graphql_service.errors import AuditError, LimitExceeded, Overloaded, Unauthenticated
from graphql_service.metrics import ERRORS
from graphql_service.settings import Limits
from graphql_service.web.bodies import UnreadableBody, read_body
from graphql_service.web.media_types import choose_media_type
from graphql_service.web.service import Service
from graphql_service.web.telemetry import told_of

_JSON: Final = "application/json"
_GRAPHQL: Final = "application/graphql-response+json"
#: The first is what is sent where nothing is asked for.
_OFFERED: Final = (_JSON, _GRAPHQL)
_HTML: Final = "text/html"
#: What a member of an object begins with; texts may have the same in them, escaped.
_MEMBER: Final = re.compile(rb'"[ \t\n\r]*:')
_PARAMETERS: Final = ("query", "documentId", "variables", "operationName", "extensions")


class _Refused(Exception):
    """A request that is no GraphQL request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Answer(NamedTuple):
    """What is sent back. Without a status: of a request whose form is right, but which was not executed."""

    body: Mapping[str, object]
    status: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})


def create_endpoint(service: Service, graphiql: Callable[[Request], Response] | None = None) -> ASGIApp:
    """The endpoint that answers GraphQL requests, and a browser that asks for no query with `graphiql`."""
    settings = service.settings
    executor = Executor(
        settings.limits,
        introspection=settings.introspection,
        suggestions=settings.suggestions,
        allowed=read_folder(Path(settings.documents)) if settings.documents else None,
        allowed_only=settings.documents_only,
    )
    return _Endpoint(service, executor, graphiql)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Answers GraphQL requests. As an application of ASGI's it needs none of what Starlette puts around a function."""

    service: Service
    executor: Executor
    graphiql: Callable[[Request], Response] | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        accept = request.headers.get("accept")
        if (
            self.graphiql is not None
            and request.method != "POST"
            and not {"query", "documentId"} & set(request.query_params)
        ):
            wanted = choose_media_type(accept, (*_OFFERED, _HTML))
            if wanted == _HTML:
                return self.graphiql(request)
        media_type = choose_media_type(accept, _OFFERED)
        if media_type is None:
            message = f"an answer is {_GRAPHQL} or {_JSON}: neither is in the Accept header"
            return Response(_encode(_describe(message, "NOT_ACCEPTABLE")), 406, media_type=_JSON)
        try:
            answered = await _answer(request, self.service, self.executor)
        except Exception as error:  # noqa: BLE001 - the one edge where what nobody foresaw is masked
            answered = _refuse(error)
        encoded = _encode(answered.body)
        maximum = self.service.settings.limits.answer_bytes
        if len(encoded) > maximum:
            answered = _refuse(LimitExceeded("answer_bytes", maximum, len(encoded), "bytes in the answer"))
            encoded = _encode(answered.body)
        if "errors" in answered.body:
            codes = _codes(answered.body)
            for code in codes:
                ERRORS.labels(code).inc()
            told_of(request.scope).errors = tuple(dict.fromkeys(codes))
        status = answered.status or (400 if media_type == _GRAPHQL else 200)
        return Response(encoded, status, answered.headers, media_type)


async def _answer(request: Request, service: Service, executor: Executor) -> _Answer:
    """What a request is answered with. Raises what `_refuse` takes."""
    limits = service.settings.limits
    _refuse_repeated(request, "authorization")
    store = await service.admit(request.scope, request.headers.get("authorization"))
    asked = await _read(request, limits)
    with service.work():
        context = Context(store, limits, service.settings.max_page)
        answered = await executor.answer(asked, context)
    await do_briefly(partial(service.write_down, request.scope, answered.root_fields, context.readings))
    return _Answer(answered.body, 200 if answered.root_fields else None)


def _refuse(error: Exception) -> _Answer:
    """What whoever asked is told of an error. What is the server's own fault is masked."""
    match error:
        case _Refused() | UnreadableBody():
            return _Answer(_describe(str(error), "BAD_REQUEST"), error.status)
        case ClientDisconnect():
            return _Answer(_describe("the request ended early, or its body took too long", "BAD_REQUEST"), 400)
        case LimitExceeded():
            return _Answer(_describe(str(error), **describe_limit(error)), 413)
        case Unauthenticated():
            return _Answer(_describe(str(error), error.code), 401, {"www-authenticate": "Bearer"})
        case Overloaded():
            return _Answer(_describe(str(error), error.code), 503, {"retry-after": str(error.retry_after)})
        case AuditError():
            return _Answer(_describe(str(error), error.code), 503)
        case _:
            message, incident = mask(error)
            return _Answer(_describe(message, INTERNAL, id=incident), 500)


def _refuse_repeated(request: Request, header: str) -> None:
    """Refuses a request of which somebody on its way may have read another one of two headers."""
    if len(request.headers.getlist(header)) > 1:
        raise _Refused(400, f"the header {header} stands there more than once")


async def _read(request: Request, limits: Limits) -> Asked:
    _refuse_repeated(request, "content-type")
    if request.method == "POST":
        parameters = await _read_post(request, limits)
    else:
        parameters = _read_get(request, limits)
    query, variables = parameters.get("query"), parameters.get("variables")
    operation_name, extensions = parameters.get("operationName"), parameters.get("extensions")
    document_id = parameters.get("documentId")
    if document_id is None and (not isinstance(query, str) or not query):
        raise _Refused(400, "'query' must be a GraphQL document")
    if document_id is not None and query is not None:
        raise _Refused(400, "'query' and 'documentId' cannot be given together")
    if not isinstance(document_id, str | None):
        raise _Refused(400, "'documentId' must be a text")
    if not isinstance(variables, dict | None):
        raise _Refused(400, "'variables' must be a JSON object")
    if not isinstance(operation_name, str | None):
        raise _Refused(400, "'operationName' must be a text")
    if not isinstance(extensions, dict | None):
        raise _Refused(400, "'extensions' must be a JSON object")
    return Asked(str(query or ""), variables or {}, operation_name or None, document_id)


async def _read_post(request: Request, limits: Limits) -> dict[str, object]:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    if media_type.strip().lower() != _JSON:
        raise _Refused(415, f"a POST's body must be {_JSON}")
    if parameters.strip() and parameters.strip().lower().replace('"', "") not in ("charset=utf-8", "charset=utf8"):
        raise _Refused(415, f"a POST's body must be {_JSON} in UTF-8")
    if request.scope["query_string"] and (misplaced := [name for name in _PARAMETERS if name in request.query_params]):
        raise _Refused(400, f"'{misplaced[0]}' belongs in the body of a POST, not in its address")
    body = await read_body(request, limits.body_bytes)
    found = _decode("body", body)
    if body.count(b"{") + body.count(b"[") > limits.nesting:
        _check_nesting(found.get("variables"), limits)
    variables = found.get("variables")
    if len(body) > limits.variables_bytes and isinstance(variables, dict):
        _check_size(_encode(variables), limits)
    return found


def _read_get(request: Request, limits: Limits) -> dict[str, object]:
    """The parameters of a GET; an empty one counts as left out."""
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise _Refused(400, "the address must be UTF-8, percent-encoded") from None
    given = request.query_params
    if repeated := [name for name in _PARAMETERS if len(given.getlist(name)) > 1]:
        raise _Refused(400, f"'{repeated[0]}' stands more than once in the address")
    parameters: dict[str, object] = {
        name: given[name] for name in ("query", "documentId", "operationName") if given.get(name)
    }
    for name in ("variables", "extensions"):
        if given.get(name):
            parameters[name] = _decode(name, given[name].encode())
    _check_nesting(parameters.get("variables"), limits)
    return parameters


def _decode(what: str, text: bytes) -> dict[str, object]:
    try:
        # Exactly what JSON is: no NaN, no halves of surrogate pairs. But it takes the last of two members of one name,
        # and a float for an integer beyond 64 bits.
        decoded = orjson.loads(text)
        if len(_MEMBER.findall(text)) != _count_members(decoded):
            decoded = json.loads(text, object_pairs_hook=_read_object)
    except (ValueError, RecursionError):
        raise _Refused(400, f"the {what} must be JSON, in UTF-8, no member of it twice in one object") from None
    if not isinstance(decoded, dict):
        raise _Refused(400, f"the {what} must be a JSON object")
    return decoded


def _count_members(decoded: object) -> int | None:
    """How many members all objects in a decoded text have; None where it holds a float."""
    count, level = 0, [decoded]
    while level:
        below: list[object] = []
        for each in level:
            if isinstance(each, dict):
                count += len(each)
                below += each.values()
            elif isinstance(each, list):
                below += each
            elif isinstance(each, float):
                return None
        level = below
    return count


def _read_object(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member twice")
    return found


def _check_size(variables: bytes, limits: Limits) -> None:
    if len(variables) > limits.variables_bytes:
        raise LimitExceeded("variables_bytes", limits.variables_bytes, len(variables), "bytes in the variables")


def _check_nesting(variables: object, limits: Limits) -> None:
    depth, level = 0, [variables]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [below for each in level for below in (each.values() if isinstance(each, dict) else each)]
    if depth > limits.nesting:
        raise LimitExceeded("nesting", limits.nesting, depth, "brackets within each other in the variables")


def _codes(body: Mapping[str, object]) -> list[str]:
    """The codes of an answer's errors."""
    errors = cast("list[dict[str, dict[str, str]]]", body["errors"])
    return [error["extensions"]["code"] for error in errors]


def _describe(message: str, code: str, **extensions: object) -> dict[str, object]:
    return {"errors": [{"message": message, "extensions": {"code": code, **extensions}}]}


def _encode(body: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # Stored tags may hold what orjson refuses and JSON allows: lone surrogates, integers beyond 64 bits.
        return json.dumps(body, separators=(",", ":")).encode()
