"""ImageSet: the record that every store answers with, and its values as the query language sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

from grammar.values import code, normalise

#: A stored value as the language compares it; None where it is missing or not of its field's type.
Value: TypeAlias = str | int | bool | datetime | None

_ID: Final = re.compile("[0-9a-z]{32}")
_INTEGER_LIMIT: Final = 1 << 63
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def is_id(text: str) -> bool:
    """Whether this may be the id of a data store or an image set, as HealthImaging has them: `[0-9a-z]{32}`."""
    return _ID.fullmatch(text) is not None


class Datastore(NamedTuple):
    """A data store: its id (`[0-9a-z]{32}`) and its name; status and times as HealthImaging gives them."""

    datastore_id: str
    name: str
    status: str = "ACTIVE"
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One image set's summary, as SearchImageSets answers it. Times are aware and in UTC.

    `tags` are the store's own `DICOMTags`, unread and complete.
    """

    datastore_id: str
    image_set_id: str
    version: int | None
    created_at: datetime | None
    updated_at: datetime | None
    last_accessed_at: datetime | None
    storage_tier: str | None
    is_primary: bool | None
    tags: Mapping[str, object]

    def value(self, field: str) -> Value:
        """The value of a field of the language (by canonical name), typed as the language types it.

        Texts are in NFC, codes and sex in upper case; wall-clock times and dates are naive datetimes.
        """
        return _READERS[field](self)


def to_summary(image_set: ImageSet, write_time: Callable[[datetime], object]) -> dict[str, object]:
    """The image set as an ImageSetsMetadataSummary, times as `write_time` writes them; what is missing has no key."""

    def write(moment: datetime | None) -> object:
        return None if moment is None else write_time(moment)

    summary = {
        "imageSetId": image_set.image_set_id,
        "version": image_set.version,
        "createdAt": write(image_set.created_at),
        "updatedAt": write(image_set.updated_at),
        "lastAccessedAt": write(image_set.last_accessed_at),
        "storageTier": image_set.storage_tier,
        "isPrimary": image_set.is_primary,
        "DICOMTags": image_set.tags,
    }
    return {key: value for key, value in summary.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ImageSetVersion:
    """One version of an image set; its state as HealthImaging gives it: ACTIVE, LOCKED or DELETED."""

    version: int | None
    created_at: datetime | None
    updated_at: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class Study:
    """A study as a whole: all image sets of its data store that share its Study Instance UID.

    They may disagree about patient and study: `image_set` is the one that speaks for all (`speaks_for_study`).
    `modalities` are sorted, each once.
    """

    instance_uid: str
    image_set: ImageSet
    modalities: tuple[str, ...]
    image_set_count: int


def make_study(image_sets: Sequence[ImageSet]) -> Study:
    """The study that these are all the image sets of; at least one."""
    speaker = max(image_sets, key=speaks_for_study)
    modalities = {image_set.value("DICOMSeriesModality") for image_set in image_sets}
    return Study(
        str(speaker.value("DICOMStudyInstanceUID")),
        speaker,
        tuple(sorted(modality for modality in modalities if isinstance(modality, str))),
        len(image_sets),
    )


def speaks_for_study(image_set: ImageSet) -> tuple[bool, bool, datetime, str]:
    """The greatest speaks for its study: a primary one, the last updated, the greatest id."""
    updated = image_set.updated_at
    return image_set.is_primary is True, updated is not None, updated or _NEVER, image_set.image_set_id


def read_text(stored: object) -> str | None:
    """A stored text in NFC; None where it is no text, empty, or holds NUL or lone surrogates, which no query can."""
    if not isinstance(stored, str) or not stored:
        return None
    if not stored.isascii() and _SURROGATE.search(stored):
        return None
    return None if "\0" in stored else normalise(stored)


def read_code(stored: object) -> str | None:
    """A stored code string in upper case."""
    text = read_text(stored)
    return None if text is None else code(text)


def read_integer(stored: object) -> int | None:
    """A stored integer of at most 64 bits."""
    if isinstance(stored, bool) or not isinstance(stored, int):
        return None
    return stored if -_INTEGER_LIMIT <= stored < _INTEGER_LIMIT else None


def read_date(stored: object) -> datetime | None:
    """A DICOM date (DA, `yyyyMMdd`) as the naive start of its day; None for anything else."""
    if not isinstance(stored, str) or len(stored) != 8 or not (stored.isascii() and stored.isdigit()):
        return None
    try:
        return datetime(int(stored[:4]), int(stored[4:6]), int(stored[6:]))
    except ValueError:
        return None


def read_time(stored: object) -> timedelta | None:
    """A DICOM time (TM, `HH[mm[ss[.F{1,6}]]]`) since midnight; None for anything else."""
    if not isinstance(stored, str) or not stored.isascii():
        return None
    clock, point, fraction = stored.partition(".")
    if len(clock) not in (2, 4, 6) or not clock.isdigit():
        return None
    if point and not (len(clock) == 6 and 1 <= len(fraction) <= 6 and fraction.isdigit()):
        return None
    hour, minute, second = int(clock[:2]), int(clock[2:4] or 0), int(clock[4:6] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=int(fraction.ljust(6, "0") or 0))


def study_moment(tags: Mapping[str, object]) -> datetime | None:
    """Study date and time on the scanner's clock: at 00:00 without a time, missing without a date."""
    date = read_date(tags.get("DICOMStudyDate"))
    return None if date is None else date + (read_time(tags.get("DICOMStudyTime")) or timedelta())


def _tag(name: str, read: Callable[[object], Value]) -> Callable[[ImageSet], Value]:
    return lambda image_set: read(image_set.tags.get(name))


_READERS: Final[dict[str, Callable[[ImageSet], Value]]] = {
    "imageSetId": lambda image_set: image_set.image_set_id,
    "version": lambda image_set: image_set.version,
    "createdAt": lambda image_set: image_set.created_at,
    "updatedAt": lambda image_set: image_set.updated_at,
    "lastAccessedAt": lambda image_set: image_set.last_accessed_at,
    "storageTier": lambda image_set: image_set.storage_tier,
    "isPrimary": lambda image_set: image_set.is_primary,
    "DICOMStudyDateAndTime": lambda image_set: study_moment(image_set.tags),
    "DICOMPatientBirthDate": _tag("DICOMPatientBirthDate", read_date),
    "DICOMPatientSex": _tag("DICOMPatientSex", read_code),
    "DICOMSeriesModality": _tag("DICOMSeriesModality", read_code),
    "DICOMSeriesBodyPart": _tag("DICOMSeriesBodyPart", read_code),
    "DICOMSeriesNumber": _tag("DICOMSeriesNumber", read_integer),
    "DICOMNumberOfStudyRelatedSeries": _tag("DICOMNumberOfStudyRelatedSeries", read_integer),
    "DICOMNumberOfStudyRelatedInstances": _tag("DICOMNumberOfStudyRelatedInstances", read_integer),
} | {
    name: _tag(name, read_text)
    for name in (
        "DICOMPatientId",
        "DICOMAccessionNumber",
        "DICOMStudyId",
        "DICOMStudyInstanceUID",
        "DICOMSeriesInstanceUID",
        "DICOMPatientName",
        "DICOMStudyDescription",
    )
}


def utc(moment: datetime) -> datetime:
    """An aware time in UTC; a naive one is taken to be in UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
