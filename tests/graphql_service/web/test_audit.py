import json
import os
import stat
from pathlib import Path

import pytest

from grammar.parser import read
from graphql_service.auditing import Reading
from graphql_service.errors import AuditError, SettingError
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from graphql_service.web.audit import Audit
from tests.graphql_service.web.conftest import DATASTORE, Client

SEARCHED = Reading("imageSets", DATASTORE, read("patient = P1").search, ("1" * 32,))
NAMED = Reading("imageSet", DATASTORE, None, ("2" * 32,))
WHO = {"request_id": "r", "principal": "radiology", "client": "10.0.0.7", "door": "graphql"}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_who_read_what(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(str(path))
    audit.write([SEARCHED, NAMED], **WHO)
    audit.write([], **WHO)
    audit.close()
    first, second = lines(path)
    assert first.pop("time") == second.pop("time")
    who = {"requestId": "r", "principal": "radiology", "client": "10.0.0.7", "door": "graphql"}
    assert first == who | {
        "operation": "imageSets",
        "datastoreId": DATASTORE,
        "query": "DICOMPatientId = P1",
        "imageSets": 1,
    }
    assert second == who | {
        "operation": "imageSet",
        "datastoreId": DATASTORE,
        "query": None,
        "imageSets": 1,
        "imageSetIds": ["2" * 32],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_ids_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    audit = Audit(str(tmp_path / "audit.log"), with_ids=True)
    audit.write([SEARCHED], **WHO)
    audit.close()
    assert lines(tmp_path / "audit.log")[0]["imageSetIds"] == ["1" * 32]


def test_a_log_that_was_moved_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(str(path))
    audit.write([NAMED], **WHO)
    path.rename(tmp_path / "audit.log.1")
    audit.write([NAMED, NAMED], **WHO)
    audit.close()
    assert [len(lines(each)) for each in (tmp_path / "audit.log.1", path)] == [1, 2]


def test_standard_output_is_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    audit = Audit("-")
    audit.write([NAMED], **WHO)
    audit.close()
    assert json.loads(capfd.readouterr().out)["principal"] == "radiology"


def test_a_log_that_cannot_be_begun_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refused:
        Audit(str(tmp_path / "nowhere" / "audit.log"))
    assert str(refused.value).startswith("IMAGESETS_AUDIT_LOG: ")


def test_what_cannot_be_written_down_is_not_answered(store: SQLiteStore, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "audit.log"
    path.parent.mkdir()
    client = Client(create_app(store, Settings(audit_log=str(path))))
    asked = {"json": {"query": '{ imageSets(query: "patient = P1") { nodes { version } } }'}}
    assert client.post("/graphql", **asked).json()["data"]
    assert lines(path)[0]["query"] == "DICOMPatientId = P1 sort updatedAt desc"
    path.unlink()
    path.parent.rmdir()
    answered = client.post("/graphql", **asked)
    assert answered.status_code == 503
    assert answered.json() == {
        "errors": [
            {
                "message": "the audit log cannot be written (No such file or directory), so nothing is answered",
                "extensions": {"code": "AUDIT_UNAVAILABLE"},
            }
        ]
    }
    # What reads no image sets is answered all the same.
    assert client.post("/graphql", json={"query": "{ __typename }"}).status_code == 200
    path.parent.mkdir()
    assert client.post("/graphql", **asked).status_code == 200


def test_a_full_disk_is_no_audit() -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("this system has no full device")
    with pytest.raises(AuditError) as refused:
        Audit("/dev/full").write([NAMED], **WHO)
    assert str(refused.value) == "the audit log cannot be written (No space left on device), so nothing is answered"
