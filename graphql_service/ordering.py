"""The reference order: where an image set stands in a sort, for every store and for every page.

Missing values are lowest; names and texts go by their folded value, texts by code point, false before true; ties go by
imageSetId in the direction of the last key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from grammar.criteria import SortKey
from grammar.fields import BY_NAME
from grammar.values import fold
from graphql_service.image_set import ImageSet
from graphql_service.matching import FOLDED
from graphql_service.stores.base import Place


def place(image_set: ImageSet, sort: tuple[SortKey, ...]) -> Place:
    """Where the image set stands, to begin or end a page there."""
    return Place(tuple(image_set.value(key.field) for key in sort), image_set.image_set_id)


def place_key(sort: tuple[SortKey, ...]) -> Callable[[Place], Any]:
    """A key for `sorted` and `heapq.merge` that puts places in the order of the sort."""
    folded = tuple(BY_NAME[key.field].type in FOLDED for key in sort)
    directions = tuple(-1 if key.descending else 1 for key in sort)
    directions += directions[-1:] or (1,)

    def rank(value: object, is_folded: bool) -> tuple[bool, Any]:  # noqa: FBT001 - a column of the table above
        return value is not None, fold(value) if is_folded and isinstance(value, str) else value

    def ranks(at: Place) -> list[tuple[bool, Any]]:
        return [*map(rank, at.values, folded), (True, at.image_set_id)]

    def compare(left: Place, right: Place) -> int:
        for direction, one, other in zip(directions, ranks(left), ranks(right), strict=True):
            if one != other:
                return direction if one > other else -direction
        return 0

    return cmp_to_key(compare)
