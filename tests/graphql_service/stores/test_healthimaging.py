"""The store through a real boto3 over HTTP, against the wire protocol over an embedded store, faults in between."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from graphql_service.errors import (
    DataStoreNotActive,
    DataStoreNotFound,
    InvalidCursor,
    ServiceError,
    SettingError,
    StoreError,
    StoreTimeout,
    Throttled,
    UnsupportedSearch,
)
from graphql_service.healthimaging.criteria import CAPABILITIES
from graphql_service.healthimaging.server import create_routes
from graphql_service.histogram import Interval, histogram
from graphql_service.image_set import Datastore, ImageSet, Study
from graphql_service.paging import Page, PageRequest, read_cursor
from graphql_service.searching import Inquiry, search, search_studies
from graphql_service.settings import Settings
from graphql_service.stores import open_store
from graphql_service.stores.base import Request, Store
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.faulty import Fault, Faults, faulty
from tests.live import DATASTORE, NOW, make_image_sets, make_queries
from tests.wire import Open, environment, serve

ROWS = list(make_image_sets(400))
SETTINGS = Settings(
    healthimaging_rate=10_000,
    healthimaging_connect_seconds=1,
    healthimaging_read_seconds=1,
    healthimaging_call_seconds=4,
)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path_factory.mktemp("store") / "store.db", create=True)) as store:
        store.create_datastore(DATASTORE, name="live")
        store.load(DATASTORE, ROWS)
        yield store


@pytest.fixture(scope="module")
def faults(embedded: SQLiteStore) -> Iterator[Faults]:
    with serve(Starlette(routes=create_routes(Open(embedded)))) as url, faulty(url) as faults:
        yield faults


@pytest.fixture
def store(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name, value in environment(faults.url).items():
        monkeypatch.setenv(name, value)
    faults.next.clear()
    faults.arrivals.clear()
    with closing(open_store("healthimaging://us-east-1", SETTINGS)) as store:
        yield store


def read_pages(store: Store, query: str, size: int) -> list[Page]:
    pages: list[Page] = []
    request = PageRequest(size)
    while True:
        page = search(store, Inquiry(DATASTORE, query), request, NOW)
        pages.append(page)
        if not page.has_next_page:
            return pages
        assert page.end_cursor
        assert len(page.end_cursor) < 2_000
        request = PageRequest(size, after=read_cursor(page.end_cursor))


def rows_of(pages: list[Page]) -> list[ImageSet]:
    return [image_set for page in pages for image_set in page.image_sets]


@pytest.mark.parametrize(
    ("number", "query"), list(enumerate(make_queries(60, ROWS))), ids=[str(number) for number in range(60)]
)
def test_pages_are_those_of_the_embedded_store(store: Store, embedded: SQLiteStore, number: int, query: str) -> None:
    size = (7, 50, 500)[number % 3]
    here, there = read_pages(store, query, size), read_pages(embedded, query, size)
    filled = [page.image_sets for page in here if page.image_sets]
    assert filled == [page.image_sets for page in there if page.image_sets]
    assert [page.complete for page in here] == [True] * len(here)
    assert here[-1].known == len(rows_of(there))


def read_studies(store: Store, query: str, size: int) -> list[tuple[Page, tuple[Study, ...]]]:
    pages = [search_studies(store, Inquiry(DATASTORE, query), PageRequest(size), NOW)]
    while pages[-1][0].has_next_page:
        cursor = pages[-1][0].end_cursor
        assert cursor is not None
        request = PageRequest(size, after=read_cursor(cursor))
        pages.append(search_studies(store, Inquiry(DATASTORE, query), request, NOW))
        assert len(pages) < 200
    return pages


@pytest.mark.parametrize(
    ("number", "query"), list(enumerate(make_queries(16, ROWS, seed=3))), ids=[str(number) for number in range(16)]
)
def test_studies_are_those_of_the_embedded_store(store: Store, embedded: SQLiteStore, number: int, query: str) -> None:
    """A page that its budget ends goes on in the next; the order is the same here, where ties go by id in both."""
    size = (1, 2, 7, 50)[number % 4] if number < 8 else 50
    here, there = read_studies(store, query, size), read_studies(embedded, query, 500)
    assert rows_of([page for page, _ in here]) == rows_of([page for page, _ in there])
    assert [study for _, studies in here for study in studies] == [study for _, studies in there for study in studies]
    assert all(page.requests <= 40 for page, _ in here)
    assert here[-1][0].known == len(rows_of([page for page, _ in there]))


@pytest.mark.parametrize("zone", ["Europe/Lisbon", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
@pytest.mark.parametrize("field", ["createdAt", "DICOMStudyDateAndTime", "DICOMPatientBirthDate"])
def test_histograms_are_those_of_the_embedded_store(store: Store, embedded: SQLiteStore, field: str, zone: str) -> None:
    for interval in Interval:
        inquiry = Inquiry(DATASTORE, "modality != CT", time_zone=zone)
        assert histogram(store, inquiry, field, interval, NOW) == histogram(embedded, inquiry, field, interval, NOW)


def test_studies_are_found_by_uid(store: Store, embedded: SQLiteStore) -> None:
    uids = [str(row.tags["DICOMStudyInstanceUID"]) for row in (ROWS[0], ROWS[7], ROWS[7], ROWS[399])]
    found = store.studies(DATASTORE, [*uids, "1.2.3"])
    assert found == embedded.studies(DATASTORE, uids)
    assert set(found) == set(uids)


def test_single_rows_are_pages_too(store: Store, embedded: SQLiteStore) -> None:
    query = "(studyId in (1, 2, 3) or modality = CT and created < 2024-02) sort studyDate desc"
    assert rows_of(read_pages(store, query, 1)) == rows_of(read_pages(embedded, query, 500))


def test_five_hundred_on_one_branch_are_as_many_calls_as_needed(store: Store, faults: Faults) -> None:
    page = search(store, Inquiry(DATASTORE), PageRequest(400), NOW)
    assert (len(page.image_sets), page.requests, page.scanned, len(faults.arrivals)) == (400, 8, 400, 8)


@pytest.mark.parametrize("query", ["modality != CT", "studyId in (1, 2, 3) or patient = P1 sort created asc"])
@pytest.mark.parametrize("fault", [429, 500, "drop", "cut", "stall"])
def test_faults_between_pages_lose_and_repeat_nothing(
    store: Store, embedded: SQLiteStore, faults: Faults, query: str, fault: Fault
) -> None:
    """Every other request meets the fault at first; a page is exact or an error, and is asked for again."""
    expected = rows_of(read_pages(embedded, query, 500))
    found: list[ImageSet] = []
    request, errors = PageRequest(25), 0
    faults.next.extend([fault, "none"] * 3)
    while True:
        begun = time.monotonic()
        try:
            page = search(store, Inquiry(DATASTORE, query), request, NOW)
        except (StoreError, Throttled, StoreTimeout):
            errors += 1
            assert errors <= 3
            assert time.monotonic() - begun < SETTINGS.healthimaging_call_seconds + 1
            continue
        found += page.image_sets
        if not page.has_next_page:
            break
        assert page.end_cursor
        request = PageRequest(25, after=read_cursor(page.end_cursor))
    assert found == expected
    # An answer that is cut short is not tried again; branches that are throttled together may run out of time.
    assert errors > 0 if fault == "cut" else errors == 0 or fault == 429


@pytest.mark.parametrize("query", ["modality != CT", "patient != nobody sort studyDate desc"])
def test_an_expired_token_goes_on_by_place_or_says_to_start_again(
    store: Store, embedded: SQLiteStore, faults: Faults, query: str
) -> None:
    expected = rows_of(read_pages(embedded, query, 500))
    first = search(store, Inquiry(DATASTORE, query), PageRequest(60), NOW)
    exact = 0
    for number, cursor in enumerate(first.cursors, 1):
        faults.next.append(400)
        try:
            page = search(store, Inquiry(DATASTORE, query), PageRequest(9, after=read_cursor(cursor)), NOW)
        except ServiceError as error:
            assert isinstance(error, InvalidCursor) or str(error).endswith("(ValidationException)")
        else:
            assert list(page.image_sets) == expected[number : number + 9]
            exact += 1
        faults.next.clear()
    # The first page has no token: there a refusal is the request's own.
    assert exact >= 10


def test_pages_go_on_when_the_service_was_restarted(embedded: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows_of(read_pages(embedded, "", 500))
    with ExitStack() as proxied:
        app = Starlette(routes=create_routes(Open(embedded)))
        with serve(app) as url:
            faults = proxied.enter_context(faulty(url))
            for name, value in environment(faults.url).items():
                monkeypatch.setenv(name, value)
            store = proxied.enter_context(closing(open_store("healthimaging://us-east-1", SETTINGS)))
            first = search(store, Inquiry(DATASTORE), PageRequest(70), NOW)
        assert first.end_cursor
        request = PageRequest(500, after=read_cursor(first.end_cursor))
        with pytest.raises(StoreError) as refused:
            search(store, Inquiry(DATASTORE), request, NOW)
        assert str(refused.value) == "HealthImaging failed (503)"
        with serve(app) as url:
            faults.target = url
            second = search(store, Inquiry(DATASTORE), request, NOW)
        assert rows_of([first, second]) == expected


def test_fifty_clients_at_once_keep_to_the_rate(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(faults.url).items():
        monkeypatch.setenv(name, value)
    faults.arrivals.clear()
    slow = replace(SETTINGS, healthimaging_rate=25, healthimaging_call_seconds=20)
    with closing(open_store("healthimaging://us-east-1", slow)) as store, ThreadPoolExecutor(50) as pool:
        pages = list(pool.map(lambda _: search(store, Inquiry(DATASTORE), PageRequest(50), NOW), range(50)))
    assert {len(page.image_sets) for page in pages} == {50}
    arrivals = sorted(faults.arrivals)
    assert len(arrivals) == 50
    assert all(later - earlier >= 1.0 for earlier, later in zip(arrivals, arrivals[25:], strict=False))


def test_the_budget_is_the_settings_own(store: Store) -> None:
    assert store.capabilities == replace(CAPABILITIES, scan_requests=40, scan_seconds=10.0)


def test_image_sets_are_found_by_id(store: Store) -> None:
    wanted = [ROWS[number].image_set_id for number in (0, 7, 7, 399)]
    found = store.image_sets(DATASTORE, [*wanted, "0" * 32, "no id"])
    assert found == {row.image_set_id: row for row in (ROWS[0], ROWS[7], ROWS[399])}


def test_data_stores(store: Store, embedded: SQLiteStore) -> None:
    (live,) = store.datastores()
    assert (live.datastore_id, live.name, live.status) == (DATASTORE, "live", "ACTIVE")
    assert store.datastore(DATASTORE) == live == embedded.datastore(DATASTORE)
    assert (store.datastore("e" * 32), store.datastore("no id")) == (None, None)
    with pytest.raises(DataStoreNotFound) as refused:
        search(store, Inquiry("e" * 32), PageRequest(1), NOW)
    assert str(refused.value) == "there is no data store with this id: 'datastores' lists those there are"


def test_a_data_store_that_is_not_active(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = {"datastoreId": DATASTORE, "datastoreName": "new", "datastoreStatus": "CREATING"}
    app = Starlette(routes=[Route("/datastore/{id}", lambda _: JSONResponse({"datastoreProperties": properties}))])
    with serve(app) as url:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        with closing(open_store("healthimaging://us-east-1", SETTINGS)) as store:
            assert store.datastore(DATASTORE) == Datastore(DATASTORE, "new", "CREATING")
            with pytest.raises(DataStoreNotActive) as refused:
                search(store, Inquiry(DATASTORE), PageRequest(1), NOW)
    assert str(refused.value) == "the data store is not active: it is CREATING"


def test_what_it_cannot_is_refused(store: Store) -> None:
    place = read_cursor(search(store, Inquiry(DATASTORE), PageRequest(1), NOW).cursors[0]).place
    asked = Request(DATASTORE, Inquiry(DATASTORE).filter, (), 10)
    for request in (asked._replace(after=place), asked._replace(before=place), asked._replace(backward=True)):
        with pytest.raises(UnsupportedSearch):
            store.fetch(request)
    with pytest.raises(UnsupportedSearch):
        store.fetch(asked._replace(studies=True))
    with pytest.raises(UnsupportedSearch):
        store.count(DATASTORE, asked.where, 1)
    with pytest.raises(UnsupportedSearch):
        store.histogram(DATASTORE, asked.where, "createdAt", timedelta(days=1))
    with pytest.raises(UnsupportedSearch) as refused:
        search(store, Inquiry(DATASTORE, "sort name"), PageRequest(1), NOW)
    assert str(refused.value) == (
        "This store cannot sort by DICOMPatientName: it sorts by one of updatedAt, createdAt, DICOMStudyDateAndTime."
    )
    assert store.values(DATASTORE, "DICOMSeriesModality") == ()


def test_a_store_without_a_region_is_refused() -> None:
    with pytest.raises(SettingError) as refused:
        open_store("healthimaging://")
    assert str(refused.value) == "IMAGESETS_STORE must name a region, such as healthimaging://us-east-1"


def ask(store: Store, method: str, path: str, **arguments: object) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(store, SETTINGS))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **arguments)  # type: ignore[arg-type]

    return anyio.run(send)


def test_graphql_says_what_a_search_took(store: Store, embedded: SQLiteStore) -> None:
    query = "query($q: String) { imageSets(query: $q, first: 5) { nodes { imageSetId } totalCount { value precision }\n"
    query += "pageInfo { hasNextPage } search { requests scanned complete } } }"

    def answer(text: str) -> object:
        response = ask(store, "POST", "/graphql", json={"query": query, "variables": {"q": text}})
        return response.json()["data"]["imageSets"]

    row = ROWS[3]
    assert answer(f"series = {row.tags['DICOMSeriesInstanceUID']}") == {
        "nodes": [{"imageSetId": row.image_set_id}],
        "totalCount": {"value": 1, "precision": "EXACT"},
        "pageInfo": {"hasNextPage": False},
        "search": {"requests": 1, "scanned": 1, "complete": True},
    }
    newest = rows_of(read_pages(embedded, "", 500))
    assert answer("") == {
        "nodes": [{"imageSetId": image_set.image_set_id} for image_set in newest[:5]],
        "totalCount": {"value": 5, "precision": "AT_LEAST"},
        "pageInfo": {"hasNextPage": True},
        "search": {"requests": 1, "scanned": 5, "complete": True},
    }


def test_readiness_tells_whether_the_service_answers(monkeypatch: pytest.MonkeyPatch, embedded: SQLiteStore) -> None:
    with ExitStack() as kept:
        with serve(Starlette(routes=create_routes(Open(embedded)))) as url:
            for name, value in environment(url).items():
                monkeypatch.setenv(name, value)
            store = kept.enter_context(closing(open_store("healthimaging://us-east-1", SETTINGS)))
            ready = ask(store, "GET", "/readyz")
            assert (ready.status_code, ready.text) == (200, "ready\n")
        time.sleep(1.1)  # as long as the list of data stores is known
        ready = ask(store, "GET", "/readyz")
    assert (ready.status_code, ready.text) == (503, "the store does not answer\n")
