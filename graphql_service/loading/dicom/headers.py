"""Headers of DICOM files: one file's bytes up to its pixels become a Header, or the reason why they do not.

The only user of pydicom. A file is told by what is in it, not by its name, with the preamble of PS3.10 or without. What
is searched must be decoded exactly, or the file is refused; of the rest, what is not of its value representation stays
as its bytes (`InlineBinary`, as in DICOM's own JSON model). No value of a header is ever in a reason.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import struct
import warnings
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from math import isfinite
from typing import Any, BinaryIO, Final, TypeAlias

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_sequence
from pydicom.tag import BaseTag

from graphql_service.instances import SEARCHED, Header, Instance, make_instance
from graphql_service.loading.dicom.folder import RefusedFile
from graphql_service.loading.dicom.levels import PATIENT, SERIES, STUDY

#: Values longer than this many bytes are left out (null), as pixels are: whoever needs them has the file.
VALUE_LIMIT: Final = 1_000_000
#: Binary values longer than this many bytes are left out (null).
BINARY_LIMIT: Final = 4_096
#: How many bytes of a deflated data set are read, as they are in the file and inflated.
_DEFLATED_LIMIT: Final = 64_000_000
#: A file up to this many bytes is read at once.
_SMALL: Final = 1 << 18
#: How deeply sequences may be nested: three times as deep as any that the standard describes, and well within JSON.
_DEPTH_LIMIT: Final = 50

_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DICOMDIR: Final = "1.2.840.10008.1.3.10"
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")

_Encodings: TypeAlias = tuple[str, ...]

#: How the numbers of a value representation are written, in little and big endian.
_NUMBERS: Final = {
    vr: {True: struct.Struct(f"<{form}"), False: struct.Struct(f">{form}")}
    for vr, form in {
        "US": "H",
        "SS": "h",
        "UL": "L",
        "SL": "l",
        "UV": "Q",
        "SV": "q",
        "FL": "f",
        "FD": "d",
        "AT": "HH",
    }.items()
}
_TEXTS: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_PLAIN: Final = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))
#: Of these a backslash is part of the one value.
_SINGLE: Final = frozenset(("LT", "ST", "UT", "UR"))
#: Ambiguous in the dictionary of PS3.6: Pixel Representation tells which.
_SIGNED_OR_NOT: Final = frozenset(("US or SS", "US or SS or OW"))
#: Each of them ends what an escape sequence began (PS3.5, 6.1.2.5.3).
_DELIMITERS: Final = set(b"\\^=\r\n\t\f")

#: Silence: what pydicom has to say of a header may quote its values.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

_CUT: Final = "it ends within its header"


class _Refused(Exception):
    """Why a file is not loaded."""


def read_files(paths: Iterable[bytes]) -> list[Instance | RefusedFile]:
    """Reads the headers of files, one after the other; whatever is in them, nothing is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_read_file(path) for path in paths]


def _read_file(path: bytes) -> Instance | RefusedFile:
    try:
        # A pipe without a writer would be waited for.
        with open(path, "rb", opener=_open_at_once) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return RefusedFile(path, "not a regular file")
            small = status.st_size <= _SMALL
            source = BytesIO(stream.read()) if small else _Clamped(stream, status.st_size)
            return make_instance(path, status.st_size, status.st_mtime_ns, read_stream(source))
    except _Refused as refused:
        return RefusedFile(path, str(refused))
    except (EOFError, struct.error):
        return RefusedFile(path, _CUT)
    except Exception as error:  # noqa: BLE001 - on a broken header pydicom raises whatever it stumbles over
        if isinstance(error, OSError) and error.errno is not None:  # not one of pydicom's
            return RefusedFile(path, f"cannot be read: {error.strerror}", unreadable=True)
        return RefusedFile(path, f"its header is broken ({type(error).__name__})")


