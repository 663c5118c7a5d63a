import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from graphql_service.access.keys import add_bearer_key
from graphql_service.access.principals import Principal
from graphql_service.loading.ndjson import RefusedLine, read_lines
from graphql_service.sample import DATASTORE_ID, open_sample
from graphql_service.settings import Settings
from graphql_service.stores import open_store
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.wire import environment, serve


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
def exports(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the command line exports of the sample, in files by format."""
    imagesets = str(Path(sys.executable).parent / "imagesets")
    files: dict[str, str] = {}
    for form in ("csv", "ndjson"):
        command = [imagesets, "search", "sort id", "--all", "--format", form, "--store", f"sqlite:///{store_path}"]
        path = tmp_path_factory.mktemp("exports") / f"all.{form}"
        path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        files[form.upper()] = str(path)
    return files


@pytest.fixture(scope="session")
def crowded(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a service over two data stores is, one of them empty, whose pages are small."""
    path = tmp_path_factory.mktemp("crowded") / "store.db"
    shutil.copy(store_path, path)
    with closing(SQLiteStore(path)) as store:
        store.create_datastore("other")
        with serve(create_app(store, Settings(max_page=60))) as url:
            yield url


@pytest.fixture(scope="session")
def mounted(store_path: Path) -> Iterator[str]:
    """Where a service is that stands below a path, as behind a proxy."""
    with closing(SQLiteStore(store_path)) as store:
        app = Starlette(routes=[Mount("/some/where", app=create_app(store, Settings()))])
        with serve(app) as url:
            yield f"{url}/some/where"


@pytest.fixture(scope="session")
def guarded(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where a service over the sample is that wants a key, and that another portal's pages may ask; and such a key."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_bearer_key(keys, Principal("reader", frozenset({DATASTORE_ID})))
    settings = Settings(auth="keys", keys_file=keys, allowed_origins=("https://portal.example",))
    with closing(SQLiteStore(store_path)) as store, serve(create_app(store, settings)) as url:
        yield {"GUARDED": url, "KEY": key}


@pytest.fixture(scope="session")
def healthimaging(address: str) -> Iterator[str]:
    """Where a service is that searches the sample over HealthImaging's protocol."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(address).items():
            patch.setenv(name, value)
        settings = Settings(healthimaging_rate=10_000)
        with (
            closing(open_store("healthimaging://us-east-1", settings)) as store,
            serve(create_app(store, settings)) as url,
        ):
            yield url


@pytest.fixture(scope="session")
def address(store_path: Path) -> Iterator[str]:
    """Where a service over the sample is."""
    with closing(SQLiteStore(store_path)) as store, serve(create_app(store, Settings())) as url:
        yield url
