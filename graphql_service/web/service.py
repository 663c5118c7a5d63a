"""What the doors of the service share: the store, who may see what of it, and what is written down."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.types import Scope

from graphql_service.access.principals import Access, Principal
from graphql_service.settings import Settings
from graphql_service.stores.base import Store
from graphql_service.web.audit import Audit
from graphql_service.web.telemetry import told_of


@dataclass(frozen=True, slots=True)
class Service:
    """The store with its settings, and what stands between it and whoever asks."""

    store: Store
    settings: Settings
    access: Access
    audit: Audit

    async def admit(self, authorization: str | None) -> tuple[Principal, Store]:
        """Who asks, and the store as far as it exists for them. Raises Unauthenticated."""
        if self.settings.auth == "oidc":  # may have to ask the issuer for its keys
            principal = await run_in_threadpool(self.access.authenticate, authorization)
        else:
            principal = self.access.authenticate(authorization)
        return principal, self.store

    def write_down(self, scope: Scope) -> None:
        """Puts into the audit log what the request has read so far. Raises AuditError: then nothing is answered."""
        told = told_of(scope)
        client = scope.get("client")
        self.audit.write(
            told.readings,
            request_id=told.request_id,
            principal=told.principal or "",
            client=client[0] if client else None,
            door=told.door,
        )
