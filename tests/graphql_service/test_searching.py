from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from grammar.criteria import Comparison, Operator, SortKey
from grammar.parser import read
from grammar.problems import QueryError, to_json
from graphql_service import searching
from graphql_service.errors import DataStoreNotFound, InvalidArgument, InvalidCursor
from graphql_service.image_set import ImageSet
from graphql_service.paging import PageRequest, read_cursor
from graphql_service.searching import Inquiry, TotalCount, choose_datastore, count, search
from graphql_service.stores.sqlite import SQLiteStore

DATASTORE = "d" * 32
NOW = datetime(2024, 3, 11, 12, tzinfo=UTC)


def image_set(number: int) -> ImageSet:
    """Ten image sets a day, all of a day at the same time; every third is CT, the others have no modality."""
    return ImageSet(
        datastore_id=DATASTORE,
        image_set_id=f"{number:032}",
        version=1,
        created_at=NOW,
        updated_at=NOW - timedelta(days=number // 10),
        last_accessed_at=None,
        storage_tier=None,
        is_primary=None,
        tags={"DICOMPatientId": f"P{number}"} | ({} if number % 3 else {"DICOMSeriesModality": "CT"}),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    path: Path = tmp_path_factory.mktemp("store") / "store.db"
    store = SQLiteStore(path, create=True)
    store.load(DATASTORE, map(image_set, range(35)))
    yield store
    store.close()


def numbers(image_sets: tuple[ImageSet, ...]) -> list[int]:
    return [int(found.image_set_id) for found in image_sets]


def newest_first() -> list[int]:
    """Ties go by imageSetId, downwards as the sort."""
    return [number for day in range(4) for number in reversed(range(day * 10, min(day * 10 + 10, 35)))]


@pytest.mark.parametrize("size", [1, 3, 10, 35, 50])
def test_pages_forward_make_the_whole(store: SQLiteStore, size: int) -> None:
    found: list[int] = []
    request = PageRequest(first=size)
    while True:
        page = search(store, Inquiry(DATASTORE), request, NOW)
        found += numbers(page.image_sets)
        assert page.has_previous_page == (request.after is not None)
        if not page.has_next_page:
            break
        assert page.end_cursor
        request = PageRequest(first=size, after=read_cursor(page.end_cursor))
    assert found == newest_first()


@pytest.mark.parametrize("size", [1, 4, 35])
def test_pages_backward_make_the_whole(store: SQLiteStore, size: int) -> None:
    found: list[int] = []
    request = PageRequest(None, last=size)
    while True:
        page = search(store, Inquiry(DATASTORE), request, NOW)
        found = numbers(page.image_sets) + found
        assert page.has_next_page == (request.before is not None)
        if not page.has_previous_page:
            break
        assert page.start_cursor
        request = PageRequest(None, last=size, before=read_cursor(page.start_cursor))
    assert found == newest_first()


def test_both_cursors_hold(store: SQLiteStore) -> None:
    page = search(store, Inquiry(DATASTORE), PageRequest(35), NOW)
    after, before = read_cursor(page.cursors[2]), read_cursor(page.cursors[6])
    first = search(store, Inquiry(DATASTORE), PageRequest(2, None, after, before), NOW)
    last = search(store, Inquiry(DATASTORE), PageRequest(None, 3, after, before), NOW)
    assert (numbers(first.image_sets), first.has_next_page, first.has_previous_page) == ([6, 5], True, True)
    assert (numbers(last.image_sets), last.has_next_page, last.has_previous_page) == ([6, 5, 4], True, False)


def test_an_empty_page_says_whether_there_is_more(store: SQLiteStore) -> None:
    page = search(store, Inquiry(DATASTORE), PageRequest(0), NOW)
    none = search(store, Inquiry(DATASTORE, "patient = nobody"), PageRequest(0), NOW)
    assert (page.image_sets, page.cursors, page.end_cursor, page.has_next_page) == ((), (), None, True)
    assert (none.image_sets, none.has_next_page) == ((), False)


def test_text_and_filter_must_both_hold(store: SQLiteStore) -> None:
    modality = read("modality = CT").search.where
    page = search(store, Inquiry(DATASTORE, "updated = today", filter=modality), PageRequest(50), NOW)
    assert numbers(page.image_sets) == [9, 6, 3, 0]
    assert (page.requests, page.scanned, page.complete, page.notices) == (1, 4, True, ())


def test_an_order_comes_from_the_text_or_from_order_by(store: SQLiteStore) -> None:
    by_text = search(store, Inquiry(DATASTORE, "updated = today sort imageSetId"), PageRequest(3), NOW)
    by_argument = search(
        store, Inquiry(DATASTORE, "updated = today", order_by=(SortKey("imageSetId"),)), PageRequest(3), NOW
    )
    assert numbers(by_text.image_sets) == [0, 1, 2]
    # It is one search, whatever the door: cursors and all.
    assert by_argument == by_text


@pytest.mark.parametrize(
    ("inquiry", "message"),
    [
        (
            Inquiry(DATASTORE, "sort updated", order_by=(SortKey("createdAt"),)),
            "'orderBy' and a 'sort' in the query cannot be given together: keep one of them",
        ),
        (
            Inquiry(DATASTORE, order_by=(SortKey("createdAt"), SortKey("createdAt", descending=True))),
            "'orderBy' names createdAt more than once",
        ),
        (
            Inquiry(DATASTORE, time_zone="Mars/Base"),
            "'timeZone' must be an IANA name such as Europe/Lisbon; there is no 'Mars/Base'",
        ),
    ],
)
def test_arguments_that_fit_no_other_are_refused(store: SQLiteStore, inquiry: Inquiry, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        search(store, inquiry, PageRequest(1), NOW)
    assert str(refused.value) == message


def test_a_bad_query_is_refused_with_its_problems(store: SQLiteStore) -> None:
    with pytest.raises(QueryError) as refused:
        search(store, Inquiry(DATASTORE, "pateint = X"), PageRequest(1), NOW)
    assert [problem.code for problem in refused.value.problems] == ["unknown_field"]


def test_a_date_that_cannot_be_is_shown_in_its_line(store: SQLiteStore) -> None:
    query = "patient = P1 and\n updated < today+9000y"
    with pytest.raises(QueryError) as refused:
        search(store, Inquiry(DATASTORE, query), PageRequest(1), NOW)
    (problem,) = refused.value.problems
    found = to_json(refused.value.query, problem)
    assert [found[key] for key in ("code", "start", "line", "column")] == ["bad_date", 28, 2, 12]


def test_a_cursor_keeps_the_day_of_its_search(store: SQLiteStore) -> None:
    first = search(store, Inquiry(DATASTORE, "updated = today"), PageRequest(6), NOW)
    after = read_cursor(first.cursors[-1])
    tomorrow = search(
        store, Inquiry(DATASTORE, "updated = today"), PageRequest(6, after=after), NOW + timedelta(days=1)
    )
    assert (numbers(first.image_sets), numbers(tomorrow.image_sets)) == ([9, 8, 7, 6, 5, 4], [3, 2, 1, 0])
    assert (first.dated, tomorrow.dated) == (NOW, NOW)


def test_cursors_of_different_days_go_together_only_where_the_day_does_not_count(store: SQLiteStore) -> None:
    def between(query: str) -> PageRequest:
        one = search(store, Inquiry(DATASTORE, query), PageRequest(9), NOW)
        other = search(store, Inquiry(DATASTORE, query), PageRequest(9), NOW - timedelta(days=1))
        return PageRequest(9, None, read_cursor(one.cursors[0]), read_cursor(other.cursors[8]))

    page = search(store, Inquiry(DATASTORE), between(""), NOW)
    assert numbers(page.image_sets) == [8, 7, 6, 5, 4, 3, 2]
    with pytest.raises(InvalidCursor) as refused:
        search(store, Inquiry(DATASTORE, "updated = today"), between("updated = today"), NOW)
    assert str(refused.value) == "'after' and 'before' come from searches of different days: use cursors of one search"


INQUIRY = Inquiry(DATASTORE, "updated > $from", {"from": "2020"})


@pytest.mark.parametrize(
    "other",
    [
        replace(INQUIRY, query="updated >= $from"),
        replace(INQUIRY, variables={"from": "2021"}),
        replace(INQUIRY, filter=read("modality = CT").search.where),
        replace(INQUIRY, order_by=(SortKey("createdAt", descending=True),)),
        replace(INQUIRY, time_zone="Europe/Lisbon"),
        replace(INQUIRY, datastore_id="e" * 32),
    ],
)
def test_a_cursor_of_another_search_is_refused(store: SQLiteStore, other: Inquiry) -> None:
    after = read_cursor(search(store, INQUIRY, PageRequest(1), NOW).cursors[0])
    assert search(store, INQUIRY, PageRequest(20, after=after), NOW).image_sets
    with pytest.raises(InvalidCursor) as refused:
        search(store, other, PageRequest(1, after=after), NOW)
    assert str(refused.value) == (
        "the cursor belongs to another search: query, variables, filter, order, time zone and data store"
        " must be those of the page that gave it"
    )


@pytest.mark.parametrize("value", ["text", 1, True, datetime(2024, 3, 11)])
def test_a_cursor_with_values_that_no_row_has_is_refused(store: SQLiteStore, value: object) -> None:
    after = read_cursor(search(store, INQUIRY, PageRequest(1), NOW).cursors[0])
    forged = replace(after, place=replace(after.place, values=(value,)))
    with pytest.raises(InvalidCursor, match="malformed"):
        search(store, INQUIRY, PageRequest(1, after=forged), NOW)
    with pytest.raises(InvalidCursor, match="malformed"):
        search(store, INQUIRY, PageRequest(1, after=replace(after, place=replace(after.place, values=()))), NOW)


def test_counting_stops_at_its_limit(store: SQLiteStore) -> None:
    assert count(store, Inquiry(DATASTORE, "modality = CT"), now=NOW) == TotalCount(12, exact=True)
    assert count(store, Inquiry(DATASTORE, "modality = CT"), 12, NOW) == TotalCount(12, exact=True)
    assert count(store, Inquiry(DATASTORE, "modality = CT"), 11, NOW) == TotalCount(11, exact=False)


def test_a_data_store_may_go_unnamed_where_it_is_the_only_one(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db", create=True)
    message = "'datastoreId' may be left out where there is exactly one data store; there "
    with pytest.raises(DataStoreNotFound) as refused:
        choose_datastore(store, None)
    assert str(refused.value) == message + "is none: load image sets"
    store.create_datastore(DATASTORE)
    assert choose_datastore(store, None) == choose_datastore(store, DATASTORE) == store.datastore(DATASTORE)
    store.create_datastore("e" * 32)
    with pytest.raises(DataStoreNotFound) as refused:
        choose_datastore(store, None)
    assert str(refused.value) == message + "are 2: name one of them"
    with pytest.raises(DataStoreNotFound) as refused:
        choose_datastore(store, "f" * 32)
    assert str(refused.value) == "there is no data store with this id: 'datastores' lists those there are"
    store.close()


def test_a_value_is_what_it_is_also_where_another_was_equal(store: SQLiteStore) -> None:
    asked = Inquiry(DATASTORE, "primary = $v", {"v": True})
    assert search(store, asked, PageRequest()).image_sets == ()
    with pytest.raises(QueryError) as caught:
        search(store, replace(asked, variables={"v": 1}), PageRequest())
    assert [problem.code for problem in caught.value.problems] == ["bad_boolean"]


def test_what_is_large_is_not_kept(store: SQLiteStore) -> None:
    def kept(inquiry: Inquiry) -> bool:
        before = searching._recall.cache_info().currsize
        search(store, inquiry, PageRequest())
        return searching._recall.cache_info().currsize > before

    searching._recall.cache_clear()
    long = "x" * 1_000
    assert kept(Inquiry(DATASTORE, f"patient = {long[:900]}"))
    assert not kept(Inquiry(DATASTORE, f"patient = {long}"))
    assert kept(Inquiry(DATASTORE, filter=Comparison("DICOMPatientId", Operator.IN, (long[:400], long[:500]))))
    assert not kept(Inquiry(DATASTORE, filter=Comparison("DICOMPatientId", Operator.IN, (long[:500], long[:501]))))
    assert not kept(Inquiry(DATASTORE, filter=Comparison("version", Operator.IN, tuple(range(1_001)))))
