"""What every store must answer: the image sets that match, in the reference order, page by page from both ends."""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

from grammar.criteria import Condition, SortKey
from graphql_service.image_set import ImageSet, Study, make_study
from graphql_service.matching import predicate
from graphql_service.ordering import place, place_key
from graphql_service.stores.base import Request, Store


def expected(image_sets: Iterable[ImageSet], where: Condition, sort: tuple[SortKey, ...]) -> list[ImageSet]:
    """The whole answer, from the reference meaning and the reference order."""
    rank = place_key(sort)
    return sorted(filter(predicate(where), image_sets), key=lambda image_set: rank(place(image_set, sort)))


def expected_studies(image_sets: Iterable[ImageSet], where: Condition, sort: tuple[SortKey, ...]) -> list[ImageSet]:
    """Of each study the first of these, in their order."""
    firsts: dict[object, ImageSet] = {}
    for image_set in expected(image_sets, where, sort):
        uid = image_set.value("DICOMStudyInstanceUID")
        if uid is not None:
            firsts.setdefault(uid, image_set)
    return list(firsts.values())


def whole_studies(image_sets: Iterable[ImageSet]) -> dict[str, Study]:
    """Every study by its UID, from the reference meaning."""
    found: dict[str, list[ImageSet]] = {}
    for image_set in image_sets:
        uid = image_set.value("DICOMStudyInstanceUID")
        if isinstance(uid, str):
            found.setdefault(uid, []).append(image_set)
    return {uid: make_study(each) for uid, each in found.items()}


def forward_pages(
    store: Store, datastore_id: str, where: Condition, sort: tuple[SortKey, ...], size: int, *, studies: bool = False
) -> Iterator[tuple[ImageSet, ...]]:
    """Every page from the first to the last."""
    answer = store.fetch(Request(datastore_id, where, sort, size, studies=studies))
    yield answer.image_sets
    while answer.more:
        after = place(answer.image_sets[-1], sort)
        answer = store.fetch(Request(datastore_id, where, sort, size, after=after, studies=studies))
        yield answer.image_sets


def backward_pages(
    store: Store, datastore_id: str, where: Condition, sort: tuple[SortKey, ...], size: int, *, studies: bool = False
) -> Iterator[tuple[ImageSet, ...]]:
    """Every page from the last to the first, each in the order of the sort."""
    answer = store.fetch(Request(datastore_id, where, sort, size, backward=True, studies=studies))
    yield answer.image_sets
    while answer.more:
        before = place(answer.image_sets[0], sort)
        answer = store.fetch(Request(datastore_id, where, sort, size, before=before, backward=True, studies=studies))
        yield answer.image_sets


def check_pages(
    store: Store,
    datastore_id: str,
    wanted: list[ImageSet],
    where: Condition,
    sort: tuple[SortKey, ...],
    size: int,
    *,
    studies: bool = False,
) -> None:
    """Pages of one size, both ways: full ones, then a last one that is not empty unless all is.

    One page more than wanted is read, never all: a store that repeats itself has no last page.
    """
    pages = [tuple(wanted[start : start + size]) for start in range(0, len(wanted), size)] or [()]
    assert list(islice(forward_pages(store, datastore_id, where, sort, size, studies=studies), len(pages) + 1)) == pages
    ends = [len(wanted) - done for done in range(0, len(wanted) + size, size)]
    pages = [tuple(wanted[max(0, start) : end]) for end, start in pairwise(ends)] or [()]
    assert (
        list(islice(backward_pages(store, datastore_id, where, sort, size, studies=studies), len(pages) + 1)) == pages
    )
