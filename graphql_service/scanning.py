"""A plan run on a store whose pages go on by token: its branches read, filtered and merged into one page.

Where one branch runs, ties are in the store's order and going on costs one request: the mark of a row names the
store's page that it is in. A token that is refused, or a row that has moved, makes the scan go on by the row's place,
and where the store no longer shows the ties that were answered before, the cursor is refused. Several branches are
merged with ties by imageSetId, and always go on by place. The store must put missing values lowest; an answer that is
out of order is an error, never a wrong page.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from itertools import takewhile
from math import inf
from typing import Final

from grammar.criteria import Comparison, Condition, Everything, Operator, Range, SortKey, conjunction
from graphql_service.deadlines import keep
from graphql_service.errors import InvalidCursor, ScanBudget, StoreError
from graphql_service.image_set import ImageSet, Value
from graphql_service.matching import predicate
from graphql_service.paging import Progress, microseconds
from graphql_service.planning import Branch, Plan, intersect, is_empty
from graphql_service.stores.base import Answer, Place, Request, Store

_INSTANT: Final = timedelta(microseconds=1)
_THREADS: Final = 16
#: Before every row.
_START: Final = Place((), "")


@dataclass(frozen=True, slots=True)
class Budget:
    """What a scan may take: so many requests, none of them begun after so many seconds; None is no limit."""

    requests: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a scan goes on: what a cursor keeps of it."""

    place: Place
    progress: Progress


@dataclass(frozen=True, slots=True)
class Scan:
    """One page of a scan: its rows, each with its mark, and the mark behind all that was read.

    `ended` says that nothing is left; `complete` is False where the budget ended before the page was full. `known` is
    how many rows are known to meet the search, from its start on.
    """

    image_sets: tuple[ImageSet, ...]
    marks: tuple[Mark, ...]
    end: Mark | None
    ended: bool
    complete: bool
    known: int
    requests: int
    scanned: int


def scan(
    store: Store, datastore_id: str, plan: Plan, size: int, after: Mark | None = None, budget: Budget | None = None
) -> Scan:
    """The next `size` rows (at least one) of a plan that is sorted by one field, behind a mark of the same plan.

    Without a budget of its own it has that of one page, as the store's capabilities give it.
    Raises ScanBudget where not even a step forward fits into the budget, InvalidCursor where the mark's place can no
    longer be found, and what the store raises.
    """
    budget = budget or Budget(store.capabilities.scan_requests, store.capabilities.scan_seconds)
    reading = _Reading(store, datastore_id, plan, budget)
    most = budget.requests
    # Every branch takes a request at least: where that is too much, the whole data store is read, page by page.
    branches = (Branch(),) if most is not None and len(plan.branches) > most else plan.branches
    by_id = len(branches) != 1 if after is None else after.progress.ties is None
    if by_id:
        return _Merger(reading, branches, size, after).run()
    if len(branches) != 1:
        raise _lost()
    return _Follower(reading, branches[0], size, after).run()


def _lost() -> InvalidCursor:
    return InvalidCursor("the place of this cursor can no longer be found: start again without a cursor")


