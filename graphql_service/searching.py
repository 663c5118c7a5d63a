"""One search, from what was asked to one page of rows: read, date, check the cursors, ask the store.

Every door (GraphQL, the command line) comes through `search`, `search_studies` and `count` (and
`histogram`, beside), so a query means the same behind each. All may block: the store does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from grammar.criteria import (
    Comparison,
    Condition,
    Everything,
    Operator,
    Search,
    SortKey,
    conjunction,
    measure,
)
from grammar.fields import BY_NAME, FieldType
from grammar.parser import read
from grammar.periods import date_search, find_zone, is_moving
from grammar.problems import Problem, QueryError
from graphql_service.auditing import Reading, Wording, word
from graphql_service.errors import DataStoreNotFound, InvalidArgument, InvalidCursor, UnsupportedSearch
from graphql_service.image_set import Datastore, Study, make_study
from graphql_service.metrics import SCAN_REQUESTS, SCANNED
from graphql_service.ordering import place
from graphql_service.paging import FINGERPRINT_SIZE, ColumnCursors, ColumnPage, Cursor, Page, PageRequest
from graphql_service.planning import make_plan
from graphql_service.scanning import Mark, scan
from graphql_service.stores.base import Columns, ColumnStore, Place, Request, Store
from graphql_service.studies import STUDY_UID, scan_studies, study_uid

#: Newest first, as SearchImageSets answers when it is asked for no order.
DEFAULT_SORT: Final = (SortKey("updatedAt", descending=True),)
COUNT_LIMIT: Final = 10_000
#: Where dates do not move, any instant will do.
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: What is larger is seldom asked again, and would fill the memory if it was kept.
_KEPT_SIZE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked of one data store: the query text and the filter must both hold.

    `filter` is in its written form; `time_zone` is an IANA name.
    """

    datastore_id: str
    query: str = ""
    variables: Mapping[str, object] = field(default_factory=dict, hash=False)  # a mapping has no hash
    filter: Condition = field(default_factory=Everything)
    order_by: tuple[SortKey, ...] = ()
    time_zone: str = "UTC"

    def of_study(self, study_uid: str) -> Inquiry:
        """The same, of one study's image sets alone."""
        return replace(self, filter=conjunction((Comparison(STUDY_UID, Operator.EQ, study_uid), self.filter)))


@dataclass(frozen=True, slots=True)
class TotalCount:
    """How many image sets or studies a search finds; where it is not exact, there are at least `value`."""

    value: int
    exact: bool


def read_of(
    operation: str, inquiry: Inquiry, page: Page | ColumnPage, image_set_ids: tuple[str, ...] | None = None
) -> Reading:
    """What the audit log holds of a page: its image sets, or those that were told instead of them."""
    ids = page.image_set_ids if image_set_ids is None else image_set_ids
    return Reading(operation, inquiry.datastore_id, ids, page.search, inquiry.time_zone, page.dated)


def choose_datastore(store: Store, datastore_id: str | None) -> Datastore:
    """The data store with this id, or the only one there is where none is named. Raises DataStoreNotFound."""
    if datastore_id is not None:
        datastore = store.datastore(datastore_id)
        if datastore is None:
            raise DataStoreNotFound("there is no data store with this id: 'datastores' lists those there are")
        return datastore
    datastores = store.datastores()
    if len(datastores) != 1:
        found = f"there are {len(datastores)}: name one of them" if datastores else "there is none: load image sets"
        raise DataStoreNotFound(f"'datastoreId' may be left out where there is exactly one data store; {found}")
    return datastores[0]


def read_zone(name: str) -> ZoneInfo:
    """The time zone with this IANA name. Raises InvalidArgument."""
    try:
        return find_zone(name)
    except ValueError as error:
        raise InvalidArgument(f"'timeZone' must be an IANA name such as Europe/Lisbon; there is no '{name}'") from error


def search(store: Store, inquiry: Inquiry, page_request: PageRequest, now: datetime | None = None) -> Page:
    """One page of a search, with relative dates counted from `now` or, going on, from where the cursor's search was.

    Raises QueryError, DataStoreNotFound, InvalidArgument, InvalidCursor and StoreError.
    """
    return _search(store, inquiry, page_request, now, studies=False)


