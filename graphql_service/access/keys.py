"""The keys file: bearer keys for GraphQL, and wire keys for HealthImaging's own clients.

Of a bearer key the file holds its SHA-256 alone: nobody guesses 256 random bits, so that no slow hash has to slow each
request. The secret of a wire key is there to be read, since whoever checks a signature must make the same; so a file
that others than its owner may read is refused. A file that is refused, damaged or gone lets nobody in.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, TypeAlias

from graphql_service.access.principals import Principal
from graphql_service.errors import InvalidArgument, SettingError, Unauthenticated
from graphql_service.image_set import is_id

_VERSION: Final = 1
#: More than 30,000 keys, in bytes.
_SIZE_LIMIT: Final = 10_000_000
_NAME_LIMIT: Final = 64

_AUTHORIZATION: Final = re.compile("(?i:bearer) +(imagesets_([0-9a-f]{16})_[0-9a-f]{64})")
_BEARER_ID: Final = re.compile("[0-9a-f]{16}")
_WIRE_ID: Final = re.compile("IMAGESETS[0-9A-F]{16}")
_SECRET: Final = re.compile("[0-9a-f]{64}")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BearerKey:
    """What is kept of a bearer key: the id that it carries, and the SHA-256 of the whole of it, in hexadecimal."""

    id: str
    principal: Principal
    created: datetime
    sha256: str


@dataclass(frozen=True, slots=True)
class WireKey:
    """An access key id and the secret that requests are signed with."""

    id: str
    principal: Principal
    created: datetime
    secret: str = field(repr=False)


Key: TypeAlias = BearerKey | WireKey

#: What tells one state of the file from another: all of its `stat` that no mere reading changes.
_Stamp: TypeAlias = tuple[object, ...]

_NOBODY: Final[Mapping[str, Key]] = {}


class _MissingFile(SettingError):
    """There is no keys file."""


class _UnreadableFile(SettingError):
    """The system did not let the file be read, this time: what is in it is not known."""


class KeysFile:
    """The keys of a file, as it is at each moment: a key works as soon as it is added, and no longer once removed.

    Raises SettingError where the file is refused, and where it is missing though `required`. Once it was opened, what
    is wrong with it is logged, and nobody comes in until it is right again.
    """

    def __init__(self, path: Path, *, required: bool = True) -> None:
        self._path = path
        self._known: tuple[_Stamp | None, Mapping[str, Key]] = None, _NOBODY
        self._told: tuple[_Stamp | None, str] | None = None
        try:
            self._known = _read(path)
        except _MissingFile:
            if required:
                raise

    def find(self, key_id: str) -> Key | None:
        """The key with this id, of either kind. Costs one look at the file's state."""
        try:
            stamp = _stamp(os.stat(self._path))  # noqa: PTH116 - every request does it, and Path is three times as slow
        except OSError:
            stamp = None
        known, keys = self._known
        if stamp != known:
            keys = self._read_again(stamp)
        return keys.get(key_id)

    def _read_again(self, stamp: _Stamp | None) -> Mapping[str, Key]:
        told, keys = None, _NOBODY
        try:
            stamp, keys = _read(self._path)
        except SettingError as error:
            told = stamp, str(error)
            if told != self._told:
                _logger.error("nobody is let in by a key: %s", error)
            if isinstance(error, _UnreadableFile):
                stamp = None  # the file may be right, and is read again for the next request
        self._known, self._told = (stamp, keys), told
        return keys


class KeysAccess:
    """Lets in whoever sends a bearer key of a file."""

    def __init__(self, file: KeysFile) -> None:
        self._file = file

    def authenticate(self, authorization: str | None) -> Principal:
        """The principal of the key in `Bearer KEY`. Raises Unauthenticated."""
        if authorization is None:
            raise Unauthenticated("a key is needed: send it as 'Authorization: Bearer KEY'")
        sent = _AUTHORIZATION.fullmatch(authorization)
        if sent is not None:
            key = self._file.find(sent[2])
            if isinstance(key, BearerKey) and compare_digest(key.sha256, sha256(sent[1].encode()).hexdigest()):
                return key.principal
        raise Unauthenticated(
            "the key is not valid here: send one of `imagesets keys add` as 'Authorization: Bearer KEY'"
        )


def list_keys(path: Path) -> tuple[Key, ...]:
    """Every key of a file, by name. Raises SettingError."""
    _, keys = _read(path)
    return tuple(sorted(keys.values(), key=lambda key: key.principal.name))


def add_bearer_key(path: Path, principal: Principal) -> str:
    """A new bearer key, which is nowhere kept; the file is made where there is none.

    Raises InvalidArgument for a name that is taken or none, SettingError where the file cannot be read or written.
    """
    key_id = secrets.token_hex(8)
    token = f"imagesets_{key_id}_{secrets.token_hex(32)}"
    _add(path, BearerKey(key_id, principal, _now(), sha256(token.encode()).hexdigest()))
    return token


def add_wire_key(path: Path, principal: Principal) -> WireKey:
    """A new wire key; the file is made where there is none. Raises as `add_bearer_key` does."""
    key = WireKey(f"IMAGESETS{secrets.token_hex(8).upper()}", principal, _now(), secrets.token_hex(32))
    _add(path, key)
    return key


