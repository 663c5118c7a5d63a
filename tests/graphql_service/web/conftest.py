from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.types import ASGIApp

from graphql_service.image_set import ImageSet
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app

DATASTORE = "d" * 32
JSON = "application/json"
GRAPHQL = "application/graphql-response+json"
PATIENT = "SUBJECT08701"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "store.db", create=True)
    tags = {"DICOMPatientId": "P1"}
    store.load(DATASTORE, [ImageSet(DATASTORE, "1" * 32, 1, None, None, None, None, None, tags)])
    yield store
    store.close()


@dataclass(frozen=True, slots=True)
class Client:
    """Sends single requests to an application."""

    app: ASGIApp

    def request(self, method: str, path: str, **content: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **content)

        return anyio.run(send)

    def get(self, path: str, **content: Any) -> httpx.Response:
        return self.request("GET", path, **content)

    def post(self, path: str, **content: Any) -> httpx.Response:
        return self.request("POST", path, **content)


@pytest.fixture
def client(store: SQLiteStore) -> Client:
    return Client(create_app(store, Settings(max_page=20)))
