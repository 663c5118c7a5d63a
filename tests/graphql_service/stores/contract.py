"""What every store must answer: the image sets that match, in the reference order, page by page from both ends."""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

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
) -> Iterator[tuple[ImageSet, ...]]:
    """Every page from the first to the last."""
    answer = store.fetch(Request(datastore_id, where, sort, size))
    yield answer.image_sets
    while answer.more:
        after = place(answer.image_sets[-1], sort)
        answer = store.fetch(Request(datastore_id, where, sort, size, after=after))
        yield answer.image_sets


def backward_pages(
    store: Store, datastore_id: str, where: Condition, sort: tuple[SortKey, ...], size: int
) -> Iterator[tuple[ImageSet, ...]]:
    """Every page from the last to the first, each in the order of the sort."""
    answer = store.fetch(Request(datastore_id, where, sort, size, backward=True))
    yield answer.image_sets
    while answer.more:
        before = place(answer.image_sets[0], sort)
        answer = store.fetch(Request(datastore_id, where, sort, size, before=before, backward=True))
        yield answer.image_sets


def check_pages(
    store: Store, datastore_id: str, wanted: list[ImageSet], where: Condition, sort: tuple[SortKey, ...], size: int
) -> None:
    """Pages of one size, both ways: full ones, then a last one that is not empty unless all is.

    One page more than wanted is read, never all: a store that repeats itself has no last page.
    """
    pages = [tuple(wanted[start : start + size]) for start in range(0, len(wanted), size)] or [()]
    assert list(islice(forward_pages(store, datastore_id, where, sort, size), len(pages) + 1)) == pages
    ends = [len(wanted) - done for done in range(0, len(wanted) + size, size)]
    pages = [tuple(wanted[max(0, start) : end]) for end, start in pairwise(ends)] or [()]
    assert list(islice(backward_pages(store, datastore_id, where, sort, size), len(pages) + 1)) == pages
