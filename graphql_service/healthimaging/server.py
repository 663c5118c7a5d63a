"""HealthImaging's wire protocol in front of a store, so that clients made for the service work with it unchanged.

The reading operations are answered, image frames excepted; every other one is refused in the service's own shape.
What a request says is taken literally and whole: a parameter or member that is not understood, or a token that no page
of the same search has given, is a ValidationException. Who may ask for what is not decided here: the
caller says which store a request finds.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, Protocol, TypeAlias
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from grammar.criteria import Everything
from graphql_service.access.signatures import SignedRequest
from graphql_service.api.errors import mask
from graphql_service.auditing import Reading
from graphql_service.errors import (
    AccessDenied,
    AuditError,
    DataStoreNotActive,
    DataStoreNotFound,
    InvalidArgument,
    InvalidCursor,
    Overloaded,
    StoreTimeout,
    Throttled,
    UnsignedRequest,
    UnsupportedSearch,
)
from graphql_service.healthimaging.criteria import from_search_criteria, to_search_criteria
from graphql_service.image_set import Datastore, ImageSet, ImageSetVersion, is_id, read_integer, to_summary
from graphql_service.paging import FINGERPRINT_SIZE, Cursor, PageRequest, read_cursor
from graphql_service.searching import Inquiry, read_of, search
from graphql_service.stores.base import Place, Store

_JSON: Final = "application/json"
#: [?] How many a page holds when `maxResults` does not say: here as many as it may say.
_PAGE: Final = 50
_VERSION: Final = re.compile("[0-9]+")
_COUNT: Final = re.compile("[0-9]{1,2}")
#: The longest token of the service's own model.
_TOKEN_LIMIT: Final = 8_192
#: A cursor is dated, and what is not searched has no dates.
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES: Final = ("CREATING", "CREATE_FAILED", "ACTIVE", "DELETING", "DELETED")

#: The DICOMTags of the service's model. A stored tag that is none of them, or of another type, is not sent: typed
#: clients may refuse a whole page for it, and no search sees it.
_TAGS: Final[Mapping[str, Callable[[object], object]]] = dict.fromkeys(
    (
        "DICOMPatientId",
        "DICOMPatientName",
        "DICOMPatientBirthDate",
        "DICOMPatientSex",
        "DICOMStudyInstanceUID",
        "DICOMStudyId",
        "DICOMStudyDescription",
        "DICOMAccessionNumber",
        "DICOMSeriesInstanceUID",
        "DICOMSeriesModality",
        "DICOMSeriesBodyPart",
        "DICOMStudyDate",
        "DICOMStudyTime",
    ),
    lambda stored: stored if isinstance(stored, str) else None,
) | dict.fromkeys(
    ("DICOMNumberOfStudyRelatedSeries", "DICOMNumberOfStudyRelatedInstances", "DICOMSeriesNumber"), read_integer
)


class _Refused(Exception):
    """A request that is answered with an error of this status and type."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request says: its operation, the ids in its path, its query parameters, and its body where it has one.

    `readings` grow by what is read of image sets for it.
    """

    operation: str
    ids: Mapping[str, str]
    parameters: Mapping[str, str]
    body: bytes
    readings: list[Reading] = field(default_factory=list)


class Keeper(Protocol):
    """Who stands at the door: lets requests in, and writes down what they have read, which both may block."""

    async def read_body(self, request: Request) -> bytes:
        """A request's body. Raises InvalidArgument for one that is too large, ClientDisconnect."""

    def work(self) -> AbstractContextManager[None]:
        """Holds a place among the requests that are being worked on, for a time. Raises Overloaded."""

    def admit_signed(self, scope: Scope, request: SignedRequest) -> Store:
        """The store as far as it exists for whoever signed the request. Raises UnsignedRequest."""

    def write_down(self, scope: Scope, operations: Sequence[str], readings: Sequence[Reading]) -> None:
        """Writes down what was read, before it is told. Raises AuditError."""


_Answer: TypeAlias = Callable[[Store, _Asked], Response]


@dataclass(frozen=True, slots=True)
class _Operation:
    """An operation of the service. Without `answer` it is refused."""

    name: str
    method: str
    path: str
    answer: _Answer | None = None
    parameters: tuple[str, ...] = ()
    has_body: bool = False


