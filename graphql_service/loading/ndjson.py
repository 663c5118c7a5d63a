"""NDJSON of image-set summaries, one AWS HealthImaging ImageSetsMetadataSummary a line: read and written.

Read line by line. A line that is not such a summary is refused with its number and a reason, never a value of it,
and the next one is read. Keys that are not a summary's are ignored; tags are kept as they are. A whole answer of
SearchImageSets is no line: `jq` makes lines of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import IO, Any, Final

import orjson

from graphql_service.image_set import ImageSet, is_id, read_integer, to_summary

#: The longest line, in bytes, that is read. HealthImaging's own summaries are under 10 kB.
LINE_LIMIT: Final = 1_000_000

#: Makes lines of an answer of SearchImageSets, and of an array of summaries.
JQ_ANSWER: Final = "jq -c '.imageSetsMetadataSummaries[]'"
_JQ_ARRAY: Final = "jq -c '.[]'"

_BYTE_ORDER_MARK: Final = "\ufeff".encode()
_TIERS: Final = (None, "FREQUENT_ACCESS", "ARCHIVE_INSTANT_ACCESS")
_TIMES: Final = ("createdAt", "updatedAt", "lastAccessedAt")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that is no image set: its number, from 1, and why, without any of its values."""

    number: int
    reason: str


class _Refused(Exception):
    """Why a line is no image set."""


def read_lines(stream: IO[bytes], datastore_id: str) -> Iterator[ImageSet | RefusedLine]:
    """The image sets of an open stream, and the lines that are none, in their order. Blank lines are skipped.

    A byte order mark at the beginning is no part of the first line.
    """
    number = 0
    while line := stream.readline(LINE_LIMIT + 1):
        number += 1
        if len(line) > LINE_LIMIT and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(LINE_LIMIT)
            yield RefusedLine(number, f"longer than {LINE_LIMIT:,} bytes")
            continue
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line.strip():
            continue
        try:
            yield _read_summary(line, datastore_id)
        except _Refused as refused:
            yield RefusedLine(number, str(refused))


#: Whole numbers from here on are read as floats, and so not to the digit.
_BEYOND: Final = 2.0**63


def dump_line(image_set: ImageSet) -> bytes:
    """The image set as a line, newline and all, that `read_lines` reads back as it is."""
    return orjson.dumps(to_summary(image_set, _write_time), option=orjson.OPT_APPEND_NEWLINE)


def _write_time(moment: datetime) -> str:
    """ISO 8601 in UTC, with milliseconds, with microseconds where they are needed."""
    precision = "microseconds" if moment.microsecond % 1_000 else "milliseconds"
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision)}Z"


def _read_object(line: bytes) -> dict[str, Any]:
    try:
        summary = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise _Refused(_find_fault(line)) from None
    if isinstance(summary, list):
        raise _Refused(f"a JSON array, not one summary: `{_JQ_ARRAY}` makes lines of it")
    if not isinstance(summary, dict):
        raise _Refused("not a JSON object")
    if "imageSetsMetadataSummaries" in summary:
        raise _Refused(f"a whole answer of SearchImageSets, not one summary: `{JQ_ANSWER}` makes lines of it")
    return summary


def _read_summary(line: bytes, datastore_id: str) -> ImageSet:
    get = _read_object(line).get
    image_set_id, tier, primary, tags = get("imageSetId"), get("storageTier"), get("isPrimary"), get("DICOMTags")
    if not isinstance(image_set_id, str) or not is_id(image_set_id):
        raise _Refused("imageSetId must be 32 digits and lower-case letters")
    if tier not in _TIERS:
        raise _Refused("storageTier must be FREQUENT_ACCESS or ARCHIVE_INSTANT_ACCESS")
    if primary is not None and not isinstance(primary, bool):
        raise _Refused("isPrimary must be true or false")
    if tags is not None and not isinstance(tags, dict):
        raise _Refused("DICOMTags must be an object")
    if tags is not None and _has_wide_number(tags):
        raise _Refused("DICOMTags has a number of more than 64 bits: write it as a text")
    version = get("version")
    if version is not None and read_integer(version) is None:
        raise _Refused("version must be an integer")
    try:
        created, updated, accessed = map(_read_time, map(get, _TIMES))
    except (TypeError, ValueError, OverflowError):
        raise _Refused(f"{', '.join(_TIMES)} must be ISO 8601 times with a zone, or seconds since 1970") from None
    return ImageSet(datastore_id, image_set_id, version, created, updated, accessed, tier, primary, tags or {})


def _has_wide_number(tags: dict[str, Any]) -> bool:
    """Whether a number is in them that has been read as another one."""
    level = list(tags.values())
    while level:
        if any(type(each) is float and abs(each) >= _BEYOND for each in level):
            return True
        inner = [each for each in level if isinstance(each, dict | list)]
        level = [below for each in inner for below in (each.values() if isinstance(each, dict) else each)]
    return False


def _find_fault(line: bytes) -> str:
    """Why a line is no JSON."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    if line.strip() == b"{":
        return f"JSON over several lines, not one summary a line: `{JQ_ANSWER}` makes lines of an answer"
    if line.strip() == b"[":
        return f"JSON over several lines, not one summary a line: `{_JQ_ARRAY}` makes lines of an array"
    return "not JSON" if line.endswith(b"\n") else "not JSON, or cut short"


# Image sets of one import share their times. typed: to a cache 1 and true are otherwise one.
@lru_cache(4096, typed=True)
def _read_time(stored: object) -> datetime | None:
    """A time as text with a zone, or as seconds since 1970, to the nearest microsecond."""
    if stored is None:
        return None
    if isinstance(stored, str):
        moment = datetime.fromisoformat(stored)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment.astimezone(UTC)
    if isinstance(stored, bool) or not isinstance(stored, int | float):
        raise TypeError("neither text nor a number")
    return _EPOCH + timedelta(microseconds=int((Decimal(repr(stored)) * 1_000_000).to_integral_value()))
