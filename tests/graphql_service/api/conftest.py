from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from graphql_service.api.context import Context
from graphql_service.api.execution import Asked, Executor
from graphql_service.image_set import ImageSet
from graphql_service.settings import Limits
from graphql_service.stores.sqlite import SQLiteStore

LIMITS = Limits()
EXECUTOR = Executor(LIMITS)

Ask: TypeAlias = Callable[..., Any]

DATASTORE = "d" * 32
CREATED = datetime(2024, 3, 11, 10, 30, 0, 250_000, tzinfo=UTC)


def image_set(number: int, **tags: object) -> ImageSet:
    return ImageSet(
        datastore_id=DATASTORE,
        image_set_id=f"{number:032}",
        version=number,
        created_at=CREATED,
        updated_at=CREATED + timedelta(days=number),
        last_accessed_at=None,
        storage_tier="FREQUENT_ACCESS",
        is_primary=number == 1,
        tags=tags,
    )


IMAGE_SETS = (
    image_set(
        1,
        DICOMPatientId="P1",
        DICOMPatientName="García^Ana",
        DICOMPatientBirthDate="19801130",
        DICOMPatientSex="f",
        DICOMStudyInstanceUID="1.2.3",
        DICOMStudyId="1",
        DICOMStudyDescription="Chest CT",
        DICOMNumberOfStudyRelatedSeries=2,
        DICOMNumberOfStudyRelatedInstances=300,
        DICOMAccessionNumber="A1",
        DICOMStudyDate="19991122",
        DICOMStudyTime="140728.5",
        DICOMSeriesInstanceUID="1.2.3.1",
        DICOMSeriesModality="ct",
        DICOMSeriesBodyPart="CHEST",
        DICOMSeriesNumber=7,
    ),
    image_set(2, DICOMPatientId="P2", DICOMStudyDate="no date", DICOMSeriesModality="MR", DICOMSeriesNumber=1 << 40),
    image_set(3, DICOMPatientId="P3"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "store.db", create=True)
    store.create_datastore(DATASTORE, name="sample")
    store.load(DATASTORE, IMAGE_SETS)
    yield store
    store.close()


@pytest.fixture
def ask(store: SQLiteStore) -> Ask:
    """Answers a GraphQL document as HTTP sends it; keyword arguments are its variables."""

    def ask(document: str, **variables: object) -> Any:
        context = Context(store, LIMITS, 500)
        answered = anyio.run(lambda: EXECUTOR.answer(Asked(document, variables), context)).body
        return {name: part for name, part in answered.items() if name != "extensions"}

    return ask
