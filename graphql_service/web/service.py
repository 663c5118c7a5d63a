"""What the doors of the service share: the store, who may see what of it, and what is written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Scope

from graphql_service.access.principals import Access, Principal
from graphql_service.access.signatures import SignedAccess, SignedRequest
from graphql_service.auditing import Reading
from graphql_service.deadlines import limit_time
from graphql_service.errors import InvalidArgument, LimitExceeded, Overloaded
from graphql_service.metrics import IN_FLIGHT
from graphql_service.settings import Settings
from graphql_service.stores.base import Store
from graphql_service.stores.visible import show_only
from graphql_service.web.audit import Audit
from graphql_service.web.bodies import UnreadableBody, read_body
from graphql_service.web.telemetry import told_of


class Load:
    """How many requests are being worked on, and how many may be."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._working = 0

    def __enter__(self) -> None:
        """Works on one more request. Raises Overloaded, at once, where there are as many as may be.

        For the event loop's thread alone. A request takes its place once all of it is there: one that is sent slowly
        keeps no other one out.
        """
        if self._working >= self._maximum:
            raise Overloaded("the service has as much to do as it takes on (IMAGESETS_MAX_REQUESTS): ask again")
        self._working += 1
        IN_FLIGHT.inc()

    def __exit__(self, *_: object) -> None:
        """Is done with one."""
        self._working -= 1
        IN_FLIGHT.dec()


@dataclass(frozen=True, slots=True)
class Service:
    """The store with its settings, and what stands between it and whoever asks.

    `access` lets in by the Authorization header, `signed_access` by a signature; without the latter HealthImaging's
    wire protocol is anybody's.
    """

    store: Store
    settings: Settings
    access: Access
    signed_access: SignedAccess | None
    audit: Audit
    load: Load

    async def admit(self, scope: Scope, authorization: str | None) -> Store:
        """The store as far as it exists for whoever sends this header. Raises Unauthenticated."""
        found = self.access.authenticate(authorization)
        principal = found if isinstance(found, Principal) else await found
        told_of(scope).principal = principal.name
        return show_only(self.store, principal.datastores)

    @contextmanager
    def work(self) -> Iterator[None]:
        """Holds a place among the requests that are being worked on, until their time is over. Raises Overloaded."""
        with self.load, limit_time(self.settings.limits.request_seconds):
            yield

    async def read_body(self, request: Request) -> bytes:
        """The body of a request to HealthImaging's wire protocol. Raises InvalidArgument."""
        try:
            return await read_body(request, self.settings.limits.body_bytes)
        except (UnreadableBody, LimitExceeded) as error:
            raise InvalidArgument(str(error)) from error

    def admit_signed(self, scope: Scope, request: SignedRequest) -> Store:
        """The store as far as it exists for whoever signed the request. Raises UnsignedRequest."""
        told = told_of(scope)
        told.door = "healthimaging"
        if self.signed_access is None:
            told.principal = "anonymous"
            return self.store
        principal = self.signed_access.authenticate(request)
        told.principal = principal.name
        return show_only(self.store, principal.datastores)

    def write_down(self, scope: Scope, operations: Sequence[str], readings: Sequence[Reading]) -> None:
        """Has the audit log, and then the ordinary one, say what was read. Raises AuditError: then nothing is told."""
        told = told_of(scope)
        client = scope.get("client")
        self.audit.write(
            readings,
            request_id=told.request_id,
            principal=told.principal or "",
            client=client[0] if client else None,
            door=told.door,
        )
        told.operations, told.readings = operations, readings
