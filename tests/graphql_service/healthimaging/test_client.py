"""The client through a real boto3 over HTTP, against the wire protocol with faults in front of it."""

import gzip
import inspect
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import boto3
import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from graphql_service.errors import (
    AccessDenied,
    DataStoreNotActive,
    DataStoreNotFound,
    InvalidCursor,
    ServiceError,
    SettingError,
    StoreError,
    StoreTimeout,
    Throttled,
)
from graphql_service.healthimaging import client as client_module
from graphql_service.healthimaging.client import ATTEMPTS, Gate, HealthImagingClient, open_client
from graphql_service.healthimaging.server import create_routes
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from tests.faulty import Fault, Faults, faulty
from tests.live import DATASTORE, make_image_sets
from tests.wire import Open, environment, serve

ROWS = list(make_image_sets(120))
#: No waiting for the rate, and short silences.
QUICK = Settings(
    healthimaging_rate=10_000,
    healthimaging_connect_seconds=1,
    healthimaging_read_seconds=1,
    healthimaging_call_seconds=3,
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with closing(SQLiteStore(tmp_path_factory.mktemp("store") / "store.db", create=True)) as store:
        store.create_datastore(DATASTORE, name="live")
        store.load(DATASTORE, ROWS)
        with serve(Starlette(routes=create_routes(Open(store)))) as url:
            yield url


@pytest.fixture
def faults(service: str) -> Iterator[Faults]:
    with faulty(service) as faults:
        yield faults


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture
def client(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[HealthImagingClient]:
    point_at(faults.url, monkeypatch)
    with closing(open_client("us-east-1", QUICK)) as client:
        yield client


def search(client: HealthImagingClient, token: str | None = None) -> tuple[list[str], str | None]:
    summaries, token = client.search_image_sets(DATASTORE, {}, 50, token)
    return [summary["imageSetId"] for summary in summaries], token


def test_pages_go_on_by_token(client: HealthImagingClient) -> None:
    found: list[str] = []
    token: str | None = None
    sizes = []
    while True:
        page, token = search(client, token)
        found += page
        sizes.append(len(page))
        if token is None:
            break
    newest = sorted(ROWS, key=lambda row: (row.updated_at or datetime.max.replace(tzinfo=UTC), row.image_set_id))
    assert (found, sizes) == ([row.image_set_id for row in reversed(newest)], [50, 50, 20])


def test_other_calls(client: HealthImagingClient) -> None:
    row = ROWS[7]
    assert [each["datastoreName"] for each in client.list_datastores()] == ["live"]
    assert client.get_datastore(DATASTORE)["datastoreStatus"] == "ACTIVE"
    found = client.get_image_set(DATASTORE, row.image_set_id)
    assert found is not None
    assert (found["imageSetId"], found["createdAt"], found["updatedAt"]) == (
        row.image_set_id,
        row.created_at,
        row.updated_at,
    )
    assert [each["versionId"] for each in client.list_image_set_versions(DATASTORE, row.image_set_id)] == [
        str(row.version)
    ]
    assert client.get_image_set(DATASTORE, "0" * 32) is None
    assert client.list_image_set_versions(DATASTORE, "0" * 32) == []
    assert client.get_image_set_metadata(DATASTORE, "0" * 32) is None


@pytest.mark.parametrize(
    "before", [["drop"], ["drop", "drop"], [500], [429], [500, "drop"], ["stall"], [503, 503]], ids=str
)
def test_what_passes_is_tried_again(client: HealthImagingClient, faults: Faults, before: list[Fault]) -> None:
    faults.next.extend(before)
    assert len(search(client)[0]) == 50
    assert len(faults.arrivals) == len(before) + 1


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (429, Throttled, "HealthImaging is asked too much: ask again in 1 s"),
        (500, StoreError, "HealthImaging failed (InternalServerException)"),
        (403, AccessDenied, "HealthImaging refuses these AWS credentials (AccessDeniedException)"),
        (404, DataStoreNotFound, "HealthImaging has no such data store or image set"),
        (409, DataStoreNotActive, "the data store is not active: it is being made or deleted"),
        (400, StoreError, "HealthImaging refused the request (ValidationException)"),
        (418, StoreError, "HealthImaging refused the request (Strange)"),
        ("drop", StoreError, "HealthImaging cannot be reached, or its answer cannot be read"),
        ("cut", StoreError, "HealthImaging's answer was cut short"),
        ("stall", StoreTimeout, "HealthImaging did not answer in time"),
    ],
)
def test_faults_are_errors_of_ours(
    client: HealthImagingClient, faults: Faults, fault: Fault, error: type[ServiceError], message: str
) -> None:
    faults.next.extend([fault] * ATTEMPTS)
    faults.message = "Patient GARCIA^ANA"
    begun = time.monotonic()
    with pytest.raises(error) as refused:
        search(client)
    assert (type(refused.value), str(refused.value)) == (error, message)
    assert time.monotonic() - begun < QUICK.healthimaging_call_seconds + 1
    # The next one passes: nothing is left behind in the gate.
    faults.next.clear()
    assert len(search(client)[0]) == 50


def test_a_throttled_call_says_how_long_to_wait(client: HealthImagingClient, faults: Faults) -> None:
    faults.next.extend([429] * ATTEMPTS)
    with pytest.raises(Throttled) as refused:
        search(client)
    assert refused.value.retry_after == 1.0


def test_a_refused_key_gets_a_hint(client: HealthImagingClient, faults: Faults) -> None:
    faults.next.append(403)
    faults.message = "not authorized to perform: kms:Decrypt"
    with pytest.raises(AccessDenied) as refused:
        search(client)
    assert str(refused.value) == (
        "HealthImaging refuses these AWS credentials (AccessDeniedException); its data store is encrypted with a KMS"
        " key of the account's own, whose key policy must let these credentials and HealthImaging use it"
    )


