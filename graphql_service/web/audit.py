"""The audit log: who read which image sets, and by which search. One JSON object a line, in a file or on stdout.

It holds patients' values (searches name them) and is for those who may see them; the service's ordinary log is not.
What cannot be written here is not answered.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from grammar.printer import canonical
from graphql_service.auditing import Reading
from graphql_service.errors import AuditError, SettingError

_STDOUT = "-"


class Audit:
    """Appends to one file, or to standard output (`-`). Safe to use from several threads.

    A file that was moved away is begun anew, so that logs may be rotated by renaming. A new one is readable by its
    owner alone. Without a target nothing is written. `with_ids` names every image set, not only their number.
    """

    def __init__(self, target: str | None, *, with_ids: bool = False) -> None:
        self._path = None if target in (None, "", _STDOUT) else Path(str(target)).expanduser()
        self._with_ids = with_ids
        self._lock = threading.Lock()
        self._descriptor = 1 if target == _STDOUT else None
        self.enabled = bool(target)
        if self._path is not None:
            try:
                self._descriptor = self._open()
            except OSError as error:
                raise SettingError(f"IMAGESETS_AUDIT_LOG: {self._path} cannot be written: {error.strerror}") from error

    def write(
        self, readings: Sequence[Reading], *, request_id: str, principal: str, client: str | None, door: str
    ) -> None:
        """One line for each reading, all at once. Raises AuditError."""
        if not self.enabled or not readings:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = b"".join(
            orjson.dumps(
                {
                    "time": now,
                    "requestId": request_id,
                    "principal": principal,
                    "client": client,
                    "door": door,
                    "operation": reading.operation,
                    "datastoreId": reading.datastore_id,
                    "query": None if reading.search is None else canonical(reading.search),
                    "imageSets": len(reading.image_set_ids),
                    # Image sets that were named are what was asked for, as a query is.
                    **({"imageSetIds": reading.image_set_ids} if self._with_ids or reading.search is None else {}),
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for reading in readings
        )
        try:
            with self._lock:
                self._append(lines)
        except OSError as error:
            raise AuditError(f"the audit log cannot be written ({error.strerror}), so nothing is answered") from error

    def close(self) -> None:
        """Give up the file."""
        if self._path is not None and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, lines: bytes) -> None:
        if self._path is not None and self._moved():
            self.close()
            self._descriptor = self._open()
        assert self._descriptor is not None
        while lines:
            lines = lines[os.write(self._descriptor, lines) :]

    def _moved(self) -> bool:
        assert self._path is not None
        if self._descriptor is None:
            return True
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _open(self) -> int:
        assert self._path is not None
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
