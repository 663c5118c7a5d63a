"""What a store is to the rest of the service: a narrow protocol, and a table of what it can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

from grammar.criteria import Condition, Operator, SortKey
from graphql_service.image_set import Datastore, ImageSet, ImageSetVersion, Study

#: How many bytes of JSON the metadata of the image sets of one request may have together.
METADATA_LIMIT: Final = 64_000_000


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one request to a store can say. None stands for "without limit".

    `kind` names the kind of store, for people.
    `operators` maps a canonical field to the operators that the store filters by *exactly or more widely*;
    None: every condition of the language, exactly, with `or` and `not`. `max_text` is in bytes of UTF-8. `tokens` says
    that its pages go on by their answer's token alone, not from a place, so that searches are scanned: one page of a
    search then makes at most `scan_requests` requests, none of them begun after `scan_seconds`. `columns`: it
    answers with the values of some fields alone, and where it is asked to be brief, at once or not at all.
    """

    kind: str = "sqlite"
    operators: Mapping[str, Collection[Operator]] | None = None
    max_filters: int | None = None
    max_text: int | None = None
    sort_fields: Collection[str] | None = None
    max_page: int | None = None
    backward: bool = True
    counts: bool = True
    tokens: bool = False
    columns: bool = False
    scan_requests: int | None = None
    scan_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends or begins: the row's value for each sort key as `ImageSet.value` gives it, and its id."""

    values: tuple[object, ...]
    image_set_id: str


class Request(NamedTuple):
    """One request for image sets in order: those between the two places (both outside), nearest the start first.

    Ties go by imageSetId in the direction of the last sort key. `backward` answers the *last* `limit` rows before
    `before`, still in the order of the sort. `studies` answers of each study's image sets that meet the condition only
    the first in order, and none that belong to no study (without a Study Instance UID).
    A store with `Capabilities.tokens` has ties in an order of its own, takes no places, tells no studies, and goes on
    from the `token` of an answer to the same condition and order; others ignore tokens.
    `recurs`: the same condition and order are likely to be asked for again, so that what they come to may be kept.
    """

    datastore_id: str
    where: Condition
    sort: tuple[SortKey, ...]
    limit: int
    after: Place | None = None
    before: Place | None = None
    backward: bool = False
    token: str | None = None
    studies: bool = False
    recurs: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The image sets of a request, in order, and whether more lie beyond them in the direction of reading.

    `token` goes on behind them, where the store gives tokens.
    """

    image_sets: tuple[ImageSet, ...]
    more: bool
    token: str | None = None


#: Among the columns that a store is asked for: `ImageSet.tags`, and the time of the study by itself.
TAGS: Final = "tags"
STUDY_TIME: Final = "DICOMStudyTime"


@dataclass(frozen=True, slots=True)
class Columns:
    """Some fields of the `count` image sets of a request, in their order, and `more` as `Answer` has it.

    By canonical name, a value for each image set as `ImageSet.value` gives it; but times are whole microseconds since
    1970, those without a zone as if in UTC, and truth is 1 or 0. By their own names: `TAGS`, and `STUDY_TIME` in whole
    microseconds since midnight; None where there is none, also where there is a date.
    """

    values: Mapping[str, Sequence[Any]]
    count: int
    more: bool


class Store(Protocol):
    """Where image sets are kept. Every method may block, and may raise `errors.StoreError`."""

    @property
    def capabilities(self) -> Capabilities:
        """What one request can say."""

    def sharing(self) -> AbstractContextManager[None]:
        """Whatever this thread asks within is answered by one state of the store, where it has states.

        Errors are told at its end: within it, nothing is to be done about them.
        """

    def datastores(self) -> tuple[Datastore, ...]:
        """Every data store that can be seen, by id."""

    def datastore(self, datastore_id: str) -> Datastore | None:
        """One data store by its id; None where there is none."""

    def image_sets(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, ImageSet]:
        """The image sets that exist among those named, by id."""

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        """Every version that is known of the image sets that exist among those named, newest first."""

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """The HealthImaging metadata documents of those named that have one. Raises InvalidArgument for too large."""

    def fetch(self, request: Request) -> Answer:
        """One request, as far as `capabilities` go. Raises InvalidCursor for a token that is refused or expired."""

    def studies(self, datastore_id: str, study_uids: Sequence[str]) -> Mapping[str, Study]:
        """The studies that exist among those named, by Study Instance UID, each as all its image sets tell it."""

    def count(self, datastore_id: str, where: Condition, limit: int, *, studies: bool = False) -> int:
        """How many image sets meet the condition, or how many studies have one that does, where `capabilities` say so.

        Counts no further than `limit`.
        """

    def histogram(
        self, datastore_id: str, where: Condition, field: str, step: timedelta
    ) -> Sequence[tuple[datetime, int]]:
        """How many image sets meet the condition by their value of a date field, where `capabilities` say so.

        In steps of this length, which divides a day, since 1970 (in UTC, of a wall clock as it stands): the start of
        each that holds any, ascending, and how many it holds. What has no value is in none.
        """

    def values(self, datastore_id: str, field: str) -> tuple[str, ...]:
        """The values that image sets have of a field of `completion.LISTED`, sorted; none where that is not known."""

    def close(self) -> None:
        """Give up files and connections."""


class ColumnStore(Store, Protocol):
    """A store whose `Capabilities.columns` says that it answers with columns."""

    def fetch_columns(self, request: Request, fields: Sequence[str]) -> Columns:
        """As `fetch`, of these fields, `TAGS` or `STUDY_TIME` alone.

        The request has no place at the end that it reads towards.
        """