class _Spent(Exception):
    """The budget has ended."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """A stretch of a branch: what to ask for, in which order; `missing`: only the rows without a sort value."""

    where: Condition
    sort: tuple[SortKey, ...]
    missing: bool = False


class _Reading:
    """The requests of one page: counted, within the budget, and with what every row is checked by."""

    def __init__(self, store: Store, datastore_id: str, plan: Plan, budget: Budget) -> None:
        self.plan = plan
        (self.key,) = plan.sort
        self.capabilities = store.capabilities
        self.page = self.capabilities.max_page or 50
        self.matches = predicate(plan.residual or Everything())
        self.requests = 0
        self.scanned = 0
        self._store = store
        self._datastore_id = datastore_id
        self._most = budget.requests
        self._deadline = None if budget.seconds is None else time.monotonic() + budget.seconds
        self._lock = threading.Lock()

    def fetch(self, segment: _Segment, token: str | None, limit: int, *, first: bool = False) -> Answer:
        """One request. Raises _Spent where the budget has none.

        Time does not count for the first request of a page and of each branch (`first`): without it nothing moves.
        """
        with self._lock:
            if self._most is not None and self.requests >= self._most:
                raise _Spent
            late = self._deadline is not None and time.monotonic() >= self._deadline
            if late and self.requests and not first:
                raise _Spent
            self.requests += 1
        answer = self._store.fetch(
            Request(self._datastore_id, segment.where, segment.sort, min(limit, self.page), token=token)
        )
        with self._lock:
            self.scanned += len(answer.image_sets)
        if token is not None and answer.token == token:
            raise StoreError("the store answers the same page again and again")
        if segment.missing:
            missing = tuple(takewhile(lambda image_set: self.value(image_set) is None, answer.image_sets))
            return answer if missing == answer.image_sets else Answer(missing, more=False)
        return answer

    def value(self, image_set: ImageSet) -> Value:
        """The row's sort value."""
        return image_set.value(self.key.field)

    def level(self, value: object) -> float:
        """Where a sort value stands in the order: every field that such a store sorts by holds times."""
        assert value is None or isinstance(value, datetime)
        level = -inf if value is None else microseconds(value)
        return -level if self.key.descending else level

    def level_of(self, place: Place) -> float:
        """Where a place's value stands in the order."""
        return -inf if place == _START else self.level(place.values[0])

    def segments(self, branch: Branch, place: Place) -> list[_Segment]:
        """What is to be read of a branch for all rows with the place's value, and all behind them.

        A branch without room for a period on the sort field gives up its last filter for it. Rows without a value
        are in no period: descending they come last, and are read from the other end, where they come first.
        """
        own = _period(branch, self.key.field)
        if place == _START or (place.values == (None,) and not self.key.descending):
            return [_Segment(branch.where, (self.key,))]
        segments: list[_Segment] = []
        (value,) = place.values
        if isinstance(value, datetime):
            cut = Range(None, _after(value)) if self.key.descending else Range(value, None)
            period = cut if own is None else intersect(own, cut)
            if not is_empty(period):
                filters = self._cut(branch.filters, Comparison(self.key.field, Operator.RANGE, period))
                segments.append(_Segment(conjunction(filters), (self.key,)))
        if self.key.descending and own is None:
            segments.append(_Segment(branch.where, (SortKey(self.key.field),), missing=True))
        return segments

    def _cut(self, filters: Sequence[Condition], cut: Comparison) -> list[Condition]:
        others = [part for part in filters if not _is_period(part, cut.field)]
        most = self.capabilities.max_filters
        return [*(others if most is None else others[: most - 1]), cut]

    def too_many_ties(self) -> ScanBudget:
        """What is raised where a page ends where it began."""
        return ScanBudget(
            f"more image sets share one {self.key.field}, or nearly so, than one page may read: IMAGESETS_SCAN_REQUESTS"
            " and IMAGESETS_SCAN_SECONDS set how many; a narrower search needs fewer"
        )


def _is_period(part: Condition, name: str) -> bool:
    return isinstance(part, Comparison) and part.field == name and isinstance(part.operand, Range)


def _period(branch: Branch, name: str) -> Range | None:
    """The branch's own period of a field."""
    for part in branch.filters:
        if isinstance(part, Comparison) and part.field == name and isinstance(part.operand, Range):
            return part.operand
    return None


def _is_behind(value: Value, period: Range | None, key: SortKey) -> bool:
    """Whether a sort value stands behind a period of that field, so that no row of it follows."""
    if period is None:
        return False
    if key.descending:
        return period.start is not None and (not isinstance(value, datetime) or value < period.start)
    return period.end is not None and isinstance(value, datetime) and value >= period.end


def _after(moment: datetime) -> datetime | None:
    """The end of a period whose last moment this is; an open one at the end of the calendar."""
    return None if moment >= moment.max.replace(tzinfo=moment.tzinfo) else moment + _INSTANT


def _out_of_order() -> StoreError:
    return StoreError("the store's answer is not in the order that was asked for")


