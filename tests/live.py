"""A data store as a hospital's: any number of image sets, and queries over them in the language, all from one seed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from graphql_service.image_set import ImageSet

DATASTORE = "d" * 32
START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = datetime(2024, 7, 1, 12, tzinfo=UTC)
_DAYS = 180
_NAMES = ("GARCÍA^ANA", "Müller^Jörg", "O'Brien^Łukasz^^Dr", "Doe^Jane", "Yamada^Tarou=山田^太郎", "", None)
_MODALITIES = ("CT", "MR", "US", "ct", None)
_DESCRIPTIONS = ("CT Chest", "Contrôle", "head", None)


def make_image_sets(count: int, seed: int = 1) -> Iterator[ImageSet]:
    """Studies of one to eight image sets; those of one import share their times, some of whole days do."""
    random = Random(seed)  # noqa: S311 - nothing is secret here
    number = 0
    while number < count:
        patient, study = random.randrange(count // 12 + 1), number
        created = START + timedelta(seconds=random.randrange(_DAYS * 86_400), microseconds=random.randrange(1_000_000))
        if random.random() < 0.1:
            created = created.replace(hour=0, minute=0, second=0, microsecond=0)
        updated = created + timedelta(days=random.randrange(10)) if random.random() < 0.3 else created
        studied = created - timedelta(days=random.randrange(400), seconds=random.randrange(86_400))
        for series in range(min(random.choice((1, 1, 2, 4, 8)), count - number)):
            tags = {
                "DICOMPatientId": f"P{patient}",
                "DICOMPatientName": random.choice(_NAMES),
                "DICOMPatientSex": random.choice(("F", "M", "O", None)),
                "DICOMAccessionNumber": f"A{study % 1_000}",
                "DICOMStudyId": str(study % 97),
                "DICOMStudyInstanceUID": f"1.2.840.{study}",
                "DICOMSeriesInstanceUID": f"1.2.840.{study}.{series}",
                "DICOMStudyDate": None if study % 31 == 0 else f"{studied:%Y%m%d}",
                "DICOMStudyTime": random.choice((f"{studied:%H%M%S}", f"{studied:%H%M}", None)),
                "DICOMStudyDescription": random.choice(_DESCRIPTIONS),
                "DICOMSeriesModality": random.choice(_MODALITIES),
                "DICOMSeriesNumber": series,
            }
            yield ImageSet(
                DATASTORE,
                f"{random.getrandbits(64):032x}",
                version=random.randrange(1, 4),
                created_at=created,
                updated_at=updated,
                last_accessed_at=None,
                storage_tier="FREQUENT_ACCESS",
                is_primary=random.random() < 0.8,
                tags={name: value for name, value in tags.items() if value is not None},
            )
            number += 1


def make_queries(count: int, rows: list[ImageSet], seed: int = 2) -> list[str]:
    """Queries of one to four comparisons, most of which find some of the rows."""
    random = Random(seed)  # noqa: S311 - nothing is secret here
    return [f"{_condition(random, rows, 2)} {_sort(random)}" for _ in range(count)]


def _sort(random: Random) -> str:
    field = random.choice(("updatedAt", "createdAt", "studyDate"))
    return f"sort {field} {random.choice(('asc', 'desc'))}"


def _condition(random: Random, rows: list[ImageSet], depth: int) -> str:
    kind = random.random()
    if depth == 0 or kind < 0.45:
        return _comparison(random, rows)
    if kind < 0.55:
        return f"not ({_condition(random, rows, depth - 1)})"
    word = "and" if kind < 0.75 else "or"
    return f"({_condition(random, rows, depth - 1)} {word} {_condition(random, rows, depth - 1)})"


def _comparison(random: Random, rows: list[ImageSet]) -> str:
    row = random.choice(rows)

    def tag(name: str) -> str:
        return str(row.tags[name])

    day = START + timedelta(days=random.randrange(_DAYS))
    moment = row.created_at or START
    return random.choice(
        (
            lambda: f"patient = {tag('DICOMPatientId')}",
            lambda: f"patient in ({tag('DICOMPatientId')}, {random.choice(rows).tags['DICOMPatientId']}, nobody)",
            lambda: f"accession = {tag('DICOMAccessionNumber')}",
            lambda: f"study = {tag('DICOMStudyInstanceUID')}",
            lambda: f"series = {tag('DICOMSeriesInstanceUID')}",
            lambda: f"studyId = {tag('DICOMStudyId')}",
            lambda: f"updated between {day:%Y-%m-%d}..{day + timedelta(days=random.randrange(9)):%Y-%m-%d}",
            lambda: f"created = {moment:%Y-%m-%dT%H:%M:%S.%f}",
            lambda: f"created >= {day:%Y-%m-%d}",
            lambda: f"studyDate = {day:%Y-%m-%d}",
            lambda: f"studyDate < {day:%Y-%m}",
            lambda: "studyDate is null",
            lambda: "primary = true",
            lambda: "modality = CT",
            lambda: "name like gar*",
            lambda: "name = jorg and modality != MR",
            lambda: f"patient != {tag('DICOMPatientId')}",
        )
    )()
