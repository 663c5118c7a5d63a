"""The studies that a search finds in a store whose pages go on by token: scanned as its image sets are.

A study stands where the first in order of its image sets that meet the search stands, ties by imageSetId. The scan
reads these image sets in order; whether one is the first of its study, the study's own image sets tell, which are
asked for by Study Instance UID: a request for each study, in most cases. So a page depends on nothing that earlier
pages have seen, and a mark is the place of an image set alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from grammar.criteria import Comparison, Everything, Operator, Search, SortKey
from graphql_service.deadlines import keep
from graphql_service.errors import ScanBudget
from graphql_service.image_set import ImageSet, Study, make_study
from graphql_service.matching import predicate
from graphql_service.ordering import place, place_key
from graphql_service.planning import Branch, Plan, make_plan
from graphql_service.scanning import Budget, Mark, Scan, scan
from graphql_service.stores.base import Store

STUDY_UID: Final = "DICOMStudyInstanceUID"

_WORKERS: Final = 8
#: As many image sets as a service's page holds.
_CHUNK: Final = 50


def study_uid(image_set: ImageSet) -> str | None:
    """The Study Instance UID; None for an image set that belongs to no study."""
    value = image_set.value(STUDY_UID)
    return value if isinstance(value, str) else None


def read_study(store: Store, datastore_id: str, uid: str) -> Study | None:
    """A study as all its image sets tell it; None where there are none. Raises ScanBudget for too many."""
    found = scan(store, datastore_id, _plan_study(store, uid, (SortKey("updatedAt"),)), 1 << 30)
    if not found.ended:
        raise ScanBudget(
            "a study has more image sets than may be read for one page: IMAGESETS_SCAN_REQUESTS and"
            " IMAGESETS_SCAN_SECONDS set how many"
        )
    return make_study(found.image_sets) if found.image_sets else None


def scan_studies(
    store: Store, datastore_id: str, plan: Plan, size: int, after: Mark | None = None
) -> tuple[Scan, tuple[Study, ...]]:
    """The first image sets of the next `size` studies (at least one) that a plan finds, behind a mark that this gave.

    With them those of the studies of which all image sets were read on the way: all, but for very large ones.
    `Scan.known` and `Progress.found` count studies. Raises as `scanning.scan` does.
    """
    return _Chooser(store, datastore_id, plan, size, after).run()


def _plan_study(store: Store, uid: str, sort: tuple[SortKey, ...]) -> Plan:
    return make_plan(Search(Comparison(STUDY_UID, Operator.EQ, uid), sort), store.capabilities)


class _Spent(Exception):
    """The budget has ended."""


@dataclass(slots=True)
class _Own:
    """What has been read of one study's own image sets, in the order of the search, and where reading goes on."""

    plan: Plan
    rows: list[ImageSet] = field(default_factory=list)
    mark: Mark | None = None
    ended: bool = False


