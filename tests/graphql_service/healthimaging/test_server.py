"""The wire protocol, against botocore's own model of the service: its requests, its shapes, its errors."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlencode

import anyio
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Message

from grammar.criteria import SortKey
from graphql_service.errors import (
    AccessDenied,
    DataStoreNotActive,
    StoreFileError,
    StoreTimeout,
    Throttled,
    UnsupportedSearch,
)
from graphql_service.healthimaging.criteria import CAPABILITIES
from graphql_service.healthimaging.server import create_routes
from graphql_service.image_set import ImageSet, ImageSetVersion
from graphql_service.ordering import place, place_key
from graphql_service.settings import Limits, Settings
from graphql_service.stores.base import Capabilities
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.wire import Open

MODEL: ServiceModel = Session().get_service_model("medical-imaging")

DATASTORE = "d" * 32
START = datetime(2024, 3, 11, 15, 0, 5, 74_001, UTC)
STUDIES = ("19991122", "20000101", "20240229", "2024-02-29", None)
TIMES = ("140728", "140728.000001", "14", "late", None)


def make_image_set(number: int) -> ImageSet:
    tags: dict[str, object] = {
        "DICOMPatientId": f"P{number % 3}",
        "DICOMAccessionNumber": f"A{number % 5}",
        "DICOMStudyId": str(number % 2),
        "DICOMStudyInstanceUID": f"1.2.{number // 4}",
        "DICOMSeriesInstanceUID": f"1.2.{number // 4}.{number % 4}",
        "DICOMStudyDate": STUDIES[number % 5],
        "DICOMStudyTime": TIMES[number // 5 % 5],
        "DICOMSeriesNumber": number,
        "DICOMPatientSex": ["F"],
        "PrivateTag": {"nested": None},
    }
    return ImageSet(
        DATASTORE,
        f"{number * 37 % 120:032d}",
        None if number == 7 else number % 3 + 1,
        None if number % 11 == 0 else START - timedelta(hours=number),
        START + timedelta(milliseconds=number // 30),  # many share one
        START if number % 2 else None,
        (None, "FREQUENT_ACCESS", "ARCHIVE_INSTANT_ACCESS")[number % 3],
        (None, True, False)[number % 3],
        {name: value for name, value in tags.items() if value is not None},
    )


IMAGE_SETS = [make_image_set(number) for number in range(120)]
ONE = IMAGE_SETS[31]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path_factory.mktemp("store") / "store.db", create=True)
    store.create_datastore(DATASTORE, name="a name")
    store.load(DATASTORE, IMAGE_SETS)
    for number in range(3):
        store.create_datastore(str(number) * 32)
    yield store
    store.close()


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as it is on the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def error(self) -> tuple[int, str, str]:
        """Its status, type and message; it must be an error that every client can read."""
        assert self.headers["content-type"] == "application/json"
        assert len(self.headers["x-amzn-requestid"]) == 36
        message = json.loads(self.body)
        assert list(message) == ["message"]
        return self.status, self.headers["x-amzn-errortype"], message["message"]


@dataclass(frozen=True, slots=True)
class Wire:
    """Sends single requests to an application, byte for byte."""

    app: Starlette

    def send(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        body: bytes | Callable[[], AsyncIterator[Message]] = b"",
    ) -> Answered:
        sent: list[Message] = []

        async def whole() -> AsyncIterator[Message]:
            yield {"type": "http.request", "body": body, "more_body": False}

        async def answer() -> None:
            messages = whole() if isinstance(body, bytes) else body()
            scope = {
                "type": "http",
                "method": method,
                "path": path,
                "raw_path": quote(path).encode(),
                "query_string": query,
                "headers": [(b"host", b"localhost")],
                "root_path": "",
                "scheme": "http",
                "server": ("localhost", 80),
            }

            async def receive() -> Message:
                return await anext(messages)

            async def send(message: Message) -> None:
                sent.append(message)

            await self.app(scope, receive, send)

        anyio.run(answer)
        start, *rest = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answered(start["status"], headers, b"".join(part.get("body", b"") for part in rest))

    def call(self, name: str, **parameters: object) -> Answered:
        """Sends what botocore would: it says where each parameter goes."""
        request = create_serializer("rest-json", include_validation=False).serialize_to_request(
            parameters, MODEL.operation_model(name)
        )
        query = urlencode(request["query_string"]).encode()
        return self.send(request["method"], unquote(request["url_path"]), query, request["body"] or b"")

    def parsed(self, name: str, **parameters: object) -> dict[str, Any]:
        """What botocore reads from the answer, once all of it is found to be of the model's shape."""
        answered = self.call(name, **parameters)
        assert answered.status == 200, answered.body
        operation = MODEL.operation_model(name)
        assert operation.output_shape is not None
        assert_shape(operation.output_shape, json.loads(answered.body))
        return parse(operation, answered)

    def pages(self, criteria: Mapping[str, object], size: int) -> Iterator[list[str]]:
        """The image sets of each page of a search, to its end."""
        more: dict[str, object] = {}
        while True:
            page = self.parsed(
                "SearchImageSets", datastoreId=DATASTORE, searchCriteria=criteria, maxResults=size, **more
            )
            yield [summary["imageSetId"] for summary in page["imageSetsMetadataSummaries"]]
            if "nextToken" not in page:
                return
            assert page["nextToken"] != more.get("nextToken")
            more = {"nextToken": page["nextToken"]}


