"""The edge of the service: what every request meets before anything of it is read, and what every answer carries.

A request is turned away for its Host (a page of a foreign site may have its name point here: DNS rebinding)
or its origin (a page of a foreign site asks from its reader's machine), and given up where its body takes too long.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graphql_service.settings import Settings
from graphql_service.web.telemetry import begin, finish

if TYPE_CHECKING:
    from graphql_service.web.tracing import Tracing

#: A load balancer asks these of an address.
_HEALTH: Final = ("/healthz", "/readyz")
#: What other sites' pages may link to and load: pages and scripts, without a word of what is stored.
_OPEN: Final = ("/", *_HEALTH)
_STATIC: Final = "/static/"
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]@/\s]+)(?::[0-9]{1,5})?")

#: On every answer that says nothing else of the kind: nothing of it is kept, framed, sniffed or run. What only a page
#: can do is for pages to forbid.
_HEADERS: Final = tuple(
    (name.encode(), value.encode())
    for name, value in (
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
    )
)


class Edge:
    """Stands around the application. `store` names the kind of store in the metrics."""

    def __init__(self, app: ASGIApp, settings: Settings, store: str, tracing: Tracing | None = None) -> None:
        self._app = app
        self._store = store
        self._tracing = tracing
        self._seconds = settings.limits.request_seconds
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(settings.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's way in. Whatever is not HTTP goes on as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = begin(scope)
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Names are in lower case here; Starlette's own headers are searched from the start for each.
                said = {name for name, _ in message["headers"]}
                missing = [header for header in _HEADERS if header[0] not in said]
                message["headers"] = [*message["headers"], *missing, (b"x-request-id", told.request_id.encode())]
            await send(message)

        try:
            await (self._refuse(scope) or self._app)(scope, _limit_body(receive, self._seconds), send_on)
        finally:
            finish(scope, told, status, self._store)
            if self._tracing is not None:
                self._tracing.record(scope, told, status)

    def _refuse(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), get_path(scope)
        host = headers.get("host", "")
        if path not in _HEALTH and not self._allows_host(host):
            return _respond(path, 421, "HOST_NOT_ALLOWED", "this host name is not in IMAGESETS_ALLOWED_HOSTS")
        is_open = path in _OPEN or path.startswith(_STATIC) or _is_graphiql(scope, path, headers)
        if not is_open and not self._allows_origin(headers, host):
            return _respond(path, 403, "ORIGIN_NOT_ALLOWED", "this origin is not in IMAGESETS_ALLOWED_ORIGINS")
        return None

    def _allows_host(self, host: str) -> bool:
        if "*" in self._hosts:
            return True
        found = _HOST.fullmatch(host)
        return found is not None and found[1].lower().rstrip(".") in self._hosts

    def _allows_origin(self, headers: Headers, host: str) -> bool:
        """Whether no foreign page is known to ask: by Origin, and where a GET has none, by Fetch Metadata."""
        origins = headers.getlist("origin")
        if origins:
            # Of a proxy's clients the scheme is not known here.
            own = (f"http://{host.lower()}", f"https://{host.lower()}")
            return len(origins) == 1 and (origins[0] in own or bool(self._origins & {origins[0], "*"}))
        return headers.get("sec-fetch-site") not in ("cross-site", "same-site")


def _is_graphiql(scope: Scope, path: str, headers: Headers) -> bool:
    """Whether a person follows a link to the page at GraphQL's address, which asks nothing by itself."""
    if path != "/graphql" or scope["method"] != "GET" or scope["query_string"] or "origin" in headers:
        return False
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")


def _limit_body(receive: Receive, seconds: float) -> Receive:
    """Ends a request whose body is not there in time as if its client had left."""
    deadline = asyncio.get_running_loop().time() + seconds
    complete = False

    async def receive_on() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        complete = not message.get("more_body", False)
        return message

    return receive_on


def get_path(scope: Scope) -> str:
    """A request's path as the routes have it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def refuse_path(request: Request, error: Exception) -> Response:
    """What is answered where there is nothing, or nothing by this method."""
    assert isinstance(error, HTTPException)
    code = error.detail.upper().replace(" ", "_")
    response = _respond(get_path(request.scope), error.status_code, code, f"{error.detail}: {request.method}")
    response.headers.update(error.headers or {})
    return response


def _respond(path: str, status: int, code: str, message: str) -> Response:
    """A refusal in the form that the door's clients read."""
    if path.startswith("/graphql"):
        body = {"errors": [{"message": message, "extensions": {"code": code}}]}
        return Response(orjson.dumps(body), status, media_type="application/json")
    if path.startswith("/datastore"):
        headers = {"x-amzn-ErrorType": "AccessDeniedException"}
        return Response(orjson.dumps({"message": message}), status, headers, media_type="application/json")
    return PlainTextResponse(f"{message}\n", status)
