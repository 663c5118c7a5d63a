from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from graphql_service.loading.ndjson import RefusedLine, read_lines
from graphql_service.sample import DATASTORE_ID, open_sample
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.wire import serve


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the bundled sample."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    with closing(SQLiteStore(path, create=True)) as store, open_sample() as lines:
        store.create_datastore(DATASTORE_ID, name="sample")
        image_sets = (each for each in read_lines(lines, DATASTORE_ID) if not isinstance(each, RefusedLine))
        store.load(DATASTORE_ID, image_sets)
    return path


@pytest.fixture(scope="session")
def address(store_path: Path) -> Iterator[str]:
    """Where a service over the sample is."""
    with closing(SQLiteStore(store_path)) as store, serve(create_app(store, Settings())) as url:
        yield url
