"""AWS HealthImaging as a store: one request is one SearchImageSets call, and its pages go on by token.

It only reads. What its API has not (`or`, `not`, most fields, counts, places) is refused here: whoever searches plans
with its capabilities and scans.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from grammar.criteria import Comparison, Condition, Operator, Range, conjunction
from graphql_service.deadlines import keep
from graphql_service.errors import (
    DataStoreNotActive,
    DataStoreNotFound,
    InvalidArgument,
    ScanBudget,
    StoreError,
    UnsupportedSearch,
)
from graphql_service.healthimaging.client import HealthImagingClient, Structure, open_client
from graphql_service.healthimaging.criteria import CAPABILITIES, to_search_criteria
from graphql_service.image_set import Datastore, ImageSet, ImageSetVersion, Study, is_id, utc
from graphql_service.settings import Settings
from graphql_service.stores.base import METADATA_LIMIT, Answer, Capabilities, Request
from graphql_service.studies import read_study

_PAGE: Final = 50
_WORKERS: Final = 8
_INSTANT: Final = timedelta(microseconds=1)
#: AWS allows 5 ListDatastores and 10 GetDatastore calls a second, and a search needs one of them each time.
_LIST_SECONDS: Final = 1.0
_DATASTORE_SECONDS: Final = 30.0

_Kept = TypeVar("_Kept")


@dataclass(slots=True)
class _Memory(Generic[_Kept]):
    """Answers kept for some seconds. Threads that want the same at once may ask twice."""

    seconds: float
    kept: dict[str, tuple[float, _Kept]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str, ask: Callable[[], _Kept]) -> _Kept:
        with self.lock:
            known = self.kept.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        answer = ask()
        with self.lock:
            self.kept[key] = time.monotonic() + self.seconds, answer
        return answer


class HealthImagingStore:
    """The data stores of one account in one region. Safe to use from several threads.

    Raises what `HealthImagingClient` raises. `settings` give the scan budget of a page.
    """

    def __init__(self, client: HealthImagingClient, settings: Settings) -> None:
        self._client = client
        self._capabilities = replace(
            CAPABILITIES, scan_requests=settings.scan_requests, scan_seconds=float(settings.scan_seconds)
        )
        self._scan_requests = settings.scan_requests
        self._listed: _Memory[tuple[Datastore, ...]] = _Memory(_LIST_SECONDS)
        self._datastores: _Memory[Datastore] = _Memory(_DATASTORE_SECONDS)

    @property
    def capabilities(self) -> Capabilities:
        """What one SearchImageSets call can say, and the budget of a page."""
        return self._capabilities

    def sharing(self) -> AbstractContextManager[None]:
        """Nothing: each call is answered by the state that HealthImaging then has."""
        return nullcontext()

    def datastores(self) -> tuple[Datastore, ...]:
        """Every data store of the account in the region, by id; known for a second."""

        def ask() -> tuple[Datastore, ...]:
            found = map(_read_datastore, self._client.list_datastores())
            return tuple(sorted(found, key=lambda datastore: datastore.datastore_id))

        return self._listed.get("", ask)

    def datastore(self, datastore_id: str) -> Datastore | None:
        """One data store by its id, known for half a minute; None where there is none."""
        if not is_id(datastore_id):
            return None
        try:
            return self._datastores.get(datastore_id, lambda: _read_datastore(self._client.get_datastore(datastore_id)))
        except DataStoreNotFound:
            return None

    def image_sets(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, ImageSet]:
        """The image sets that exist among those named, by id: two or more calls each, a few at once.

        Raises ScanBudget where more image sets were made and changed in the same seconds than a page may scan.
        """
        with ThreadPoolExecutor(_WORKERS) as pool:
            found = pool.map(keep(lambda each: self._find(datastore_id, each)), dict.fromkeys(image_set_ids))
            return {image_set.image_set_id: image_set for image_set in found if image_set is not None}

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        """Every version of the image sets that exist among those named, newest first: a call each, a few at once."""

        def ask(image_set_id: str) -> tuple[ImageSetVersion, ...]:
            found = map(_read_version, self._client.list_image_set_versions(datastore_id, image_set_id))
            # [?] The order in which they come.
            return tuple(sorted(found, key=lambda each: each.version or 0, reverse=True))

        with ThreadPoolExecutor(_WORKERS) as pool:
            ids = _proper(image_set_ids)
            return {each: versions for each, versions in zip(ids, pool.map(keep(ask), ids), strict=True) if versions}

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        """The metadata of those named that have any, of the newest version: a call each, a few at once.

        Raises InvalidArgument where they have more than `METADATA_LIMIT` bytes together, StoreError where one alone
        has, or is no JSON object.
        """
        size, lock = 0, threading.Lock()

        def ask(image_set_id: str) -> bytes | None:
            nonlocal size
            document = (
                None if size > METADATA_LIMIT else self._client.get_image_set_metadata(datastore_id, image_set_id)
            )
            with lock:
                size += len(document or b"")
            if size > METADATA_LIMIT:
                raise InvalidArgument(
                    f"the metadata of these image sets has more than {METADATA_LIMIT:,} bytes together: ask for that"
                    " of fewer at once"
                )
            return document

        with ThreadPoolExecutor(_WORKERS) as pool:
            ids = _proper(image_set_ids)
            found = zip(ids, pool.map(keep(ask), ids), strict=True)
            return {each: _read_metadata(document) for each, document in found if document is not None}

    def fetch(self, request: Request) -> Answer:
        """One SearchImageSets call, for at most 50. Raises UnsupportedSearch for what `capabilities` have not."""
        if request.backward or request.after is not None or request.before is not None:
            raise UnsupportedSearch("HealthImaging goes on by token alone.")
        if request.studies:
            raise UnsupportedSearch("HealthImaging tells no studies.")
        summaries, token = self._search(
            request.datastore_id,
            to_search_criteria(request.where, request.sort),
            min(request.limit, _PAGE),
            request.token,
        )
        image_sets = tuple(read_summary(request.datastore_id, summary) for summary in summaries)
        return Answer(image_sets, token is not None, token)

    def studies(self, datastore_id: str, study_uids: Sequence[str]) -> Mapping[str, Study]:
        """The studies that exist among those named: a call or more each, a few at once.

        Raises ScanBudget where a study has more image sets than a page may scan.
        """
        with ThreadPoolExecutor(_WORKERS) as pool:
            found = pool.map(keep(lambda uid: read_study(self, datastore_id, uid)), dict.fromkeys(study_uids))
            return {study.instance_uid: study for study in found if study is not None}

    def count(
        self,
        datastore_id: str,  # noqa: ARG002 - the protocol's
        where: Condition,  # noqa: ARG002 - the protocol's
        limit: int,  # noqa: ARG002 - the protocol's
        *,
        studies: bool = False,  # noqa: ARG002 - the protocol's
    ) -> int:
        """Refused: HealthImaging does not count."""
        raise UnsupportedSearch("HealthImaging does not count.")

    def histogram(
        self,
        datastore_id: str,  # noqa: ARG002 - the protocol's
        where: Condition,  # noqa: ARG002 - the protocol's
        field: str,  # noqa: ARG002 - the protocol's
        step: timedelta,  # noqa: ARG002 - the protocol's
    ) -> Sequence[tuple[datetime, int]]:
        """Refused, as counting is."""
        raise UnsupportedSearch("HealthImaging does not count.")

    def values(self, datastore_id: str, field: str) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        """None: they are not known without reading every image set."""
        return ()

    def close(self) -> None:
        """Give up the connections."""
        self._client.close()

    def _search(
        self, datastore_id: str, criteria: Mapping[str, object], limit: int, token: str | None
    ) -> tuple[list[Structure], str | None]:
        datastore = self.datastore(datastore_id)
        if datastore is None:
            raise DataStoreNotFound("there is no data store with this id: 'datastores' lists those there are")
        if datastore.status != "ACTIVE":
            raise DataStoreNotActive(f"the data store is not active: it is {datastore.status}")
        return self._client.search_image_sets(datastore_id, criteria, limit, token)

    def _find(self, datastore_id: str, image_set_id: str) -> ImageSet | None:
        """An image set's summary. No call gives that by id; its times do, which GetImageSet tells.

        A second attempt is for one that was changed between the two calls.
        """
        if not is_id(image_set_id):
            return None
        for _ in range(2):
            properties = self._client.get_image_set(datastore_id, image_set_id)
            if properties is None:
                return None
            where = conjunction(
                Comparison(name, Operator.RANGE, Range(utc(properties[name]), utc(properties[name]) + _INSTANT))
                for name in ("createdAt", "updatedAt")
                if name in properties
            )
            found = self._find_among(datastore_id, image_set_id, where)
            if found is not None:
                return found
        return None

    def _find_among(self, datastore_id: str, image_set_id: str, where: Condition) -> ImageSet | None:
        criteria, token = to_search_criteria(where), None
        for _ in range(self._scan_requests):
            summaries, token = self._search(datastore_id, criteria, _PAGE, token)
            for summary in summaries:
                if summary["imageSetId"] == image_set_id:
                    return read_summary(datastore_id, summary)
            if token is None:
                return None
        raise ScanBudget(
            "too many image sets share the times of this one: IMAGESETS_SCAN_REQUESTS limits how many are read"
        )


def open_healthimaging(region: str, settings: Settings) -> HealthImagingStore:
    """The store of a region. Raises SettingError where AWS is not set up; the service itself is not asked."""
    return HealthImagingStore(open_client(region, settings), settings)


def read_summary(datastore_id: str, summary: Structure) -> ImageSet:
    """An image set from its ImageSetsMetadataSummary, as boto3 hands it over."""
    return ImageSet(
        datastore_id,
        summary["imageSetId"],
        summary.get("version"),
        _read_time(summary.get("createdAt")),
        _read_time(summary.get("updatedAt")),
        _read_time(summary.get("lastAccessedAt")),
        summary.get("storageTier"),
        summary.get("isPrimary"),
        summary.get("DICOMTags", {}),
    )


def _proper(image_set_ids: Sequence[str]) -> list[str]:
    """Each id once, without those that no id can be."""
    return [each for each in dict.fromkeys(image_set_ids) if is_id(each)]


def _read_version(properties: Structure) -> ImageSetVersion:
    return ImageSetVersion(
        int(properties["versionId"]),
        _read_time(properties.get("createdAt")),
        _read_time(properties.get("updatedAt")),
        properties["imageSetState"],
    )


def _read_metadata(document: bytes) -> Mapping[str, object]:
    try:
        metadata = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise StoreError("an image set's metadata is damaged: it is not JSON") from error
    if not isinstance(metadata, dict):
        raise StoreError("an image set's metadata is damaged: it is no JSON object")
    return metadata


def _read_time(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)


def _read_datastore(properties: Structure) -> Datastore:
    return Datastore(
        properties["datastoreId"],
        properties["datastoreName"],
        properties["datastoreStatus"],
        _read_time(properties.get("createdAt")),
        _read_time(properties.get("updatedAt")),
    )
