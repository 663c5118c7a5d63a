"""What every store must answer: the image sets that match, in the reference order, page by page from both ends."""

from collections.abc import Iterable
from itertools import pairwise

from grammar.criteria import Condition, SortKey
from graphql_service.image_set import ImageSet
from graphql_service.matching import predicate
from graphql_service.ordering import place, place_key
from graphql_service.stores.base import Request, Store


def expected(image_sets: Iterable[ImageSet], where: Condition, sort: tuple[SortKey, ...]) -> list[ImageSet]:
    """The whole answer, from the reference meaning and the reference order."""
    rank = place_key(sort)
    return sorted(filter(predicate(where), image_sets), key=lambda image_set: rank(place(image_set, sort)))


def forward_pages(
    store: Store, datastore_id: str, where: Condition, sort: tuple[SortKey, ...], size: int
) -> list[tuple[ImageSet, ...]]:
    """Every page from the first to the last."""
    pages: list[tuple[ImageSet, ...]] = []
    more = True
    while more:
        after = place(pages[-1][-1], sort) if pages else None
        answer = store.fetch(Request(datastore_id, where, sort, size, after=after))
        pages.append(answer.image_sets)
        more = answer.more
    return pages


def backward_pages(
    store: Store, datastore_id: str, where: Condition, sort: tuple[SortKey, ...], size: int
) -> list[tuple[ImageSet, ...]]:
    """Every page from the last to the first, each in the order of the sort."""
    pages: list[tuple[ImageSet, ...]] = []
    more = True
    while more:
        before = place(pages[-1][0], sort) if pages else None
        answer = store.fetch(Request(datastore_id, where, sort, size, before=before, backward=True))
        pages.append(answer.image_sets)
        more = answer.more
    return pages


def check_pages(
    store: Store, datastore_id: str, wanted: list[ImageSet], where: Condition, sort: tuple[SortKey, ...], size: int
) -> None:
    """Pages of one size, both ways: full ones, then a last one that is not empty unless all is."""
    pages = [tuple(wanted[start : start + size]) for start in range(0, len(wanted), size)] or [()]
    assert forward_pages(store, datastore_id, where, sort, size) == pages
    ends = [len(wanted) - done for done in range(0, len(wanted) + size, size)]
    pages = [tuple(wanted[max(0, start) : end]) for end, start in pairwise(ends)] or [()]
    assert backward_pages(store, datastore_id, where, sort, size) == pages