class _Follower:
    """One branch, in the store's own order: by token, and by place where the token does not serve."""

    def __init__(self, reading: _Reading, branch: Branch, size: int, after: Mark | None) -> None:
        self._reading = reading
        self._branch = branch
        self._size = size
        # Behind the last row that was read, whether it meets the search or not.
        self._mark = after or Mark(_START, Progress(0, ties=0, passed=0))
        self._found = self._mark.progress.found
        self._ties = self._mark.progress.ties or 0
        self._level = reading.level_of(self._mark.place)
        self._period = _period(branch, reading.key.field)
        self._start = self._mark
        # Where the page at the mark was forgotten last.
        self._forgotten: Place | None = None
        self._rows: list[ImageSet] = []
        self._marks: list[Mark] = []
        self._further = 0

    def run(self) -> Scan:
        complete, ended = True, False
        try:
            while True:
                try:
                    ended = self._follow() if self._mark.progress.passed is not None else self._go_on()
                    break
                except InvalidCursor:
                    if self._forgotten == self._mark.place:
                        raise
                    self._forget_page()
        except _Spent:
            complete = False
            if not self._has_moved():
                raise self._reading.too_many_ties() from None
        return Scan(
            tuple(self._rows),
            tuple(self._marks),
            self._mark,
            ended and not self._further,
            complete,
            self._found + self._further,
            self._reading.requests,
            self._reading.scanned,
        )

    @property
    def _is_full(self) -> bool:
        return len(self._rows) == self._size

    def _has_moved(self) -> bool:
        """Whether the page ends further on than it began: by place, beyond the rows with the same value."""
        start = self._start.place
        if self._rows or start == _START or self._mark.progress.passed is not None:
            return self._mark != self._start
        return self._level > self._reading.level_of(start)

    def _forget_page(self) -> None:
        """Go on by place, where a token or what it leads to is refused; from the start where nothing was read."""
        place, progress = self._mark.place, self._mark.progress
        self._forgotten = place
        passed = 0 if place == _START else None
        self._mark = Mark(place, Progress(progress.found, progress.ties, passed=passed))

    def _follow(self) -> bool:
        """Read on by token until the page is full or the branch has ended, and say whether it has."""
        reading, segment = self._reading, _Segment(self._branch.where, self._reading.plan.sort)
        while True:
            token, passed = self._mark.progress.token, self._mark.progress.passed or 0
            wanted = passed + self._size - len(self._rows) if reading.plan.exact else reading.page
            answer = reading.fetch(segment, token, wanted)
            passed = self._find(answer.image_sets, passed)
            for index, image_set in enumerate(answer.image_sets[passed:], passed + 1):
                if self._take(image_set, token, index):
                    return True
            if not self._further:
                self._turn_page(answer.token)
            if answer.token is None:
                return True
            if self._is_full:
                return False

    def _find(self, image_sets: Sequence[ImageSet], passed: int) -> int:
        """How many rows of a page are behind the mark: its row is the last of them, wherever it now stands."""
        if not passed:
            return 0
        places = [Place((self._reading.value(image_set),), image_set.image_set_id) for image_set in image_sets]
        if self._mark.place in places:
            return places.index(self._mark.place) + 1
        raise _lost()

    def _turn_page(self, token: str | None) -> None:
        if token is None:
            return
        self._mark = replace(self._mark, progress=replace(self._mark.progress, token=token, passed=0))
        if self._is_full:
            # No row of the search stands between them: the next page begins with the store's own.
            self._marks[-1] = self._mark

    def _go_on(self) -> bool:
        """Read on by place, and say whether the branch has ended.

        The rows with the place's value are read again: those that were answered before must come first, as before.
        """
        reading = self._reading
        behind = _Behind(reading, self._mark)
        for segment in reading.segments(self._branch, self._mark.place):
            token: str | None = None
            while True:
                answer = reading.fetch(segment, token, reading.page)
                if any(self._take(image_set, None, None) for image_set in filter(behind.holds, answer.image_sets)):
                    return True
                if self._is_full and (self._further or answer.token is not None):
                    return False
                if answer.token is None:
                    break
                token = answer.token
        behind.end_ties()
        return True

    def _take(self, image_set: ImageSet, token: str | None, passed: int | None) -> bool:
        """Count a row in and keep it where it meets the search; says whether the branch has ended before it."""
        reading = self._reading
        value = reading.value(image_set)
        level = reading.level(value)
        if level < self._level:
            raise _out_of_order()
        if _is_behind(value, self._period, reading.key):
            return True
        matches = reading.matches(image_set)
        if self._is_full:
            self._further += matches
            return False
        if level > self._level:
            self._level, self._ties = level, 0
        if matches:
            self._found += 1
            self._ties ^= _digest(image_set)
        place = Place((value,), image_set.image_set_id)
        self._mark = Mark(place, Progress(self._found, self._ties, token, passed))
        if matches:
            self._rows.append(image_set)
            self._marks.append(self._mark)
        return False


