"""A live HealthImaging data store, copied: what was updated there since the last time, or everything.

Image sets are read in the order in which they were updated, and a batch is stored before the watermark passes it. So a
copy that is stopped anywhere goes on from there the next time, and nothing between is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from grammar.criteria import Comparison, Condition, Everything, Operator, Range, SortKey
from graphql_service.errors import DataStoreNotActive, InvalidArgument, InvalidCursor
from graphql_service.healthimaging.client import HealthImagingClient
from graphql_service.healthimaging.criteria import to_search_criteria
from graphql_service.image_set import ImageSet
from graphql_service.stores.healthimaging import read_summary
from graphql_service.stores.sqlite import LoadResult, SQLiteStore

#: [?] How long after its update an image set may first be found by a search. What was updated this shortly before a
#: copy begins is read again by the next; by this machine's clock, so that it may be somewhat wrong.
OVERLAP: Final = timedelta(minutes=15)
#: How many image sets a stop may lose, to be read again.
BATCH: Final = 1_000

_PAGE: Final = 50
_OLDEST_FIRST: Final = (SortKey("updatedAt"),)


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What became of the image sets that were read, and how many were erased because they are no longer there."""

    loaded: LoadResult
    erased: int = 0


def check_source(client: HealthImagingClient, source_id: str) -> None:
    """Raises DataStoreNotFound or DataStoreNotActive where it cannot be copied, and what the client raises."""
    status = client.get_datastore(source_id)["datastoreStatus"]
    if status != "ACTIVE":
        raise DataStoreNotActive(f"the data store is not active: it is {status}")


def copy(
    client: HealthImagingClient,
    source_id: str,
    store: SQLiteStore,
    datastore_id: str,
    *,
    full: bool = False,
    progress: Callable[[int], object] = lambda _: None,
) -> CopyResult:
    """Copies the summaries of a data store into one of the embedded store that is there; newer versions stay.

    Without `full` only what was updated since the last copy is read: what is no longer there stays, and so does an old
    time of last access. With it everything is read, and once all of it was, what was stored before and was not among it
    is erased. `progress` is told how many so far. Raises what the client and the store raise; what was stored until
    then is not read again, but for a full copy. Raises InvalidArgument for a full copy where another source's was.
    """
    source = f"{client.endpoint}/datastore/{source_id}"
    watermarks = store.watermarks(datastore_id)
    if full and watermarks.keys() - {source}:
        raise InvalidArgument("the data store is a copy of others too, which --full would erase: use one of its own")
    vanished = store.image_set_ids(datastore_id) if full else set()
    settled = datetime.now(UTC) - OVERLAP
    image_sets = _list(client, source_id, None if full else watermarks.get(source))
    loaded, done = LoadResult(), 0
    while batch := list(islice(image_sets, BATCH)):
        written = store.load(datastore_id, batch)
        loaded = LoadResult(
            loaded.inserted + written.inserted,
            loaded.updated + written.updated,
            loaded.unchanged + written.unchanged,
        )
        last = batch[-1].updated_at
        if last is not None:
            store.raise_watermark(datastore_id, source, min(last, settled))
        vanished.difference_update(image_set.image_set_id for image_set in batch)
        done += len(batch)
        progress(done)
    erased = 0
    gone = iter(vanished)
    while some := list(islice(gone, BATCH)):
        erased += store.remove(datastore_id, some)
    return CopyResult(loaded, erased)


def _list(client: HealthImagingClient, source_id: str, since: datetime | None) -> Iterator[ImageSet]:
    """The image sets that were updated at this time or later, or all of them, those updated first before the others.

    Some may come twice: the service is asked for a little more than that, and where it no longer knows a token, the
    listing goes on from the last time that was seen.
    """
    token: str | None = None
    # [?] Where those stand that were never updated. All have a time in what the service documents.
    begun = seen = since
    while True:
        try:
            summaries, token = client.search_image_sets(
                source_id, to_search_criteria(_since(begun), _OLDEST_FIRST), _PAGE, token
            )
        except InvalidCursor:
            if seen == begun:
                raise
            begun, token = seen, None
            continue
        for summary in summaries:
            image_set = read_summary(source_id, summary)
            seen = image_set.updated_at or seen
            yield image_set
        if token is None:
            return


def _since(moment: datetime | None) -> Condition:
    return Everything() if moment is None else Comparison("updatedAt", Operator.RANGE, Range(moment, None))
