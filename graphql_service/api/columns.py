"""The fields of an image set in the schema, each made of one column of the rows: as `types.read_image_set` makes them.

A whole column is made at a time, so that what needs no change costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any, Final, TypeAlias

from graphql_service.api.node_ids import encode_keys
from graphql_service.api.scalars import write_clock, write_instant
from graphql_service.api.types import INT_LIMIT, StorageTier
from graphql_service.stores.base import STUDY_TIME, TAGS

#: What is made of a column's values, in the data store with this id.
Make: TypeAlias = Callable[[Sequence[Any], str], Iterable[object]]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT: Final = 8_192
_TIERS: Final = frozenset(tier.name for tier in StorageTier)


def keep(values: Sequence[Any], _: str) -> Iterable[object]:
    """The values as they are."""
    return values


class _Written(dict[int | None, str | None]):
    """How numbers are written, kept for the next row: sooner found than by a call. A missing one stays missing.

    Image sets of one import share their times, and most were not updated since they were created.
    """

    def __init__(self, write: Callable[[int], str]) -> None:
        super().__init__()
        self._write = write

    def __missing__(self, number: int | None) -> str | None:
        if len(self) >= _KEPT:
            self.clear()
        written = self[number] = None if number is None else self._write(number)
        return written


def _each(write: Callable[[int], str]) -> Make:
    written = _Written(write)
    return lambda values, _: [written[value] for value in values]


def _ints(values: Sequence[Any], _: str) -> Iterable[object]:
    return [None if value is None or not -INT_LIMIT <= value < INT_LIMIT else value for value in values]


def _truths(values: Sequence[Any], _: str) -> Iterable[object]:
    return [None if value is None else value == 1 for value in values]


def _tiers(values: Sequence[Any], _: str) -> Iterable[object]:
    return [value if value in _TIERS else None for value in values]


_INSTANT: Final = _each(lambda since_1970: write_instant(_EPOCH + timedelta(0, 0, since_1970)))
_DAY: Final = _each(lambda since_1970: (_EPOCH + timedelta(0, 0, since_1970)).date().isoformat())
_CLOCK: Final = _each(lambda since_midnight: write_clock((datetime.min + timedelta(0, 0, since_midnight)).time()))

#: By type and field of the schema: the column that it is made of, as `stores.base.Columns` has it, and how.
COLUMNS: Final[Mapping[str, Mapping[str, tuple[str, Make]]]] = {
    "ImageSet": {
        "id": ("imageSetId", lambda values, datastore_id: encode_keys("ImageSet", datastore_id, values)),
        "imageSetId": ("imageSetId", keep),
        "datastoreId": ("imageSetId", lambda values, datastore_id: repeat(datastore_id, len(values))),
        "version": ("version", _ints),
        "createdAt": ("createdAt", _INSTANT),
        "updatedAt": ("updatedAt", _INSTANT),
        "lastAccessedAt": ("lastAccessedAt", _INSTANT),
        "storageTier": ("storageTier", _tiers),
        "isPrimary": ("isPrimary", _truths),
        "dicomTags": (TAGS, keep),
    },
    "PatientAttributes": {
        "patientId": ("DICOMPatientId", keep),
        "name": ("DICOMPatientName", keep),
        "birthDate": ("DICOMPatientBirthDate", _DAY),
        "sex": ("DICOMPatientSex", keep),
    },
    "StudyAttributes": {
        "instanceUid": ("DICOMStudyInstanceUID", keep),
        "studyId": ("DICOMStudyId", keep),
        "accessionNumber": ("DICOMAccessionNumber", keep),
        "description": ("DICOMStudyDescription", keep),
        "date": ("DICOMStudyDateAndTime", _DAY),
        "time": (STUDY_TIME, _CLOCK),
        "seriesCount": ("DICOMNumberOfStudyRelatedSeries", _ints),
        "instanceCount": ("DICOMNumberOfStudyRelatedInstances", _ints),
    },
    "SeriesAttributes": {
        "instanceUid": ("DICOMSeriesInstanceUID", keep),
        "number": ("DICOMSeriesNumber", _ints),
        "modality": ("DICOMSeriesModality", keep),
        "bodyPart": ("DICOMSeriesBodyPart", keep),
    },
}
