"""When the work on a request must end: set once where the request comes in, heeded by the stores that may take long.

It travels with the context: into worker threads that are started with a copy of it, and by `keep` into any others.
Where all other requests wait meanwhile, work can be asked to be brief or not to be done at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Final, TypeVar

from anyio.to_thread import run_sync

_From = TypeVar("_From")
_To = TypeVar("_To")

_EXPIRES: Final[ContextVar[float]] = ContextVar("expires", default=inf)
_BRIEF: Final[ContextVar[bool]] = ContextVar("brief", default=False)


class NotBrief(Exception):
    """Work that was asked to be brief would not have been: it has to be done again, where it may take its time."""


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


def is_brief() -> bool:
    """Whether the work is asked to be brief: about a millisecond, without waiting for anybody; else NotBrief."""
    return _BRIEF.get()


@contextmanager
def be_brief() -> Iterator[None]:
    """Asks the work within to be brief, or to raise NotBrief."""
    token = _BRIEF.set(True)
    try:
        yield
    finally:
        _BRIEF.reset(token)


async def do_briefly(work: Callable[[], _To]) -> _To:
    """Does what is mostly brief: here, where a worker thread would cost more than the work, or in one if it is not."""
    try:
        with be_brief():
            return work()
    except NotBrief:
        return await run_sync(work)


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
