"""Whether the store answers, for whoever sends requests here only then."""

from __future__ import annotations

import logging
import time
from typing import Final

from anyio import CapacityLimiter, Lock, fail_after
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from graphql_service.errors import ServiceError
from graphql_service.stores.base import Store

#: How long an answer holds, and how long the store has for it.
_KEPT_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 3.0

_logger = logging.getLogger(__name__)


class Readiness:
    """Asks the store at most once a second, in a thread of its own: however many ask here, and whatever else runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = CapacityLimiter(1)
        self._asking = Lock()
        self._asked = -_KEPT_SECONDS
        self._ready = False

    async def answer(self, _: Request) -> Response:
        """Status 200 or 503. Why the store does not answer stands in the log alone."""
        async with self._asking:
            if time.monotonic() >= self._asked + _KEPT_SECONDS:
                self._ready = await self._ask()
                self._asked = time.monotonic()
        return PlainTextResponse("ready\n") if self._ready else PlainTextResponse("the store does not answer\n", 503)

    async def _ask(self) -> bool:
        try:
            with fail_after(_WAIT_SECONDS):
                await run_sync(self._store.datastores, limiter=self._thread, abandon_on_cancel=True)
        except (ServiceError, TimeoutError) as error:
            code = error.code if isinstance(error, ServiceError) else "STORE_TIMEOUT"
            _logger.warning("not ready: %s", code)
            return False
        return True
