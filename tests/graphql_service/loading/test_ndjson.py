import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from itertools import repeat

import pytest
from hypothesis import given

from graphql_service.image_set import ImageSet
from graphql_service.loading.ndjson import JQ_ANSWER, LINE_LIMIT, RefusedLine, dump_line, read_lines
from tests.strategies import DATASTORE_ID, image_sets

ID = "0123456789abcdef" * 2
EMPTY = ImageSet(DATASTORE_ID, ID, None, None, None, None, None, None, {})


def read(data: bytes) -> list[ImageSet | RefusedLine]:
    return list(read_lines(BytesIO(data), DATASTORE_ID))


def line(**summary: object) -> bytes:
    return json.dumps({"imageSetId": ID} | summary).encode() + b"\n"


def test_a_whole_summary() -> None:
    tags = {"DICOMPatientId": "SUBJECT08701", "DICOMSeriesNumber": 1, "nested": {"a": [1.5, None, "é"]}}
    data = line(
        version=3,
        createdAt="2022-12-06T21:40:59.429000+00:00",
        updatedAt=1670362859.429001,
        lastAccessedAt="2022-12-06T16:40:59-05:00",
        storageTier="ARCHIVE_INSTANT_ACCESS",
        isPrimary=False,
        DICOMTags=tags,
        datastoreId="somewhere else",
    )
    assert read(data) == [
        ImageSet(
            DATASTORE_ID,
            ID,
            3,
            datetime(2022, 12, 6, 21, 40, 59, 429_000, UTC),
            datetime(2022, 12, 6, 21, 40, 59, 429_001, UTC),
            datetime(2022, 12, 6, 21, 40, 59, tzinfo=UTC),
            "ARCHIVE_INSTANT_ACCESS",
            is_primary=False,
            tags=tags,
        )
    ]


@pytest.mark.parametrize(
    ("stored", "moment"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-0.5, datetime(1969, 12, 31, 23, 59, 59, 500_000, UTC)),
        (1670362859, datetime(2022, 12, 6, 21, 40, 59, tzinfo=UTC)),
        (1670362859.123456, datetime(2022, 12, 6, 21, 40, 59, 123_456, UTC)),
        (4102444799.999999, datetime(2099, 12, 31, 23, 59, 59, 999_999, UTC)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("2024-02-29T00:00:00.000001+05:30", datetime(2024, 2, 28, 18, 30, 0, 1, UTC)),
        (None, None),
    ],
)
def test_times_are_exact_to_the_microsecond(stored: object, moment: datetime | None) -> None:
    assert read(line(updatedAt=stored)) == [replace(EMPTY, updated_at=moment)]


WIDE = "DICOMTags has a number of more than 64 bits: write it as a text"
TIMES = "createdAt, updatedAt, lastAccessedAt must be ISO 8601 times with a zone, or seconds since 1970"
FULL = line()[:-2].decode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "a JSON array, not one summary: `jq -c '.[]'` makes lines of it"),
        (
            b'{"imageSetsMetadataSummaries": [], "nextToken": "a"}\n',
            f"a whole answer of SearchImageSets, not one summary: `{JQ_ANSWER}` makes lines of it",
        ),
        (
            b"{\r\n",
            f"JSON over several lines, not one summary a line: `{JQ_ANSWER}` makes lines of an answer",
        ),
        (b"[\n", "JSON over several lines, not one summary a line: `jq -c '.[]'` makes lines of an array"),
        (b"null", "not a JSON object"),
        (b"nonsense\n", "not JSON"),
        (b"nonsense \xff", "not UTF-8"),
        (b"\xff\xfe{\x00}\x00\n", "not UTF-8"),
        (line()[:-2], "not JSON, or cut short"),
        (FULL.encode() + b', "DICOMTags": {"a": "\xff"}}\n', "not UTF-8"),
        (FULL.encode() + b', "DICOMTags": {"a": "\\ud800"}}\n', "not JSON"),
        (FULL.encode() + b', "version": NaN}\n', "not JSON"),
        (FULL.encode() + b', "updatedAt": Infinity}\n', "not JSON"),
        (b"{}", "imageSetId must be 32 digits and lower-case letters"),
        (line(imageSetId=ID.upper()), "imageSetId must be 32 digits and lower-case letters"),
        (line(imageSetId=f"{ID}\n"), "imageSetId must be 32 digits and lower-case letters"),
        (line(imageSetId=7), "imageSetId must be 32 digits and lower-case letters"),
        (line(version="1"), "version must be an integer"),
        (line(version=1.0), "version must be an integer"),
        (line(version=True), "version must be an integer"),
        (line(version=2**63), "version must be an integer"),
        (line(storageTier="frequent"), "storageTier must be FREQUENT_ACCESS or ARCHIVE_INSTANT_ACCESS"),
        (line(storageTier=["FREQUENT_ACCESS"]), "storageTier must be FREQUENT_ACCESS or ARCHIVE_INSTANT_ACCESS"),
        (line(isPrimary=1), "isPrimary must be true or false"),
        (line(DICOMTags=[]), "DICOMTags must be an object"),
        (line(DICOMTags=""), "DICOMTags must be an object"),
        (line(DICOMTags={"private": 10**30}), WIDE),
        (
            line(DICOMTags={"a": [{"b": 10**30}], "c": 1.5}),
            WIDE,
        ),
        (line(DICOMTags={"private": -(2**63) - 1}), WIDE),
        (line(updatedAt="2024-02-29T00:00:00"), TIMES),
        (line(updatedAt="2024-02-30T00:00:00Z"), TIMES),
        (line(updatedAt="0001-01-01T00:00:00+05:00"), TIMES),
        (line(updatedAt=True), TIMES),
        (line(updatedAt=1e300), TIMES),
        (line(updatedAt=[]), TIMES),
        (line(createdAt=""), TIMES),
    ],
)
def test_what_is_no_summary_is_refused_without_its_values(data: bytes, reason: str) -> None:
    assert read(data) == [RefusedLine(1, reason)]