class _Chooser:
    """Chooses from the rows of a plan those that are the first of their study, page by page."""

    def __init__(self, store: Store, datastore_id: str, plan: Plan, size: int, after: Mark | None) -> None:
        self._store = store
        self._datastore_id = datastore_id
        self._requests = 0
        self._scanned = 0
        self._most = store.capabilities.scan_requests
        seconds = store.capabilities.scan_seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        # Half of a budget is for rows and half for their studies: as in `scan`, no branch is left without a request.
        half = self._half()
        self._plan = replace(plan, branches=(Branch(),)) if half is not None and len(plan.branches) > half else plan
        self._size = size
        self._matches = predicate(plan.residual or Everything())
        self._rank = place_key(plan.sort)
        self._start = after
        self._mark = after
        self._found = 0 if after is None else after.progress.found
        self._studies: dict[str, _Own] = {}
        self._rows: list[ImageSet] = []
        self._marks: list[Mark] = []
        self._is_decided = False
        self._lock = threading.Lock()

    def run(self) -> tuple[Scan, tuple[Study, ...]]:
        complete, ended = True, False
        try:
            while not (ended or self._is_full):
                ended = self._choose()
        except _Spent:
            complete = False
            if self._mark is None or self._mark == self._start:
                raise ScanBudget(
                    "finding the next study takes more requests than one page may make: IMAGESETS_SCAN_REQUESTS and"
                    " IMAGESETS_SCAN_SECONDS set how many; a narrower search needs fewer"
                ) from None
        page = Scan(
            tuple(self._rows),
            tuple(self._marks),
            None if self._mark is None else self._counted(self._mark),
            ended,
            complete,
            self._found,
            self._requests,
            self._scanned,
        )
        read = (self._studies[study_uid(row) or ""] for row in self._rows)
        return page, tuple(make_study(own.rows) for own in read if own.ended)

    @property
    def _is_full(self) -> bool:
        return len(self._rows) == self._size

    def _choose(self) -> bool:
        """Read some rows and keep those that are the first of their study; says whether no more rows follow."""
        page = self._scan()
        for index, (image_set, mark) in enumerate(zip(page.image_sets, page.marks, strict=True)):
            chosen = self._is_first(image_set, page.image_sets[index:])
            self._is_decided = True
            self._mark = mark
            if chosen:
                self._found += 1
                self._rows.append(image_set)
                self._marks.append(self._counted(mark))
            if self._is_full:
                return page.ended and index + 1 == len(page.image_sets)
        self._mark = page.end or self._mark
        return page.ended

    def _scan(self) -> Scan:
        half = self._half()
        late = self._seconds() == 0
        if self._requests and (late or (half is not None and half < max(len(self._plan.branches), 1))):
            raise _Spent
        seconds = self._seconds()
        budget = Budget(None if half is None else max(half, 1), None if seconds is None else seconds / 2)
        try:
            page = scan(self._store, self._datastore_id, self._plan, self._chunk(), self._mark, budget)
        except ScanBudget:
            if self._mark == self._start:
                raise
            raise _Spent from None
        self._requests += page.requests
        self._scanned += page.scanned
        return page

    def _chunk(self) -> int:
        """How many rows to read before their studies are looked at: what is left of the service's page, if anything."""
        passed = 0 if self._mark is None else self._mark.progress.passed or 0
        return _CHUNK - passed if passed < _CHUNK else _CHUNK

    def _half(self) -> int | None:
        """Half of the requests that are left, the last one whole."""
        return None if self._most is None else (self._most - self._requests + 1) // 2

    def _seconds(self) -> float | None:
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0)

    def _counted(self, mark: Mark) -> Mark:
        return Mark(mark.place, replace(mark.progress, found=self._found))

    def _is_first(self, image_set: ImageSet, upcoming: Sequence[ImageSet]) -> bool:
        """Whether the row is the first of its study. Raises _Spent where the budget ends before that is known."""
        uid = study_uid(image_set)
        if uid is None:
            return False
        if uid not in self._studies:
            self._begin_studies(upcoming)
        own = self._studies.get(uid)
        if own is None:
            raise _Spent
        while not self._is_known(own):
            if not self._read_on(own):
                raise _Spent
        first = self._first_of(own)
        if first is None or first.image_set_id != image_set.image_set_id:
            return False
        # The rest is for what is said of the study; without it, it is read again, beside the page.
        while not own.ended and self._read_on(own):
            pass
        return True

    def _begin_studies(self, upcoming: Sequence[ImageSet]) -> None:
        """Ask for the studies of the next rows, some at once: no more of them than the page may yet take."""
        uids = dict.fromkeys(uid for uid in map(study_uid, upcoming) if uid is not None and uid not in self._studies)
        wanted = list(uids)[: min(_WORKERS, self._size - len(self._rows))]
        begun = [_Own(_plan_study(self._store, uid, self._plan.sort)) for uid in wanted]
        with ThreadPoolExecutor(len(wanted)) as pool:
            answered = list(pool.map(keep(self._read_on), begun))
        for uid, own, is_read in zip(wanted, begun, answered, strict=True):
            if is_read:
                self._studies[uid] = own

    def _read_on(self, own: _Own) -> bool:
        """One request for a study's next image sets; False where the budget has none."""
        if not self._may_read():
            return False
        page = scan(self._store, self._datastore_id, own.plan, _CHUNK, own.mark, Budget(1, None))
        with self._lock:
            self._scanned += page.scanned
        own.rows += page.image_sets
        own.mark, own.ended = page.end, page.ended
        return True

    def _first_of(self, own: _Own) -> ImageSet | None:
        """The first of a study's rows that meets the search, as far as they were read."""
        met = filter(self._matches, own.rows)
        return min(met, key=lambda row: self._rank(place(row, self._plan.sort)), default=None)

    def _is_known(self, own: _Own) -> bool:
        """Whether enough was read to tell the study's first row: it, and all with the same sort value."""
        if own.ended:
            return True
        first = self._first_of(own)
        return first is not None and self._value(own.rows[-1]) != self._value(first)

    def _may_read(self) -> bool:
        """Whether there is a request left, which is then counted. Time does not count until one row is decided."""
        with self._lock:
            spent = self._most is not None and self._requests >= self._most
            if spent or (self._is_decided and self._seconds() == 0):
                return False
            self._requests += 1
            return True

    def _value(self, image_set: ImageSet) -> object:
        (key,) = self._plan.sort
        return image_set.value(key.field)
