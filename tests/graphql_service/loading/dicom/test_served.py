"""What was loaded from DICOM files, as clients see it: over GraphQL, and over HealthImaging's wire protocol."""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from mypy_boto3_medical_imaging import HealthImagingClient

from graphql_service.loading.dicom import load_folder
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from tests.dicom_files import write_file
from tests.wire import environment, serve

ID = "d" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """A series that was loaded with one instance, then with a second."""
    with closing(SQLiteStore(tmp_path / "store.db", create=True)) as store:
        store.create_datastore(ID)
        for number in (1, 2):
            write_file(tmp_path / "files" / str(number), SOPInstanceUID=f"1.2.3.4.{number}", InstanceNumber=str(number))
            load_folder(tmp_path / "files", store, ID)
        yield store


@pytest.fixture
def url(store: SQLiteStore) -> Iterator[str]:
    with serve(create_app(store, Settings())) as url:
        yield url


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[HealthImagingClient]:
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    with closing(boto3.Session().client("medical-imaging")) as client:
        yield client


def ask(url: str, document: str) -> Any:  # JSON
    return httpx.post(f"{url}/graphql", json={"query": document}, trust_env=False).json()


def instance(number: int) -> dict[str, object]:
    return {
        "DICOM": {
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": f"1.2.3.4.{number}",
            "InstanceNumber": str(number),
            "Rows": 2,
            "Columns": 2,
        },
        "DICOMVRs": {},
        "StoredTransferSyntaxUID": "1.2.840.10008.1.2.1",
    }


def test_metadata_and_versions_are_the_same_at_every_door(url: str, client: HealthImagingClient) -> None:
    asked = """{ imageSets(query: "name = garcia^ana") { nodes {
        imageSetId version metadata versions { version state createdAt updatedAt }
    } } }"""
    [found] = ask(url, asked)["data"]["imageSets"]["nodes"]
    document = {
        "SchemaVersion": "1.1",
        "DatastoreID": ID,
        "ImageSetID": found["imageSetId"],
        "Patient": {
            "DICOM": {
                "PatientName": "García^Ana",
                "PatientID": "A1",
                "PatientBirthDate": "19700102",
                "PatientSex": "F",
            }
        },
        "Study": {
            "DICOM": {
                "StudyDate": "20240311",
                "StudyTime": "103000",
                "AccessionNumber": "ACC1",
                "StudyDescription": "CT chest",
                "StudyInstanceUID": "1.2.3",
                "StudyID": "S1",
            },
            "Series": {
                "1.2.3.4": {
                    "DICOM": {
                        "Modality": "CT",
                        "BodyPartExamined": "CHEST",
                        "SeriesInstanceUID": "1.2.3.4",
                        "SeriesNumber": "2",
                    },
                    "Instances": {"1.2.3.4.1": instance(1), "1.2.3.4.2": instance(2)},
                }
            },
        },
    }
    assert found["version"] == 2
    assert found["metadata"] == document
    assert [(each["version"], each["state"]) for each in found["versions"]] == [(2, "ACTIVE"), (1, "ACTIVE")]
    named = {"datastoreId": ID, "imageSetId": found["imageSetId"]}
    blob = client.get_image_set_metadata(**named)["imageSetMetadataBlob"].read()
    assert json.loads(gzip.decompress(blob)) == document
    assert json.loads(
        gzip.decompress(client.get_image_set_metadata(**named, versionId="2")["imageSetMetadataBlob"].read())
    )
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="keeps no metadata"):
        client.get_image_set_metadata(**named, versionId="1")
    listed = client.list_image_set_versions(**named)["imageSetPropertiesList"]
    assert [each["versionId"] for each in listed] == ["2", "1"]
    assert [each["createdAt"] for each in listed] == [listed[1]["updatedAt"]] * 2
    assert listed[0]["updatedAt"] > listed[1]["updatedAt"]
    [summary] = client.search_image_sets(datastoreId=ID)["imageSetsMetadataSummaries"]
    assert summary["DICOMTags"]["DICOMNumberOfStudyRelatedInstances"] == 2