def _open_at_once(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


class _Clamped:
    """A large file that is never asked for more bytes than it has: what is asked for is made room for."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._stream.tell(), 0)
        return self._stream.read(left if size < 0 else min(size, left))


def read_stream(source: Any) -> Header:  # noqa: ANN401 - whatever reads, tells and seeks
    """The header of an open file from its beginning. Raises _Refused, and on a broken one whatever pydicom raises."""
    start = source.read(132)
    if not start:
        raise _Refused("it is empty")
    if start[128:] != b"DICM":
        source.seek(0)
        if not _may_begin(start):
            raise _Refused("not DICOM")
    syntax, media = _read_meta(source)
    if media == _DICOMDIR:
        raise _Refused("a DICOMDIR: it lists other files, and holds no instance of its own")
    if syntax == _DEFLATED:
        # A deflated data set ends where the file does.
        source = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(source.read(_DEFLATED_LIMIT), _DEFLATED_LIMIT))
    implicit, little = _read_encoding(source, syntax)
    elements = _read_elements(source, implicit=implicit, little=little)
    return _read_levels(elements, implicit=implicit, little=little, syntax=syntax)


def _may_begin(start: bytes) -> bool:
    """Whether a file without a preamble may be DICOM: its first element is of the group 0002 or 0008, and short."""
    if len(start) < 8 or start[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        return False
    if start[4:6].isalpha() and start[4:6].isupper():
        return True
    return start[1] == 0 and int.from_bytes(start[4:8], "little") <= 1_024


def _read_meta(source: Any) -> tuple[str, str]:  # noqa: ANN401 - as read_stream
    """The transfer syntax and the class of the file meta information; what comes after it is read next."""
    syntax = media = ""
    begin = source.tell()
    if source.read(2) != b"\x02\0":
        source.seek(begin)
        return syntax, media
    source.seek(begin)

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag >> 16 != 2

    for element in data_element_generator(source, False, True, stop_when=stop, defer_size=VALUE_LIMIT):  # noqa: FBT003 - pydicom's
        value = element.value or b""
        if element.tag == 0x0002_0010:
            syntax = _read_plain(value)
        elif element.tag == 0x0002_0002:
            media = _read_plain(value)
    return syntax, media


def _read_plain(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _read_encoding(source: Any, syntax: str) -> tuple[bool, bool]:  # noqa: ANN401 - as read_stream
    """Whether the data set has no VRs, and whether it is little-endian: as its first element says, else its syntax."""
    begin = source.tell()
    first = source.read(6)
    source.seek(begin)
    if len(first) < 6:
        raise _Refused("it ends before its data set")
    little = syntax != _BIG_ENDIAN and not (not syntax and first[0] == 0)
    implicit = not (first[4:].isalpha() and first[4:].isupper())
    return implicit, little


def _read_elements(source: Any, *, implicit: bool, little: bool) -> Iterator[RawDataElement | DataElement]:  # noqa: ANN401 - as read_stream
    """The elements before the pixels. Raises _Refused where the file ends within one."""
    begin = end = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(begin)

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag >> 16 == 0x7FE0 and tag & 0xFFFF in (0x0008, 0x0009, 0x0010)

    for element in data_element_generator(source, implicit, little, stop_when=stop, defer_size=VALUE_LIMIT):
        end = source.tell()
        if end > size or (isinstance(element.value, bytes) and _is_cut(element)):
            raise _Refused(_CUT)
        if element.value is None and isinstance(element, RawDataElement) and _is_sequence(element):
            # However long it is: its items are attributes, each with a limit of its own.
            source.seek(element.value_tell)
            element = element._replace(value=source.read(element.length))
            source.seek(end)
        yield element
    source.seek(end)
    # Zeros pad the last element.
    if len(rest := source.read(8)) < 8 and rest.strip(b"\0"):
        raise _Refused(_CUT)


def _is_sequence(element: RawDataElement) -> bool:
    vr = element.VR
    return (_look_up(int(element.tag)).vr if vr in (None, "UN") else vr) == "SQ"


def _is_cut(element: RawDataElement | DataElement) -> bool:
    """Whether an element has less than it says."""
    return isinstance(element, RawDataElement) and len(element.value or b"") < element.length < 0xFFFF_FFFF


def _read_levels(
    elements: Iterable[RawDataElement | DataElement], *, implicit: bool, little: bool, syntax: str
) -> Header:
    patient: dict[str, Any] = {}
    study: dict[str, Any] = {}
    series: dict[str, Any] = {}
    instance: dict[str, Any] = {}
    representations: dict[str, str] = {}
    reading = _Reading(implicit=implicit, little=little)
    for element in elements:
        known = _look_up(int(element.tag))  # as a number: pydicom's tags compare slowly
        vr, value = _read_element(element, known, reading)
        if known.level is None:
            continue
        level = (patient, study, series, instance)[known.level]
        level[known.name] = value
        if not known.keyword:
            representations[known.name] = vr
    for level, name in ((instance, "SOPInstanceUID"), (study, "StudyInstanceUID"), (series, "SeriesInstanceUID")):
        uid = level.get(name)
        if uid is None:
            raise _Refused(f"it has no {name}")
        if not isinstance(uid, str) or len(uid) > 64 or not _UID.fullmatch(uid):
            raise _Refused(f"its {name} is no UID")
    return Header(patient, study, series, instance, representations, syntax)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a tag: its name, whether that is a keyword, its VR (of which "" is none), and its level.

    A level of None is an element that is not kept: a group's length says how a file was written, not what it holds.
    """

    name: str
    keyword: bool
    vr: str
    level: int | None


@lru_cache(16_384)
def _look_up(tag: int) -> _Known:
    if tag & 0xFFFF == 0:
        return _Known("", keyword=False, vr="UL", level=None)
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        vr = "LO" if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF else ""  # a private creator
    # Elements of repeating groups share a keyword.
    if dictionary_has_tag(tag) and (name := keyword_for_tag(tag)):
        return _Known(name, keyword=True, vr=vr, level=_find_level(name))
    return _Known(f"{tag:08X}", keyword=False, vr=vr, level=3)


def _find_level(name: str) -> int:
    for level, names in enumerate((PATIENT, STUDY, SERIES)):
        if name in names:
            return level
    return 3


@dataclass(slots=True)
class _Reading:
    """How the values of a data set are written, as far as it has been read."""

    implicit: bool
    little: bool
    encodings: _Encodings = ("ascii",)
    signed: bool = False
    depth: int = 0


def _read_element(element: RawDataElement | DataElement, known: _Known, reading: _Reading) -> tuple[str, Any]:
    """An element's VR and value. Raises _Refused where it is searched and cannot be read exactly."""
    vr, value = element.VR, element.value
    little = reading.little
    if vr is None or vr == "UN":
        # An element of unknown VR is written in little endian without VRs (PS3.5, 6.2.2), whatever is around it.
        little = little or vr == "UN"
        nested = _Reading(vr == "UN" or reading.implicit, little, reading.encodings, reading.signed, reading.depth)
        vr = known.vr or "UN"
    else:
        nested = reading
    if vr == "SQ":
        return vr, _read_items(value, nested)
    if known.keyword and known.name in SEARCHED:
        _check_searched(element, known.name, vr)
    if not value or len(value) > VALUE_LIMIT:
        return vr, None
    if vr in _SIGNED_OR_NOT:
        vr = "SS" if reading.signed else "US"
    try:
        read = _read_value(vr, value, reading.encodings, little=little)
    except (ValueError, LookupError):
        if known.name in SEARCHED:
            raise _Refused(f"its {known.name} has bytes that are not of the character set that it names") from None
        read = _read_binary(value)
    if known.name == "SpecificCharacterSet":
        reading.encodings = _read_encodings(value)
    elif known.name == "PixelRepresentation":
        reading.signed = read == 1
    return vr, read


def _check_searched(element: RawDataElement | DataElement, name: str, vr: str) -> None:
    """Refuse what would be searched for as missing: it is no text, or longer than what is read of one."""
    if vr not in _TEXTS and vr not in _PLAIN:
        raise _Refused(f"its {name} has the VR {vr}")
    if isinstance(element, RawDataElement) and VALUE_LIMIT < element.length < 0xFFFF_FFFF:
        raise _Refused(f"its {name} has more than {VALUE_LIMIT:,} bytes")


def _read_items(value: Any, reading: _Reading) -> list[dict[str, Any]] | None:  # noqa: ANN401 - bytes, or pydicom's Sequence
    if value is None:
        return None
    if reading.depth == _DEPTH_LIMIT:
        raise _Refused(f"its sequences are nested more than {_DEPTH_LIMIT} deep")
    if isinstance(value, bytes):
        value = read_sequence(BytesIO(value), reading.implicit, reading.little, len(value), "ascii")
    return [_read_item(item, reading) for item in value]


def _read_item(item: Dataset, outer: _Reading) -> dict[str, Any]:
    reading = _Reading(outer.implicit, outer.little, outer.encodings, outer.signed, outer.depth + 1)
    attributes = {}
    for element in item.values():
        known = _look_up(int(element.tag))
        _, value = _read_element(element, known, reading)
        if known.level is not None:
            attributes[known.name] = value
    return attributes


def _read_value(vr: str, value: bytes, encodings: _Encodings, *, little: bool) -> Any:  # noqa: ANN401 - JSON
    """A value as JSON has it. Raises ValueError or LookupError where it is none of its VR."""
    if vr in _PLAIN:
        text = value.decode("ascii")
    elif vr in _TEXTS:
        text = _decode(value, encodings)
    elif vr in _NUMBERS:
        return _read_numbers(vr, value, little=little)
    else:
        return _read_binary(value)
    if vr in _SINGLE:
        return text.rstrip(" \0") or None
    if "\\" in text:
        return [part.strip(" \0") or None for part in text.split("\\")]
    return text.strip(" \0") or None


def _read_numbers(vr: str, value: bytes, *, little: bool) -> Any:  # noqa: ANN401 - JSON
    form = _NUMBERS[vr][little]
    if len(value) % form.size:
        raise ValueError("not so many whole numbers")
    if vr == "AT":
        numbers: list[Any] = [f"{group:04X}{element:04X}" for group, element in form.iter_unpack(value)]
    else:
        numbers = [number for (number,) in form.iter_unpack(value)]
        if vr in ("FL", "FD"):
            # JSON has no number for them.
            numbers = [number if isfinite(number) else str(number) for number in numbers]
    return numbers[0] if len(numbers) == 1 else numbers


def _read_binary(value: bytes) -> dict[str, str] | None:
    return {"InlineBinary": b64encode(value).decode()} if len(value) <= BINARY_LIMIT else None


def _decode(value: bytes, encodings: _Encodings) -> str:
    """A text in the character sets of its file, whole: what looks like a delimiter may be half a character."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    config.settings.reading_validation_mode = config.RAISE  # nothing is replaced
    try:
        return decode_bytes(value, encodings, _DELIMITERS)
    finally:
        config.settings.reading_validation_mode = config.IGNORE


@lru_cache(256)
def _read_encodings(value: bytes) -> _Encodings:
    """Python's names of the character sets, the first for what has no escape sequence; ASCII where there is none."""
    named = [part.strip(" \0") for part in value.decode("ascii", "replace").split("\\")]
    found = convert_encodings(named)
    # pydicom takes Latin-1 for what names none, and for names it does not know.
    return tuple("ascii" if encoding == default_encoding else encoding for encoding in found)
