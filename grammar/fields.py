"""The table of fields: everything that knows a field's name, type or operators derives it from here.

Canonical names are those of the HealthImaging API (its SearchImageSets attributes and DICOM tags); the aliases are
for typing. Names ignore case, and underscores in them are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class FieldType(Enum):
    """How a field's values are written and compared; the value is the word that messages and tables use."""

    ID = "id"
    UID = "UID"
    PERSON_NAME = "person name"
    TEXT = "text"
    CODE = "code"
    SEX = "sex"
    TIER = "storage tier"
    BOOLEAN = "boolean"
    INSTANT = "instant"
    WALL_CLOCK = "date and time"
    DATE = "date"
    INTEGER = "integer"

    # That of Enum is written in Python, and each search asks what types its fields have.
    __hash__ = object.__hash__


#: The comparison words of the language in the order in which messages list them.
_EQUALITY: Final = ("=", "!=", "in", "is")
_TEXT: Final = ("=", "!=", "in", "like", "is")
_ORDERED: Final = ("=", "!=", "<", "<=", ">", ">=", "in", "between", "is")

OPERATORS: Final[dict[FieldType, tuple[str, ...]]] = {
    FieldType.ID: _TEXT,
    FieldType.UID: _TEXT,
    FieldType.PERSON_NAME: _TEXT,
    FieldType.TEXT: _TEXT,
    FieldType.CODE: _TEXT,
    FieldType.SEX: _EQUALITY,
    FieldType.TIER: _EQUALITY,
    FieldType.BOOLEAN: _EQUALITY,
    FieldType.INSTANT: _ORDERED,
    FieldType.WALL_CLOCK: _ORDERED,
    FieldType.DATE: _ORDERED,
    FieldType.INTEGER: _ORDERED,
}

#: The types whose values are periods of time.
TEMPORAL: Final = frozenset({FieldType.INSTANT, FieldType.WALL_CLOCK, FieldType.DATE})

#: What a person may type for a storage tier, and the API's name for it.
TIERS: Final = {"frequent": "FREQUENT_ACCESS", "archive": "ARCHIVE_INSTANT_ACCESS"}

SEXES: Final = ("F", "M", "O")


@dataclass(frozen=True, slots=True)
class Field:
    """One searchable, sortable attribute of an image set."""

    name: str
    aliases: tuple[str, ...]
    type: FieldType
    description: str

    @property
    def operators(self) -> tuple[str, ...]:
        """The comparison words that fit the field's type."""
        return OPERATORS[self.type]


FIELDS: Final[tuple[Field, ...]] = (
    Field("DICOMPatientId", ("patient", "patientId", "mrn"), FieldType.ID, "Patient ID (0010,0020)"),
    Field("DICOMAccessionNumber", ("accession",), FieldType.ID, "Accession Number (0008,0050)"),
    Field("DICOMStudyId", ("studyId",), FieldType.ID, "Study ID (0020,0010)"),
    Field("imageSetId", ("imageSet", "id"), FieldType.ID, "id of the image set in its data store"),
    Field("DICOMStudyInstanceUID", ("study", "studyUid"), FieldType.UID, "Study Instance UID (0020,000D)"),
    Field("DICOMSeriesInstanceUID", ("series", "seriesUid"), FieldType.UID, "Series Instance UID (0020,000E)"),
    Field("createdAt", ("created",), FieldType.INSTANT, "when the image set was created"),
    Field("updatedAt", ("updated",), FieldType.INSTANT, "when the image set was last updated"),
    Field("lastAccessedAt", ("accessed",), FieldType.INSTANT, "when the image set was last accessed"),
    Field(
        "DICOMStudyDateAndTime",
        ("studyDate", "studied"),
        FieldType.WALL_CLOCK,
        "Study Date (0008,0020) and Study Time (0008,0030), as the scanner's clock showed them",
    ),
    Field("DICOMPatientBirthDate", ("birthDate", "dob"), FieldType.DATE, "Patient's Birth Date (0010,0030)"),
    Field("isPrimary", ("primary",), FieldType.BOOLEAN, "whether it is the primary image set of its series"),
    Field("DICOMPatientName", ("name",), FieldType.PERSON_NAME, "Patient's Name (0010,0010)"),
    Field("DICOMPatientSex", ("sex",), FieldType.SEX, "Patient's Sex (0010,0040)"),
    Field("DICOMStudyDescription", ("description",), FieldType.TEXT, "Study Description (0008,1030)"),
    Field("DICOMSeriesModality", ("modality",), FieldType.CODE, "Modality (0008,0060), such as CT or MR"),
    Field("DICOMSeriesBodyPart", ("bodyPart",), FieldType.CODE, "Body Part Examined (0018,0015)"),
    Field("DICOMSeriesNumber", ("seriesNumber",), FieldType.INTEGER, "Series Number (0020,0011)"),
    Field(
        "DICOMNumberOfStudyRelatedSeries",
        ("seriesCount",),
        FieldType.INTEGER,
        "Number of Study Related Series (0020,1206)",
    ),
    Field(
        "DICOMNumberOfStudyRelatedInstances",
        ("instanceCount",),
        FieldType.INTEGER,
        "Number of Study Related Instances (0020,1208)",
    ),
    Field("version", (), FieldType.INTEGER, "version of the image set"),
    Field("storageTier", ("tier",), FieldType.TIER, "storage tier: frequent or archive"),
)

BY_NAME: Final[dict[str, Field]] = {field.name: field for field in FIELDS}

_BY_SPELLING: Final[dict[str, Field]] = {
    spelling.lower(): field for field in FIELDS for spelling in (field.name, *field.aliases)
}

#: Every spelling that a person may type.
SPELLINGS: Final[tuple[str, ...]] = tuple(spelling for field in FIELDS for spelling in (*field.aliases, field.name))


def find_field(word: str) -> Field | None:
    """The field that a word names, whatever its case and its underscores; None where it names none."""
    return _BY_SPELLING.get(word.replace("_", "").lower())
