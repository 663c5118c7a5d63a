"""The HTTP application over one store: GraphQL, health, and a page that says what there is."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from graphql_service.errors import StoreError
from graphql_service.healthimaging.server import create_routes
from graphql_service.settings import Settings
from graphql_service.stores.base import Store
from graphql_service.web.graphql import create_endpoint

_HOME: Final = """\
imagesets: search medical image sets by typing.

/graphql   GraphQL: POST, or GET for queries
/healthz   whether the service is alive
/readyz    whether its store answers
/datastore the wire protocol of AWS HealthImaging, for its own clients (embedded store)

A query to try:
/graphql?query={imageSets(query:"modality = CT sort updated desc",first:3){nodes{imageSetId updatedAt}}}
"""


def create_app(store: Store, settings: Settings) -> Starlette:
    """The application over a store that its caller opens and closes."""

    async def ready(_: Request) -> Response:
        try:
            await run_in_threadpool(store.datastores)
        except StoreError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return PlainTextResponse("ready\n")

    return Starlette(
        routes=[
            Route("/", _home),
            Route("/graphql", create_endpoint(store, settings), methods=["GET", "POST"]),
            Route("/healthz", _alive),
            Route("/readyz", ready),
            # HealthImaging's own clients need no one between them and HealthImaging.
            *(create_routes(store) if store.capabilities.operators is None else ()),
        ]
    )


async def _home(_: Request) -> Response:
    return PlainTextResponse(_HOME)


async def _alive(_: Request) -> Response:
    return PlainTextResponse("alive\n")