def remove_key(path: Path, name: str) -> None:
    """Takes the key of this name out of the file. Raises InvalidArgument where there is none, SettingError."""
    with _changing(path) as keys:
        if name not in keys:
            raise InvalidArgument(f"there is no key '{name}': `imagesets keys list` lists them")
        del keys[name]


def _add(path: Path, key: Key) -> None:
    name = key.principal.name
    if not _is_name(name):
        raise InvalidArgument(f"a key's name has 1 to {_NAME_LIMIT} characters, and no space at its ends")
    with _errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    with _changing(path) as keys:
        if name in keys:
            raise InvalidArgument(f"there is a key '{name}': remove it first, or take another name")
        keys[name] = key


def _is_name(text: str) -> bool:
    return 1 <= len(text) <= _NAME_LIMIT and text.isprintable() and text == text.strip()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Key]]:
    """The keys by their names, to be changed in place; then the file is replaced whole. Writers wait for each other."""
    path = Path(os.path.realpath(path))  # a link stays one
    with _lock(path) as status:
        keys = {key.principal.name: key for key in list_keys(path)}
        yield keys
        document = {"version": _VERSION, "keys": list(map(_write_key, keys.values()))}
        with _errors(path):
            _replace(path, json.dumps(document, indent=1).encode(), status)


@contextmanager
def _lock(path: Path) -> Iterator[os.stat_result]:
    """The file, held against other writers. Each of them leaves another file in its place, which is waited for anew."""
    while True:
        try:
            held = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _missing(path) from None
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            with _errors(path):
                fcntl.flock(held, fcntl.LOCK_EX)
                status = os.fstat(held)
                replaced = not path.exists() or path.stat().st_ino != status.st_ino
            if not replaced:
                yield status
                return
        finally:
            os.close(held)


def _replace(path: Path, content: bytes, old: os.stat_result) -> None:
    """Puts a new file in the place of the old one, at once: no reader ever sees a part of it."""
    written, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's alone
    try:
        with os.fdopen(written, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchown(written, old.st_uid, -1)  # an administrator's change must not lock the service out
            # Clocks are coarse: two changes in one of their ticks have to differ.
            changed = max(time.time_ns(), old.st_mtime_ns + 1)
            os.utime(written, ns=(changed, changed))
            os.fsync(written)
        os.replace(name, path)  # noqa: PTH105 - beside the calls that Path has not
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108 - as above
        raise


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> SettingError:
    return SettingError(f"IMAGESETS_KEYS_FILE: {path} cannot be written: {error.strerror}")


def _missing(path: Path) -> _MissingFile:
    return _MissingFile(f"IMAGESETS_KEYS_FILE: there is no file {path}: `imagesets keys add NAME` makes it")


def _stamp(status: os.stat_result) -> _Stamp:
    # The first seven: mode, inode, device, links, owner, group, size.
    return status[:7], status.st_mtime_ns


def _read(path: Path) -> tuple[_Stamp, Mapping[str, Key]]:
    """The keys by their ids, and the state of the file that they were read from. Raises SettingError."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            content = stream.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _UnreadableFile(f"IMAGESETS_KEYS_FILE: {path} cannot be read: {error.strerror}") from error
    if status.st_mode & 0o077:
        raise SettingError(
            f"IMAGESETS_KEYS_FILE: others than its owner may use {path}, which holds secrets: `chmod 600 {path}`"
        )
    try:
        keys = _read_document(json.loads(content)) if content else []
        found = {key.id: key for key in keys}
        if len(content) > _SIZE_LIMIT or min(len(found), len({key.principal.name for key in keys})) < len(keys):
            raise ValueError
    except (ValueError, RecursionError):
        # Without its cause: that would quote the file.
        raise SettingError(f"IMAGESETS_KEYS_FILE: {path} is damaged, or no keys file: nobody is let in by it") from None
    return _stamp(status), found


def _read_document(document: object) -> list[Key]:
    """The keys of a file's JSON. Raises ValueError."""
    match document:
        case {"version": 1, "keys": [*entries]}:
            return list(map(_read_key, entries))
    raise ValueError


def _read_key(entry: object) -> Key:
    match entry:
        case {"id": str(key_id), "name": str(name), "created": str(created), "datastores": datastores, **proof}:
            if not _is_name(name) or len(proof) != 1:
                raise ValueError
            principal = Principal(name, _read_datastores(datastores))
            moment = datetime.fromisoformat(created)
            match proof:
                case {"sha256": str(digest)} if _BEARER_ID.fullmatch(key_id) and _SECRET.fullmatch(digest):
                    return BearerKey(key_id, principal, moment, digest)
                case {"secret": str(secret)} if _WIRE_ID.fullmatch(key_id) and _SECRET.fullmatch(secret):
                    return WireKey(key_id, principal, moment, secret)
    raise ValueError


def _read_datastores(entry: object) -> frozenset[str] | None:
    match entry:
        case None:
            return None
        case [*ids]:
            found = [each for each in ids if isinstance(each, str) and is_id(each)]
            if len(found) == len(ids):
                return frozenset(found)
    raise ValueError


def _write_key(key: Key) -> dict[str, object]:
    datastores = key.principal.datastores
    return {
        "id": key.id,
        "name": key.principal.name,
        "created": key.created.isoformat(),
        "datastores": None if datastores is None else sorted(datastores),
        **({"sha256": key.sha256} if isinstance(key, BearerKey) else {"secret": key.secret}),
    }