class _Behind:
    """Tells the rows behind a mark from those with its value that were answered before: they must come first again."""

    def __init__(self, reading: _Reading, mark: Mark) -> None:
        self._reading = reading
        self._start = reading.level_of(mark.place)
        self._ties = mark.progress.ties
        self._group = 0

    def holds(self, image_set: ImageSet) -> bool:
        """Whether the next row in order is behind the mark. Raises InvalidCursor where that cannot be told."""
        level = self._reading.level(self._reading.value(image_set))
        if level < self._start:
            return False
        if level > self._start:
            self.end_ties()
        if self._group == self._ties:
            return True
        if self._reading.matches(image_set):
            self._group ^= _digest(image_set)
        return False

    def end_ties(self) -> None:
        """No more rows have the mark's value: either those answered before were met, or none of them is left."""
        if self._group not in (0, self._ties):
            raise _lost()
        self._group = self._ties or 0


class _Reader:
    """One branch of several, page by page, in the stretch that a place leaves of it."""

    def __init__(self, reading: _Reading, branch: Branch, place: Place) -> None:
        self._reading = reading
        self._branch = branch
        self._period = _period(branch, reading.key.field)
        self._begin(place)
        self._refused: Place | None = None
        # The rows at the frontier that were read.
        self._ids: set[str] = set()
        self.started = False
        #: Where the rows of the last page stand.
        self.levels: list[float] = []

    def _begin(self, place: Place) -> None:
        """Read from here on; everything before the frontier has been read, or is not wanted."""
        self.place = place
        self.frontier = self._reading.level_of(place)
        self._token: str | None = None
        self._last = -inf
        self._segments = self._reading.segments(self._branch, place)
        self._enter_tail()

    def _enter_tail(self) -> None:
        if self._segments and self._segments[0].missing and self.frontier < inf:
            self.place, self.frontier, self._ids = Place((None,), ""), inf, set()

    @property
    def ended(self) -> bool:
        """Whether everything has been read."""
        return not self._segments

    @property
    def in_tail(self) -> bool:
        """Whether at most rows without a sort value are left."""
        return all(segment.missing for segment in self._segments)

    def read(self) -> list[tuple[float, ImageSet]] | None:
        """The rows of the next page that meet the search, each with its level; None where the budget has ended."""
        reading, segment = self._reading, self._segments[0]
        try:
            answer = reading.fetch(segment, self._token, reading.page, first=not self.started)
        except _Spent:
            return None
        except InvalidCursor:
            if self._refused == self.place:
                raise
            self._refused = self.place
            self._begin(self.place)
            return []
        self.started = True
        self.levels = []
        self._token = answer.token
        found: list[tuple[float, ImageSet]] = []
        for image_set in answer.image_sets:
            level = self._move_to(image_set)
            if _is_behind(reading.value(image_set), self._period, reading.key):
                self._segments = []
                return found
            if level == self.frontier and image_set.image_set_id not in self._ids:
                self._ids.add(image_set.image_set_id)
                if reading.matches(image_set):
                    found.append((level, image_set))
        if self._token is None:
            self._segments = self._segments[1:]
            self._last = -inf
            self._enter_tail()
        return found

    def _move_to(self, image_set: ImageSet) -> float:
        """The level of the next row, to which the frontier moves if it is not there or beyond it already."""
        value = self._reading.value(image_set)
        level = self._reading.level(value)
        if level < self._last:
            raise _out_of_order()
        self._last = level
        self.levels.append(level)
        if level > self.frontier or self.place == _START:
            self.place, self.frontier, self._ids = Place((value,), ""), level, set()
        return level