def create_routes(keeper: Keeper) -> list[Route]:
    """The routes of every operation of the service, each answered from the store that its keeper shows the request."""
    by_path: dict[str, dict[str, _Operation]] = {operation.path: {} for operation in _OPERATIONS}
    for operation in _OPERATIONS:
        by_path[operation.path][operation.method] = operation
    by_path["/datastore/{rest:path}"] = {}
    return [Route(path, _Endpoint(keeper, operations)) for path, operations in by_path.items()]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """One path, and its operations by their methods."""

    keeper: Keeper
    operations: Mapping[str, _Operation]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:  # noqa: BLE001 - the one edge where what nobody foresaw is masked
            refused = _refuse(error)
            response = _respond({"message": str(refused)}, refused.status)
            response.headers["x-amzn-ErrorType"] = refused.kind
        response.headers["x-amzn-RequestId"] = str(uuid4())
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        body = await self.keeper.read_body(request)
        with self.keeper.work():
            return await run_in_threadpool(self._run, request, body)

    def _run(self, request: Request, body: bytes) -> Response:
        scope = request.scope
        # Before anything else is told, even that there is no such operation.
        signed = SignedRequest(request.method, scope["raw_path"], scope["query_string"], scope["headers"], body)
        store = self.keeper.admit_signed(scope, signed)
        operation = self.operations.get(request.method)
        if operation is None:
            raise _Refused(404, "UnknownOperationException", "There is no such operation.")
        if operation.answer is None:
            served = ", ".join(each.name for each in _OPERATIONS if each.answer)
            raise InvalidArgument(f"{operation.name} is not served here. What is: {served}.")
        ids = {name: _read_id(name, value) for name, value in request.path_params.items()}
        parameters = _read_parameters(request.query_params.multi_items(), operation)
        asked = _Asked(operation.name, ids, parameters, body if operation.has_body else b"")
        try:
            return operation.answer(store, asked)
        finally:
            self.keeper.write_down(scope, (operation.name,), asked.readings)


#: How the service itself would refuse what its own words say.
_REFUSALS: Final[Mapping[type[Exception], tuple[int, str]]] = {
    InvalidArgument: (400, "ValidationException"),
    UnsupportedSearch: (400, "ValidationException"),
    AccessDenied: (403, "AccessDeniedException"),
    DataStoreNotActive: (409, "ConflictException"),
    Throttled: (429, "ThrottlingException"),
    Overloaded: (429, "ThrottlingException"),
    AuditError: (500, "InternalServerException"),
    StoreTimeout: (500, "InternalServerException"),
}


def _refuse(error: Exception) -> _Refused:
    """How the service itself would refuse. What is the server's own fault is masked."""
    match error:
        case _Refused():
            return error
        case UnsignedRequest():
            return _Refused(403, error.kind, str(error))
        case DataStoreNotFound():
            return _Refused(404, "ResourceNotFoundException", "There is no data store with this id.")
        case ClientDisconnect():
            return _Refused(400, "ValidationException", "The request ended early, or its body took too long.")
        case _ if type(error) in _REFUSALS:
            return _Refused(*_REFUSALS[type(error)], str(error))
        case _:
            return _Refused(500, "InternalServerException", mask(error)[0])


def _read_id(name: str, value: str) -> str:
    if not is_id(value):
        raise InvalidArgument(f"'{name}' must be 32 digits and lower-case letters.")
    return value


def _read_parameters(given: Sequence[tuple[str, str]], operation: _Operation) -> dict[str, str]:
    """The query's parameters; those of a presigned URL are its signature's, and not read."""
    parameters: dict[str, str] = {}
    for name, value in given:
        if name.lower().startswith("x-amz-"):
            continue
        if name not in operation.parameters or name in parameters:
            known = ", ".join(operation.parameters) or "none"
            raise InvalidArgument(f"{operation.name} takes these query parameters, each at most once: {known}.")
        parameters[name] = value
    return parameters


def _search_image_sets(store: Store, asked: _Asked) -> Response:
    criteria = from_search_criteria(_read_json(asked.body) if asked.body else {})
    page_request = PageRequest(first=_read_page_size(asked), after=_read_token(asked))
    inquiry = Inquiry(asked.ids["datastoreId"], filter=criteria.where, order_by=criteria.sort)
    try:
        page = search(store, inquiry, page_request)
    except InvalidCursor as error:
        raise _foreign_token() from error
    asked.readings.append(read_of(asked.operation, inquiry, page))
    answer = {
        "imageSetsMetadataSummaries": [_write_summary(image_set) for image_set in page.image_sets],
        **to_search_criteria(Everything(), criteria.sort),
    }
    if page.has_next_page:
        answer["nextToken"] = page.end_cursor
    return _respond(answer)


