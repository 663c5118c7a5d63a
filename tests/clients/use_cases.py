"""The four searches of HealthImaging's own guide, over the bundled sample, and what they find there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from graphql_service.sample import DATASTORE_ID, open_sample

__all__ = ["DATASTORE_ID", "SUMMARIES", "USE_CASES", "UseCase", "expected"]

with open_sample() as lines:
    SUMMARIES: Final[tuple[dict[str, Any], ...]] = tuple(json.loads(line) for line in lines)


@dataclass(frozen=True, slots=True)
class UseCase:
    """A search: its criteria as the AWS CLI takes them, with instants as text, and how many image sets it finds."""

    name: str
    criteria: Mapping[str, Any]
    count: int


USE_CASES: Final = (
    UseCase(
        "EQUAL on a patient",
        {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "SUBJECT08701"}]}]},
        1,
    ),
    UseCase(
        "BETWEEN on study date and time",
        {
            "filters": [
                {
                    "operator": "BETWEEN",
                    "values": [
                        {"DICOMStudyDateAndTime": {"DICOMStudyDate": "19990101", "DICOMStudyTime": "000000.000"}},
                        {"DICOMStudyDateAndTime": {"DICOMStudyDate": "20230901", "DICOMStudyTime": "000000"}},
                    ],
                }
            ]
        },
        1_868,
    ),
    UseCase(
        "BETWEEN on createdAt",
        {
            "filters": [
                {
                    "operator": "BETWEEN",
                    "values": [
                        {"createdAt": "1985-04-12T23:20:50.520Z"},
                        {"createdAt": "2023-06-30T12:00:00.500Z"},
                    ],
                }
            ]
        },
        291,
    ),
    UseCase(
        "EQUAL on a series with BETWEEN on updatedAt, oldest first",
        {
            "filters": [
                {
                    "operator": "BETWEEN",
                    "values": [
                        {"updatedAt": "2022-03-11T15:00:05.074-07:00"},
                        {"updatedAt": "2025-12-31T16:00:05.074-07:00"},
                    ],
                },
                {
                    "operator": "EQUAL",
                    "values": [{"DICOMSeriesInstanceUID": "1.2.840.99999999.84710745.943275268089.1"}],
                },
            ],
            "sort": {"sortField": "updatedAt", "sortOrder": "ASC"},
        },
        1,
    ),
)


def expected(case: UseCase) -> list[str]:
    """The ids that a search finds, in order, by the plainest reading of its criteria."""
    found = [
        summary for summary in SUMMARIES if all(_meets(summary, part) for part in case.criteria.get("filters", ()))
    ]
    ascending = case.criteria.get("sort", {}).get("sortOrder") == "ASC"
    found.sort(key=lambda each: (datetime.fromisoformat(each["updatedAt"]), each["imageSetId"]), reverse=not ascending)
    ids = [summary["imageSetId"] for summary in found]
    assert len(ids) == case.count
    return ids


def _meets(summary: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    (name,) = part["values"][0]
    tags = summary["DICOMTags"]
    bounds = [value[name] for value in part["values"]]
    match name:
        case "createdAt" | "updatedAt":
            low, high = map(datetime.fromisoformat, bounds)
            return bool(low <= datetime.fromisoformat(summary[name]) <= high)
        case "DICOMStudyDateAndTime":
            low, high = map(_read_moment, bounds)
            return low <= _read_moment(tags) <= high
        case _:
            return bool(tags.get(name) == bounds[0])


def _read_moment(tags: Mapping[str, str]) -> datetime:
    """Study date and time; the end of time for what is no date (the sample has 30 February), which no range holds."""
    try:
        return datetime.fromisoformat(f"{tags['DICOMStudyDate']}T{tags.get('DICOMStudyTime', '')[:6]:0<6}")
    except (KeyError, ValueError):
        return datetime.max
