"""What the resolvers of one request share: the store, its limits, and loaders that ask for many image sets at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, TypeAlias, TypeVar

from anyio.to_thread import run_sync
from graphql import DocumentNode
from strawberry.dataloader import DataLoader
from strawberry.types import Info

from grammar.problems import QueryError
from graphql_service.auditing import Reading
from graphql_service.deadlines import keep
from graphql_service.errors import ServiceError
from graphql_service.image_set import ImageSet, ImageSetVersion, Study
from graphql_service.paging import Page, PageRequest
from graphql_service.searching import Inquiry, search
from graphql_service.settings import Limits
from graphql_service.stores.base import Store

#: A data store's id, and the id of an image set or the Study Instance UID of a study in it.
Key: TypeAlias = tuple[str, str]

_Found = TypeVar("_Found")
_WORKERS: Final = 8


@dataclass
class Context:
    """What the resolvers of one request work with. `max_page` is how many rows a page holds at most.

    `document` is the request's, valid and within the limits. `readings` grow by whatever is read of image sets. A
    loader answers None for an image set or study, or a data store, that does not exist or has nothing of the kind;
    `pages` runs searches.
    """

    store: Store
    limits: Limits
    max_page: int
    document: DocumentNode | None = None
    readings: list[Reading] = field(default_factory=list)

    # Each is made once it is used: most requests use none of them.

    @cached_property
    def image_sets(self) -> DataLoader[Key, ImageSet | None]:
        """Image sets."""
        return _make_loader(self.store, self._read_image_sets)

    @cached_property
    def versions(self) -> DataLoader[Key, tuple[ImageSetVersion, ...] | None]:
        """The versions of image sets."""
        return _make_loader(self.store, self._read_versions)

    @cached_property
    def metadata(self) -> DataLoader[Key, Mapping[str, object] | None]:
        """The metadata documents of image sets."""
        return _make_loader(self.store, self._read_metadata)

    @cached_property
    def studies(self) -> DataLoader[Key, Study | None]:
        """Studies."""
        return _make_loader(self.store, self._read_studies)

    @cached_property
    def pages(self) -> DataLoader[tuple[Inquiry, PageRequest], Page]:
        """Pages of searches."""
        return _make_page_loader(self.store)

    def _read_image_sets(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, ImageSet]:
        found = self.store.image_sets(datastore_id, image_set_ids)
        self.readings.append(Reading("imageSet", datastore_id, tuple(found), named=tuple(image_set_ids)))
        return found

    def _read_versions(
        self, datastore_id: str, image_set_ids: Sequence[str]
    ) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        found = self.store.versions(datastore_id, image_set_ids)
        self.readings.append(Reading("versions", datastore_id, tuple(found), named=tuple(image_set_ids)))
        return found

    def _read_metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        found = self.store.metadata(datastore_id, image_set_ids)
        self.readings.append(Reading("metadata", datastore_id, tuple(found), named=tuple(image_set_ids)))
        return found

    def _read_studies(self, datastore_id: str, study_uids: Sequence[str]) -> Mapping[str, Study]:
        found = self.store.studies(datastore_id, study_uids)
        told = tuple(study.image_set.image_set_id for study in found.values())
        self.readings.append(Reading("study", datastore_id, told, named=tuple(study_uids)))
        return found


RequestInfo: TypeAlias = Info[Context, None]


def _make_loader(
    store: Store, read: Callable[[str, Sequence[str]], Mapping[str, _Found]]
) -> DataLoader[Key, _Found | None]:
    """A loader that reads in a worker thread, with one call to the store for each data store."""

    async def load(keys: list[Key]) -> Sequence[_Found | None]:
        wanted: defaultdict[str, list[str]] = defaultdict(list)
        for datastore_id, image_set_id in keys:
            wanted[datastore_id].append(image_set_id)

        def read_all() -> list[_Found | None]:
            found = {
                datastore_id: read(datastore_id, ids) if store.datastore(datastore_id) else {}
                for datastore_id, ids in wanted.items()
            }
            return [found[datastore_id].get(image_set_id) for datastore_id, image_set_id in keys]

        return await run_sync(read_all)

    return DataLoader(load_fn=load)


def _make_page_loader(store: Store) -> DataLoader[tuple[Inquiry, PageRequest], Page]:
    """A loader that runs many searches in one worker thread; a few at once where each waits for a network."""

    def read(asked: tuple[Inquiry, PageRequest]) -> Page | Exception:
        try:
            return search(store, *asked)
        except (ServiceError, QueryError) as error:
            return error

    async def load(asked: list[tuple[Inquiry, PageRequest]]) -> Sequence[Page | Exception]:
        def read_all() -> list[Page | Exception]:
            if not store.capabilities.tokens:
                return list(map(read, asked))
            with ThreadPoolExecutor(_WORKERS) as pool:
                return list(pool.map(keep(read), asked))

        return await run_sync(read_all)

    # Each is asked for once.
    return DataLoader(load_fn=load, cache=False)
