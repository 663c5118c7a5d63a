"""A view of a store, in which only some of its data stores exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast
from uuid import uuid4

from grammar.criteria import Condition
from graphql_service.image_set import Datastore, ImageSet, ImageSetVersion, Study, is_id
from graphql_service.stores.base import Answer, Capabilities, Columns, ColumnStore, Request, Store

#: An id that no store has: what is hidden is asked for under it.
_NOWHERE: Final = uuid4().hex


def show_only(store: Store, datastores: frozenset[str] | None) -> Store:
    """The store as it is for whom these data stores exist; None: all of them do."""
    return store if datastores is None else VisibleStore(store, datastores)


@dataclass(frozen=True, slots=True)
class VisibleStore:
    """A store in which no data store exists but those with these ids.

    Any other id is as one that the store has not: it is asked all the same, under an id that it surely has not, so
    that answer, error and time are its own. Making a view costs nothing: each request can have one.
    """

    store: Store
    datastore_ids: frozenset[str]

    @property
    def capabilities(self) -> Capabilities:
        """Those of the store."""
        return self.store.capabilities

    def sharing(self) -> AbstractContextManager[None]:
        """One state of the store for what is asked within."""
        return self.store.sharing()

    def datastores(self) -> tuple[Datastore, ...]:
        """Every data store that exists here, by id."""
        return tuple(each for each in self.store.datastores() if each.datastore_id in self.datastore_ids)

    def datastore(self, datastore_id: str) -> Datastore | None:
        """One data store by its id; None where there is none."""
        return self.store.datastore(self._seen(datastore_id))

    def image_sets(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, ImageSet]:
        """The image sets that exist among those named, by id."""
        return self.store.image_sets(self._seen(datastore_id), image_set_ids)

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        """Every version that is known of the image sets that exist among those named, newest first."""
        return self.store.versions(self._seen(datastore_id), image_set_ids)

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """The HealthImaging metadata documents of those named that have one."""
        return self.store.metadata(self._seen(datastore_id), image_set_ids)

    def fetch(self, request: Request) -> Answer:
        """One request."""
        return self.store.fetch(self._see(request))

    def fetch_columns(self, request: Request, fields: Sequence[str]) -> Columns:
        """The same, of these fields alone, of a store that can."""
        return cast("ColumnStore", self.store).fetch_columns(self._see(request), fields)

    def studies(self, datastore_id: str, study_uids: Sequence[str]) -> Mapping[str, Study]:
        """The studies that exist among those named, by Study Instance UID."""
        return self.store.studies(self._seen(datastore_id), study_uids)

    def count(self, datastore_id: str, where: Condition, limit: int, *, studies: bool = False) -> int:
        """How many image sets or studies, counting no further than `limit`."""
        return self.store.count(self._seen(datastore_id), where, limit, studies=studies)

    def histogram(
        self, datastore_id: str, where: Condition, field: str, step: timedelta
    ) -> Sequence[tuple[datetime, int]]:
        """How many image sets meet the condition by their value of a date field."""
        return self.store.histogram(self._seen(datastore_id), where, field, step)

    def values(self, datastore_id: str, field: str) -> tuple[str, ...]:
        """The values that image sets have of a field."""
        return self.store.values(self._seen(datastore_id), field)

    def close(self) -> None:
        """Nothing: the store is for whoever opened it to close."""

    def _see(self, request: Request) -> Request:
        seen = self._seen(request.datastore_id)
        return request if seen == request.datastore_id else request._replace(datastore_id=seen)

    def _seen(self, datastore_id: str) -> str:
        """The id to ask the store for. What is no id names no data store, and keeps its own error."""
        return datastore_id if datastore_id in self.datastore_ids or not is_id(datastore_id) else _NOWHERE
