"""Calls to AWS HealthImaging: the only user of boto3 and botocore.

Every attempt, retries too, passes one gate: never more calls in any second than the rate; and there are never more at
once than connections. Each call has a deadline. AWS's errors are raised as ours, in words of our own: what it says
about a request may quote it, and a request holds patients' values.
"""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from botocore.session import get_session
from botocore.utils import parse_timestamp

from graphql_service.deadlines import expires
from graphql_service.errors import (
    AccessDenied,
    DataStoreNotActive,
    DataStoreNotFound,
    InvalidCursor,
    ServiceError,
    SettingError,
    StoreError,
    StoreTimeout,
    Throttled,
)
from graphql_service.metrics import HEALTHIMAGING_RETRIES, HEALTHIMAGING_THROTTLES, time_store
from graphql_service.settings import Settings
from graphql_service.stores.base import METADATA_LIMIT

if TYPE_CHECKING:
    from mypy_boto3_medical_imaging import HealthImagingClient as Boto3Client
    from mypy_boto3_medical_imaging.type_defs import GetImageSetMetadataRequestTypeDef

#: A structure of the service's as boto3 hands it over: members by their wire names, times as aware datetimes.
Structure: TypeAlias = Mapping[str, Any]

_Answer = TypeVar("_Answer")

#: Connections, each with its worker, and so calls at once.
CONNECTIONS: Final = 32
#: Attempts of one call, the first among them; botocore's adaptive mode waits between them.
ATTEMPTS: Final = 3

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK: Final = 1 << 16
#: How long to wait where the service throttles and does not say.
_RETRY_AFTER: Final = 1.0
_THROTTLED: Final = (
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
)
_KMS_HINT: Final = (
    "; its data store is encrypted with a KMS key of the account's own, whose key policy must let these credentials"
    " and HealthImaging use it"
)