def search_studies(
    store: Store, inquiry: Inquiry, page_request: PageRequest, now: datetime | None = None
) -> tuple[Page, tuple[Study, ...]]:
    """One page of the studies of which a search finds an image set, with relative dates as `search` has them.

    The page holds of each study the first such image set in the order of the search: there the study stands, once.
    Image sets without a Study Instance UID belong to no study. Raises as `search` does.
    """
    page = _search(store, inquiry, page_request, now, studies=True)
    uids = [study_uid(image_set) or "" for image_set in page.image_sets]
    known = {study.instance_uid: study for study in page.studies}
    known |= store.studies(inquiry.datastore_id, [uid for uid in uids if uid not in known])
    # One whose image sets were erased since the page was read is what the page has of it.
    found = zip(uids, page.image_sets, strict=True)
    return page, tuple(known.get(uid) or make_study([image_set]) for uid, image_set in found)


def _search(store: Store, inquiry: Inquiry, page_request: PageRequest, now: datetime | None, *, studies: bool) -> Page:
    begun = _begin(store, inquiry, page_request, now, studies=studies)
    if store.capabilities.tokens:
        return _scan(store, inquiry, page_request, begun, studies=studies)
    search, dated, fingerprint, instant, notices, _ = begun
    size = page_request.size
    answer = store.fetch(_make_request(inquiry.datastore_id, begun, page_request, studies=studies))
    image_sets = answer.image_sets if size else ()
    more = answer.more if size else bool(answer.image_sets)
    return Page(
        image_sets=image_sets,
        cursors=tuple(Cursor(fingerprint, instant, place(image_set, dated.sort)).encode() for image_set in image_sets),
        has_next_page=page_request.before is not None if page_request.backward else more,
        has_previous_page=more if page_request.backward else page_request.after is not None,
        requests=1,
        scanned=len(answer.image_sets),
        complete=True,
        notices=notices,
        dated=instant,
        search=search,
    )


def search_columns(
    store: ColumnStore, inquiry: Inquiry, page_request: PageRequest, fields: tuple[str, ...]
) -> ColumnPage:
    """The same page, of these fields (`TAGS`, `STUDY_TIME`) and those of its cursors alone. Raises as `search` does.

    The page request has no cursor at the end that is read towards.
    """
    begun = _begin(store, inquiry, page_request, None, studies=False)
    search, dated, fingerprint, instant, notices, _ = begun
    size, request = page_request.size, _make_request(inquiry.datastore_id, begun, page_request, studies=False)
    keys = [key.field for key in dated.sort]
    found = store.fetch_columns(request, _add_keys(fields, dated.sort))
    more = found.more if size else found.count > 0
    return ColumnPage(
        columns=found if size else Columns(dict.fromkeys(found.values, ()), 0, more=more),
        cursors=ColumnCursors(
            fingerprint, instant, [(BY_NAME[key].type, found.values[key]) for key in keys], found.values["imageSetId"]
        ),
        has_next_page=page_request.before is not None if page_request.backward else more,
        has_previous_page=more if page_request.backward else page_request.after is not None,
        scanned=found.count,
        notices=notices,
        dated=instant,
        search=search,
    )


@lru_cache(1_024)
def _add_keys(fields: tuple[str, ...], sort: tuple[SortKey, ...]) -> tuple[str, ...]:
    """The fields, and those of the cursors, each once."""
    return tuple(dict.fromkeys((*fields, *(key.field for key in sort), "imageSetId")))


class _Begun(NamedTuple):
    """A search before the store is asked: in words and dated, its fingerprint, when it was dated, and notices.

    `recurs`: whether the same one is likely to be asked for again.
    """

    search: Wording
    dated: Search
    fingerprint: bytes
    instant: datetime
    notices: tuple[Problem, ...]
    recurs: bool