class _Merger:
    """Any number of branches merged by the sort value, ties by imageSetId in the direction of the sort."""

    def __init__(self, reading: _Reading, branches: Sequence[Branch], size: int, after: Mark | None) -> None:
        self._reading = reading
        self._size = size
        self._after = _START if after is None else after.place
        self._found = 0 if after is None else after.progress.found
        self._readers = [_Reader(reading, branch, self._after) for branch in branches]
        self._owners = [predicate(branch.where) for branch in branches]
        self._start = reading.level_of(self._after)
        # The rows that were read but not answered, by their levels, and the levels.
        self._waiting: dict[float, list[ImageSet]] = {}
        self._levels: list[float] = []
        self._rows: list[ImageSet] = []
        self._marks: list[Mark] = []

    def run(self) -> Scan:
        spent = False
        with ThreadPoolExecutor(min(len(self._readers), _THREADS) or 1) as pool:
            while True:
                unread = [reader for reader in self._readers if not reader.ended]
                self._answer(min((reader.frontier for reader in unread), default=None))
                full = len(self._rows) == self._size
                if not unread or spent or (full and not self._may_have_ended(unread)):
                    break
                spent = not self._read(pool, unread)
        end = self._marks[-1] if self._marks else None
        if unread and not full:
            end = Mark(self._find_end(unread), Progress(self._found))
        return Scan(
            tuple(self._rows),
            tuple(self._marks),
            end,
            not unread and not self._waiting,
            full or not spent,
            self._found + sum(map(len, self._waiting.values())),
            self._reading.requests,
            self._reading.scanned,
        )

    def _may_have_ended(self, unread: Sequence[_Reader]) -> bool:
        """Whether one more look, for rows without a sort value, may tell that a full page is the last."""
        return not self._waiting and all(reader.in_tail for reader in unread)

    def _find_end(self, unread: Sequence[_Reader]) -> Place:
        """Where the merge stands when the budget has ended: nothing before this place is left."""
        least = min(unread, key=lambda reader: reader.frontier)
        moved = bool(self._rows) or self._after == _START or least.frontier > self._start
        if not moved or least.place == _START:
            raise self._reading.too_many_ties()
        return least.place

    def _read(self, pool: ThreadPoolExecutor, unread: Sequence[_Reader]) -> bool:
        """Read a page of every branch that the merge waits for; False where the budget has ended.

        Branches that soon hold it up are read at the same time: so all take about as long as the slowest.
        """
        least = min(reader.frontier for reader in unread)
        needed = [reader for reader in unread if reader.frontier == least]
        soon = [
            reader
            for reader in unread
            if reader.frontier > least
            and not reader.in_tail
            and sum(level > least for level in reader.levels) < self._reading.page // 2
        ]
        answers = list(pool.map(keep(_Reader.read), (*needed, *soon)))
        for reader, rows in zip((*needed, *soon), answers, strict=True):
            self._keep(self._readers.index(reader), rows or [])
        return None not in answers[: len(needed)]

    def _keep(self, index: int, rows: Sequence[tuple[float, ImageSet]]) -> None:
        """Keep the rows that stand behind the mark and belong to this branch: the first whose filters they meet."""
        for level, image_set in rows:
            if any(meets(image_set) for meets in self._owners[:index]) or self._is_passed(level, image_set):
                continue
            if level not in self._waiting:
                self._waiting[level] = []
                heapq.heappush(self._levels, level)
            self._waiting[level].append(image_set)

    def _is_passed(self, level: float, image_set: ImageSet) -> bool:
        if level != self._start or not self._after.image_set_id:
            return False
        ids = image_set.image_set_id, self._after.image_set_id
        return ids[0] >= ids[1] if self._reading.key.descending else ids[0] <= ids[1]

    def _answer(self, frontier: float | None) -> None:
        """Move rows before the frontier, or all, to the page: only there is every row of a level known."""
        descending = self._reading.key.descending
        while self._levels and (frontier is None or self._levels[0] < frontier) and len(self._rows) < self._size:
            group = sorted(self._waiting[self._levels[0]], key=lambda row: row.image_set_id, reverse=descending)
            room = self._size - len(self._rows)
            for image_set in group[:room]:
                self._found += 1
                self._rows.append(image_set)
                place = Place((self._reading.value(image_set),), image_set.image_set_id)
                self._marks.append(Mark(place, Progress(self._found)))
            if group[room:]:
                self._waiting[self._levels[0]] = group[room:]
            else:
                del self._waiting[heapq.heappop(self._levels)]


def _digest(image_set: ImageSet) -> int:
    """What stands for a row among its ties, in 63 bits: together, in any order, they make up one number by XOR."""
    return int.from_bytes(blake2b(image_set.image_set_id.encode(), digest_size=8).digest()) >> 1