class Gate:
    """Lets calls through: in any second at most `rate`.

    A call holds its place until a second after it was answered. So the limit holds wherever calls are counted, at the
    service too, however long each of them is on its way.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._inside = 0
        self._left: deque[float] = deque()
        self._changed = threading.Condition()

    def enter(self, deadline: float) -> None:
        """Wait for a place until the deadline (of `time.monotonic`), or raise Throttled."""
        with self._changed:
            while (wait := self._wait()) is None or wait > 0:
                left = deadline - time.monotonic()
                if left <= (wait or 0):
                    raise Throttled("HealthImaging is asked as much as IMAGESETS_HEALTHIMAGING_RATE allows", 1.0)
                self._changed.wait(left if wait is None else wait)
            self._inside += 1

    def leave(self) -> None:
        """The call was answered, or was given up."""
        with self._changed:
            self._inside -= 1
            self._left.append(time.monotonic())
            self._changed.notify()

    def _wait(self) -> float | None:
        """Seconds until there is a place; None where that depends on the calls inside."""
        now = time.monotonic()
        while self._left and self._left[0] <= now - 1.0:
            self._left.popleft()
        if self._inside >= self._rate:
            return None
        surplus = self._inside + len(self._left) - self._rate
        return 0.0 if surplus < 0 else self._left[surplus] + 1.0 - now


@dataclass(slots=True)
class _Call:
    """A call that a worker makes: its deadline, and whether it is inside the gate, was attempted and was throttled."""

    deadline: float
    inside: bool = False
    attempted: bool = False
    throttled: bool = False

    def overdue(self) -> StoreError:
        """What is raised where the deadline has passed."""
        if self.throttled:
            return Throttled("HealthImaging is asked too much: ask again in 1 s", _RETRY_AFTER)
        return StoreTimeout("HealthImaging did not answer in time")


class _Current(threading.local):
    """The call that this thread makes."""

    call: _Call


class HealthImagingClient:
    """One account's HealthImaging in one region. Safe to use from several threads; every method blocks.

    Every method raises Throttled, AccessDenied, DataStoreNotFound, DataStoreNotActive, StoreTimeout, and StoreError
    for everything else that goes wrong on the way.
    """

    def __init__(self, client: Boto3Client, settings: Settings) -> None:
        self._client = client
        self._seconds = settings.healthimaging_call_seconds
        self._silence = settings.healthimaging_read_seconds
        self._gate = Gate(settings.healthimaging_rate)
        self._workers = ThreadPoolExecutor(CONNECTIONS, "healthimaging")
        self._current = _Current()
        # Last, after botocore's own adaptive limiter has waited.
        client.meta.events.register_last("before-send", self._enter)
        client.meta.events.register_first("response-received", self._leave)

    @property
    def endpoint(self) -> str:
        """The address that is asked, which says the region too."""
        return self._client.meta.endpoint_url

    def list_datastores(self) -> list[Structure]:
        """Every data store's summary."""

        def ask() -> list[Structure]:
            pages = self._client.get_paginator("list_datastores").paginate()
            return [each for page in pages for each in _required(page, "datastoreSummaries")]

        return self._run(ask)

    def get_datastore(self, datastore_id: str) -> Structure:
        """A data store's properties."""

        def ask() -> Structure:
            return _required(self._client.get_datastore(datastoreId=datastore_id), "datastoreProperties")  # type: ignore[no-any-return]

        return self._run(ask)

    def search_image_sets(
        self,
        datastore_id: str,
        criteria: Mapping[str, object],
        max_results: int,
        token: str | None,
        deadline: float | None = None,
    ) -> tuple[list[Structure], str | None]:
        """The summaries of one page of 1 to 50, and the token of the next; None where there is none.

        `deadline` is of `time.monotonic`, where it is nearer than the settings' own. Raises InvalidCursor where a
        request with a token is refused as invalid.
        """

        def ask() -> tuple[list[Structure], str | None]:
            answer = self._client.search_image_sets(
                datastoreId=datastore_id,
                searchCriteria=criteria,  # type: ignore[arg-type]
                maxResults=max_results,
                **({} if token is None else {"nextToken": token}),
            )
            return _required(answer, "imageSetsMetadataSummaries"), answer.get("nextToken") or None

        return self._run(ask, deadline, with_token=token is not None)

    def get_image_set(self, datastore_id: str, image_set_id: str) -> Structure | None:
        """An image set's properties, in its latest version; None where there is none."""

        def ask() -> Structure:
            answer = self._client.get_image_set(datastoreId=datastore_id, imageSetId=image_set_id)
            _required(answer, "imageSetId")
            return answer

        try:
            return self._run(ask)
        except DataStoreNotFound:
            return None

    def list_image_set_versions(self, datastore_id: str, image_set_id: str) -> list[Structure]:
        """The properties of every version of an image set; none where there is no such image set."""

        def ask() -> list[Structure]:
            paginator = self._client.get_paginator("list_image_set_versions")
            pages = paginator.paginate(datastoreId=datastore_id, imageSetId=image_set_id)
            return [each for page in pages for each in _required(page, "imageSetPropertiesList")]

        try:
            return self._run(ask)
        except DataStoreNotFound:
            return []

    def get_image_set_metadata(self, datastore_id: str, image_set_id: str, version: str | None = None) -> bytes | None:
        """An image set's metadata, JSON in UTF-8; None where there is none. StoreError beyond `METADATA_LIMIT`."""
        asked: GetImageSetMetadataRequestTypeDef = {"datastoreId": datastore_id, "imageSetId": image_set_id}
        if version is not None:
            asked["versionId"] = version

        def ask() -> bytes:
            with self._client.get_image_set_metadata(**asked)["imageSetMetadataBlob"] as body:
                return self._read(body)

        try:
            return _unpack(self._run(ask))
        except DataStoreNotFound:
            return None

    def close(self) -> None:
        """Give up the connections, and the calls that wait for one."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _read(self, body: Any) -> bytes:  # noqa: ANN401 - botocore's StreamingBody has no types
        """All of a body, within its limit and the call's deadline."""
        read = BytesIO()
        while chunk := body.read(_CHUNK):
            read.write(chunk)
            if read.tell() > METADATA_LIMIT:
                raise _too_large()
            if time.monotonic() > self._current.call.deadline:
                raise self._current.call.overdue()
        return read.getvalue()

    def _run(self, ask: Callable[[], _Answer], deadline: float | None = None, *, with_token: bool = False) -> _Answer:
        """Ask in a worker, and wait for it no longer than its deadline, whatever botocore waits for."""
        own = min(time.monotonic() + self._seconds, expires())
        call = _Call(own if deadline is None else min(own, deadline))
        future = self._workers.submit(self._work, call, ask)
        with time_store("healthimaging"):
            return self._wait_for(call, future, with_token=with_token)

    def _wait_for(self, call: _Call, future: Future[_Answer], *, with_token: bool) -> _Answer:
        try:
            return future.result(max(call.deadline - time.monotonic(), 0))
        except TimeoutError as error:
            future.cancel()
            raise call.overdue() from error
        except ClientError as error:
            raise _read_refusal(error, with_token=with_token) from error
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise StoreTimeout("HealthImaging did not answer in time") from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError) as error:
            raise AccessDenied("the service's AWS credentials are missing or have expired") from error
        except (BotoCoreError, ResponseParserError, ValueError, OverflowError) as error:
            raise StoreError("HealthImaging cannot be reached, or its answer cannot be read") from error

    def _work(self, call: _Call, ask: Callable[[], _Answer]) -> _Answer:
        self._current.call = call
        try:
            return ask()
        finally:
            self._leave()

    def _enter(self, request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's events have no types
        """Wait for a place; then the attempt may be silent for no longer than the call has left."""
        call = self._current.call
        self._gate.enter(call.deadline)
        call.inside = True
        if call.attempted:
            HEALTHIMAGING_RETRIES.inc()
        call.attempted = True
        left = call.deadline - time.monotonic()
        if left <= 0:
            raise call.overdue()
        request.context["read_timeout"] = min(left, self._silence)

    def _leave(self, parsed_response: Structure | None = None, **_: object) -> None:
        call = self._current.call
        if parsed_response is not None:
            call.throttled = parsed_response.get("Error", {}).get("Code") in _THROTTLED
            HEALTHIMAGING_THROTTLES.inc(call.throttled)
        if call.inside:
            call.inside = False
            self._gate.leave()


def open_client(region: str | None, settings: Settings) -> HealthImagingClient:
    """A client for a region; credentials, profile and endpoint, and a region of None, come the usual AWS ways.

    Raises SettingError where there is no region or there are no credentials; the service itself is not asked.
    """
    if region == "":
        raise SettingError("IMAGESETS_STORE must name a region, such as healthimaging://us-east-1")
    config = Config(
        connect_timeout=settings.healthimaging_connect_seconds,
        read_timeout=settings.healthimaging_read_seconds,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
    )
    try:
        core = get_session()
        # botocore's own takes as long as all the rest of an answer's parsing, and gives times of this machine's zone.
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_read_timestamp)
        session = boto3.Session(region_name=region, botocore_session=core)
        if session.region_name is None:
            raise SettingError("AWS_DEFAULT_REGION, or the AWS profile, must name a region, such as us-east-1")
        if session.get_credentials() is None:
            raise SettingError(
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, must give credentials for HealthImaging"
                " where no role does"
            )
        return HealthImagingClient(session.client("medical-imaging", config=config), settings)
    except (BotoCoreError, ValueError) as error:
        # A region that is no host name, a profile that is not there, half of the credentials: nothing of a search.
        raise SettingError(f"AWS is not set up for HealthImaging: {error}") from error


