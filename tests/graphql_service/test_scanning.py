import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grammar.criteria import Comparison, Condition, Everything, Not, Range, Search, SortKey, comparisons, conjunction
from grammar.parser import parse
from graphql_service.errors import InvalidCursor, ScanBudget, StoreError, UnsupportedSearch
from graphql_service.healthimaging.criteria import CAPABILITIES
from graphql_service.image_set import Datastore, ImageSet, ImageSetVersion, Study
from graphql_service.matching import predicate
from graphql_service.ordering import place, place_key
from graphql_service.paging import Cursor, PageRequest, read_cursor
from graphql_service.planning import Plan, make_plan
from graphql_service.scanning import Mark, Scan, scan
from graphql_service.searching import Inquiry, TotalCount, count, search
from graphql_service.stores.base import Answer, Capabilities, Place, Request
from graphql_service.studies import read_study
from tests.strategies import DATASTORE_ID, collections, conditions

NOW = datetime(2024, 3, 11, 12, tzinfo=UTC)
NEWEST = (SortKey("updatedAt", descending=True),)
SORTS = tuple((SortKey(name, descending),) for name in CAPABILITIES.sort_fields or () for descending in (True, False))
WIDER = timedelta(seconds=2)


def shuffled(image_set: ImageSet) -> bytes:
    """An order of its own for ties: neither by id nor against it."""
    return blake2b(image_set.image_set_id.encode()).digest()


@dataclass
class LimitedStore:
    """Takes what `CAPABILITIES` say, literally: filters and one sort; ranges come back too wide, ties in any order."""

    rows: Sequence[ImageSet]
    capabilities: Capabilities = CAPABILITIES
    tie_order: Callable[[ImageSet], bytes] = shuffled
    refuses: Callable[[str], bool] = lambda _: False
    before: Callable[[Request], object] = lambda _: None
    requests: list[Request] = field(default_factory=list)

    def fetch(self, request: Request) -> Answer:
        self.requests.append(request)
        self.before(request)
        assert (request.after, request.before, request.backward, request.studies) == (None, None, False, False)
        assert 1 <= request.limit <= (self.capabilities.max_page or 50)
        rows = self.sorted(self._read_filters(request.where), request.sort)
        start = 0
        if request.token is not None:
            if self.refuses(request.token):
                raise InvalidCursor("expired")
            asked, start = request.token.rsplit(" ", 1)[0], int(request.token.rsplit(" ", 1)[1])
            assert asked == self._token_of(request)
        page = rows[start : start + request.limit]
        more = len(rows) > start + len(page)
        return Answer(tuple(page), more, f"{self._token_of(request)} {start + len(page)}" if more else None)

    def sorted(self, rows: Iterable[ImageSet], sort: tuple[SortKey, ...]) -> list[ImageSet]:
        ordered = sorted(rows, key=self.tie_order)
        rank = place_key(sort)
        return sorted(ordered, key=lambda row: rank(replace(place(row, sort), image_set_id="")))

    def _read_filters(self, where: Condition) -> list[ImageSet]:
        parts = list(comparisons(where))
        assert where == conjunction(parts)
        assert len(parts) <= 2
        assert len({part.field for part in parts}) == len(parts)
        assert self.capabilities.operators is not None
        assert all(part.operator in self.capabilities.operators[part.field] for part in parts)
        wider = [predicate(self._widen(part)) for part in parts]
        return [row for row in self.rows if all(holds(row) for holds in wider)]

    @staticmethod
    def _widen(part: Comparison) -> Comparison:
        if not isinstance(part.operand, Range):
            return part
        start, end = part.operand.start, part.operand.end
        if start is not None and start.replace(tzinfo=None) > datetime.min + WIDER:
            start -= WIDER
        if end is not None and end.replace(tzinfo=None) < datetime.max - WIDER:
            end += WIDER
        return replace(part, operand=Range(start, end))

    @staticmethod
    def _token_of(request: Request) -> str:
        return blake2b(repr((request.where, request.sort)).encode(), digest_size=8).hexdigest()

    def datastores(self) -> tuple[Datastore, ...]:
        return (Datastore(DATASTORE_ID, "limited"),)

    def datastore(self, datastore_id: str) -> Datastore | None:
        return self.datastores()[0] if datastore_id == DATASTORE_ID else None

    def image_sets(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, ImageSet]:
        raise NotImplementedError

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        raise NotImplementedError

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        raise NotImplementedError

    def studies(self, datastore_id: str, study_uids: Sequence[str]) -> Mapping[str, Study]:
        found = {uid: read_study(self, datastore_id, uid) for uid in study_uids}
        return {uid: study for uid, study in found.items() if study is not None}

    def count(self, datastore_id: str, where: Condition, limit: int, *, studies: bool = False) -> int:
        raise NotImplementedError

    def histogram(
        self, datastore_id: str, where: Condition, field: str, step: timedelta
    ) -> Sequence[tuple[datetime, int]]:
        raise NotImplementedError

    def values(self, datastore_id: str, field: str) -> tuple[str, ...]:
        raise NotImplementedError

    def sharing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        raise NotImplementedError