def _list_datastores(store: Store, asked: _Asked) -> Response:
    status = asked.parameters.get("datastoreStatus")
    if status is not None and status not in _STATUSES:
        raise InvalidArgument(f"'datastoreStatus' must be one of {', '.join(_STATUSES)}.")
    listed = [each for each in store.datastores() if status in (None, each.status)]
    rows = {(0, each.datastore_id): _write_datastore(each) for each in listed}
    return _respond(_write_list("datastoreSummaries", rows, ("ListDatastores", status or ""), asked))


def _get_datastore(store: Store, asked: _Asked) -> Response:
    datastore = store.datastore(asked.ids["datastoreId"])
    if datastore is None:
        raise DataStoreNotFound("there is no data store with this id")
    return _respond({"datastoreProperties": _write_datastore(datastore)})


def _get_image_set(store: Store, asked: _Asked) -> Response:
    datastore_id, image_set_id = asked.ids["datastoreId"], asked.ids["imageSetId"]
    version = _choose_version(store, asked)
    image_set = store.image_sets(datastore_id, [image_set_id]).get(image_set_id)
    if image_set is None:
        raise _missing_image_set()
    summary = to_summary(image_set, _write_time)
    kept = {name: summary[name] for name in ("lastAccessedAt", "storageTier", "isPrimary") if name in summary}
    return _respond({"datastoreId": datastore_id} | _write_version(image_set_id, version) | kept)


def _list_image_set_versions(store: Store, asked: _Asked) -> Response:
    datastore_id, image_set_id = asked.ids["datastoreId"], asked.ids["imageSetId"]
    # [?] Their order: newest first.
    rows = {(-_number(each), ""): _write_version(image_set_id, each) for each in _find_versions(store, asked)}
    named = ("ListImageSetVersions", datastore_id, image_set_id)
    return _respond(_write_list("imageSetPropertiesList", rows, named, asked))


def _get_image_set_metadata(store: Store, asked: _Asked) -> Response:
    datastore_id, image_set_id = asked.ids["datastoreId"], asked.ids["imageSetId"]
    newest = _choose_version(store, asked) == _find_versions(store, asked)[0]
    document = store.metadata(datastore_id, [image_set_id]).get(image_set_id) if newest else None
    if document is None:
        raise _missing("This store keeps no metadata of this image set in this version.")
    packed = gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0)
    return Response(packed, media_type=_JSON, headers={"Content-Encoding": "gzip"})


def _find_versions(store: Store, asked: _Asked) -> Sequence[ImageSetVersion]:
    """The versions of the image set that the path names, newest first."""
    image_set_id = asked.ids["imageSetId"]
    versions = store.versions(asked.ids["datastoreId"], [image_set_id]).get(image_set_id)
    if not asked.readings:
        found = (image_set_id,) if versions else ()
        asked.readings.append(Reading(asked.operation, asked.ids["datastoreId"], found, named=(image_set_id,)))
    if not versions:
        raise _missing_image_set()
    return versions


def _choose_version(store: Store, asked: _Asked) -> ImageSetVersion:
    """The version that the parameters name, else the newest."""
    wanted = asked.parameters.get("version")
    if wanted is not None and _VERSION.fullmatch(wanted) is None:
        raise InvalidArgument("'version' must be digits.")
    for version in _find_versions(store, asked):
        if wanted in (None, str(_number(version))):
            return version
    raise _missing("This store does not keep this version of the image set.")


def _missing_image_set() -> _Refused:
    return _missing("There is no image set with this id in this data store.")


def _missing(message: str) -> _Refused:
    return _Refused(404, "ResourceNotFoundException", message)


def _read_json(body: bytes) -> object:
    try:
        return json.loads(body.decode(), object_pairs_hook=_read_object)
    except (ValueError, RecursionError):
        raise InvalidArgument("The body must be JSON in UTF-8, no member of it twice in one object.") from None


