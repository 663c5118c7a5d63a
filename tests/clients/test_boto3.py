"""boto3, set up by environment variables alone."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from mypy_boto3_medical_imaging import HealthImagingClient

from tests.clients.use_cases import DATASTORE_ID, SUMMARIES, USE_CASES, UseCase, expected
from tests.wire import environment

FIRST = SUMMARIES[0]
TIMES = ("createdAt", "updatedAt", "lastAccessedAt")


@pytest.fixture
def client(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[HealthImagingClient]:
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    client = boto3.Session().client("medical-imaging")
    yield client
    client.close()


def typed(value: Any) -> Any:
    """JSON as boto3 has it: instants are datetimes."""
    if isinstance(value, dict):
        return {name: datetime.fromisoformat(one) if name in TIMES else typed(one) for name, one in value.items()}
    return [typed(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", USE_CASES, ids=lambda case: case.name)
def test_a_search_pages_to_its_end(client: HealthImagingClient, case: UseCase) -> None:
    paginator = client.get_paginator("search_image_sets")
    pages = [*paginator.paginate(datastoreId=DATASTORE_ID, searchCriteria=typed(case.criteria))]
    found = [summary for page in pages for summary in page["imageSetsMetadataSummaries"]]
    assert [summary["imageSetId"] for summary in found] == expected(case)
    assert len(pages) == max(1, -(-case.count // 50))
    by_id = {summary["imageSetId"]: typed(summary) for summary in SUMMARIES}
    assert found == [by_id[summary["imageSetId"]] for summary in found]


def test_the_other_reading_calls(client: HealthImagingClient) -> None:
    [listed] = client.list_datastores()["datastoreSummaries"]
    assert (listed["datastoreId"], listed["datastoreName"], listed["datastoreStatus"]) == (
        DATASTORE_ID,
        "sample",
        "ACTIVE",
    )
    assert client.get_datastore(datastoreId=DATASTORE_ID)["datastoreProperties"] == listed
    named = {"datastoreId": DATASTORE_ID, "imageSetId": FIRST["imageSetId"]}
    image_set = client.get_image_set(**named)
    assert (image_set["versionId"], image_set["createdAt"]) == ("1", datetime.fromisoformat(FIRST["createdAt"]))
    assert client.list_image_set_versions(**named)["imageSetPropertiesList"][0]["imageSetState"] == "ACTIVE"


def test_what_is_refused_is_an_exception_of_the_service(client: HealthImagingClient) -> None:
    named = {"datastoreId": DATASTORE_ID, "imageSetId": FIRST["imageSetId"]}
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_image_set_metadata(**named)
    with pytest.raises(client.exceptions.ValidationException):
        client.get_image_frame(**named, imageFrameInformation={"imageFrameId": "0" * 32})
    with pytest.raises(client.exceptions.ValidationException) as refused:
        client.search_image_sets(datastoreId=DATASTORE_ID, maxResults=51)
    assert isinstance(refused.value, ClientError)
    assert refused.value.response["Error"]["Message"] == "'maxResults' must be from 1 to 50."
    assert len(refused.value.response["ResponseMetadata"]["RequestId"]) == 36