def carried(mark: Mark | None) -> Mark | None:
    """The mark as a client brings it back."""
    if mark is None:
        return None
    cursor = read_cursor(Cursor(bytes(16), NOW, mark.place, mark.progress).encode())
    assert cursor.progress is not None
    return Mark(cursor.place, cursor.progress)


def read_all(store: LimitedStore, plan: Plan, size: int) -> list[Scan]:
    pages: list[Scan] = []
    after: Mark | None = None
    while True:
        page = scan(store, DATASTORE_ID, plan, size, after)
        pages.append(page)
        assert len(page.image_sets) == len(page.marks) <= size
        assert page.complete or not page.ended
        assert not page.complete or page.ended or len(page.image_sets) == size
        if page.ended:
            return pages
        after = carried(page.end)
        assert len(pages) < 200


def rows_of(pages: Iterable[Scan]) -> list[ImageSet]:
    return [image_set for page in pages for image_set in page.image_sets]


def wanted(store: LimitedStore, plan: Plan, where: Condition) -> list[ImageSet]:
    """The whole answer: ties are the store's where one branch runs, else they go by id."""
    met = filter(predicate(where), store.rows)
    if len(plan.branches) == 1:
        return store.sorted(met, plan.sort)
    rank = place_key(plan.sort)
    return sorted(met, key=lambda row: rank(place(row, plan.sort)))


@settings(max_examples=400, deadline=None)
@given(
    collections,
    conditions,
    st.sampled_from(SORTS),
    st.sampled_from((1, 7, 50)),
    st.sampled_from((1, 3, 50)),
    st.sampled_from((None, 40)),
)
def test_every_search_is_answered_whole_and_in_order(
    rows: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    size: int,
    service_page: int,
    budget: int | None,
) -> None:
    store = LimitedStore(rows, replace(CAPABILITIES, max_page=service_page, scan_requests=budget))
    plan = make_plan(Search(where, sort), store.capabilities)
    pages = read_all(store, plan, size)
    expected = wanted(store, plan, where)
    assert rows_of(pages) == expected
    assert [page.known for page in pages if page.ended] == [len(expected)]
    assert [len(page.image_sets) for page in pages][: len(expected) // size] == [size] * (len(expected) // size)


@settings(max_examples=400, deadline=None)
@given(collections, conditions, st.sampled_from(SORTS), st.sampled_from((1, 7, 50)), st.integers(1, 6), st.data())
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
        replace(CAPABILITIES, max_page=data.draw(st.integers(1, 5)), scan_requests=budget),
        refuses=lambda token: int(token.rsplit(" ", 1)[1]) in refused,
    )
    plan = make_plan(Search(where, sort), store.capabilities)
    if len(plan.branches) > budget:
        plan = replace(plan, branches=(replace(plan.branches[0], filters=()),))
    try:
        pages = read_all(store, plan, size)
    except (InvalidCursor, ScanBudget):
        return
    assert rows_of(pages) == wanted(store, plan, where)
    assert all(page.requests <= budget for page in pages)


def image_set(number: int, *, updated: float = 0, patient: str = "P", study: str | None = None) -> ImageSet:
    """One that was updated so many days after `NOW`."""
    tags = {"DICOMPatientId": patient, "DICOMStudyId": patient} | ({"DICOMStudyDate": study} if study else {})
    moment = NOW + timedelta(days=updated)
    return ImageSet(DATASTORE_ID, f"{number:032}", 1, moment, moment, None, None, None, tags)


def numbers(rows: Iterable[ImageSet]) -> list[int]:
    return [int(row.image_set_id) for row in rows]


def plan_of(query: str, capabilities: Capabilities = CAPABILITIES) -> Plan:
    return make_plan(parse(query, now=NOW).search, capabilities)


