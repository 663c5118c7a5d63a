"""Instances: what was read from the header of one DICOM file, and the image sets that they make.

An image set holds the instances of one series that agree in every attribute of the patient and the study. Where they
disagree there are several, and the one with the most instances is the primary one. An id is a digest of the series and
of those attributes, so that the same files always make the same image sets, and an id never shows another patient.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import orjson

#: Attributes by their DICOM keyword: texts and numbers as JSON has them, None for an empty one, several values as
#: lists, sequences as lists of attributes.
Attributes: TypeAlias = Mapping[str, Any]

SCHEMA_VERSION: Final = "1.1"

#: The tag of SearchImageSets for each attribute that it has, and the level at which a header keeps that attribute.
_TAGS: Final = (
    ("DICOMPatientId", "patient", "PatientID"),
    ("DICOMPatientName", "patient", "PatientName"),
    ("DICOMPatientBirthDate", "patient", "PatientBirthDate"),
    ("DICOMPatientSex", "patient", "PatientSex"),
    ("DICOMStudyInstanceUID", "study", "StudyInstanceUID"),
    ("DICOMStudyId", "study", "StudyID"),
    ("DICOMStudyDescription", "study", "StudyDescription"),
    ("DICOMAccessionNumber", "study", "AccessionNumber"),
    ("DICOMSeriesInstanceUID", "series", "SeriesInstanceUID"),
    ("DICOMSeriesModality", "series", "Modality"),
    ("DICOMSeriesBodyPart", "series", "BodyPartExamined"),
    ("DICOMSeriesNumber", "series", "SeriesNumber"),
    ("DICOMStudyDate", "study", "StudyDate"),
    ("DICOMStudyTime", "study", "StudyTime"),
)
#: The attributes that are searched.
SEARCHED: Final = frozenset(keyword for _, _, keyword in _TAGS)

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,12}")
#: Dates and times as they were written before DICOM 3.0 (PS3.5, 6.2: to be understood still).
_OLD_DATE: Final = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})")
_OLD_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}(?:\.[0-9]{1,6})?))?")


@dataclass(frozen=True, slots=True)
class Header:
    """A file's header by level, as HealthImaging's metadata has it. `syntax` is its transfer syntax, "" where unknown.

    `representations` has the VR of every element of the instance that has no keyword, by its eight hexadecimal digits.
    """

    patient: Attributes
    study: Attributes
    series: Attributes
    instance: Attributes
    representations: Mapping[str, str]
    syntax: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One readable file: where it is, its size in bytes and time of change in ns since 1970, and its packed header.

    `identity` is a digest of the attributes of patient and study that are not empty, `content` one of everything but
    the transfer syntax: of two files with the same content one is a copy of the other.
    """

    path: bytes
    size: int
    changed: int
    study_uid: str
    series_uid: str
    sop_uid: str
    identity: bytes
    content: bytes
    header: bytes


def make_instance(path: bytes, size: int, changed: int, header: Header) -> Instance:
    """The file of a header that has its three UIDs, each a text."""
    levels = (header.patient, header.study, header.series, header.instance)
    written = [orjson.dumps(level, option=orjson.OPT_SORT_KEYS) for level in (*levels, header.representations)]
    named = [{key: value for key, value in level.items() if value is not None} for level in levels[:2]]
    return Instance(
        path,
        size,
        changed,
        header.study["StudyInstanceUID"],
        header.series["SeriesInstanceUID"],
        header.instance["SOPInstanceUID"],
        _digest(orjson.dumps(named, option=orjson.OPT_SORT_KEYS)),
        _digest(b"\0".join(written)),
        zlib.compress(b"[%b]" % b",".join((*written, orjson.dumps(header.syntax))), 1),
    )


def read_header(packed: bytes) -> Header:
    """The header of an instance."""
    return Header(*orjson.loads(zlib.decompress(packed)))


def image_set_id(series_uid: str, identity: bytes, copy: int) -> str:
    """The id of an image set.

    `copy` is 0 but for instances that are in the series already, with another content: those make another image set.
    """
    return _digest(orjson.dumps([series_uid, identity.hex(), copy])).hex()


def write_tags(header: Header, series_count: int, instance_count: int) -> dict[str, object]:
    """The summary of an image set, from the header of its first instance and the counts of its study.

    A value that is not of its type (a series number that is no whole number, a date that is none) stays as it is
    written: searches take it for missing, and whoever looks at the tags finds it.
    """
    tags: dict[str, object] = {}
    for tag, level, keyword in _TAGS:
        text = _write_text(getattr(header, level).get(keyword))
        value: object = text
        if text and keyword == "SeriesNumber" and _INTEGER.fullmatch(text):
            value = int(text)
        elif text and keyword in ("StudyDate", "PatientBirthDate") and (old := _OLD_DATE.fullmatch(text)):
            value = "".join(old.groups())
        elif text and keyword == "StudyTime" and (old := _OLD_TIME.fullmatch(text)):
            value = "".join(old.groups(""))
        if value is not None:
            tags[tag] = value
    tags["DICOMNumberOfStudyRelatedSeries"] = series_count
    tags["DICOMNumberOfStudyRelatedInstances"] = instance_count
    return tags


def write_metadata(datastore_id: str, set_id: str, headers: Iterable[Header]) -> dict[str, object]:
    """HealthImaging's metadata document of an image set, from the headers of its instances in their order.

    Attributes of the series in which its instances disagree stay with the instances. Pixels are not described:
    instances have no `ImageFrames`.
    """
    patient: dict[str, Any] = {}
    study: dict[str, Any] = {}
    found = list(headers)
    series = dict(found[0].series)
    for header in found:
        # Equal but for empty ones, which say less than none at all where another instance has a value.
        patient |= {key: value for key, value in header.patient.items() if value is not None or key not in patient}
        study |= {key: value for key, value in header.study.items() if value is not None or key not in study}
        series = {key: value for key, value in series.items() if key in header.series and header.series[key] == value}
    instances = {
        header.instance["SOPInstanceUID"]: {
            "DICOM": {
                **{key: value for key, value in header.series.items() if key not in series},
                **header.instance,
            },
            "DICOMVRs": header.representations,
            **({"StoredTransferSyntaxUID": header.syntax} if header.syntax else {}),
        }
        for header in found
    }
    return {
        "SchemaVersion": SCHEMA_VERSION,
        "DatastoreID": datastore_id,
        "ImageSetID": set_id,
        "Patient": {"DICOM": patient},
        "Study": {
            "DICOM": study,
            "Series": {series["SeriesInstanceUID"]: {"DICOM": series, "Instances": instances}},
        },
    }


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()


def _write_text(value: object) -> str | None:
    """A value as its file has it: several are written with backslashes between them."""
    if isinstance(value, list):
        return "\\".join("" if each is None else str(each) for each in value) or None
    return value if isinstance(value, str) and value else None