class _Understood(NamedTuple):
    """What an inquiry asks, whatever the page. Without a dated search it holds relative dates, and moves with time."""

    written: Search
    search: Wording
    dated: Search | None
    fingerprint: bytes
    notices: tuple[Problem, ...]
    zone: ZoneInfo


def _begin(store: Store, inquiry: Inquiry, page_request: PageRequest, now: datetime | None, *, studies: bool) -> _Begun:
    kept = _may_be_kept(inquiry)
    written, search, dated, fingerprint, notices, zone = (_recall if kept else _understand)(inquiry, studies)
    recurs = kept and dated is not None
    cursors = [cursor for cursor in (page_request.after, page_request.before) if cursor is not None]
    for cursor in cursors:
        _check(cursor, fingerprint, written.sort, scanned=store.capabilities.tokens)
    instant = cursors[0].dated if cursors else now or datetime.now(UTC)
    if dated is None:
        dated = _date(inquiry, written, zone, instant)
        if len(cursors) == 2 and _date(inquiry, written, zone, cursors[1].dated) != dated:
            raise InvalidCursor("'after' and 'before' come from searches of different days: use cursors of one search")
    return _Begun(search, dated, fingerprint, instant, notices, recurs)


def _understand(inquiry: Inquiry, studies: bool) -> _Understood:  # noqa: FBT001 - a cache is slow with names
    zone = read_zone(inquiry.time_zone)
    written, notices = _read(inquiry)
    search = word(written)
    dated = None if is_moving(written.where) else _date(inquiry, written, zone, _EPOCH)
    fingerprint = _fingerprint(inquiry.datastore_id, zone, search.canonical, studies=studies)
    return _Understood(written, search, dated, fingerprint, notices, zone)


_recall: Final = lru_cache(1_024)(_understand)


def _may_be_kept(inquiry: Inquiry) -> bool:
    """Whether it is small; and without variables, of which a cache would take 1 for true.

    A filter's values have the types of their fields.
    """
    if inquiry.variables:
        return False
    return len(inquiry.query) + measure(inquiry.filter) <= _KEPT_SIZE


def _make_request(datastore_id: str, begun: _Begun, page_request: PageRequest, *, studies: bool) -> Request:
    return Request(
        datastore_id,
        begun.dated.where,
        begun.dated.sort,
        # An empty page still says whether there is more.
        limit=max(page_request.size, 1),
        after=None if page_request.after is None else page_request.after.place,
        before=None if page_request.before is None else page_request.before.place,
        backward=page_request.backward,
        studies=studies,
        recurs=begun.recurs,
    )


def count(
    store: Store,
    inquiry: Inquiry,
    limit: int = COUNT_LIMIT,
    now: datetime | None = None,
    page: Page | None = None,
    *,
    studies: bool = False,
) -> TotalCount:
    """How many image sets or studies a search finds, counted no further than `limit`. Raises as `search` does.

    A store that does not count is read as far as `page`, one of the search's, or where none is given its first of 50.
    """
    if not store.capabilities.counts:
        page = page or _search(store, inquiry, PageRequest(), now, studies=studies)
        known = page.known or 0
        return TotalCount(min(known, limit), exact=known <= limit and not page.has_next_page)
    dated = date_inquiry(inquiry, now or datetime.now(UTC))
    found = store.count(inquiry.datastore_id, dated.where, limit + 1, studies=studies)
    return TotalCount(min(found, limit), exact=found <= limit)


def read_inquiry(inquiry: Inquiry) -> Search:
    """The whole search as written, text and filter together. Raises QueryError and InvalidArgument."""
    written, _ = _read(inquiry)
    return written


def date_inquiry(inquiry: Inquiry, now: datetime) -> Search:
    """The same, dated at an instant."""
    return _date(inquiry, read_inquiry(inquiry), read_zone(inquiry.time_zone), now)


