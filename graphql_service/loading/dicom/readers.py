"""Processes that read headers, a hundred files at a time, and as many at once as there are cores.

They end with the process that started them, however that ends. A file that takes its process with it is refused, and
the others are read all the same.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import Final, TypeAlias

from graphql_service.errors import LoadError
from graphql_service.instances import Instance
from graphql_service.loading.dicom.folder import RefusedFile
from graphql_service.loading.dicom.headers import read_files

#: How many files a process reads at a time; as few are read without one.
CHUNK: Final = 100
#: More processes would read faster than one can write.
_PROCESSES: Final = min(os.cpu_count() or 1, 8)
#: How many chunks are being read, or have been and wait to be written.
_IN_FLIGHT: Final = 3 * _PROCESSES

_Read: TypeAlias = Sequence[Instance | RefusedFile]
_Reading: TypeAlias = Future[list[Instance | RefusedFile]]


def read_chunks(paths: Iterator[bytes]) -> Iterator[_Read]:
    """The headers of files, chunk by chunk in their order. Raises LoadError where no process can be started."""
    chunks = iter(lambda: list(islice(paths, CHUNK)), [])
    first, second = next(chunks, []), next(chunks, [])
    if second:
        yield from _read_in_processes(chain((first, second), chunks))
    elif first:
        yield read_files(first)


def _read_in_processes(chunks: Iterable[Sequence[bytes]]) -> Iterator[_Read]:
    source = iter(chunks)
    while True:
        # What is handed to the pool stands here until it is read.
        taken: deque[Sequence[bytes]] = deque()
        reading: deque[_Reading] = deque()
        pool = _start(_PROCESSES)
        try:
            for chunk in source:
                taken.append(chunk)
                reading.append(_submit(pool, chunk))
                if len(taken) == _IN_FLIGHT:
                    yield _take(taken, reading)
            while taken:
                yield _take(taken, reading)
            pool.shutdown()
            return
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        # One of the files that are being read has ended a process, and the others are lost with it.
        yield from _read_singly(chain.from_iterable(taken))


def _take(taken: deque[Sequence[bytes]], reading: deque[_Reading]) -> _Read:
    """The next chunk; it stays where it is when its process has ended."""
    read = reading[0].result()
    taken.popleft()
    reading.popleft()
    return read


def _read_singly(paths: Iterable[bytes]) -> Iterator[_Read]:
    pool = _start(1)
    try:
        for path in paths:
            try:
                yield _submit(pool, [path]).result()
            except BrokenProcessPool:
                pool.shutdown()
                pool = _start(1)
                yield [RefusedFile(path, "reading it ends the process that reads it")]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start(processes: int) -> ProcessPoolExecutor:
    # Started anew: a fork would take locks and connections along.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=_end_with_parent)
    try:
        _submit(pool, []).result()
    except BrokenProcessPool as error:
        raise LoadError("no process can be started to read files with") from error
    return pool


def _submit(pool: ProcessPoolExecutor, paths: Sequence[bytes]) -> _Reading:
    """Has files read, by a process that may be started now.

    Ctrl-C goes to every process of a terminal; those that are started here leave it to the one that started them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        return pool.submit(read_files, paths)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(read_files, paths)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