@pytest.fixture(scope="module")
def wire(store: SQLiteStore) -> Wire:
    return Wire(create_app(store, Settings()))


def parse(operation: OperationModel, answered: Answered) -> dict[str, Any]:
    streamed = operation.has_streaming_output and answered.status == 200
    body = BytesIO(answered.body) if streamed else answered.body
    response = {"status_code": answered.status, "headers": HeadersDict(answered.headers), "body": body}
    assert operation.output_shape is not None
    parsed: dict[str, Any] = create_parser("rest-json").parse(response, operation.output_shape)
    del parsed["ResponseMetadata"]
    return parsed


def assert_shape(shape: Shape, value: object) -> None:
    """That a JSON value is of the shape: no member too many, none missing, and each of its type on the wire."""
    match shape:
        case StructureShape():
            assert isinstance(value, dict)
            assert set(shape.required_members) <= value.keys() <= shape.members.keys()
            for name, member in value.items():
                assert_shape(shape.members[name], member)
        case ListShape():
            assert isinstance(value, list)
            for member in value:
                assert_shape(shape.member, member)
        case _:
            # The JS SDK takes timestamps as numbers alone.
            kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "timestamp": float}
            assert type(value) is kinds[shape.type_name]
            assert not (enum := getattr(shape, "enum", [])) or value in enum


# Requests and answers


def test_a_summary_is_whole_and_exact(wire: Wire) -> None:
    criteria = {"filters": [{"operator": "EQUAL", "values": [{"DICOMSeriesInstanceUID": "1.2.7.3"}]}]}
    assert wire.parsed("SearchImageSets", datastoreId=DATASTORE, searchCriteria=criteria) == {
        "imageSetsMetadataSummaries": [
            {
                "imageSetId": ONE.image_set_id,
                "version": 2,
                "createdAt": ONE.created_at,
                "updatedAt": ONE.updated_at,
                "lastAccessedAt": START,
                "storageTier": "FREQUENT_ACCESS",
                "isPrimary": True,
                "DICOMTags": {
                    "DICOMPatientId": "P1",
                    "DICOMAccessionNumber": "A1",
                    "DICOMStudyId": "1",
                    "DICOMStudyInstanceUID": "1.2.7",
                    "DICOMSeriesInstanceUID": "1.2.7.3",
                    "DICOMStudyDate": "20000101",
                    "DICOMStudyTime": "140728.000001",
                    "DICOMSeriesNumber": 31,
                },
            }
        ],
        "sort": {"sortField": "updatedAt", "sortOrder": "DESC"},
    }


def test_every_tag_of_the_model_is_sent(tmp_path: Path) -> None:
    summary = MODEL.shape_for("ImageSetsMetadataSummary")
    assert isinstance(summary, StructureShape)
    shape = summary.members["DICOMTags"]
    assert isinstance(shape, StructureShape)
    tags = {name: 2**40 if member.type_name == "integer" else "é" for name, member in shape.members.items()}
    store = SQLiteStore(tmp_path / "store.db", create=True)
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)
    store.load(DATASTORE, [ImageSet(DATASTORE, "1" * 32, 1, moment, moment, moment, None, None, tags)])
    page = Wire(create_app(store, Settings())).parsed("SearchImageSets", datastoreId=DATASTORE)
    store.close()
    assert page["imageSetsMetadataSummaries"] == [
        {
            "imageSetId": "1" * 32,
            "version": 1,
            **dict.fromkeys(("createdAt", "updatedAt", "lastAccessedAt"), moment),
            "DICOMTags": tags,
        }
    ]


