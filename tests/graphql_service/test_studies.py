"""The studies that a search finds: the same pages from a store that answers everything and from one that is scanned."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammar.criteria import Condition, Everything, SortKey
from graphql_service.errors import InvalidCursor, ScanBudget, UnsupportedSearch
from graphql_service.healthimaging.criteria import CAPABILITIES
from graphql_service.image_set import ImageSet, Study, make_study
from graphql_service.paging import Page, PageRequest, read_cursor
from graphql_service.searching import Inquiry, TotalCount, count, search, search_studies
from graphql_service.stores.base import Store
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.stores.contract import expected, expected_studies, whole_studies
from tests.graphql_service.test_scanning import SORTS, LimitedStore, limited
from tests.strategies import DATASTORE_ID, collections, conditions, sorts

NOW = datetime(2024, 3, 11, 12, tzinfo=UTC)
SIZES = (1, 2, 7, 50)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    """One file for all examples of a property: each makes its data store and erases it."""
    with closing(SQLiteStore(tmp_path_factory.mktemp("stores") / "store.db", create=True)) as opened:
        yield opened


def read_forward(store: Store, inquiry: Inquiry, size: int) -> list[tuple[Page, tuple[Study, ...]]]:
    """Every page from the first to the last, each cursor as a client brings it back."""
    pages = [search_studies(store, inquiry, PageRequest(size), NOW)]
    while pages[-1][0].has_next_page:
        cursor = pages[-1][0].end_cursor
        assert cursor is not None
        pages.append(search_studies(store, inquiry, PageRequest(size, after=read_cursor(cursor)), NOW))
        assert len(pages) < 200
    return pages


def read_backward(store: Store, inquiry: Inquiry, size: int) -> list[tuple[Page, tuple[Study, ...]]]:
    """Every page from the last to the first, in the order of the search."""
    pages = [search_studies(store, inquiry, PageRequest(None, size), NOW)]
    while pages[0][0].has_previous_page:
        cursor = pages[0][0].start_cursor
        assert cursor is not None
        pages.insert(0, search_studies(store, inquiry, PageRequest(None, size, before=read_cursor(cursor)), NOW))
        assert len(pages) < 200
    return pages


def firsts_of(pages: list[tuple[Page, tuple[Study, ...]]]) -> list[ImageSet]:
    return [image_set for page, _ in pages for image_set in page.image_sets]


def studies_of(pages: list[tuple[Page, tuple[Study, ...]]]) -> list[Study]:
    return [study for _, studies in pages for study in studies]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stored=collections, where=conditions, sort=sorts, size=st.sampled_from(SIZES))
def test_pages_of_studies_are_the_same_both_ways(
    embedded: SQLiteStore, stored: list[ImageSet], where: Condition, sort: tuple[SortKey, ...], size: int
) -> None:
    embedded.load(DATASTORE_ID, stored)
    inquiry = Inquiry(DATASTORE_ID, filter=where, order_by=sort)
    wanted = expected_studies(stored, where, sort or (SortKey("updatedAt", descending=True),))
    whole = whole_studies(stored)
    try:
        for pages in (read_forward(embedded, inquiry, size), read_backward(embedded, inquiry, size)):
            assert firsts_of(pages) == wanted
            assert studies_of(pages) == [whole[study.instance_uid] for study in studies_of(pages)]
            assert [study.instance_uid for study in studies_of(pages)] == [
                image_set.value("DICOMStudyInstanceUID") for image_set in wanted
            ]
            assert [len(page.image_sets) for page, _ in pages if len(page.image_sets) != size][1:] == []
        assert count(embedded, inquiry, now=NOW, studies=True) == TotalCount(len(wanted), exact=True)
        found = {image_set.image_set_id for image_set in expected(stored, where, ())}
        for study in studies_of(read_forward(embedded, inquiry, size)):
            own = search(embedded, inquiry.of_study(study.instance_uid), PageRequest(50), NOW)
            assert {row.image_set_id for row in own.image_sets} == {
                row.image_set_id
                for row in stored
                if row.value("DICOMStudyInstanceUID") == study.instance_uid and row.image_set_id in found
            }
    finally:
        embedded.remove_datastore(DATASTORE_ID)


def check_scanned(store: LimitedStore, where: Condition, sort: tuple[SortKey, ...], size: int) -> None:
    """The whole of a search's studies, in order but for ties, which are in the store's order."""
    inquiry = Inquiry(DATASTORE_ID, filter=where, order_by=sort)
    pages = read_forward(store, inquiry, size)
    wanted = expected_studies(store.rows, where, sort)
    found = firsts_of(pages)
    key = sort[0].field
    assert [row.value(key) for row in found] == [row.value(key) for row in wanted]
    assert len({row.image_set_id for row in found}) == len(found)
    assert {row.image_set_id for row in found} == {row.image_set_id for row in wanted}
    whole = whole_studies(store.rows)
    assert studies_of(pages) == [whole[str(row.value("DICOMStudyInstanceUID"))] for row in found]
    assert [page.known for page, _ in pages if not page.has_next_page] == [len(wanted)]
    for page, _ in pages:
        most = store.capabilities.scan_requests
        assert most is None or page.requests <= most
        assert page.complete or page.has_next_page
        assert not page.complete or not page.has_next_page or len(page.image_sets) == size


@settings(max_examples=200, deadline=None)
@given(
    collections,
    conditions,
    st.sampled_from(SORTS),
    st.sampled_from(SIZES),
    st.sampled_from((1, 3, 50)),
    st.sampled_from((None, 80)),
)
def test_a_store_that_is_scanned_finds_the_same_studies(
    rows: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    size: int,
    service_page: int,
    budget: int | None,
) -> None:
    check_scanned(
        LimitedStore(rows, replace(CAPABILITIES, max_page=service_page, scan_requests=budget)), where, sort, size
    )


@settings(max_examples=200, deadline=None)
@given(collections, conditions, st.sampled_from(SORTS), st.sampled_from(SIZES), st.integers(1, 9), st.data())
def test_any_budget_and_refused_tokens_answer_exactly_or_say_so(
    rows: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    size: int,
    budget: int,
    data: st.DataObject,
) -> None:
    refused = data.draw(st.sets(st.integers(0, 25)))
    store = LimitedStore(
        rows,
        replace(CAPABILITIES, max_page=data.draw(st.integers(1, 50)), scan_requests=budget),
        refuses=lambda token: int(token.rsplit(" ", 1)[1]) in refused,
    )
    try:
        check_scanned(store, where, sort, size)
    except (InvalidCursor, ScanBudget):
        return


def image_set(number: int, study: str | None, *, minutes: int = 0, **tags: object) -> ImageSet:
    """One of a study that was updated so many minutes before `NOW`."""
    moment = NOW - timedelta(minutes=minutes)
    known = {} if study is None else {"DICOMStudyInstanceUID": study}
    return ImageSet(DATASTORE_ID, f"{number:032}", 1, moment, moment, None, None, None, known | tags)


def numbers(page: Page) -> list[int]:
    return [int(row.image_set_id) for row in page.image_sets]


#: A hundred studies of two image sets, the second of each after the first of all.
PAIRS = [image_set(number, f"1.{number % 100}", minutes=number) for number in range(200)]


def test_a_study_costs_one_request_and_a_page_ends_with_its_budget() -> None:
    store = limited(PAIRS, scan_requests=40)
    pages = [page for page, _ in read_forward(store, Inquiry(DATASTORE_ID), 50)]
    assert [(len(page.image_sets), page.requests, page.complete, page.known) for page in pages] == [
        (39, 40, False, 39),
        (38, 40, False, 77),
        (23, 40, False, 100),
        (0, 40, False, 100),
        (0, 40, False, 100),
        (0, 9, True, 100),
    ]
    assert [number for page in pages for number in numbers(page)] == list(range(100))
    store.requests.clear()
    page, studies = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(5), NOW)
    assert (numbers(page), page.requests, page.scanned, len(store.requests)) == ([0, 1, 2, 3, 4], 6, 60, 6)
    assert [(study.instance_uid, study.image_set_count) for study in studies] == [(f"1.{n}", 2) for n in range(5)]
    assert count(store, Inquiry(DATASTORE_ID), page=page, studies=True) == TotalCount(5, exact=False)


def test_studies_are_read_several_at_once() -> None:
    """The barrier lets nobody through before four requests wait at it."""
    together = threading.Barrier(4, timeout=10)
    store = limited(PAIRS)
    store.before = lambda request: None if request.where == Everything() else together.wait()
    assert numbers(search_studies(store, Inquiry(DATASTORE_ID), PageRequest(4), NOW)[0]) == [0, 1, 2, 3]


def test_a_study_is_asked_for_once_however_many_of_its_image_sets_come() -> None:
    rows = [image_set(number, f"1.{number // 40}", minutes=number) for number in range(120)]
    store = limited(rows)
    page, _ = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(50), NOW)
    assert (numbers(page), page.requests, page.has_next_page) == ([0, 40, 80], 3 + 3, False)


def test_image_sets_without_a_study_are_in_none() -> None:
    rows = [image_set(1, None), image_set(2, ""), image_set(3, "1.2", minutes=1)]
    store = limited(rows)
    page, studies = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(5), NOW)
    assert (numbers(page), studies, page.has_next_page) == ([3], (make_study(rows[2:]),), False)


def test_what_is_said_of_a_study_does_not_depend_on_the_search(embedded: SQLiteStore) -> None:
    rows = [
        image_set(1, "1.2", minutes=1, DICOMSeriesModality="MR", DICOMPatientId="A"),
        image_set(2, "1.2", minutes=2, DICOMSeriesModality="ct", DICOMPatientId="B"),
        replace(image_set(3, "1.2", minutes=3, DICOMSeriesModality="CT", DICOMPatientId="C"), is_primary=True),
        image_set(4, "1.2", minutes=4),
    ]
    embedded.load(DATASTORE_ID, rows)
    stores: tuple[Store, ...] = (embedded, limited(rows))
    for store in stores:
        for query, first in (("modality = CT", 2), ("sort updated", 4), ("patient = A or patient is null", 1)):
            page, studies = search_studies(store, Inquiry(DATASTORE_ID, query), PageRequest(5), NOW)
            assert numbers(page) == [first]
            assert studies == (Study("1.2", rows[2], ("CT", "MR"), 4),)
    embedded.remove_datastore(DATASTORE_ID)


def test_a_study_of_several_hundred_image_sets() -> None:
    """Only as much of it is read as its place needs where the budget has no more; then it is read beside the page."""
    rows = [image_set(number, "1.2", minutes=number) for number in range(300)]
    rows.append(image_set(300, "1.3", minutes=300))
    store = limited(rows, scan_requests=9)
    page, studies = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(1), NOW)
    assert (numbers(page), page.requests) == ([0], 7)
    assert studies[0].image_set_count == 300
    store = limited(rows, scan_requests=6)
    page, studies = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(1), NOW)
    assert (numbers(page), page.requests, page.studies) == ([0], 6, ())
    assert studies[0].image_set_count == 300
    store = limited(rows, scan_requests=5)
    with pytest.raises(ScanBudget) as refused:
        search_studies(store, Inquiry(DATASTORE_ID), PageRequest(1), NOW)
    assert str(refused.value) == (
        "a study has more image sets than may be read for one page: IMAGESETS_SCAN_REQUESTS and"
        " IMAGESETS_SCAN_SECONDS set how many"
    )


def test_a_study_whose_place_the_budget_cannot_tell_is_an_error() -> None:
    """All its image sets share one time: the greatest id may be anywhere among them."""
    rows = [image_set(number, "1.2") for number in range(120)]
    for budget, finds in ((4, True), (3, False), (1, False)):
        store = limited(rows, scan_requests=budget)
        if finds:
            assert firsts_of(read_forward(store, Inquiry(DATASTORE_ID), 1)) == [rows[119]]
            continue
        with pytest.raises(ScanBudget) as refused:
            search_studies(store, Inquiry(DATASTORE_ID), PageRequest(1), NOW)
        assert str(refused.value) == (
            "finding the next study takes more requests than one page may make: IMAGESETS_SCAN_REQUESTS and"
            " IMAGESETS_SCAN_SECONDS set how many; a narrower search needs fewer"
        )


def test_a_uid_that_the_service_cannot_filter_by_is_scanned_for() -> None:
    store = limited(
        [image_set(1, "1.é", minutes=1), image_set(2, "1.e\u0301", minutes=2), image_set(3, "1." + "9" * 300)]
    )
    page, studies = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(5), NOW)
    assert numbers(page) == [3, 1]
    assert [study.image_set_count for study in studies] == [1, 2]


def test_seconds_are_part_of_the_budget() -> None:
    store = limited(PAIRS, scan_seconds=0.1)
    store.before = lambda _: time.sleep(0.06)
    page, _ = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(50), NOW)
    assert (numbers(page), page.complete, page.has_next_page) == (list(range(8)), False, True)
    store.before = lambda _: time.sleep(0.2)
    page, _ = search_studies(store, Inquiry(DATASTORE_ID), PageRequest(50), NOW)
    assert (numbers(page), page.complete) == (list(range(8)), False)


def test_rows_that_the_budget_cannot_reach_end_the_page() -> None:
    store = limited(PAIRS, max_page=10, scan_requests=6)
    inquiry = Inquiry(DATASTORE_ID, f"imageSetId = {150:032}")
    pages = [page for page, _ in read_forward(store, inquiry, 5)]
    assert [numbers(page) for page in pages if page.image_sets] == [[150]]
    assert len(pages) > 2
    assert all(page.requests <= 6 for page in pages)


def test_more_branches_than_half_the_budget_are_one_scan() -> None:
    store = limited(PAIRS, scan_requests=12)
    listed = ", ".join(f"P{number}" for number in range(7))
    search_studies(store, Inquiry(DATASTORE_ID, f"patient in ({listed})"), PageRequest(5), NOW)
    assert store.requests[0].where == Everything()


def test_a_store_that_is_scanned_reads_forward_only() -> None:
    with pytest.raises(UnsupportedSearch):
        search_studies(limited(PAIRS), Inquiry(DATASTORE_ID), PageRequest(None, 5), NOW)


def test_cursors_of_studies_and_of_image_sets_are_not_exchanged(embedded: SQLiteStore) -> None:
    embedded.load(DATASTORE_ID, PAIRS)
    inquiry = Inquiry(DATASTORE_ID)
    stores: tuple[Store, ...] = (embedded, limited(PAIRS))
    for store in stores:
        of_image_sets = search(store, inquiry, PageRequest(1), NOW).end_cursor
        of_studies = search_studies(store, inquiry, PageRequest(1), NOW)[0].end_cursor
        assert of_image_sets
        assert of_studies
        assert search(store, inquiry, PageRequest(1, after=read_cursor(of_image_sets)), NOW).image_sets
        assert search_studies(store, inquiry, PageRequest(1, after=read_cursor(of_studies)), NOW)[1]
        with pytest.raises(InvalidCursor, match="the cursor belongs to another search"):
            search(store, inquiry, PageRequest(1, after=read_cursor(of_studies)), NOW)
        with pytest.raises(InvalidCursor, match="the cursor belongs to another search"):
            search_studies(store, inquiry, PageRequest(1, after=read_cursor(of_image_sets)), NOW)
        own = search(store, inquiry.of_study("1.5"), PageRequest(1), NOW).end_cursor
        assert own
        with pytest.raises(InvalidCursor, match="the cursor belongs to another search"):
            search(store, inquiry.of_study("1.6"), PageRequest(1, after=read_cursor(own)), NOW)
    embedded.remove_datastore(DATASTORE_ID)


def test_a_study_that_is_erased_meanwhile_is_what_the_page_has_of_it(
    embedded: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.load(DATASTORE_ID, PAIRS)
    monkeypatch.setattr(embedded, "studies", lambda *_: {})
    _, studies = search_studies(embedded, Inquiry(DATASTORE_ID), PageRequest(1), NOW)
    assert studies == (make_study(PAIRS[:1]),)
    embedded.remove_datastore(DATASTORE_ID)
