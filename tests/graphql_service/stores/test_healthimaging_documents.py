"""Versions and metadata of the HealthImaging store, through a real boto3 over HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.applications import Starlette

from graphql_service.errors import InvalidArgument, StoreError
from graphql_service.healthimaging.client import HealthImagingClient
from graphql_service.healthimaging.server import create_routes
from graphql_service.image_set import ImageSet, ImageSetVersion
from graphql_service.settings import Settings
from graphql_service.stores import healthimaging, open_store
from graphql_service.stores.base import Store
from graphql_service.stores.sqlite import SQLiteStore
from tests.wire import Open, environment, serve

DATASTORE = "d" * 32
IDS = [f"{number:032d}" for number in range(12)]
START = datetime(2024, 3, 11, 10, 0, 0, 123_456, tzinfo=UTC)
VERSIONS = tuple(ImageSetVersion(number, START, START, "ACTIVE") for number in (11, 10, 2, 1))


class Documented(SQLiteStore):
    """An embedded store that has metadata and several versions of every image set."""

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        return dict.fromkeys(self.image_sets(datastore_id, image_set_ids), VERSIONS)

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        found = self.image_sets(datastore_id, image_set_ids)
        return {each: {"ImageSetID": each, "Patient": {"DICOM": {"PatientName": "Gómez^Íñigo"}}} for each in found}


@contextmanager
def reaching(live: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The HealthImaging store that reads this one."""
    live.load(DATASTORE, [ImageSet(DATASTORE, each, 1, START, START, None, None, None, {}) for each in IDS])
    with closing(live), serve(Starlette(routes=create_routes(Open(live)))) as url:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        with closing(open_store("healthimaging://us-east-1", Settings(healthimaging_rate=1_000))) as store:
            yield store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with reaching(Documented(tmp_path / "live.db", create=True), monkeypatch) as store:
        yield store


def test_versions(store: Store) -> None:
    assert store.versions(DATASTORE, [*IDS, IDS[0], "f" * 32, "no id"]) == dict.fromkeys(IDS, VERSIONS)


def test_metadata(store: Store) -> None:
    assert store.metadata(DATASTORE, [*IDS, IDS[0], "f" * 32, "no id"]) == {
        each: {"ImageSetID": each, "Patient": {"DICOM": {"PatientName": "Gómez^Íñigo"}}} for each in IDS
    }


def test_an_image_set_without_metadata_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with reaching(SQLiteStore(tmp_path / "live.db", create=True), monkeypatch) as store:
        assert store.metadata(DATASTORE, IDS) == {}


def test_metadata_is_limited_in_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healthimaging, "METADATA_LIMIT", 1_000)
    assert store.metadata(DATASTORE, IDS[:3]).keys() == set(IDS[:3])
    with pytest.raises(InvalidArgument) as refused:
        store.metadata(DATASTORE, IDS)
    assert str(refused.value) == (
        "the metadata of these image sets has more than 1,000 bytes together: ask for that of fewer at once"
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [(b"{", "not JSON"), (b"\xff", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[]", "no JSON object")],
)
def test_damaged_metadata_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, document: bytes, reason: str
) -> None:
    monkeypatch.setattr(HealthImagingClient, "get_image_set_metadata", lambda *_: document)
    with pytest.raises(StoreError, match=f"^an image set's metadata is damaged: it is {reason}$"):
        store.metadata(DATASTORE, IDS[:1])
