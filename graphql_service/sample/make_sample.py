"""Makes the bundled sample: `python -m graphql_service.sample.make_sample` writes sample.ndjson.gz beside itself.

The same bytes of NDJSON every time. The values are made up, but for the one image set that the documentation of
SearchImageSets shows. The sample holds what searches stumble over: hundreds of image sets that share one instant,
tags that are absent, a date that is none, names in several scripts, one study as several image sets.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

COUNT: Final = 2_000
_SEED: Final = 1895
_UID_ROOT: Final = "1.2.840.99999999"
_FIRST_IMPORT: Final = datetime(2023, 1, 9, 6, 30, tzinfo=UTC)
_MAX_SERIES: Final = 6

#: The image set of AWS's own example answer, as it stands there; only the series UID is added.
SUBJECT08701: Final[dict[str, object]] = {
    "imageSetId": "09876543210987654321098765432109",
    "version": 1,
    "createdAt": "2022-12-06T21:40:59.429000+00:00",
    "updatedAt": "2022-12-06T21:40:59.429000+00:00",
    "DICOMTags": {
        "DICOMPatientId": "SUBJECT08701",
        "DICOMPatientName": "Melissa844 Huel628",
        "DICOMPatientBirthDate": "19201120",
        "DICOMPatientSex": "F",
        "DICOMStudyInstanceUID": "1.2.840.99999999.84710745.943275268089",
        "DICOMStudyId": "2011201407",
        "DICOMStudyDescription": "UNKNOWN",
        "DICOMNumberOfStudyRelatedSeries": 1,
        "DICOMNumberOfStudyRelatedInstances": 1,
        "DICOMStudyDate": "19991122",
        "DICOMStudyTime": "140728",
        "DICOMSeriesInstanceUID": "1.2.840.99999999.84710745.943275268089.1",
    },
}

_FAMILIES: Final = (
    "García", "O'Brien", "Müller", "Østergård", "Nguyễn", "Łukasik", "Đorđević", "Smith", "Jones", "Silva", "Rossi",
    "Kovács", "Novák", "Dubois", "Haddad", "Okafor", "Ivanova", "Şahin", "van der Berg", "Lindström", "Chen", "Patel",
)  # fmt: skip
_GIVEN: Final = (
    "Ana", "José María", "Zoë", "Björn", "Chloé", "Ngozi", "Linh", "Piotr", "Anaïs", "Ravi", "Elena", "Omar", "Fatima",
    "Jürgen", "Mei", "Noah", "Ingrid", "Mateus", "Ada", "Søren",
)  # fmt: skip
#: Names as DICOM writes them where one script is not enough: alphabetic=ideographic=phonetic.
_NAMES_IN_SCRIPTS: Final = (
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "Wang^Xiaodong=王^小東",
    "Suzuki^Kaga=鈴木^かが",
)
#: Modality, body part, procedure; the frequent ones more than once.
_PROCEDURES: Final = (
    *(("CT", "CHEST", "CT chest without contrast"), ("MR", "BRAIN", "MRI brain with contrast")) * 4,
    *(("CR", "CHEST", "Chest PA and lateral"), ("CT", "ABDOMEN", "CT abdomen & pelvis"), ("US", "ABDOMEN", "")) * 3,
    *(("MR", "KNEE", "MRI knee left"), ("DX", "HAND", "Hand 2 views"), ("MG", "BREAST", "Screening mammography")) * 2,
    ("MR", "SPINE", "IRM rachis (contrôle postopératoire)"),
    ("PT", "WHOLEBODY", "PET/CT 100% low dose"),
    ("NM", "BONE", "Szintigrafie Ganzkörper"),
    ("XA", "HEART", "Coronary angiography"),
)


def sample_image_sets() -> Iterator[dict[str, object]]:
    """The image set of SUBJECT08701, then `COUNT` made-up ones, in the order in which they were imported."""
    yield SUBJECT08701
    random = Random(_SEED)  # noqa: S311 - made-up data that must come out the same every time
    imported = _FIRST_IMPORT
    patient = made = 0
    while made < COUNT:
        patient += 1
        person = _person(random, patient)
        for _ in range(min(12, int(random.paretovariate(1.1)))):
            if random.random() < 0.04:  # studies of one import job share its instant
                imported += timedelta(seconds=random.randrange(1, 40 * 86_400), milliseconds=random.randrange(1_000))
            for image_set in _study(random, person, imported):
                yield image_set
                made += 1
                if made == COUNT:
                    return


def write_sample(path: Path) -> None:
    """Writes the sample as compressed NDJSON, without the time of day in it."""
    lines = (json.dumps(image_set, ensure_ascii=False, separators=(",", ":")) for image_set in sample_image_sets())
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def _person(random: Random, number: int) -> dict[str, object]:
    name = f"{random.choice(_FAMILIES)}^{random.choice(_GIVEN)}"
    if number % 20 == 0:
        name = random.choice(_NAMES_IN_SCRIPTS)
    person: dict[str, object] = {"DICOMPatientId": f"SUBJECT{number:05d}", "DICOMPatientName": name}
    if random.random() < 0.95:
        born = datetime(1925, 1, 1) + timedelta(days=random.randrange(33_000))
        person["DICOMPatientBirthDate"] = f"{born:%Y%m%d}"
    if random.random() < 0.97:
        person["DICOMPatientSex"] = random.choice("FFFFMMMMO")
    return person


def _study(random: Random, person: dict[str, object], imported: datetime) -> Iterator[dict[str, object]]:
    uid = f"{_UID_ROOT}.{random.randrange(10**8)}.{random.randrange(10**12)}"
    modality, body_part, procedure = random.choice(_PROCEDURES)
    series_count = random.randrange(1, _MAX_SERIES + 1)
    study: dict[str, object] = {
        **person,
        "DICOMStudyInstanceUID": uid,
        "DICOMStudyId": str(random.randrange(1, 400)),
        "DICOMNumberOfStudyRelatedSeries": series_count,
        "DICOMNumberOfStudyRelatedInstances": series_count * random.randrange(1, 300),
    }
    if random.random() < 0.9:
        study["DICOMAccessionNumber"] = f"A{random.randrange(10**7):07d}"
    if procedure:
        study["DICOMStudyDescription"] = procedure
    if random.random() < 0.98:
        study["DICOMStudyDate"] = f"{imported - timedelta(days=random.randrange(9_000)):%Y%m%d}"
        if random.random() < 0.95:
            fraction = f".{random.randrange(10**6):06d}" if random.random() < 0.5 else ""
            study["DICOMStudyTime"] = f"{random.randrange(24):02d}{random.randrange(60):02d}00{fraction}"
    elif random.random() < 0.3:
        study["DICOMStudyDate"] = "19990230"  # archives hold such days
    for number in range(1, series_count + 1):
        yield _image_set(random, study, f"{uid}.{number}", number, modality, body_part, imported)


def _image_set(
    random: Random,
    study: dict[str, object],
    series_uid: str,
    number: int,
    modality: str,
    body_part: str,
    imported: datetime,
) -> dict[str, object]:
    version = random.choice((1, 1, 1, 1, 2, 3))
    updated = imported if version == 1 else imported + timedelta(seconds=random.randrange(60, 90 * 86_400))
    accessed = updated + timedelta(hours=random.randrange(2_000))
    tags: dict[str, object] = {**study, "DICOMSeriesInstanceUID": series_uid, "DICOMSeriesModality": modality}
    if random.random() < 0.9:
        tags["DICOMSeriesBodyPart"] = body_part
    if random.random() < 0.98:
        tags["DICOMSeriesNumber"] = number
    return {
        "imageSetId": f"{random.getrandbits(128):032x}",
        "version": version,
        "createdAt": imported.isoformat(timespec="milliseconds"),
        "updatedAt": updated.isoformat(timespec="milliseconds"),
        "lastAccessedAt": accessed.isoformat(timespec="milliseconds"),
        "storageTier": "FREQUENT_ACCESS" if random.random() < 0.7 else "ARCHIVE_INSTANT_ACCESS",
        "isPrimary": random.random() < 0.97,
        "DICOMTags": tags,
    }


if __name__ == "__main__":
    write_sample(Path(__file__).with_name("sample.ndjson.gz"))