def _read_object(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member twice")
    return found


def _read_page_size(asked: _Asked) -> int:
    text = asked.parameters.get("maxResults", str(_PAGE))
    if _COUNT.fullmatch(text) is None or not 1 <= int(text) <= _PAGE:
        raise InvalidArgument(f"'maxResults' must be from 1 to {_PAGE}.")
    return int(text)


def _read_token(asked: _Asked) -> Cursor | None:
    text = asked.parameters.get("nextToken")
    if text is not None and len(text) > _TOKEN_LIMIT:
        raise _foreign_token()
    try:
        return None if text is None else read_cursor(text)
    except InvalidCursor:
        raise _foreign_token() from None


def _foreign_token() -> InvalidArgument:
    return InvalidArgument("'nextToken' must be one that a page of this very request, otherwise the same, has given.")


def _write_list(
    name: str, rows: Mapping[tuple[int, str], object], named: tuple[str, ...], asked: _Asked
) -> dict[str, object]:
    """One page of the rows in the order of their keys; `named` is what its tokens are good for."""
    fingerprint = blake2b("\0".join(named).encode(), digest_size=FINGERPRINT_SIZE).digest()
    keys, size, after = sorted(rows), _read_page_size(asked), _read_token(asked)
    match after:
        case None:
            pass
        case Cursor(place=Place((int(number),), text)) if after.fingerprint == fingerprint:
            keys = [key for key in keys if key > (number, text)]
        case _:
            raise _foreign_token()
    answer: dict[str, object] = {name: [rows[key] for key in keys[:size]]}
    if len(keys) > size:
        number, text = keys[size - 1]
        answer["nextToken"] = Cursor(fingerprint, _NO_TIME, Place((number,), text)).encode()
    return answer


def _write_summary(image_set: ImageSet) -> dict[str, object]:
    tags = {name: read(image_set.tags[name]) for name, read in _TAGS.items() if name in image_set.tags}
    written = {name: value for name, value in tags.items() if value is not None}
    return to_summary(image_set, _write_time) | {"DICOMTags": written}


def _write_datastore(datastore: Datastore) -> dict[str, object]:
    return {
        "datastoreId": datastore.datastore_id,
        "datastoreName": datastore.name,
        "datastoreStatus": datastore.status,
        **_write_times(datastore),
    }


def _write_version(image_set_id: str, version: ImageSetVersion) -> dict[str, object]:
    return {
        "imageSetId": image_set_id,
        "versionId": str(_number(version)),
        "imageSetState": version.state,
        **_write_times(version),
    }


def _number(version: ImageSetVersion) -> int:
    """The service requires one and counts from 1; a stored summary may come without."""
    return 1 if version.version is None else version.version


def _write_times(dated: Datastore | ImageSetVersion) -> dict[str, object]:
    times = {"createdAt": dated.created_at, "updatedAt": dated.updated_at}
    return {name: _write_time(moment) for name, moment in times.items() if moment is not None}


def _write_time(moment: datetime) -> float:
    """Seconds since 1970: the JS SDK takes nothing else. A float holds the microsecond until the year 2242."""
    return moment.timestamp()


def _respond(body: Mapping[str, object], status: int = 200) -> Response:
    return Response(json.dumps(body, separators=(",", ":")), status, media_type=_JSON)


_DATASTORE: Final = "/datastore/{datastoreId}"
_IMAGE_SET: Final = _DATASTORE + "/imageSet/{imageSetId}"
_PAGING: Final = ("maxResults", "nextToken")

#: Every operation of the service.
_OPERATIONS: Final = (
    _Operation("ListDatastores", "GET", "/datastore", _list_datastores, ("datastoreStatus", *_PAGING)),
    _Operation("GetDatastore", "GET", _DATASTORE, _get_datastore),
    _Operation("SearchImageSets", "POST", f"{_DATASTORE}/searchImageSets", _search_image_sets, _PAGING, has_body=True),
    _Operation("GetImageSet", "POST", f"{_IMAGE_SET}/getImageSet", _get_image_set, ("version",)),
    _Operation("ListImageSetVersions", "POST", f"{_IMAGE_SET}/listImageSetVersions", _list_image_set_versions, _PAGING),
    _Operation(
        "GetImageSetMetadata", "POST", f"{_IMAGE_SET}/getImageSetMetadata", _get_image_set_metadata, ("version",)
    ),
    _Operation("CopyImageSet", "POST", f"{_IMAGE_SET}/copyImageSet"),
    _Operation("CreateDatastore", "POST", "/datastore"),
    _Operation("DeleteDatastore", "DELETE", _DATASTORE),
    _Operation("DeleteImageSet", "POST", f"{_IMAGE_SET}/deleteImageSet"),
    _Operation("GetDICOMImportJob", "GET", "/getDICOMImportJob/datastore/{datastoreId}/job/{jobId}"),
    _Operation("GetImageFrame", "POST", f"{_IMAGE_SET}/getImageFrame"),
    _Operation("ListDICOMImportJobs", "GET", "/listDICOMImportJobs/datastore/{datastoreId}"),
    _Operation("ListTagsForResource", "GET", "/tags/{resourceArn:path}"),
    _Operation("StartDICOMImportJob", "POST", "/startDICOMImportJob/datastore/{datastoreId}"),
    _Operation("TagResource", "POST", "/tags/{resourceArn:path}"),
    _Operation("UntagResource", "DELETE", "/tags/{resourceArn:path}"),
    _Operation("UpdateImageSetMetadata", "POST", f"{_IMAGE_SET}/updateImageSetMetadata"),
)
