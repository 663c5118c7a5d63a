"""Who asks, which data stores exist for them, and what stands at the door. Without any check, everybody is one."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """Who was let in, and the ids of the data stores that exist for them; None: all."""

    name: str
    datastores: frozenset[str] | None


class Access(Protocol):
    """Lets in by a request's Authorization header."""

    def authenticate(self, authorization: str | None) -> Principal | Awaitable[Principal]:
        """Who sends this header, None where there is none: at once, or to be awaited where finding out takes time.

        Never blocks. Raises Unauthenticated, and nothing else, either now or when awaited.
        """


_ANYBODY: Final = Principal("anonymous", None)


class AnonymousAccess:
    """Lets everybody in, to every data store, whatever header they send."""

    def authenticate(self, authorization: str | None) -> Principal:  # noqa: ARG002 - the protocol's
        """The one principal there is."""
        return _ANYBODY