def test_no_criteria_are_all_image_sets_newest_first(wire: Wire) -> None:
    rank = place_key((SortKey("updatedAt", descending=True),))
    newest = sorted(IMAGE_SETS, key=lambda each: rank(place(each, (SortKey("updatedAt", descending=True),))))
    ids = [image_set.image_set_id for image_set in newest]
    assert [*wire.pages({}, 50)] == [ids[:50], ids[50:100], ids[100:]]
    # The same without any body at all, and without a page size.
    empty = wire.send("POST", f"/datastore/{DATASTORE}/searchImageSets")
    assert [each["imageSetId"] for each in json.loads(empty.body)["imageSetsMetadataSummaries"]] == ids[:50]


TEXTS = {
    "DICOMPatientId": ("P1", "p1", "", "é"),
    "DICOMAccessionNumber": ("A4",),
    "DICOMStudyId": ("1",),
    "DICOMStudyInstanceUID": ("1.2.7",),
    "DICOMSeriesInstanceUID": ("1.2.7.3", "1.2.7"),
    "isPrimary": (True, False),
}
MOMENTS = (START, START - timedelta(hours=30), START + timedelta(milliseconds=2), START - timedelta(microseconds=1))
DATES = (
    {"DICOMStudyDate": "19991122", "DICOMStudyTime": "140728"},
    {"DICOMStudyDate": "20000101", "DICOMStudyTime": "140728.000001"},
    {"DICOMStudyDate": "20240229"},
    {"DICOMStudyDate": "00010101", "DICOMStudyTime": "000000.000"},
)
WRITTEN_DATES = (
    datetime(1999, 11, 22, 14, 7, 28),
    datetime(2000, 1, 1, 14, 7, 28, 1),
    datetime(2024, 2, 29),
    datetime(1, 1, 1),
)


