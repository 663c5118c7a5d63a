"""The HTTP application over one store: GraphQL, the pages for browsers, HealthImaging's wire protocol, health."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_service.access import open_access, open_signed_access
from graphql_service.healthimaging.server import create_routes
from graphql_service.metrics import expose
from graphql_service.settings import Settings
from graphql_service.stores.base import Store
from graphql_service.web.audit import Audit
from graphql_service.web.edge import Edge, get_path, refuse_path
from graphql_service.web.graphql import create_endpoint
from graphql_service.web.pages import answer_graphiql
from graphql_service.web.pages import create_routes as create_page_routes
from graphql_service.web.readiness import Readiness
from graphql_service.web.service import Load, Service

_GRAPHQL: Final = "/graphql"


def create_app(store: Store, settings: Settings, audit_turns: Path | None = None) -> Starlette:
    """The application over a store that its caller opens and closes. Raises SettingError.

    `audit_turns` is the file by which the workers of one service take turns at the audit log.
    """
    audit = Audit(settings.audit_log, with_ids=settings.audit_ids, turns=audit_turns)
    tracing = None
    if settings.traces:
        # An extra, which need not be installed.
        from graphql_service.web.tracing import Tracing

        tracing = Tracing()
    service = Service(
        store, settings, open_access(settings), open_signed_access(settings), audit, Load(settings.limits.requests)
    )
    capabilities = store.capabilities

    @asynccontextmanager
    async def live(_: Starlette) -> AsyncIterator[None]:
        yield
        audit.close()
        if tracing is not None:
            tracing.close()

    graphql = create_endpoint(service, answer_graphiql if settings.graphiql else None)
    app = Starlette(
        routes=[
            Route(_GRAPHQL, graphql, methods=["GET", "POST"]),
            *create_page_routes(graphiql=settings.graphiql),
            Route("/healthz", _alive),
            Route("/readyz", Readiness(store).answer),
            Route("/metrics", _metrics),
            # HealthImaging's own clients need no one between them and HealthImaging.
            *(() if capabilities.tokens else create_routes(service)),
        ],
        middleware=[
            Middleware(Edge, settings=settings, store=capabilities.kind, tracing=tracing),
            *(
                [
                    Middleware(
                        CORSMiddleware,
                        allow_origins=settings.allowed_origins,
                        allow_methods=["GET", "POST"],
                        allow_headers=["authorization", "content-type"],
                        expose_headers=["retry-after", "x-request-id"],
                    )
                ]
                if settings.allowed_origins
                else ()
            ),
            Middleware(_Shortcut, endpoint=graphql),
        ],
        exception_handlers={HTTPException: refuse_path},
        lifespan=live,
    )
    app.router.redirect_slashes = False
    return app


class _Shortcut:
    """Leads GraphQL's requests to their endpoint: the way by Starlette's routes takes some 4 % of a small answer."""

    def __init__(self, app: ASGIApp, endpoint: ASGIApp) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_query = scope["type"] == "http" and scope["method"] in ("GET", "POST") and get_path(scope) == _GRAPHQL
        await (self._endpoint if is_query else self._app)(scope, receive, send)


async def _alive(_: Request) -> Response:
    return PlainTextResponse("alive\n")


async def _metrics(_: Request) -> Response:
    text, media_type = expose()
    return Response(text, media_type=media_type)
