"""GraphQL over HTTP: POST with a JSON body, GET with parameters. Whatever is no such request is refused with a code."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from graphql_service.api.context import Context
from graphql_service.api.errors import INTERNAL, mask
from graphql_service.api.schema import answer
from graphql_service.settings import Settings
from graphql_service.stores.base import Store

_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class _Asked:
    query: str
    variables: dict[str, object] | None
    operation_name: str | None


class _Refused(Exception):
    """A request that is no GraphQL request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_endpoint(store: Store, settings: Settings) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint that answers GraphQL requests from a store."""

    async def endpoint(request: Request) -> Response:
        try:
            asked = await _read(request)
            context = Context(store, settings.max_page)
            return _respond(200, await answer(asked.query, asked.variables, asked.operation_name, context))
        except _Refused as refused:
            return _refuse(refused.status, str(refused), code="BAD_REQUEST")
        except ClientDisconnect:
            return _refuse(400, "the request ended early", code="BAD_REQUEST")
        except Exception as error:  # noqa: BLE001 - the one edge where what nobody foresaw is masked
            message, incident = mask(error)
            return _refuse(500, message, code=INTERNAL, id=incident)

    return endpoint


async def _read(request: Request) -> _Asked:
    if request.method == "POST":
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _JSON:
            raise _Refused(415, f"a POST's body must be {_JSON}")
        parameters = _decode("body", await request.body())
    else:
        given = request.query_params
        parameters = {name: given[name] for name in ("query", "operationName") if name in given}
        if given.get("variables"):
            parameters["variables"] = _decode("variables", given["variables"])
    query, variables = parameters.get("query"), parameters.get("variables")
    operation_name = parameters.get("operationName")
    if not isinstance(query, str) or not query:
        raise _Refused(400, "'query' must be a GraphQL document")
    if not isinstance(variables, dict | None):
        raise _Refused(400, "'variables' must be a JSON object")
    if not isinstance(operation_name, str | None):
        raise _Refused(400, "'operationName' must be a text")
    return _Asked(query, variables, operation_name or None)


def _decode(what: str, text: str | bytes) -> dict[str, object]:
    try:
        decoded = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _Refused(400, f"the {what} must be JSON") from error
    if not isinstance(decoded, dict):
        raise _Refused(400, f"the {what} must be a JSON object")
    return decoded


def _refuse(status: int, message: str, **extensions: str) -> Response:
    return _respond(status, {"errors": [{"message": message, "extensions": extensions}]})


def _respond(status: int, body: Mapping[str, object]) -> Response:
    try:
        encoded = orjson.dumps(body)
    except TypeError:
        # Stored tags may hold what orjson refuses and JSON allows: lone surrogates, integers beyond 64 bits.
        encoded = json.dumps(body, separators=(",", ":")).encode()
    return Response(encoded, status, media_type=_JSON)
