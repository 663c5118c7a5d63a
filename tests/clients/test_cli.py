"""The AWS CLI, set up by environment variables alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.use_cases import DATASTORE_ID, SUMMARIES, USE_CASES, UseCase, expected
from tests.wire import environment


def run(endpoint: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("aws")
    command = [program, "medical-imaging", *arguments, "--datastore-id", DATASTORE_ID, "--output", "json"]
    return subprocess.run(command, env=environment(endpoint), capture_output=True, text=True, check=False, timeout=60)


def answer(endpoint: str, *arguments: str | Path) -> Any:
    ran = run(endpoint, *arguments)
    assert (ran.returncode, ran.stderr) == (0, "")
    return json.loads(ran.stdout)


@pytest.mark.parametrize("case", USE_CASES, ids=lambda case: case.name)
def test_a_search_pages_to_its_end(endpoint: str, tmp_path: Path, case: UseCase) -> None:
    file = tmp_path / "search-criteria.json"
    file.write_text(json.dumps(case.criteria))
    found = answer(endpoint, "search-image-sets", "--search-criteria", f"file://{file}")
    assert [summary["imageSetId"] for summary in found["imageSetsMetadataSummaries"]] == expected(case)


def test_the_other_reading_calls(endpoint: str) -> None:
    properties = answer(endpoint, "get-datastore")["datastoreProperties"]
    assert (properties["datastoreId"], properties["datastoreName"]) == (DATASTORE_ID, "sample")
    image_set = answer(endpoint, "get-image-set", "--image-set-id", SUMMARIES[0]["imageSetId"])
    assert (image_set["versionId"], image_set["imageSetState"]) == ("1", "ACTIVE")


def test_what_is_refused_is_an_error_of_the_service(endpoint: str, tmp_path: Path) -> None:
    named = ("--image-set-id", SUMMARIES[0]["imageSetId"], tmp_path / "metadata.json.gz")
    ran = run(endpoint, "get-image-set-metadata", *named)
    assert ran.returncode == 255  # 254 in its version 2
    assert "An error occurred (ResourceNotFoundException) when calling the GetImageSetMetadata operation" in ran.stderr
