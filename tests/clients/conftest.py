from collections.abc import Iterator

import pytest

from graphql_service.loading.ndjson import RefusedLine, read_lines
from graphql_service.sample import open_sample
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.clients.use_cases import DATASTORE_ID
from tests.wire import serve


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service over the bundled sample."""
    store = SQLiteStore(tmp_path_factory.mktemp("store") / "store.db", create=True)
    store.create_datastore(DATASTORE_ID, name="sample")
    with open_sample() as lines:
        store.load(
            DATASTORE_ID, (each for each in read_lines(lines, DATASTORE_ID) if not isinstance(each, RefusedLine))
        )
    with serve(create_app(store, Settings())) as url:
        yield url
    store.close()
