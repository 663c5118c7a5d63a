"""The web service: in this process, or in several workers that this one starts, watches over and stops.

A worker is a process started anew, for a fork would take threads and connections along. Each listens at the address for
itself, and the system shares out the connections among them: of one socket that all of them listen on, the quickest
would take nearly every one. The first opens the store, and so brings its file up to date, before any other starts. The
only user of uvicorn.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from graphql_service.errors import ServiceError, SettingError
from graphql_service.metrics import end_worker, worker_environment
from graphql_service.settings import Settings, share_of
from graphql_service.stores import open_store

#: How long a service that is stopped goes on beyond the deadline of the last request; and its workers beyond that.
_GRACE_SECONDS: Final = 5
#: Between a worker's start and the start of one in its place, at least.
_PAUSE_SECONDS: Final = 1.0
#: In the folder of the workers.
_TURNS: Final = "audit.turns"

_logger = logging.getLogger(__name__)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that listens there: alone, or `shared` with others that do so too. Raises click.ClickException."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=2_048, reuse_port=shared)
        # Without it each answer waits 40 ms for the client's acknowledgement; connections inherit it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> click.ClickException:
    reason = "it is in use; take another with --port" if error.errno == errno.EADDRINUSE else error.strerror
    return click.ClickException(f"cannot listen on {host} port {port}: {reason}")


def serve(host: str, port: int, settings: Settings, welcome: Callable[[str, int], None]) -> None:
    """Serves until SIGINT or SIGTERM, and ends what runs then first.

    `welcome` is told the address as soon as requests are taken. Raises ServiceError, or click.ClickException, where
    the service cannot start.
    """
    if settings.workers > 1:
        _serve_with_workers(host, port, settings, welcome)
        return

    def begin() -> socket.socket:
        listener = listen(host, port)
        welcome(*listener.getsockname()[:2])
        return listener

    _run(settings, begin)


def _run(settings: Settings, begin: Callable[[], socket.socket], audit_turns: Path | None = None) -> None:
    """Serves in this process, on the socket that `begin` answers with once everything is ready for requests."""
    # GraphQL and the web server are slow to import, and whoever watches over workers needs neither.
    import uvicorn

    from graphql_service.web.app import create_app
    from graphql_service.web.telemetry import configure_log

    with closing(open_store(settings.store, settings)) as store:
        config = uvicorn.Config(
            create_app(store, settings, audit_turns),
            # httptools costs a sixth less, but loses the body of a request that asks to go on in HTTP/2, as Java's
            # client does, and has no limit for a head.
            http="h11",
            # No access log: a GET's address holds its query, and a query holds a patient's values.
            access_log=False,
            log_config=None,
            server_header=False,
            ws="none",
            proxy_headers=True,
            forwarded_allow_ips=list(settings.trusted_proxies),
            root_path=settings.root_path,
            # What is running ends by its own deadline.
            timeout_graceful_shutdown=settings.limits.request_seconds + _GRACE_SECONDS,
        )
        with begin() as listener:
            configure_log(settings.log_level)
            try:
                # uvicorn ends with the signal that stopped it: the store is to be closed then, too.
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                uvicorn.Server(config).run(sockets=[listener])
            except KeyboardInterrupt:
                return


@dataclass(frozen=True, slots=True)
class _Worker:
    """A process that serves. Its link brings word from it: None once it takes requests, or the error that ended it."""

    number: int
    process: BaseProcess
    link: Connection
    begun: float = field(default_factory=time.monotonic)

    def last_words(self) -> str:
        """Why it has ended, as far as is known."""
        said: object = None
        with suppress(EOFError):
            while self.link.poll():
                said = self.link.recv()
        return f": {said}" if said else f", exit code {self.process.exitcode}"


class _Workers:
    """The workers of one service, from the first one's start to the last one's end."""

    def __init__(self, address: tuple[str, int], settings: Settings, folder: Path, stopping: socket.socket) -> None:
        self._address = address
        self._settings = settings
        self._folder = folder
        self._stopping = stopping
        self._running: dict[int, _Worker] = {}
        #: When the place of one that has ended is to be taken.
        self._missing: dict[int, float] = {}

    def begin(self) -> None:
        """Starts all of them. Raises what keeps them from it, and KeyboardInterrupt where they are to stop before."""
        self._expect(self._start(0))
        for worker in [self._start(number) for number in range(1, self._settings.workers)]:
            self._expect(worker)

    def watch(self) -> None:
        """Starts another worker for each that ends, until all are to stop."""
        while True:
            sentinels = {worker.process.sentinel: worker for worker in self._running.values()}
            due = min(self._missing.values(), default=None)
            timeout = None if due is None else max(due - time.monotonic(), 0)
            for ready in wait([self._stopping, *sentinels], timeout):
                if ready is self._stopping:
                    return
                assert isinstance(ready, int)
                self._bury(sentinels[ready])
            for number, due in list(self._missing.items()):
                if due <= time.monotonic():
                    self._replace(number)

    def end(self) -> None:
        """Has all of them end what they are working on, and waits for that."""
        grace = self._settings.limits.request_seconds + 2 * _GRACE_SECONDS
        deadline = time.monotonic() + grace
        with suppress(BlockingIOError):
            self._stopping.recv(64)
        for worker in self._running.values():
            worker.process.terminate()
        while alive := [worker for worker in self._running.values() if worker.process.is_alive()]:
            sentinels = [worker.process.sentinel for worker in alive]
            ready = wait([self._stopping, *sentinels], max(deadline - time.monotonic(), 0))
            # Ctrl-C once more: whoever pressed it does not want to wait.
            if not ready or (self._stopping in ready and signal.SIGINT in self._stopping.recv(64)):
                _warn("workers that have not ended are killed")
                for worker in alive:
                    worker.process.kill()
                    worker.process.join()

    def _replace(self, number: int) -> None:
        del self._missing[number]
        try:
            self._start(number)
        except OSError as error:  # too little memory, too many files: the others serve on meanwhile
            self._missing[number] = time.monotonic() + _PAUSE_SECONDS
            _warn(f"worker {number} cannot be started ({error.strerror}): it is tried again")

    def _start(self, number: int) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, self._address, share_of(self._settings, number), self._folder / _TURNS)
        process = context.Process(target=_work, args=arguments, name=f"worker {number}")
        os.environ.update(worker_environment(self._folder, number))
        # It is started with the first worker, and then lets the signal through again.
        resource_tracker.ensure_running()
        # Ctrl-C goes to every process of a terminal; the workers leave it to this one.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        worker = _Worker(number, process, ours)
        self._running[number] = worker
        return worker

    def _expect(self, worker: _Worker) -> None:
        """Waits until the worker takes requests."""
        if self._stopping in wait([self._stopping, worker.link]):
            raise KeyboardInterrupt
        try:
            said = worker.link.recv()
        except EOFError:
            worker.process.join()
            raise click.ClickException(f"a worker ended before it served{worker.last_words()}") from None
        if said is not None:
            raise said

    def _bury(self, worker: _Worker) -> None:
        worker.process.join()
        end_worker(self._folder, worker.number)
        del self._running[worker.number]
        self._missing[worker.number] = worker.begun + _PAUSE_SECONDS
        _warn(f"worker {worker.number} has ended{worker.last_words()}; another takes its place")
        worker.link.close()


def _serve_with_workers(host: str, port: int, settings: Settings, welcome: Callable[[str, int], None]) -> None:
    from graphql_service.web.telemetry import configure_log

    if sys.platform != "linux":
        raise SettingError("IMAGESETS_WORKERS: several workers are for Linux alone, which shares out connections")
    for number in range(settings.workers):
        share_of(settings, number)
    with (
        keep_address(host, port) as address,
        make_folder() as folder,
        _hear_signals() as stopping,
    ):
        configure_log(settings.log_level)
        workers = _Workers(address, settings, Path(folder), stopping)
        try:
            workers.begin()
            welcome(*address)
            workers.watch()
        finally:
            workers.end()


def make_folder() -> TemporaryDirectory[str]:
    """What workers share is in it, for as long as they serve."""
    try:
        return TemporaryDirectory(prefix="imagesets-")
    except OSError as error:
        raise click.ClickException(
            f"several workers need a folder for temporary files, such as TMPDIR may name: {error.strerror}"
        ) from error


@contextmanager
def keep_address(host: str, port: int) -> Iterator[tuple[str, int]]:
    """An address that is free, for workers of this process alone to listen at. Raises click.ClickException.

    Whoever shares an address shares it with all programs of the same user that want to. So another service must not
    begin to while this one starts, either: a name that only one process can have keeps it from that.
    """
    with listen(host, port) as free:
        address, family = free.getsockname()[:2], free.family
    with socket.socket(socket.AF_UNIX) as name, socket.socket(family) as kept:
        try:
            name.bind(f"\0imagesets {address}")
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            kept.bind(address)
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
        yield address


def _warn(sentence: str) -> None:
    with suppress(OSError):  # nobody reads the log any more
        _logger.warning(sentence)


@contextmanager
def _hear_signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of SIGINT and SIGTERM can be read, in place of what they do otherwise."""
    heard, told = socket.socketpair()
    with heard, told:
        heard.settimeout(0)
        told.settimeout(0)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        handlers = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield heard
        finally:
            signal.set_wakeup_fd(before)
            for each, handler in handlers.items():
                signal.signal(each, handler)


def _work(link: Connection, address: tuple[str, int], settings: Settings, audit_turns: Path) -> None:
    """What a worker does."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()

    def begin() -> socket.socket:
        listener = listen(*address, shared=True)
        link.send(None)
        return listener

    try:
        _run(settings, begin, audit_turns)
    except (ServiceError, click.ClickException) as error:
        link.send(error)
        sys.exit(1)


def _stop_with_parent() -> None:
    """A worker whose parent was killed would hold the address for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