def test_a_refused_token_is_told_from_other_refusals(client: HealthImagingClient, faults: Faults) -> None:
    expired, known = "an old one", search(client)[1]
    for token in (expired, known):
        faults.next.extend([400] if token == known else [])
        with pytest.raises(InvalidCursor) as refused:
            search(client, token)
        assert str(refused.value) == (
            "HealthImaging no longer knows where this page goes on: start again without a cursor"
        )


def test_a_deadline_ends_a_call(client: HealthImagingClient, faults: Faults) -> None:
    faults.next.append("stall")
    begun = time.monotonic()
    with pytest.raises(StoreTimeout):
        client.search_image_sets(DATASTORE, {}, 50, None, deadline=begun + 0.2)
    assert time.monotonic() - begun < 1


def test_a_service_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)
    with closing(open_client("us-east-1", QUICK)) as client, pytest.raises(StoreError) as refused:
        client.list_datastores()
    assert str(refused.value) == "HealthImaging cannot be reached, or its answer cannot be read"


METADATA = b'{"Patient": {}}'
PACKED = gzip.compress(METADATA)


@pytest.mark.parametrize(
    ("content", "answered"),
    [
        (PACKED, METADATA),
        (METADATA, METADATA),
        (PACKED[:-9], "the image set's metadata is cut short or damaged"),
        (b"\x1f\x8bno", "the image set's metadata is cut short or damaged"),
        (gzip.compress(bytes(2_000)), "the image set's metadata has more than 1,000 bytes"),
        (bytes(2_000), "the image set's metadata has more than 1,000 bytes"),
    ],
)
def test_metadata_is_unpacked_within_its_limit(
    content: bytes, answered: bytes | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "METADATA_LIMIT", 1_000)
    path = "/datastore/{datastore}/imageSet/{image_set}/getImageSetMetadata"
    app = Starlette(routes=[Route(path, lambda _: Response(content), methods=["POST"])])
    with serve(app) as url:
        point_at(url, monkeypatch)
        with closing(open_client("us-east-1", QUICK)) as client:
            if isinstance(answered, bytes):
                assert client.get_image_set_metadata(DATASTORE, "0" * 32) == answered
            else:
                with pytest.raises(StoreError) as refused:
                    client.get_image_set_metadata(DATASTORE, "0" * 32)
                assert str(refused.value) == answered


def test_never_more_calls_in_a_second_than_the_rate(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where they arrive, with 50 clients at once, retries too."""
    point_at(faults.url, monkeypatch)
    # Two faults, so that none of the calls, of three attempts each, can meet nothing else.
    faults.next.extend([500, "none", "drop"])
    slow = replace(QUICK, healthimaging_rate=25, healthimaging_call_seconds=20)
    with closing(open_client("us-east-1", slow)) as client, ThreadPoolExecutor(50) as pool:
        assert [len(ids) for ids, _ in pool.map(lambda _: search(client), range(60))] == [50] * 60
    arrivals = sorted(faults.arrivals)
    assert len(arrivals) == 62
    assert all(later - earlier >= 1.0 for earlier, later in zip(arrivals, arrivals[25:], strict=False))


def test_a_gate_waits_for_a_second_after_the_answer() -> None:
    gate = Gate(rate=2)
    for _ in range(2):
        gate.enter(time.monotonic())
    with pytest.raises(Throttled):
        gate.enter(time.monotonic() + 0.05)
    gate.leave()
    left = time.monotonic()
    with pytest.raises(Throttled):
        gate.enter(left + 0.5)
    gate.enter(left + 5)
    assert 1 <= time.monotonic() - left < 1.5


@pytest.mark.parametrize(
    ("region", "set_up", "message"),
    [
        ("", {}, "IMAGESETS_STORE must name a region, such as healthimaging://us-east-1"),
        (
            "us east",
            {},
            "AWS is not set up for HealthImaging: Provided region_name 'us east' doesn't match a supported format.",
        ),
        (
            "us-east-1",
            {"AWS_PROFILE": "nobody"},
            "AWS is not set up for HealthImaging: The config profile (nobody) could not be found",
        ),
        (
            "us-east-1",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            (
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, must give credentials for HealthImaging"
                " where no role does"
            ),
        ),
    ],
)
def test_what_is_missing_stops_at_the_start(
    region: str, set_up: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in set_up.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    with pytest.raises(SettingError) as refused:
        open_client(region, QUICK)
    assert str(refused.value) == message


def test_every_exception_of_botocore_is_one_that_is_mapped() -> None:
    raised = {
        error
        for _, error in inspect.getmembers(botocore.exceptions, inspect.isclass)
        if issubclass(error, Exception) and error.__module__ == "botocore.exceptions"
    }
    unmapped = {error.__name__ for error in raised if not issubclass(error, (BotoCoreError, ClientError))}
    # Of a broken model of the service, and warnings.
    assert unmapped == {
        "ImminentRemovalWarning",
        "MissingServiceIdError",
        "UndefinedModelAttributeError",
        "UnsupportedTLSVersionWarning",
    }


def test_every_error_of_the_service_is_a_client_error() -> None:
    exceptions = boto3.client("medical-imaging", region_name="us-east-1").exceptions
    modelled = {name for name in dir(exceptions) if name.endswith("Exception")}
    assert modelled == {
        "AccessDeniedException",
        "BadRequestException",
        "ConflictException",
        "InternalServerException",
        "NotAcceptableException",
        "ResourceNotFoundException",
        "ServiceQuotaExceededException",
        "ThrottlingException",
        "ValidationException",
    }
    assert all(issubclass(getattr(exceptions, name), ClientError) for name in modelled)