def limited(rows: Iterable[ImageSet], **limits: int | float) -> LimitedStore:
    return LimitedStore(list(rows), replace(CAPABILITIES, **limits))  # type: ignore[arg-type]


HUNDRED = [image_set(number, updated=-number) for number in range(100)]
ALL = plan_of("sort updated desc")
TWO = plan_of("(patient = A or patient = B) sort updated desc")


def test_a_page_of_one_branch_costs_its_calls_and_no_row_too_many() -> None:
    store = LimitedStore([image_set(number, updated=-number) for number in range(300)])
    page = scan(store, DATASTORE_ID, ALL, 120)
    assert (numbers(page.image_sets), page.requests, page.scanned) == (list(range(120)), 3, 120)
    assert [(request.limit, request.token is None) for request in store.requests] == [
        (50, True),
        (50, False),
        (20, False),
    ]
    assert (page.ended, page.complete, page.known) == (False, True, 120)


@pytest.mark.parametrize("size", [1, 7, 50])
@pytest.mark.parametrize("query", ["sort updated desc", "name != nobody sort updated desc"])
def test_going_on_in_one_branch_costs_one_call(size: int, query: str) -> None:
    store, plan = LimitedStore(HUNDRED), plan_of(query)
    first = scan(store, DATASTORE_ID, plan, 30)
    for passed, mark in enumerate(first.marks, 1):
        store.requests.clear()
        page = scan(store, DATASTORE_ID, plan, size, carried(mark))
        assert numbers(page.image_sets) == list(range(100))[passed : passed + size]
        if passed + size <= 50:
            assert len(store.requests) == 1


def test_several_branches_are_read_at_the_same_time() -> None:
    """The barrier lets nobody through before two requests wait at it."""
    together = threading.Barrier(2, timeout=10)
    rows = [image_set(number, updated=-number, patient="AB"[number % 2]) for number in range(20)]
    store = LimitedStore(rows, before=lambda _: together.wait())
    page = scan(store, DATASTORE_ID, TWO, 20)
    assert (numbers(page.image_sets), page.requests, page.ended, page.known) == (list(range(20)), 2, True, 20)


def test_a_row_of_several_branches_comes_once_and_ties_go_by_id() -> None:
    plan = plan_of("(patient = A or studyId = A) sort updated desc")
    store = LimitedStore([image_set(number, patient="A") for number in range(9)])
    assert numbers(rows_of(read_all(store, plan, 4))) == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert numbers(rows_of(read_all(store, replace(plan, sort=(SortKey("updatedAt"),)), 4))) == list(range(9))


@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_rows_without_a_sort_value_are_lowest(direction: str, size: int) -> None:
    dates = (None, "20240301", None, "20240302", "20240301", None)
    rows = [image_set(number, patient="AB"[number % 2], study=date) for number, date in enumerate(dates)]
    store = LimitedStore(rows)
    found = rows_of(read_all(store, plan_of(f"(patient = A or patient = B) sort studyDate {direction}"), size))
    assert numbers(found) == ([0, 2, 5, 1, 4, 3] if direction == "asc" else [3, 4, 1, 5, 2, 0])


def test_a_refused_token_is_gone_on_from_by_place() -> None:
    store = LimitedStore(HUNDRED, refuses=lambda _: True)
    pages = read_all(store, ALL, 30)
    assert numbers(rows_of(pages)) == list(range(100))
    # What is known counts what was read beyond the page.
    assert [page.known for page in pages] == [30, 79, 100, 100]


def test_ties_in_another_order_after_a_refused_token_are_refused() -> None:
    rows = [image_set(number, updated=1) for number in range(8)]
    store = LimitedStore(rows)
    first = scan(store, DATASTORE_ID, ALL, 3)
    store.refuses = lambda _: True
    after = carried(first.marks[-1])
    assert numbers(scan(store, DATASTORE_ID, ALL, 8, after).image_sets) == numbers(store.sorted(rows, NEWEST))[3:]
    store.tie_order = lambda row: shuffled(row)[::-1]
    with pytest.raises(InvalidCursor) as refused:
        scan(store, DATASTORE_ID, ALL, 8, after)
    assert str(refused.value) == "the place of this cursor can no longer be found: start again without a cursor"


