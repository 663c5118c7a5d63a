"""What is asked of a store for a search, and what is left to filter: Search and Capabilities become a Plan.

A plan's branches are a *cover*: every image set that meets the search meets all the filters of at least one branch.
They may hold more, so the whole condition stays as the residual. The work grows linearly with the search: no normal
form is ever made, and no search is too complex. Refused is only an order that the store cannot sort by.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from grammar.criteria import (
    And,
    Comparison,
    Condition,
    Everything,
    Not,
    Operator,
    Or,
    Range,
    Search,
    SortKey,
    conjunction,
)
from grammar.printer import canonical
from graphql_service.errors import UnsupportedSearch
from graphql_service.stores.base import Capabilities


@dataclass(frozen=True, slots=True)
class Branch:
    """One chain of requests to the store. Its filters are ANDed, the narrowest first; none is a plain scan.

    For a store that knows its limits each filter is one comparison; a store that can do everything gets the whole
    condition as a single filter. Whoever needs room for another filter gives up the last.
    """

    filters: tuple[Condition, ...] = ()

    @property
    def where(self) -> Condition:
        """The filters as one condition, as `Request.where` and `matching` take it."""
        return conjunction(self.filters)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a store answers a search. Without branches no image set can meet the search.

    `residual` is the whole condition, to be checked on every row; None where the store does everything itself.
    `exact` tells that the branches' filters, taken literally, already say the whole condition.
    """

    branches: tuple[Branch, ...]
    residual: Condition | None
    sort: tuple[SortKey, ...]
    exact: bool


def make_plan(search: Search, capabilities: Capabilities) -> Plan:
    """The plan for a dated search.

    Raises `UnsupportedSearch` where the store cannot sort as the search asks.
    """
    _check_sort(search.sort, capabilities)
    where = search.where
    if capabilities.operators is None:
        return Plan((Branch(() if isinstance(where, Everything) else (where,)),), None, search.sort, exact=True)
    planner = _Planner(capabilities.operators, capabilities.max_filters, capabilities.max_text)
    cover = planner.cover(where)
    branches = tuple(Branch(filters) for filters in cover.branches)
    return Plan(branches, None if isinstance(where, Everything) else where, search.sort, cover.exact)


def describe_plan(plan: Plan, store: str) -> dict[str, object]:
    """The plan as JSON: each branch and the residual in the query language; `store` is the name to show."""
    return {
        "store": store,
        "branches": [_text(branch.where) for branch in plan.branches],
        "residual": None if plan.residual is None else _text(plan.residual),
    }


def plan_lines(plan: Plan, store: str) -> list[str]:
    """The plan in plain words, line by line: what is sent to the store, and what is filtered here."""
    if not plan.branches:
        return ["Nothing is sent: no image set can meet this search."]
    sent = [_text(branch.where) if branch.filters else "every image set of the data store" for branch in plan.branches]
    if len(sent) == 1:
        lines = [f"Asked of {store}: {sent[0]}"]
    else:
        lines = [f"Asked of {store}, {len(sent)} searches merged without duplicates:", *(f"  {line}" for line in sent)]
    if plan.residual is None:
        return [*lines, "Filtered here: nothing, the store answers the whole search."]
    return [*lines, f"Filtered here, row by row: {_text(plan.residual)}"]


def _text(where: Condition) -> str:
    return canonical(Search(where))


def _check_sort(sort: Sequence[SortKey], capabilities: Capabilities) -> None:
    fields = capabilities.sort_fields
    if fields is None:
        return
    unknown = [key.field for key in sort if key.field not in fields]
    able = f"it sorts by one of {', '.join(fields)}"
    if unknown:
        raise UnsupportedSearch(f"This store cannot sort by {', '.join(unknown)}: {able}.")
    if len(sort) > 1:
        raise UnsupportedSearch(f"This store cannot sort by more than one field: {able}.")


#: About how many requests of 50 rows each comparison leaves to make in a store of a million image sets. Only the order
#: counts, and how many branches with a narrow filter are worth one with a wide filter.
_REQUESTS: Final = {
    "DICOMSeriesInstanceUID": 1,
    "DICOMStudyInstanceUID": 2,
    "DICOMAccessionNumber": 3,
    "DICOMStudyId": 4,
    "DICOMPatientId": 5,
}
_REQUESTS_OF_A_DAY: Final = 20
_REQUESTS_OF_A_LONG_PERIOD: Final = 10_000
_REQUESTS_OF_A_FLAG: Final = 15_000
_REQUESTS_OF_A_SCAN: Final = 20_000


_Filters: TypeAlias = tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class _Cover:
    """Branches that together hold every row that can match; `exact` where they say neither more nor less."""

    branches: tuple[_Filters, ...]
    exact: bool

    @property
    def requests(self) -> int:
        return sum(_requests_of_branch(filters) for filters in self.branches)


_EVERYTHING: Final = _Cover(((),), exact=True)
_SCAN: Final = _Cover(((),), exact=False)
_NOTHING: Final = _Cover((), exact=True)


def _requests_of_branch(filters: _Filters) -> int:
    """The estimate for a branch: its first filter is its narrowest."""
    return _requests(filters[0]) if filters else _REQUESTS_OF_A_SCAN


