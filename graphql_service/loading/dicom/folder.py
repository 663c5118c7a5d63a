"""The files in a folder and in those inside it, found as they are needed: memory does not grow with their number.

Links are followed, and a folder to which several lead is read once. Paths are bytes, as the file system has them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: its path, size in bytes and time of change in ns since 1970."""

    path: bytes
    size: int
    changed: int


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file or folder that is not loaded, and why, without any value of a header.

    `unreadable`: what is in it is not known, for it could not be read.
    """

    path: bytes
    reason: str
    unreadable: bool = False


def find_files(folder: bytes) -> Iterator[FoundFile | RefusedFile]:
    """Every file in a folder, and what cannot be read there. `folder` is absolute."""
    # Where the folders are that are read with all that is in them: a link into one of them leads to nothing new.
    roots = {os.path.realpath(folder)}
    waiting = [_list(folder)]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif isinstance(entry, RefusedFile):
            yield entry
        else:
            try:
                if entry.is_dir():
                    if not entry.is_symlink() or _is_new(os.path.realpath(entry.path), roots):
                        waiting.append(_list(entry.path))
                elif entry.is_file():
                    status = entry.stat()
                    yield FoundFile(entry.path, status.st_size, status.st_mtime_ns)
                else:
                    yield RefusedFile(entry.path, _say_kind(entry))
            except OSError as error:
                yield _refuse(entry.path, error)


def _list(folder: bytes) -> Iterator[os.DirEntry[bytes] | RefusedFile]:
    """What is in a folder; where it cannot be read, or not to its end, it is the last."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        yield _refuse(folder, error)


def _is_new(target: bytes, roots: set[bytes]) -> bool:
    """Whether a link leads out of everything that is read; what it leads to then belongs to that."""
    place = target
    while place not in roots:
        parent = os.path.dirname(place)  # noqa: PTH120 - a path in bytes
        if parent == place:
            roots.add(target)
            return True
        place = parent
    return False


def _say_kind(entry: os.DirEntry[bytes]) -> str:
    return "a link that leads nowhere" if entry.is_symlink() else "not a regular file"


def _refuse(path: bytes, error: OSError) -> RefusedFile:
    return RefusedFile(path, f"cannot be read: {error.strerror or type(error).__name__}", unreadable=True)
