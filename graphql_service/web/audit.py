"""The audit log: who read which image sets, and by which search. One JSON object a line, in a file or on stdout.

It holds patients' values (searches name them) and is for those who may see them; the service's ordinary log is not.
What cannot be written here is not answered.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from graphql_service.auditing import Reading
from graphql_service.deadlines import NotBrief, is_brief
from graphql_service.errors import AuditError, SettingError

#: How long a line may wait to be written.
SECONDS: Final = 5.0
#: How long to wait before looking again whether another process has written.
_TURN_SECONDS: Final = 0.0002

_STDOUT: Final = "-"


class Audit:
    """Appends to one file, or to standard output (`-`). Safe to use from several threads.

    A file that was moved away is begun anew, so that logs may be rotated by renaming. A new one is readable by its
    owner alone. Without a target nothing is written. `with_ids` names every image set, not only their number. Lines are
    handed to the operating system, which writes them to the disk in its own time.

    Several processes that write to one target, each with an Audit of its own, name the same file as `turns`: by it they
    take turns, so that lines stay whole. The system ends the turn of a process that ends.

    Writing may have to wait, for whoever reads a pipe or has its turn: SECONDS at most. Where it is asked to be brief
    it raises NotBrief instead, and has written nothing.
    """

    def __init__(self, target: str, *, with_ids: bool = False, turns: Path | None = None) -> None:
        self._path = Path(target) if target not in ("", _STDOUT) else None
        self._with_ids = with_ids
        self._lock = threading.Lock()
        self._descriptor = 1 if target == _STDOUT else None
        self._turns = None if turns is None else os.open(turns, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # One byte, which all who take turns see: whether the last line may have been written in part. What follows must
        # not become part of it.
        self._torn: bytearray | mmap.mmap = bytearray(1)
        if self._turns is not None:
            os.ftruncate(self._turns, 1)
            self._torn = mmap.mmap(self._turns, 1)
        if self._path is not None:
            try:
                self._descriptor = self._open()
            except OSError as error:
                raise SettingError(f"IMAGESETS_AUDIT_LOG: {self._path} cannot be written: {error.strerror}") from error
        self._is_pipe = self._descriptor is not None and not stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        if self._path is not None and not self._is_pipe:
            self._torn[0] = True  # whoever wrote before may have been killed

    def write(
        self, readings: Sequence[Reading], *, request_id: str, principal: str, client: str | None, door: str
    ) -> None:
        """One line for each reading, all at once. Raises AuditError."""
        if self._descriptor is None or not readings:
            return
        if self._is_pipe:
            _may_wait()
        who = {
            "time": _write_time(datetime.now(UTC)),
            "requestId": request_id,
            "principal": principal,
            "client": client,
            "door": door,
        }
        lines = b"".join(
            orjson.dumps(who | self._describe(reading), option=orjson.OPT_APPEND_NEWLINE) for reading in readings
        )
        deadline = time.monotonic() + SECONDS
        if not self._lock.acquire(blocking=False):
            _may_wait()
            if not self._lock.acquire(timeout=SECONDS):
                raise _unread()
        try:
            with self._take_turn(deadline):
                self._append(lines)
        except OSError as error:
            raise AuditError(f"the audit log cannot be written ({error.strerror}), so nothing is answered") from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give up the file."""
        if self._path is not None and self._descriptor is not None:
            os.close(self._descriptor)
        if isinstance(self._torn, mmap.mmap):
            self._torn.close()
            self._torn = bytearray(1)
        if self._turns is not None:
            os.close(self._turns)
        self._descriptor = self._turns = None

    @contextmanager
    def _take_turn(self, deadline: float) -> Iterator[None]:
        """Keeps other processes from writing. Raises AuditError where one of them has not done so in time."""
        if self._turns is None:
            yield
            return
        while True:
            try:
                fcntl.flock(self._turns, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _may_wait()
                if time.monotonic() > deadline:
                    raise _unread() from None
                time.sleep(_TURN_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._turns, fcntl.LOCK_UN)

    def _describe(self, reading: Reading) -> dict[str, object]:
        described: dict[str, object] = {
            "operation": reading.operation,
            "datastoreId": reading.datastore_id,
            "query": None if reading.search is None else reading.search.canonical,
            "timeZone": reading.time_zone,
            "dated": None if reading.dated is None else _write_time(reading.dated),
            "imageSets": len(reading.image_set_ids),
        }
        if reading.search is None:
            described["named"] = reading.named
        if self._with_ids:
            described["imageSetIds"] = reading.image_set_ids
        return described

    def _append(self, lines: bytes) -> None:
        if self._path is not None and self._has_moved():
            self._begin_anew()
        assert self._descriptor is not None
        if self._torn[0] and not self._ends_with_a_line():
            lines = b"\n" + lines
        deadline = time.monotonic() + SECONDS
        self._torn[0] = True
        while lines:
            size = len(lines)
            if self._is_pipe:
                # So much is written at once, or not at all, where there is room for it.
                self._wait_for_room(deadline)
                size = select.PIPE_BUF
            lines = lines[os.write(self._descriptor, lines[:size]) :]
        self._torn[0] = False

    def _ends_with_a_line(self) -> bool:
        """Whether the log is known to: only a file that can be read is."""
        if self._path is None or self._is_pipe:
            return False
        try:
            with self._path.open("rb") as written:
                size = written.seek(0, os.SEEK_END)
                written.seek(max(size - 1, 0))
                return written.read() in (b"", b"\n")
        except OSError:
            return False

    def _wait_for_room(self, deadline: float) -> None:
        assert self._descriptor is not None
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1_000):
            raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")

    def _begin_anew(self) -> None:
        """Begins the file anew."""
        assert self._descriptor is not None
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh

    def _has_moved(self) -> bool:
        assert self._path is not None
        try:
            # Every answer that reads does it, and Path is three times as slow.
            found = os.stat(self._path)  # noqa: PTH116
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != self._identity

    def _open(self) -> int:
        assert self._path is not None
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        opened = os.fstat(descriptor)
        self._identity = opened.st_dev, opened.st_ino
        return descriptor


def _may_wait() -> None:
    """Waits for nobody where the work is to be brief."""
    if is_brief():
        raise NotBrief


def _unread() -> AuditError:
    return AuditError("the audit log is not read fast enough, so nothing is answered")


def _write_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
