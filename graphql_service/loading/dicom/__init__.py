"""A folder of DICOM files, loaded: what is in their headers becomes image sets, and what cannot be read is named.

What was read of a file is kept at once, so that a load that is stopped anywhere goes on from there; a file whose size
and time of change are as they were is not read again. Image sets are made at the end, from all that was ever read: so
they are the same whether a load was stopped or not, and a version tells of a change, not of a stop.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from graphql_service.instances import Instance
from graphql_service.loading.dicom.folder import RefusedFile, find_files
from graphql_service.loading.dicom.readers import read_chunks
from graphql_service.stores.sqlite import MakeResult, SQLiteStore

__all__ = ["FolderResult", "RefusedFile", "load_folder"]

_BATCH: Final = 500


@dataclass(slots=True)
class FolderResult:
    """What became of the files of a folder, so far: `unchanged` were not read again, `erased` are no longer there.

    `image_sets` are those of all files of the data store that had changed, also by an earlier load that was stopped.
    """

    read: int = 0
    unchanged: int = 0
    refused: int = 0
    erased: int = 0
    image_sets: MakeResult = field(default_factory=MakeResult)


def load_folder(
    folder: Path,
    store: SQLiteStore,
    datastore_id: str,
    *,
    reread: bool = False,
    full: bool = False,
    leave_out: Path | None = None,
    refuse: Callable[[RefusedFile], object] = lambda _: None,
    progress: Callable[[FolderResult], object] = lambda _: None,
) -> FolderResult:
    """Loads the DICOM files of a folder and of those inside it into a data store that is there.

    `reread` reads files again that have not changed. What is no longer there, or no longer DICOM, stays as it was read
    until `full`, which erases it; what cannot be read stays in any case. `refuse` is told of every file and folder that
    cannot be loaded, `progress` how far it is; `leave_out` is a file that is none of them. Raises what the store
    raises, and LoadError where no process can be started; what was read until then is kept.
    """
    load = _Load(_absolute(folder), store, datastore_id, refuse, progress)
    left_out = None if leave_out is None else _absolute(leave_out)
    for chunk in read_chunks(load.find_changed(left_out, reread=reread)):
        load.write(chunk, full=full)
    if full:
        load.erase_gone()
    load.note_made(store.make_image_sets(datastore_id, load.note_made))
    return load.result


@dataclass(frozen=True, slots=True)
class _Load:
    """One folder on its way into a data store."""

    root: bytes
    store: SQLiteStore
    datastore_id: str
    refuse: Callable[[RefusedFile], object]
    progress: Callable[[FolderResult], object]
    result: FolderResult = field(default_factory=FolderResult)

    def find_changed(self, left_out: bytes | None, *, reread: bool) -> Iterator[bytes]:
        """The files that are not known as they are."""
        found = find_files(self.root)
        while batch := list(islice(found, _BATCH)):
            files = {}
            for each in batch:
                if isinstance(each, RefusedFile):
                    self.note(each)
                elif each.path != left_out:
                    files[each.path] = each.size, each.changed
            known = {} if reread else self.store.find_files(self.datastore_id, list(files))
            for path, state in files.items():
                if known.get(path) == state:
                    self.result.unchanged += 1
                else:
                    yield path
            self.progress(self.result)

    def write(self, chunk: Sequence[Instance | RefusedFile], *, full: bool) -> None:
        """Keeps what was read of some files."""
        read = [each for each in chunk if isinstance(each, Instance)]
        self.store.write_files(self.datastore_id, read)
        self.result.read += len(read)
        broken = [each for each in chunk if isinstance(each, RefusedFile)]
        for each in broken:
            self.note(each)
        if full:
            self.erase(each.path for each in broken if not each.unreadable)
        self.progress(self.result)

    def erase_gone(self) -> None:
        """Erases what was read of files that are no longer there."""
        gone = filter(_is_gone, self.store.list_files(self.datastore_id, self.root))
        while some := list(islice(gone, _BATCH)):
            self.erase(some)

    def erase(self, paths: Iterable[bytes]) -> None:
        """Erases what was read of files."""
        self.result.erased += self.store.forget_files(self.datastore_id, paths)

    def note_made(self, made: MakeResult) -> None:
        """Tells how many image sets have been made."""
        self.result.image_sets = made
        self.progress(self.result)

    def note(self, refused: RefusedFile) -> None:
        """Counts and tells what is refused."""
        self.result.refused += 1
        self.refuse(refused)


def _absolute(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links


def _is_gone(path: bytes) -> bool:
    """Whether there is surely no file of this path."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - a path in bytes
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