def _read_timestamp(value: object) -> datetime:
    """A time of an answer, aware and in UTC: the service sends seconds since 1970."""
    if isinstance(value, int | float):
        return _EPOCH + timedelta(seconds=value)
    return parse_timestamp(str(value))


def _required(answer: Any, member: str) -> Any:  # noqa: ANN401 - a TypedDict's member, which the caller's type tells
    """A member that every whole answer has: botocore reads a body that was cut short as one without members."""
    if member not in answer:
        raise StoreError("HealthImaging's answer was cut short")
    return answer[member]


def _read_refusal(error: ClientError, *, with_token: bool) -> ServiceError:
    """Our error for one of the service's."""
    told = error.response
    code = str(told.get("Error", {}).get("Code", ""))
    metadata = told.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if code in _THROTTLED or status == 429:
        wait = _read_wait(metadata.get("HTTPHeaders", {}).get("retry-after"))
        return Throttled(f"HealthImaging is asked too much: ask again in {wait:g} s", wait)
    if code == "ResourceNotFoundException" or status == 404:
        return DataStoreNotFound("HealthImaging has no such data store or image set")
    if code == "ConflictException":
        # [?] A search changes nothing; what it can conflict with is a data store that is being made or deleted.
        return DataStoreNotActive("the data store is not active: it is being made or deleted")
    if code == "ValidationException" and with_token:
        # [?] How a refused token is told from other refusals, and how long one lives. The same request has passed
        # without the token, so the token it is.
        return InvalidCursor("HealthImaging no longer knows where this page goes on: start again without a cursor")
    if status in (401, 403) or code == "AccessDeniedException":
        hint = _KMS_HINT if "kms" in str(told.get("Error", {}).get("Message", "")).lower() else ""
        return AccessDenied(f"HealthImaging refuses these AWS credentials ({code}){hint}")
    if status >= 500:
        return StoreError(f"HealthImaging failed ({code})")
    return StoreError(f"HealthImaging refused the request ({code})")


def _read_wait(header: str | None) -> float:
    """Seconds of a Retry-After header, a whole number in all that is known of AWS."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else _RETRY_AFTER


def _unpack(packed: bytes) -> bytes:
    """Gzip undone, where a proxy has not done it already."""
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        with gzip.GzipFile(fileobj=BytesIO(packed)) as stream:
            unpacked = stream.read(METADATA_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError("the image set's metadata is cut short or damaged") from error
    if len(unpacked) > METADATA_LIMIT:
        raise _too_large()
    return unpacked


def _too_large() -> StoreError:
    return StoreError(f"the image set's metadata has more than {METADATA_LIMIT:,} bytes")
