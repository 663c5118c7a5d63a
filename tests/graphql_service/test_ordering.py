from datetime import UTC, datetime

from grammar.criteria import SortKey
from graphql_service.image_set import ImageSet
from graphql_service.ordering import place, place_key
from graphql_service.stores.base import Place


def image_set(number: int, **tags: object) -> ImageSet:
    return ImageSet("d" * 32, f"{number:032d}", number, None, datetime(2024, 3, 11, tzinfo=UTC), None, None, None, tags)


def order(sort: tuple[SortKey, ...], *stored: ImageSet) -> list[int]:
    rank = place_key(sort)
    return [int(each.image_set_id) for each in sorted(stored, key=lambda each: rank(place(each, sort)))]


NAMED = (
    image_set(1, DICOMPatientName="Zoë"),
    image_set(2, DICOMPatientName="ábel"),
    image_set(3),
    image_set(4, DICOMPatientName="ABEL"),
    image_set(5, DICOMPatientName=""),
)


def test_names_go_folded_and_missing_ones_are_lowest() -> None:
    assert order((SortKey("DICOMPatientName"),), *NAMED) == [3, 5, 2, 4, 1]


def test_ties_go_by_id_in_the_direction_of_the_last_key() -> None:
    assert order((SortKey("DICOMPatientName", descending=True),), *NAMED) == [1, 4, 2, 5, 3]
    assert order((SortKey("DICOMPatientName"), SortKey("updatedAt", descending=True)), *NAMED) == [5, 3, 4, 2, 1]
    assert order((), *NAMED) == [1, 2, 3, 4, 5]


def test_ids_go_by_code_point() -> None:
    stored = (image_set(1, DICOMPatientId="a"), image_set(2, DICOMPatientId="B"), image_set(3, DICOMPatientId="é"))
    assert order((SortKey("DICOMPatientId"),), *stored) == [2, 1, 3]


def test_a_place_holds_the_values_as_the_language_sees_them() -> None:
    sort = (SortKey("DICOMPatientName"), SortKey("version"), SortKey("updatedAt"))
    assert place(NAMED[1], sort) == Place(("ábel", 2, datetime(2024, 3, 11, tzinfo=UTC)), f"{2:032d}")
