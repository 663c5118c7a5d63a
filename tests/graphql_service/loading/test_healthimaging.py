"""Copies through a real boto3 over HTTP, from the wire protocol in front of an embedded store."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from graphql_service.errors import DataStoreNotActive, DataStoreNotFound, InvalidArgument, InvalidCursor, StoreError
from graphql_service.healthimaging.client import HealthImagingClient, open_client
from graphql_service.healthimaging.server import create_routes
from graphql_service.image_set import ImageSet
from graphql_service.loading import healthimaging
from graphql_service.loading.healthimaging import CopyResult, check_source, copy
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import LoadResult, SQLiteStore
from tests.wire import Open, environment, serve

PROGRAM = str(Path(sys.executable).with_name("imagesets"))
LIVE = "a" * 32
COPY = "b" * 32
START = datetime(2024, 3, 11, 10, 0, 0, 123_456, tzinfo=UTC)


def image_set(number: int, *, version: int = 1, hours: float | None = None) -> ImageSet:
    """One that was updated so many hours after the start; a hundred share one time unless it is given."""
    updated = START + timedelta(hours=number // 100 if hours is None else hours)
    tags = {"DICOMPatientId": f"P{number}", "DICOMPatientName": "Gómez^Íñigo", "DICOMSeriesNumber": number}
    return ImageSet(LIVE, f"{number:032d}", version, START, updated, None, "FREQUENT_ACCESS", number % 2 == 0, tags)


@dataclass
class Wire:
    """The wire protocol in front of a store; it counts the searches, and can refuse one."""

    live: SQLiteStore
    url: str = ""
    searches: list[dict[str, object]] = field(default_factory=list)
    refuse: dict[int, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.app = Starlette(routes=create_routes(Open(self.live)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/searchImageSets"):
            await self.app(scope, receive, send)
            return
        message = await receive()
        self.searches.append(json.loads(message["body"]))
        if (refusal := self.refuse.pop(len(self.searches), None)) is not None:
            status, kind = refusal
            response = JSONResponse({"message": "no"}, status, headers={"x-amzn-ErrorType": kind})
            await response(scope, receive, send)
            return

        async def again() -> object:
            return message

        await self.app(scope, again, send)  # type: ignore[arg-type]

    def asked(self) -> int:
        """How many searches came since the last time."""
        count = len(self.searches)
        self.searches.clear()
        return count


class Pair(NamedTuple):
    """A live data store, what is in front of it, a client of that, and a store with an empty data store beside it."""

    live: SQLiteStore
    wire: Wire
    client: HealthImagingClient
    store: SQLiteStore
    path: Path


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    path = tmp_path / "copy.db"
    with (
        closing(SQLiteStore(tmp_path / "live.db", create=True)) as live,
        closing(SQLiteStore(path, create=True)) as store,
    ):
        live.create_datastore(LIVE, name="live")
        store.create_datastore(COPY, name="copy")
        wire = Wire(live)
        with serve(wire) as wire.url:
            monkeypatch.delenv("AWS_PROFILE", raising=False)
            for name, value in environment(wire.url).items():
                monkeypatch.setenv(name, value)
            with closing(open_client(None, Settings(healthimaging_rate=100_000))) as client:
                yield Pair(live, wire, client, store, path)


def rows(store: SQLiteStore, datastore_id: str) -> dict[str, ImageSet]:
    """Every image set, as of one data store."""
    found = store.image_sets(datastore_id, sorted(store.image_set_ids(datastore_id)))
    return {image_set_id: replace(each, datastore_id=LIVE) for image_set_id, each in found.items()}


def watermark(pair: Pair) -> datetime | None:
    return pair.store.watermarks(COPY).get(f"{pair.wire.url}/datastore/{LIVE}")


def test_everything_is_copied_and_then_only_what_changed(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(2_310)))
    counts: list[int] = []
    result = copy(pair.client, LIVE, pair.store, COPY, progress=counts.append)
    assert result == CopyResult(LoadResult(inserted=2_310))
    assert counts == [1_000, 2_000, 2_310]
    assert rows(pair.store, COPY) == rows(pair.live, LIVE)
    assert pair.wire.asked() == 47
    assert watermark(pair) == image_set(2_309).updated_at

    # The ten that share the newest time, and nothing else.
    assert copy(pair.client, LIVE, pair.store, COPY) == CopyResult(LoadResult(unchanged=10))
    assert pair.wire.asked() == 1

    pair.live.load(LIVE, [image_set(7, version=2, hours=30), image_set(5_000, hours=30), image_set(5_001, hours=23)])
    assert copy(pair.client, LIVE, pair.store, COPY) == CopyResult(LoadResult(inserted=2, updated=1, unchanged=10))
    assert pair.wire.asked() == 1
    assert rows(pair.store, COPY) == rows(pair.live, LIVE)


def test_what_has_vanished_is_erased_by_a_full_copy_alone(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(1_200)))
    copy(pair.client, LIVE, pair.store, COPY)
    pair.live.remove(LIVE, [f"{number:032d}" for number in range(0, 1_200, 3)])
    pair.live.load(LIVE, [image_set(9_000)])
    assert copy(pair.client, LIVE, pair.store, COPY).erased == 0
    assert rows(pair.store, COPY) == rows(pair.live, LIVE) | {
        f"{number:032d}": image_set(number) for number in range(0, 1_200, 3)
    }
    full = copy(pair.client, LIVE, pair.store, COPY, full=True)
    assert full == CopyResult(LoadResult(unchanged=801), erased=400)
    assert rows(pair.store, COPY) == rows(pair.live, LIVE)
    assert copy(pair.client, LIVE, pair.store, COPY, full=True) == CopyResult(LoadResult(unchanged=801))


def test_a_full_copy_that_breaks_off_erases_nothing(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(1_200)))
    copy(pair.client, LIVE, pair.store, COPY)
    pair.live.remove(LIVE, [f"{0:032d}"])
    pair.wire.asked()
    pair.wire.refuse = {24: (403, "AccessDeniedException")}
    with pytest.raises(StoreError, match="HealthImaging refuses these AWS credentials"):
        copy(pair.client, LIVE, pair.store, COPY, full=True)
    assert len(rows(pair.store, COPY)) == 1_200


def test_a_full_copy_reads_again_what_was_changed_in_place(pair: Pair) -> None:
    pair.live.load(LIVE, [image_set(1), image_set(500)])
    copy(pair.client, LIVE, pair.store, COPY)
    read = replace(image_set(1), last_accessed_at=START, storage_tier="ARCHIVE_INSTANT_ACCESS")
    pair.live.load(LIVE, [read])
    assert copy(pair.client, LIVE, pair.store, COPY).loaded == LoadResult(unchanged=1)
    assert copy(pair.client, LIVE, pair.store, COPY, full=True).loaded == LoadResult(updated=1, unchanged=1)
    assert rows(pair.store, COPY)[read.image_set_id] == read


def test_a_copy_that_stopped_goes_on_where_it_was(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(2_310)))
    pair.wire.refuse = {31: (403, "AccessDeniedException")}
    with pytest.raises(StoreError):
        copy(pair.client, LIVE, pair.store, COPY)
    assert len(rows(pair.store, COPY)) == 1_000
    assert watermark(pair) == image_set(999).updated_at
    pair.wire.asked()
    assert copy(pair.client, LIVE, pair.store, COPY) == CopyResult(LoadResult(inserted=1_310, unchanged=100))
    assert pair.wire.asked() == 29
    assert rows(pair.store, COPY) == rows(pair.live, LIVE)


def test_the_watermark_stays_behind_the_batch_that_is_stored(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.live.load(LIVE, map(image_set, range(200)))

    def fail(*_: object) -> LoadResult:
        raise StoreError("the disk is full")

    monkeypatch.setattr(SQLiteStore, "load", fail)
    with pytest.raises(StoreError, match="the disk is full"):
        copy(pair.client, LIVE, pair.store, COPY)
    assert pair.store.watermarks(COPY) == {}


def test_what_was_updated_just_now_is_read_again(pair: Pair) -> None:
    now = datetime.now(UTC)
    hours = (now - START) / timedelta(hours=1)
    pair.live.load(LIVE, [image_set(1, hours=hours - 1), image_set(2, hours=hours - 0.01), image_set(3, hours=hours)])
    copy(pair.client, LIVE, pair.store, COPY)
    reached = watermark(pair)
    assert reached is not None
    assert timedelta() <= reached - (now - healthimaging.OVERLAP) < timedelta(minutes=5)
    # It was updated before the newest that the first copy saw, and is found by a search only now.
    pair.live.load(LIVE, [image_set(4, hours=hours - 0.02)])
    assert copy(pair.client, LIVE, pair.store, COPY).loaded == LoadResult(inserted=1, unchanged=2)


@pytest.mark.parametrize("full", [False, True])
def test_a_token_that_is_no_longer_known_costs_one_more_search(pair: Pair, *, full: bool) -> None:
    pair.live.load(LIVE, map(image_set, range(1_200)))
    pair.wire.refuse = {9: (400, "ValidationException"), 17: (400, "ValidationException")}
    assert copy(pair.client, LIVE, pair.store, COPY, full=full).loaded.inserted == 1_200
    assert rows(pair.store, COPY) == rows(pair.live, LIVE)
    assert 26 <= pair.wire.asked() <= 32


def test_tokens_that_are_never_known_are_an_error(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(200)))
    pair.wire.refuse = dict.fromkeys(range(2, 50, 2), (400, "ValidationException"))
    with pytest.raises(InvalidCursor):
        copy(pair.client, LIVE, pair.store, COPY)
    assert pair.wire.asked() < 10


def test_two_data_stores_can_be_copied_into_one_but_not_in_full(pair: Pair) -> None:
    other = "c" * 32
    pair.live.load(LIVE, [image_set(1)])
    pair.live.load(other, [image_set(2)])
    copy(pair.client, LIVE, pair.store, COPY)
    copy(pair.client, other, pair.store, COPY)
    assert rows(pair.store, COPY).keys() == {f"{1:032d}", f"{2:032d}"}
    with pytest.raises(InvalidArgument, match="the data store is a copy of others too, which --full would erase"):
        copy(pair.client, LIVE, pair.store, COPY, full=True)


def test_a_copy_that_was_erased_begins_anew(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(300)))
    copy(pair.client, LIVE, pair.store, COPY)
    pair.store.remove_datastore(COPY)
    pair.store.create_datastore(COPY)
    assert copy(pair.client, LIVE, pair.store, COPY).loaded == LoadResult(inserted=300)


def test_only_an_active_data_store_is_copied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    check_source(pair.client, LIVE)
    with pytest.raises(DataStoreNotFound):
        check_source(pair.client, "f" * 32)
    monkeypatch.setattr(HealthImagingClient, "get_datastore", lambda *_: {"datastoreStatus": "DELETING"})
    with pytest.raises(DataStoreNotActive, match="the data store is not active: it is DELETING"):
        check_source(pair.client, LIVE)


# The command


def load(pair: Pair, *arguments: str, rate: int = 100_000) -> subprocess.Popen[str]:
    """The command, from the live data store into the copy."""
    return subprocess.Popen(
        [
            PROGRAM,
            "load",
            f"healthimaging:{LIVE}",
            "--datastore",
            COPY,
            "--store",
            f"sqlite:///{pair.path}",
            *arguments,
        ],
        env=os.environ | {"IMAGESETS_HEALTHIMAGING_RATE": str(rate)},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, told = process.communicate(timeout=60)
    return process.returncode, told


def test_killed_in_the_middle_the_second_run_ends_with_exactly_the_live_set(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(6_000)))
    process = load(pair, rate=40)
    while not pair.store.watermarks(COPY):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    stored = rows(pair.store, COPY)
    assert 0 < len(stored) < 6_000
    pair.wire.asked()
    status, told = finish(load(pair))
    assert status == 0, told
    assert rows(pair.store, COPY) == rows(pair.live, LIVE)
    assert pair.wire.asked() < 120


def test_what_became_of_a_copy_is_told(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(120)))
    source = f"healthimaging:{LIVE}"
    assert finish(load(pair)) == (
        0,
        f"{source}: 120 image sets read: 120 new, 0 replaced, 0 as they were.\n",
    )
    pair.live.remove(LIVE, [f"{0:032d}"])
    assert finish(load(pair, "--full")) == (
        0,
        f"{source}: 119 image sets read: 0 new, 0 replaced, 119 as they were; 1 image set erased.\n",
    )


def test_a_copy_that_stopped_says_how_to_go_on(pair: Pair) -> None:
    pair.live.load(LIVE, map(image_set, range(1_200)))
    pair.wire.refuse = {22: (403, "AccessDeniedException")}
    status, told = finish(load(pair))
    assert (status, told.splitlines()) == (
        1,
        [
            f"healthimaging:{LIVE}: stopped after 1,000 image sets; load it again to go on.",
            "Error: HealthImaging refuses these AWS credentials (AccessDeniedException)",
        ],
    )


def test_no_data_store_is_made_for_a_source_that_is_not_there(pair: Pair) -> None:
    process = subprocess.run(
        [PROGRAM, "load", f"healthimaging:{'f' * 32}", "--datastore", "new", "--store", f"sqlite:///{pair.path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (2, "Error: HealthImaging has no such data store or image set\n")
    assert [each.name for each in pair.store.datastores()] == ["copy"]


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (("AWS_DEFAULT_REGION",), "AWS_DEFAULT_REGION, or the AWS profile, must name a region, such as us-east-1"),
        (
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            (
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
                " must give credentials for HealthImaging where no role does"
            ),
        ),
    ],
)
def test_a_missing_region_or_missing_credentials_are_said(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...], sentence: str
) -> None:
    for name in variables:
        monkeypatch.delenv(name)
    assert finish(load(pair)) == (2, f"Error: {sentence}\n")
