"""The AWS SDK for JavaScript, which `make client-tests` installs from its lock."""

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients.use_cases import DATASTORE_ID, SUMMARIES, USE_CASES, UseCase, expected

FOLDER = Path(__file__).parent
FIRST = SUMMARIES[0]

pytestmark = pytest.mark.skipif(
    not (FOLDER / "node_modules" / "@aws-sdk").is_dir(), reason="needs npm and the network: `make client-tests`"
)


def run(endpoint: str, case: UseCase) -> dict[str, Any]:
    asked = {
        "endpoint": endpoint,
        "datastoreId": DATASTORE_ID,
        "imageSetId": FIRST["imageSetId"],
        "searchCriteria": case.criteria,
    }
    command = ["node", str(FOLDER / "client.js"), json.dumps(asked)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    answered: dict[str, Any] = json.loads(ran.stdout)
    return answered


def javascript(value: Any) -> Any:
    """JSON as the SDK's answers print: instants in UTC with milliseconds."""
    if isinstance(value, dict):
        return {name: javascript(one) for name, one in value.items()}
    if isinstance(value, str) and "T" in value and ":" in value:
        return datetime.fromisoformat(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


@pytest.mark.parametrize("case", USE_CASES, ids=lambda case: case.name)
def test_a_search_pages_to_its_end(endpoint: str, case: UseCase) -> None:
    pages = run(endpoint, case)["pages"]
    found = [summary for page in pages for summary in page]
    assert [summary["imageSetId"] for summary in found] == expected(case)
    assert len(pages) == max(1, -(-case.count // 50))
    by_id = {summary["imageSetId"]: javascript(summary) for summary in SUMMARIES}
    assert found == [by_id[summary["imageSetId"]] for summary in found]


def test_the_other_calls(endpoint: str) -> None:
    answered = run(endpoint, USE_CASES[0])
    assert answered["datastores"] == [answered["datastoreProperties"]]
    assert answered["datastoreProperties"]["datastoreId"] == DATASTORE_ID
    moment = javascript(FIRST["createdAt"])
    version = {
        "imageSetId": FIRST["imageSetId"],
        "versionId": "1",
        "imageSetState": "ACTIVE",
        "createdAt": moment,
        "updatedAt": moment,
    }
    assert answered["imageSetPropertiesList"] == [version]
    assert answered["imageSet"] == {"datastoreId": DATASTORE_ID, **version}
    assert answered["metadata"] == [
        "ResourceNotFoundException",
        404,
        "This store keeps no metadata of this image set in this version.",
        36,
    ]
    assert answered["frame"][:2] == ["ValidationException", 400]