def test_every_attribute_of_the_model_is_searched() -> None:
    shape = MODEL.shape_for("SearchByAttributeValue")
    assert isinstance(shape, StructureShape)
    assert shape.members.keys() == {*TEXTS, "createdAt", "updatedAt", "DICOMStudyDateAndTime"}


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter as it is sent, and what it means."""

    field: str
    operator: str
    values: tuple[object, ...]
    low: Any
    high: Any

    def sent(self) -> dict[str, object]:
        return {"operator": self.operator, "values": [{self.field: value} for value in self.values]}

    def holds(self, image_set: ImageSet) -> bool:
        value: Any = image_set.value(self.field)
        return value is not None and self.low <= value <= self.high


def dates(field: str, sent: Sequence[object], meant: Sequence[object]) -> st.SearchStrategy[Filter]:
    index = st.integers(0, len(sent) - 1)
    equal = index.map(lambda at: Filter(field, "EQUAL", (sent[at],), meant[at], meant[at]))
    between = st.tuples(index, index).map(
        lambda ends: Filter(field, "BETWEEN", tuple(sent[at] for at in ends), meant[ends[0]], meant[ends[1]])
    )
    return equal | between


filters = st.one_of(
    *(
        st.builds(Filter, st.just(field), st.just("EQUAL"), st.just((value,)), st.just(value), st.just(value))
        for field, values in TEXTS.items()
        for value in values
    ),
    dates("createdAt", MOMENTS, MOMENTS),
    dates("updatedAt", MOMENTS, MOMENTS),
    dates("DICOMStudyDateAndTime", DATES, WRITTEN_DATES),
)
sorts = st.none() | st.builds(
    SortKey, st.sampled_from(("updatedAt", "createdAt", "DICOMStudyDateAndTime")), st.booleans()
)


@given(st.lists(filters, max_size=2), sorts, st.sampled_from((1, 7, 50)))
def test_a_search_finds_what_its_criteria_say(
    wire: Wire, chosen: list[Filter], sort: SortKey | None, size: int
) -> None:
    criteria: dict[str, object] = {"filters": [each.sent() for each in chosen]} if chosen else {}
    if sort is not None:
        criteria["sort"] = {"sortField": sort.field, "sortOrder": "DESC" if sort.descending else "ASC"}
    key = sort or SortKey("updatedAt", descending=True)
    rank = place_key((key,))
    found = sorted(
        (image_set for image_set in IMAGE_SETS if all(each.holds(image_set) for each in chosen)),
        key=lambda image_set: rank(place(image_set, (key,))),
    )
    ids = [image_set.image_set_id for image_set in found]
    # A page of one row a request takes long: the first few show as much.
    wanted = ids[: size * 20]
    read: list[str] = []
    for page in wire.pages(criteria, size):
        assert len(page) <= size
        read += page
        if len(read) >= size * 20:
            break
    assert read == wanted


@pytest.mark.parametrize("seconds", [1710169205.074001, 1710169205, 1710169205.5, -0.5])
def test_timestamps_are_numbers_whole_or_not(wire: Wire, seconds: float) -> None:
    value = {"updatedAt": seconds}
    body = json.dumps({"filters": [{"operator": "BETWEEN", "values": [value, {"updatedAt": 1710169205.074001}]}]})
    answered = wire.send("POST", f"/datastore/{DATASTORE}/searchImageSets", b"", body.encode())
    found = [each["updatedAt"] for each in json.loads(answered.body)["imageSetsMetadataSummaries"]]
    assert set(found) == ({1710169205.074001} if seconds != 1710169205.5 else set())


def test_data_stores_are_listed_page_by_page(wire: Wire, store: SQLiteStore) -> None:
    listed = [
        {
            "datastoreId": each.datastore_id,
            "datastoreName": each.name,
            "datastoreStatus": "ACTIVE",
            "createdAt": each.created_at,
            "updatedAt": each.updated_at,
        }
        for each in store.datastores()
    ]
    assert [each["datastoreName"] for each in listed] == ["0" * 32, "1" * 32, "2" * 32, "a name"]
    assert wire.parsed("ListDatastores") == {"datastoreSummaries": listed}
    first = wire.parsed("ListDatastores", maxResults=3, datastoreStatus="ACTIVE")
    assert first["datastoreSummaries"] == listed[:3]
    second = wire.parsed("ListDatastores", maxResults=1, datastoreStatus="ACTIVE", nextToken=first["nextToken"])
    assert second == {"datastoreSummaries": listed[3:]}
    assert wire.parsed("ListDatastores", datastoreStatus="DELETED") == {"datastoreSummaries": []}
    assert wire.call("ListDatastores", nextToken=first["nextToken"]).error()[:2] == (400, "ValidationException")
    for each in listed:
        assert wire.parsed("GetDatastore", datastoreId=each["datastoreId"]) == {"datastoreProperties": each}


def test_an_image_set_and_its_versions(wire: Wire) -> None:
    named = {"datastoreId": DATASTORE, "imageSetId": ONE.image_set_id}
    version = {
        "imageSetId": ONE.image_set_id,
        "versionId": "2",
        "imageSetState": "ACTIVE",
        "createdAt": ONE.created_at,
        "updatedAt": ONE.updated_at,
    }
    kept = {"lastAccessedAt": START, "storageTier": "FREQUENT_ACCESS", "isPrimary": True}
    whole = {**version, **kept, "datastoreId": DATASTORE}
    assert wire.parsed("GetImageSet", **named) == whole
    assert wire.parsed("GetImageSet", **named, versionId="2") == whole
    assert wire.parsed("ListImageSetVersions", **named) == {"imageSetPropertiesList": [version]}
    assert wire.parsed("ListImageSetVersions", **named, maxResults=1) == {"imageSetPropertiesList": [version]}
    for operation in ("GetImageSet", "GetImageSetMetadata"):
        assert wire.call(operation, **named, versionId="1").error() == (
            404,
            "ResourceNotFoundException",
            "This store does not keep this version of the image set.",
        )
    unversioned = wire.parsed("GetImageSet", datastoreId=DATASTORE, imageSetId=IMAGE_SETS[7].image_set_id)
    assert unversioned["versionId"] == "1"


class DocumentStore(SQLiteStore):
    """An embedded store that has metadata of one image set."""

    def metadata(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
        assert datastore_id == DATASTORE
        return {each: {"Patient": {"name": "é"}} for each in image_set_ids if each == ONE.image_set_id}


def test_metadata_is_packed_and_what_is_not_kept_is_not_found(tmp_path: Path) -> None:
    store = DocumentStore(tmp_path / "store.db", create=True)
    store.load(DATASTORE, IMAGE_SETS[:40])
    wire = Wire(create_app(store, Settings()))
    operation = MODEL.operation_model("GetImageSetMetadata")
    assert operation.has_streaming_output
    for version in ({}, {"versionId": "2"}):
        answered = wire.call("GetImageSetMetadata", datastoreId=DATASTORE, imageSetId=ONE.image_set_id, **version)
        parsed = parse(operation, answered)
        assert json.loads(gzip.decompress(parsed.pop("imageSetMetadataBlob").read())) == {"Patient": {"name": "é"}}
        assert parsed == {"contentType": "application/json", "contentEncoding": "gzip"}
        assert len(answered.headers["x-amzn-requestid"]) == 36
    other = wire.call("GetImageSetMetadata", datastoreId=DATASTORE, imageSetId=IMAGE_SETS[0].image_set_id).error()
    store.close()
    message = "This store keeps no metadata of this image set in this version."
    assert other == (404, "ResourceNotFoundException", message)


class VersionStore(SQLiteStore):
    """An embedded store that has many versions of each image set."""

    def versions(self, datastore_id: str, image_set_ids: Sequence[str]) -> Mapping[str, tuple[ImageSetVersion, ...]]:
        assert datastore_id == DATASTORE
        versions = tuple(ImageSetVersion(number, START, None, "LOCKED") for number in (12, 9, 2, 1))
        return dict.fromkeys(image_set_ids, versions)


def test_versions_are_listed_page_by_page(tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "store.db", create=True)
    store.load(DATASTORE, IMAGE_SETS[:40])
    wire = Wire(create_app(store, Settings()))
    named = {"datastoreId": DATASTORE, "imageSetId": ONE.image_set_id}
    properties = [
        {"imageSetId": ONE.image_set_id, "versionId": number, "imageSetState": "LOCKED", "createdAt": START}
        for number in ("12", "9", "2", "1")
    ]
    first = wire.parsed("ListImageSetVersions", **named, maxResults=3)
    assert first["imageSetPropertiesList"] == properties[:3]
    token = {"nextToken": first["nextToken"]}
    assert wire.parsed("ListImageSetVersions", **named, **token) == {"imageSetPropertiesList": properties[3:]}
    other = {"datastoreId": DATASTORE, "imageSetId": IMAGE_SETS[0].image_set_id}
    assert wire.call("ListImageSetVersions", **other, **token).error() == FOREIGN_TOKEN
    assert wire.parsed("GetImageSet", **named, versionId="9")["versionId"] == "9"
    assert wire.call("GetImageSetMetadata", **named, versionId="9").error()[:2] == (404, "ResourceNotFoundException")
    store.close()


# Tokens


def test_a_token_is_plain_text_that_no_url_has_to_escape(wire: Wire) -> None:
    token = wire.parsed("SearchImageSets", datastoreId=DATASTORE, maxResults=1)["nextToken"]
    assert urlencode({"": token}) == f"={token}"
    assert 1 <= len(token) < 200
    # Some clients escape it all the same.
    escaped = "".join(f"%{byte:02X}" for byte in token.encode())
    path = f"/datastore/{DATASTORE}/searchImageSets"
    assert (
        wire.send("POST", path, f"nextToken={escaped}".encode()).body
        == wire.send("POST", path, f"nextToken={token}".encode()).body
    )


PATIENT = {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}]}
OLDEST = {"sort": {"sortField": "updatedAt", "sortOrder": "ASC"}}


@pytest.mark.parametrize(
    ("datastore", "criteria"),
    [(DATASTORE, PATIENT), (DATASTORE, OLDEST), ("0" * 32, {})],
    ids=["other filters", "other order", "other data store"],
)
def test_a_token_is_good_for_its_search_alone(wire: Wire, datastore: str, criteria: Mapping[str, object]) -> None:
    token = wire.parsed("SearchImageSets", datastoreId=DATASTORE, maxResults=1)["nextToken"]
    answered = wire.call("SearchImageSets", datastoreId=datastore, searchCriteria=criteria, nextToken=token)
    assert answered.error() == FOREIGN_TOKEN


FOREIGN_TOKEN = (
    400,
    "ValidationException",
    "'nextToken' must be one that a page of this very request, otherwise the same, has given.",
)


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 8193, "null"])
@pytest.mark.parametrize("operation", ["SearchImageSets", "ListDatastores", "ListImageSetVersions"])
def test_what_is_no_token_is_refused(wire: Wire, operation: str, token: str) -> None:
    ids = {"datastoreId": DATASTORE, "imageSetId": ONE.image_set_id}
    shape = MODEL.operation_model(operation).input_shape
    assert isinstance(shape, StructureShape)
    named = {name: value for name, value in ids.items() if name in shape.members}
    assert wire.call(operation, **named, nextToken=token).error() == FOREIGN_TOKEN


def test_the_tokens_of_two_operations_are_not_exchanged(wire: Wire) -> None:
    searched = wire.parsed("SearchImageSets", datastoreId=DATASTORE, maxResults=1)["nextToken"]
    listed = wire.parsed("ListDatastores", maxResults=1)["nextToken"]
    assert wire.call("SearchImageSets", datastoreId=DATASTORE, nextToken=listed).error() == FOREIGN_TOKEN
    assert wire.call("ListDatastores", nextToken=searched).error() == FOREIGN_TOKEN


def test_paging_neither_skips_nor_repeats_while_rows_are_written(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db", create=True)
    store.load(DATASTORE, IMAGE_SETS)
    read: list[str] = []
    for number, page in enumerate(Wire(create_app(store, Settings())).pages({}, 7)):
        read += page
        moment = START + timedelta(seconds=number - 8)
        store.load(DATASTORE, [ImageSet(DATASTORE, f"{number:a>32}", 1, moment, moment, None, None, None, {})])
        if number == 3:
            store.remove(DATASTORE, page)
    store.close()
    there = {image_set.image_set_id for image_set in IMAGE_SETS}
    assert len(read) == len(set(read))
    assert there <= set(read)


# Refusals

EQUAL = {"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b'{"filters": [], "filters": []}',
        b"[" * 100_000,
        b'{"filters": 1' + b"0" * 5_000 + b"}",
        json.dumps({"searchCriteria": {"filters": [EQUAL]}}).encode(),
        json.dumps({"filters": [EQUAL] * 3}).encode(),
        json.dumps({"filters": []}).encode(),
        json.dumps({"filters": [EQUAL | {"operator": "LIKE"}]}).encode(),
        json.dumps({"filters": [EQUAL | {"operator": ["EQUAL"]}]}).encode(),
        json.dumps({"filters": [EQUAL | {"modality": "CT"}]}).encode(),
        json.dumps({"filters": [{"operator": "EQUAL", "values": [{"DICOMModality": "CT"}]}]}).encode(),
        json.dumps(
            {"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "1", "isPrimary": True}]}]}
        ).encode(),
        json.dumps({"filters": [{"operator": "EQUAL", "values": [{"createdAt": "2024-01-01T00:00:00Z"}]}]}).encode(),
        b'{"filters": [{"operator": "EQUAL", "values": [{"createdAt": NaN}]}]}',
        b'{"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "\\ud800"}]}]}',
        json.dumps({"sort": {"sortField": "updatedAt"}}).encode(),
        json.dumps({"sort": {"sortField": "patientName", "sortOrder": "ASC"}}).encode(),
    ],
)
def test_criteria_that_the_service_refuses_are_refused(wire: Wire, body: bytes) -> None:
    answered = wire.send("POST", f"/datastore/{DATASTORE}/searchImageSets", b"", body)
    assert answered.error()[:2] == (400, "ValidationException")


@pytest.mark.parametrize(
    "query",
    [
        b"maxResults=0",
        b"maxResults=51",
        b"maxResults=",
        b"maxResults=1.5",
        b"maxResults=-1",
        "maxResults=\u0661".encode(),
        b"maxResults=1&maxResults=1",
        b"maxresults=1",
        b"datastoreStatus=ACTIVE",
        b"\xff",
    ],
)
def test_parameters_that_are_not_understood_are_refused(wire: Wire, query: bytes) -> None:
    answered = wire.send("POST", f"/datastore/{DATASTORE}/searchImageSets", query)
    assert answered.error()[:2] == (400, "ValidationException")


def test_a_signature_in_the_url_is_not_read(wire: Wire) -> None:
    query = b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0&datastoreStatus=DELETED"
    assert json.loads(wire.send("GET", "/datastore", query).body) == {"datastoreSummaries": []}


@pytest.mark.parametrize(
    ("operation", "parameters", "message"),
    [
        ("GetDatastore", {"datastoreId": "D" * 32}, "'datastoreId' must be 32 digits and lower-case letters."),
        ("GetDatastore", {"datastoreId": "d" * 31}, "'datastoreId' must be 32 digits and lower-case letters."),
        ("SearchImageSets", {"datastoreId": "d" * 33}, "'datastoreId' must be 32 digits and lower-case letters."),
        (
            "GetImageSet",
            {"datastoreId": DATASTORE, "imageSetId": "x"},
            "'imageSetId' must be 32 digits and lower-case letters.",
        ),
        (
            "GetImageSet",
            {"datastoreId": DATASTORE, "imageSetId": ONE.image_set_id, "versionId": "one"},
            "'version' must be digits.",
        ),
        (
            "ListDatastores",
            {"datastoreStatus": "active"},
            "'datastoreStatus' must be one of CREATING, CREATE_FAILED, ACTIVE, DELETING, DELETED.",
        ),
    ],
)
def test_values_that_the_model_does_not_allow_are_refused(
    wire: Wire, operation: str, parameters: dict[str, str], message: str
) -> None:
    assert wire.call(operation, **parameters).error() == (400, "ValidationException", message)


def test_what_is_not_there_is_not_found(wire: Wire) -> None:
    nowhere = "f" * 32
    no_datastore = (404, "ResourceNotFoundException", "There is no data store with this id.")
    assert wire.call("GetDatastore", datastoreId=nowhere).error() == no_datastore
    assert wire.call("SearchImageSets", datastoreId=nowhere).error() == no_datastore
    for operation in ("GetImageSet", "ListImageSetVersions", "GetImageSetMetadata"):
        assert wire.call(operation, datastoreId=nowhere, imageSetId=nowhere).error() == no_datastore
        assert wire.call(operation, datastoreId=DATASTORE, imageSetId=nowhere).error() == (
            404,
            "ResourceNotFoundException",
            "There is no image set with this id in this data store.",
        )


SERVED = "ListDatastores, GetDatastore, SearchImageSets, GetImageSet, ListImageSetVersions, GetImageSetMetadata"


@pytest.mark.parametrize("name", sorted(set(MODEL.operation_names) - set(SERVED.split(", "))))
def test_operations_that_are_not_served_are_refused_as_the_service_would(wire: Wire, name: str) -> None:
    operation = MODEL.operation_model(name)
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    arn = f"arn:aws:medical-imaging:us-east-1:123456789012:datastore/{DATASTORE}"
    values = {"resourceArn": arn, "tagKeys": ["key"], "tags": {"key": "value"}}
    uri = [member for member in shape.required_members if shape.members[member].serialization.get("location") == "uri"]
    answered = wire.call(name, **{member: values.get(member, DATASTORE) for member in uri})
    assert answered.error() == (
        400,
        "ValidationException",
        f"{name} is not served here. What is: {SERVED}.",
    )
    assert "ValidationException" in {error.name for error in operation.error_shapes}
    assert parse(operation, answered)["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/datastore"),
        ("GET", f"/datastore/{DATASTORE}/searchImageSets"),
        ("POST", f"/datastore/{DATASTORE}/studies"),
        ("GET", "/datastore/"),
    ],
)
def test_what_is_no_operation_is_refused_too(wire: Wire, method: str, path: str) -> None:
    assert wire.send(method, path).error() == (404, "UnknownOperationException", "There is no such operation.")


def test_a_body_is_read_no_further_than_its_limit(wire: Wire) -> None:
    read = 0

    async def endless() -> AsyncIterator[Message]:
        nonlocal read
        while True:
            read += 50_000
            yield {"type": "http.request", "body": b" " * 50_000, "more_body": True}

    path = f"/datastore/{DATASTORE}/searchImageSets"
    status, kind, message = wire.send("POST", path, b"", endless).error()
    assert (status, kind) == (400, "ValidationException")
    assert message.endswith("and at most 1,000,000 are allowed (IMAGESETS_MAX_BODY_BYTES)")
    assert read == Limits().body_bytes + 50_000
    assert wire.send("POST", path, b"", b" " * (Limits().body_bytes - 2) + b"{}").status == 200


def test_a_request_that_ends_early_is_answered(wire: Wire) -> None:
    async def gone() -> AsyncIterator[Message]:
        yield {"type": "http.disconnect"}

    answered = wire.send("POST", f"/datastore/{DATASTORE}/searchImageSets", b"", gone)
    assert answered.error() == (400, "ValidationException", "The request ended early, or its body took too long.")


class BrokenStore:
    """A store whose every answer is one error."""

    def __init__(self, error: Exception, capabilities: Capabilities) -> None:
        self._error = error
        self.capabilities = capabilities

    def _fail(self, *_: object, **__: object) -> NoReturn:
        raise self._error

    datastores = datastore = image_sets = versions = metadata = studies = fetch = count = histogram = values = _fail
    sharing = close = _fail


@pytest.mark.parametrize(
    ("error", "status", "kind", "says"),
    [
        (UnsupportedSearch("too large"), 400, "ValidationException", "too large"),
        (AccessDenied("may not"), 403, "AccessDeniedException", "may not"),
        (DataStoreNotActive("being made"), 409, "ConflictException", "being made"),
        (Throttled("slower", 1.0), 429, "ThrottlingException", "slower"),
        (StoreTimeout("too slow"), 500, "InternalServerException", "too slow"),
        (StoreFileError("secret"), 500, "InternalServerException", None),
        (RuntimeError("secret"), 500, "InternalServerException", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_errors_of_the_store(
    error: Exception, status: int, kind: str, says: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(Starlette(routes=create_routes(Open(BrokenStore(error, Capabilities())))))
    for operation, parameters in (
        ("ListDatastores", {}),
        ("SearchImageSets", {"datastoreId": DATASTORE}),
        ("GetImageSet", {"datastoreId": DATASTORE, "imageSetId": ONE.image_set_id}),
    ):
        answered = wire.call(operation, **parameters).error()
        assert answered[:2] == (status, kind)
        if says is None:
            assert answered[2].startswith("internal error: the service's log has it under ")
        else:
            assert answered[2] == says
        assert "secret" not in answered[2] + caplog.text
        declared = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in MODEL.error_shapes}
        assert declared[kind] == status


def test_a_store_that_is_healthimaging_itself_is_not_served() -> None:
    wire = Wire(create_app(BrokenStore(RuntimeError(), CAPABILITIES), Settings()))
    assert wire.send("GET", "/datastore").status == 404


ERRORS = {
    (400, "ValidationException"),
    (404, "ResourceNotFoundException"),
    (404, "UnknownOperationException"),
}
PATHS = (
    f"/datastore/{DATASTORE}/searchImageSets",
    f"/datastore/{DATASTORE}",
    f"/datastore/{DATASTORE}/imageSet/{ONE.image_set_id}/getImageSet",
    "/datastore",
)
names = st.sampled_from(("maxResults", "nextToken", "datastoreStatus", "version", "")) | st.text(max_size=3)
queries = st.binary(max_size=20) | st.lists(st.tuples(names, st.text(max_size=5)), max_size=3).map(
    lambda pairs: urlencode(pairs, errors="surrogatepass").encode()
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.sampled_from(
    "filters sort operator values sortField sortOrder DICOMPatientId createdAt DICOMStudyDateAndTime DICOMStudyDate"
    " isPrimary DICOMStudyInstanceUID".split()
)
documents = st.recursive(
    scalars | st.sampled_from(("EQUAL", "BETWEEN", "updatedAt", "ASC", "20240229", "1.2")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)
bodies = st.binary(max_size=40) | documents.map(lambda value: json.dumps(value).encode())


@given(
    st.sampled_from(("GET", "POST", "POST", "DELETE", "HEAD", "X")),
    st.sampled_from(PATHS) | st.text(max_size=40).map(lambda text: f"/datastore/{text}"),
    queries,
    bodies,
)
def test_whatever_is_sent_is_answered_or_refused(wire: Wire, method: str, path: str, query: bytes, body: bytes) -> None:
    answered = wire.send(method, path, query, body)
    assert answered.status == 200 or answered.error()[:2] in ERRORS