def _requests(comparison: Comparison) -> int:
    match comparison.operand:
        case Range(datetime() as start, datetime() as end):
            days = (end - start).total_seconds() / 86_400
            return min(10 + int(_REQUESTS_OF_A_DAY * days), _REQUESTS_OF_A_LONG_PERIOD)
        case Range():
            return _REQUESTS_OF_A_LONG_PERIOD
        case _:
            return _REQUESTS.get(comparison.field, _REQUESTS_OF_A_FLAG)


@dataclass(frozen=True, slots=True)
class _Planner:
    """Finds covers within what one request to the store can say."""

    operators: Mapping[str, Collection[Operator]]
    max_filters: int | None
    max_text: int | None

    def cover(self, condition: Condition, *, negated: bool = False) -> _Cover:
        """The cover of a condition, or of its complement: `not` is pushed inward on the way down (De Morgan)."""
        match condition:
            case Everything():
                return _NOTHING if negated else _EVERYTHING
            case Not(child):
                return self.cover(child, negated=not negated)
            case And(children) | Or(children):
                covers = [self.cover(child, negated=negated) for child in children]
                return self._all(covers) if isinstance(condition, And) != negated else _any(covers)
            case Comparison():
                # The complement of a comparison holds the missing values too, which no filter finds.
                return _SCAN if negated else self._cover_comparison(condition)

    def _cover_comparison(self, comparison: Comparison) -> _Cover:
        match comparison:
            case Comparison(_, Operator.RANGE, Range() as period) if is_empty(period):
                return _NOTHING
            case _ if self._can_send(comparison):
                return _Cover(((comparison,),), exact=True)
            case Comparison(field, Operator.IN, tuple(values)):
                singles = (Comparison(field, Operator.EQ, value) for value in dict.fromkeys(values))
                return _any([self._cover_comparison(single) for single in singles])
            case _:
                return _SCAN

    def _can_send(self, comparison: Comparison) -> bool:
        """Whether the store has a filter whose answer surely holds every row that the comparison matches."""
        if comparison.operator not in self.operators.get(comparison.field, ()):
            return False
        texts = comparison.operand if isinstance(comparison.operand, tuple) else (comparison.operand,)
        return all(self._can_send_text(text) for text in texts if isinstance(text, str))

    def _can_send_text(self, text: str) -> bool:
        """Whether a store that compares code points finds all that the language calls equal to the text.

        The language compares in NFC, while a row may spell `é` as one code point or as two. (The few characters of
        old character sets that equal a plain one, such as the Kelvin sign for `K`, are left aside.) A text beyond the
        store's limit would be refused by it.
        """
        fits = self.max_text is None or len(text.encode()) <= self.max_text
        return fits and unicodedata.is_normalized("NFD", text)

    def _all(self, covers: Sequence[_Cover]) -> _Cover:
        """The narrowest child's cover, its branches filled up with the filters of children that have one branch."""
        several = [cover for cover in covers if len(cover.branches) > 1]
        singles = _merge_ranges(part for cover in covers if len(cover.branches) == 1 for part in cover.branches[0])
        if singles is None or not all(cover.branches for cover in covers):
            return _NOTHING
        base = _Cover((tuple(singles[:1]),), exact=True)
        narrowest = min([base, *several], key=lambda cover: cover.requests)
        filled = tuple(self._fill(filters, singles) for filters in narrowest.branches)
        unused = [cover for cover in several if cover is not narrowest]
        said = all(single in filters for filters in filled for single in singles)
        return _Cover(filled, exact=said and not unused and all(cover.exact for cover in covers))

    def _fill(self, filters: _Filters, singles: Sequence[Comparison]) -> _Filters:
        """The filters and further ones as far as there is room, each on a field of its own."""
        chosen = {part.field: part for part in filters}
        for single in singles:
            if self.max_filters is not None and len(chosen) >= self.max_filters:
                break
            chosen.setdefault(single.field, single)
        return tuple(chosen.values())


def _any(covers: Sequence[_Cover]) -> _Cover:
    """All branches of all children, once each; a wider branch absorbs the narrower ones that repeat its filter."""
    branches = dict.fromkeys(filters for cover in covers for filters in cover.branches)
    if () in branches:
        return _EVERYTHING if _EVERYTHING in covers else _SCAN
    kept = tuple(
        filters for filters in branches if len(filters) == 1 or not any((part,) in branches for part in filters)
    )
    cover = _Cover(kept, exact=all(cover.exact for cover in covers))
    return cover if cover.requests < _REQUESTS_OF_A_SCAN else _SCAN


def _merge_ranges(filters: Iterable[Comparison]) -> list[Comparison] | None:
    """The filters, the narrowest first, with ranges on one field cut down to what they share; None if that is nothing.

    What two filters on one attribute mean is undocumented for HealthImaging: one range says the same.
    """
    merged: dict[object, Comparison] = {}
    for part in filters:
        key = part.field if isinstance(part.operand, Range) else part
        known = merged.get(key, part)
        if isinstance(known.operand, Range) and isinstance(part.operand, Range):
            shared = intersect(known.operand, part.operand)
            if is_empty(shared):
                return None
            known = Comparison(part.field, Operator.RANGE, shared)
        merged[key] = known
    return sorted(merged.values(), key=_requests)


def intersect(one: Range, other: Range) -> Range:
    """The period that both share; `is_empty` where there is none."""
    starts = [start for start in (one.start, other.start) if start is not None]
    ends = [end for end in (one.end, other.end) if end is not None]
    return Range(max(starts, default=None), min(ends, default=None))


def is_empty(period: Range) -> bool:
    """Whether no moment is in the period."""
    return period.start is not None and period.end is not None and period.start >= period.end