def test_pages_go_on_while_image_sets_come_and_go() -> None:
    store = LimitedStore(HUNDRED)
    after = carried(scan(store, DATASTORE_ID, plan_of("name != nobody sort updated desc"), 10).end)
    newer = [image_set(1000 + number, updated=1 + number) for number in range(5)]
    for rows in (
        newer + HUNDRED,  # the row is in the same page, further on
        newer * 20 + HUNDRED,  # it is in another page
        HUNDRED[:9] + HUNDRED[10:],  # it is gone, and nothing else has its time
        HUNDRED[8:],
    ):
        store.rows = rows
        page = scan(store, DATASTORE_ID, plan_of("name != nobody sort updated desc"), 5, after)
        assert numbers(page.image_sets) == [10, 11, 12, 13, 14]


def test_the_last_filter_makes_room_for_the_cut() -> None:
    store = LimitedStore([image_set(number, updated=-number, patient="AB"[number % 2]) for number in range(200)])
    query = "(patient = A and studyId = A or patient = B and studyId = B) sort updated desc"
    after = scan(store, DATASTORE_ID, plan_of(query), 60).end
    store.requests.clear()
    page = scan(store, DATASTORE_ID, plan_of(query), 60, carried(after))
    assert numbers(page.image_sets) == list(range(60, 120))
    assert {tuple(part.field for part in comparisons(request.where)) for request in store.requests} == {
        ("DICOMStudyId", "updatedAt")
    }


def test_a_spent_budget_ends_the_page_with_a_cursor() -> None:
    store = limited(HUNDRED, max_page=10, scan_requests=3)
    plan = plan_of(
        "imageSetId in (00000000000000000000000000000005, 00000000000000000000000000000095) sort updated desc"
    )
    pages = read_all(store, plan, 2)
    assert [(numbers(page.image_sets), page.complete, page.requests, page.scanned, page.known) for page in pages] == [
        ([5], False, 3, 30, 1),
        ([], False, 3, 30, 1),
        ([], False, 3, 30, 1),
        ([95], True, 1, 10, 2),
    ]


def test_a_spent_budget_ends_a_merged_page_where_all_is_known() -> None:
    rows = [image_set(number, updated=-number, patient="A" if number < 90 else "B") for number in range(100)]
    store = limited(rows, max_page=10, scan_requests=4)
    pages = read_all(store, TWO, 500)
    assert numbers(rows_of(pages)) == list(range(100))
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert all(page.requests <= 4 for page in pages)


def test_seconds_are_part_of_the_budget() -> None:
    store = limited(HUNDRED, max_page=10, scan_seconds=0.05)
    store.before = lambda _: time.sleep(0.04)
    page = scan(store, DATASTORE_ID, ALL, 100)
    assert (numbers(page.image_sets), page.complete, page.ended, page.requests) == (list(range(20)), False, False, 2)
    # Of each branch one page is read, however long it takes.
    page = scan(store, DATASTORE_ID, TWO, 100)
    assert (page.image_sets, page.complete, page.ended, page.requests) == ((), True, True, 2)


@pytest.mark.parametrize("patients", ["patient = A", "(patient = A or patient = B)"])
def test_more_ties_than_the_budget_can_read_are_an_error(patients: str) -> None:
    store = limited([image_set(number, patient="A") for number in range(90)], max_page=10, scan_requests=4)
    store.refuses = lambda token: token.endswith(" 40")
    plan = plan_of(f"{patients} and name != nobody sort updated desc")
    with pytest.raises(ScanBudget) as refused:
        read_all(store, plan, 10)
    assert str(refused.value) == (
        "more image sets share one updatedAt, or nearly so, than one page may read: IMAGESETS_SCAN_REQUESTS and"
        " IMAGESETS_SCAN_SECONDS set how many; a narrower search needs fewer"
    )


def test_more_branches_than_the_budget_has_requests_are_one_scan() -> None:
    rows = [image_set(number, updated=-number, patient=f"P{number}") for number in range(100)]
    store = limited(rows, scan_requests=9)
    listed = ", ".join(f"P{number}" for number in range(0, 100, 10))
    pages = read_all(store, plan_of(f"patient in ({listed}) sort updated desc", store.capabilities), 4)
    assert numbers(rows_of(pages)) == list(range(0, 100, 10))
    assert {request.where for request in store.requests} == {conjunction(())}