def _scan(store: Store, inquiry: Inquiry, page_request: PageRequest, begun: _Begun, *, studies: bool) -> Page:
    """The page from a store whose pages go on by token: forward only."""
    if page_request.backward or page_request.before is not None:
        raise UnsupportedSearch(
            "This store reads forward only: use 'first' and 'after'; the last come first in the opposite order."
        )
    size, after = page_request.size, page_request.after
    mark = None
    if after is not None:
        assert after.progress is not None  # else refused with the cursor
        mark = Mark(after.place, after.progress)
    search, dated, fingerprint, instant, notices, _ = begun
    plan = make_plan(dated, store.capabilities)
    read: tuple[Study, ...] = ()
    # An empty page still says whether there is more.
    if studies:
        found, read = scan_studies(store, inquiry.datastore_id, plan, max(size, 1), mark)
    else:
        found = scan(store, inquiry.datastore_id, plan, max(size, 1), mark)
    SCANNED.observe(found.scanned)
    SCAN_REQUESTS.observe(found.requests)
    cursors = [Cursor(fingerprint, instant, mark.place, mark.progress).encode() for mark in found.marks[:size]]
    resume = None
    if found.end is not None and not found.complete:
        resume = Cursor(fingerprint, instant, found.end.place, found.end.progress).encode()
    return Page(
        image_sets=found.image_sets[:size],
        cursors=tuple(cursors),
        has_next_page=not found.ended or len(found.image_sets) > size,
        has_previous_page=after is not None,
        requests=found.requests,
        scanned=found.scanned,
        complete=found.complete,
        notices=notices,
        dated=instant,
        search=search,
        resume=resume,
        known=found.known,
        studies=read,
    )


def _read(inquiry: Inquiry) -> tuple[Search, tuple[Problem, ...]]:
    """The whole search as written, text and filter together, with its order."""
    written = read(inquiry.query, inquiry.variables)
    sort = written.search.sort
    if sort and inquiry.order_by:
        raise InvalidArgument("'orderBy' and a 'sort' in the query cannot be given together: keep one of them")
    names = [key.field for key in inquiry.order_by]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise InvalidArgument(f"'orderBy' names {repeated} more than once")
    where = conjunction((written.search.where, inquiry.filter))
    return Search(where, sort or inquiry.order_by or DEFAULT_SORT), written.notices


def _date(inquiry: Inquiry, written: Search, zone: ZoneInfo, instant: datetime) -> Search:
    try:
        return date_search(written, zone, instant)
    except QueryError as error:
        # Dating knows no text; places in it are told by lines only where the text is at hand.
        raise QueryError(inquiry.query, error.problems) from None


def _fingerprint(datastore_id: str, zone: ZoneInfo, canonical: str, *, studies: bool) -> bytes:
    named = "\0".join((datastore_id, zone.key, canonical, *(("studies",) if studies else ())))
    return blake2b(named.encode(), digest_size=FINGERPRINT_SIZE).digest()


def _check(cursor: Cursor, fingerprint: bytes, sort: tuple[SortKey, ...], *, scanned: bool) -> None:
    """Refuse a cursor of another search or store, and one whose values no row of this search can have."""
    if cursor.fingerprint != fingerprint:
        raise InvalidCursor(
            "the cursor belongs to another search: query, variables, filter, order, time zone and data store"
            " must be those of the page that gave it"
        )
    if scanned != (cursor.progress is not None):
        raise InvalidCursor("the cursor belongs to another store: use one that a page of this search has given")
    values = cursor.place.values
    if scanned and cursor.place == Place((), ""):
        return  # before all rows
    if len(values) != len(sort) or not all(_fits(key.field, value) for key, value in zip(sort, values, strict=True)):
        raise InvalidCursor("the cursor is malformed: use one that a page of this search has given")


def _fits(name: str, value: object) -> bool:
    """Whether a stored value of the field can be this one."""
    if value is None:
        return True
    match BY_NAME[name].type:
        case FieldType.BOOLEAN:
            return isinstance(value, bool)
        case FieldType.INTEGER:
            return isinstance(value, int) and not isinstance(value, bool)
        case FieldType.INSTANT:
            return isinstance(value, datetime) and value.tzinfo is not None
        case FieldType.WALL_CLOCK | FieldType.DATE:
            return isinstance(value, datetime) and value.tzinfo is None
        case _:
            return isinstance(value, str)