def test_a_number_that_was_read_as_a_time_does_not_make_true_one() -> None:
    assert read(line(updatedAt=1) + line(updatedAt=True)) == [
        replace(EMPTY, updated_at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        RefusedLine(2, TIMES),
    ]


def test_the_rest_is_read_and_lines_are_counted_as_an_editor_counts_them() -> None:
    data = b"\n" + line() + b"  \r\n" + b"{]\n" + line(version=2).replace(b"\n", b"\r\n") + line(version=3)[:-1]
    assert read(data) == [
        replace(EMPTY),
        RefusedLine(4, "not JSON"),
        replace(EMPTY, version=2),
        replace(EMPTY, version=3),
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    mark = b"\xef\xbb\xbf"
    assert read(mark + line() + line()) == [EMPTY, EMPTY]
    assert read(mark + b"\n" + line() + mark + line()) == [EMPTY, RefusedLine(3, "not JSON")]
    assert read(mark) == []


def test_a_line_is_read_up_to_the_limit() -> None:
    whole = line(DICOMTags={"a": ""})
    padding = LINE_LIMIT - len(whole) + 1
    fits, longer = (line(DICOMTags={"a": "x" * (padding + extra)}) for extra in (0, 1))
    assert [len(fits), len(longer)] == [LINE_LIMIT + 1, LINE_LIMIT + 2]
    assert read(fits + longer * 2 + line() + longer[:-1]) == [
        replace(EMPTY, tags={"a": "x" * padding}),
        RefusedLine(2, "longer than 1,000,000 bytes"),
        RefusedLine(3, "longer than 1,000,000 bytes"),
        EMPTY,
        RefusedLine(5, "longer than 1,000,000 bytes"),
    ]


def test_a_stream_is_read_as_it_is_used() -> None:
    class Endless(BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            del size
            return next(lines)

    lines: Iterator[bytes] = repeat(line())
    read_ahead = read_lines(Endless(), DATASTORE_ID)
    assert [next(read_ahead) for _ in range(3)] == [EMPTY] * 3


def test_a_summary_says_only_what_there_is() -> None:
    assert json.loads(dump_line(EMPTY)) == {"imageSetId": ID, "DICOMTags": {}}
    moment = datetime(2024, 3, 11, 0, 0, 0, 500_000, UTC)
    full = ImageSet(DATASTORE_ID, ID, 1, moment, moment.replace(microsecond=1), None, None, is_primary=False, tags={})
    assert json.loads(dump_line(full)) == {
        "imageSetId": ID,
        "version": 1,
        "createdAt": "2024-03-11T00:00:00.500Z",
        "updatedAt": "2024-03-11T00:00:00.000001Z",
        "isPrimary": False,
        "DICOMTags": {},
    }


@given(image_sets)
def test_what_is_written_reads_back_as_it_was(image_set: ImageSet) -> None:
    assert read(dump_line(image_set) * 2) == [image_set] * 2
