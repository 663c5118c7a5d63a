"""When the work on a request must end: set once where the request comes in, heeded by the stores that may take long.

It travels with the context: into worker threads that are started with a copy of it, and by `keep` into any others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Final, TypeVar

_From = TypeVar("_From")
_To = TypeVar("_To")

_EXPIRES: Final[ContextVar[float]] = ContextVar("expires", default=inf)


def expires() -> float:
    """The instant (of `time.monotonic`) at which the work ends; infinity where nothing limits it."""
    return _EXPIRES.get()


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Gives the work within so many seconds, or fewer where it is limited already."""
    token = _EXPIRES.set(min(expires(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _EXPIRES.reset(token)


def keep(work: Callable[[_From], _To]) -> Callable[[_From], _To]:
    """The same work, wherever it runs, by the deadline that holds here."""
    instant = expires()

    def run(given: _From) -> _To:
        token = _EXPIRES.set(instant)
        try:
            return work(given)
        finally:
            _EXPIRES.reset(token)

    return run