@pytest.mark.parametrize("plan", [ALL, TWO])
def test_an_answer_out_of_order_is_an_error(plan: Plan) -> None:
    store = LimitedStore([image_set(number, updated=-number, patient="A") for number in range(9)])
    store.sorted = lambda rows, sort: sorted(rows, key=shuffled)  # type: ignore[method-assign]  # noqa: ARG005
    with pytest.raises(StoreError) as refused:
        scan(store, DATASTORE_ID, plan, 9)
    assert str(refused.value) == "the store's answer is not in the order that was asked for"


def test_the_same_token_again_is_an_error() -> None:
    store = LimitedStore(HUNDRED)
    fetch, again = store.fetch, "again"
    store.fetch = lambda request: replace(fetch(request._replace(token=None)), token=again)  # type: ignore[method-assign]
    with pytest.raises(StoreError) as refused:
        scan(store, DATASTORE_ID, ALL, 500)
    assert str(refused.value) == "the store answers the same page again and again"


def test_a_search_that_nothing_can_meet_asks_nothing() -> None:
    store = LimitedStore(HUNDRED)
    page = scan(store, DATASTORE_ID, make_plan(Search(Not(Everything()), NEWEST), CAPABILITIES), 9)
    nothing = Scan((), (), None, ended=True, complete=True, known=0, requests=0, scanned=0)
    assert (page, store.requests) == (nothing, [])


def test_a_mark_of_one_branch_does_not_go_on_in_several() -> None:
    store = LimitedStore(HUNDRED)
    after = scan(store, DATASTORE_ID, ALL, 1).end
    with pytest.raises(InvalidCursor):
        scan(store, DATASTORE_ID, TWO, 1, after)


def test_searches_and_counts_come_through_the_same_door() -> None:
    store = LimitedStore(HUNDRED)
    inquiry = Inquiry(DATASTORE_ID, "name != nobody")
    none = search(store, inquiry, PageRequest(0), NOW)
    assert (none.image_sets, none.end_cursor, none.has_next_page, none.complete) == ((), None, True, True)
    one = search(store, inquiry, PageRequest(45), NOW)
    assert (one.requests, one.scanned, one.has_next_page, one.has_previous_page) == (1, 50, True, False)
    assert one.end_cursor == one.cursors[-1]
    two = search(store, inquiry, PageRequest(55, after=read_cursor(one.cursors[-1])), NOW)
    assert (numbers(two.image_sets), two.has_next_page, two.has_previous_page) == (list(range(45, 100)), False, True)
    assert [count(store, inquiry, page=page) for page in (one, two)] == [
        TotalCount(50, exact=False),
        TotalCount(100, exact=True),
    ]
    assert count(store, inquiry, now=NOW) == TotalCount(50, exact=False)
    assert count(store, inquiry, 99, page=two) == TotalCount(99, exact=False)


def test_an_empty_page_has_a_cursor_that_goes_on() -> None:
    store = limited(HUNDRED, max_page=10, scan_requests=3)
    inquiry = Inquiry(DATASTORE_ID, "imageSetId = 00000000000000000000000000000095")
    page = search(store, inquiry, PageRequest(5), NOW)
    assert (page.image_sets, page.cursors, page.has_next_page, page.complete) == ((), (), True, False)
    assert page.end_cursor
    assert len(page.end_cursor) < 300
    found: list[int] = []
    while page.has_next_page:
        assert page.end_cursor
        page = search(store, inquiry, PageRequest(5, after=read_cursor(page.end_cursor)), NOW)
        found += numbers(page.image_sets)
    assert (found, count(store, inquiry, page=page)) == ([95], TotalCount(1, exact=True))


def test_a_store_that_is_scanned_reads_forward_only() -> None:
    store = LimitedStore(HUNDRED)
    cursor = read_cursor(search(store, Inquiry(DATASTORE_ID), PageRequest(1), NOW).cursors[0])
    for request in (PageRequest(None, 5), PageRequest(5, before=cursor)):
        with pytest.raises(UnsupportedSearch) as refused:
            search(store, Inquiry(DATASTORE_ID), request, NOW)
        assert str(refused.value) == (
            "This store reads forward only: use 'first' and 'after'; the last come first in the opposite order."
        )


def test_a_cursor_of_another_kind_of_store_is_refused() -> None:
    store = LimitedStore(HUNDRED)
    cursor = read_cursor(search(store, Inquiry(DATASTORE_ID), PageRequest(1), NOW).cursors[0])
    for forged in (replace(cursor, progress=None), replace(cursor, place=Place((), "x"))):
        with pytest.raises(InvalidCursor):
            search(store, Inquiry(DATASTORE_ID), PageRequest(1, after=forged), NOW)
