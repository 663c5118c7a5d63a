import fcntl
import json
import os
import resource
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grammar.parser import read
from graphql_service.auditing import Reading, word
from graphql_service.deadlines import NotBrief, be_brief
from graphql_service.errors import AuditError, SettingError
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from graphql_service.web.app import create_app
from graphql_service.web.audit import Audit
from tests.graphql_service.web.conftest import DATASTORE, Client

DATED = datetime(2024, 3, 11, 10, tzinfo=UTC)
SEARCHED = Reading("imageSets", DATASTORE, ("1" * 32,), word(read("updated = today").search), "Europe/Lisbon", DATED)
NAMED = Reading("imageSet", DATASTORE, ("2" * 32,), named=("2" * 32, "3" * 32))
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
        "query": "updatedAt = today",
        "timeZone": "Europe/Lisbon",
        "dated": "2024-03-11T10:00:00.000Z",
        "imageSets": 1,
    }
    assert second == who | {
        "operation": "imageSet",
        "datastoreId": DATASTORE,
        "query": None,
        "timeZone": "UTC",
        "dated": None,
        "imageSets": 1,
        "named": ["2" * 32, "3" * 32],
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


@pytest.mark.parametrize("other", [False, True])
def test_a_line_that_was_written_in_part_does_not_spoil_the_next(tmp_path: Path, *, other: bool) -> None:
    path = tmp_path / "audit.log"
    turns = tmp_path / "turns"
    audit, next_audit = (Audit(str(path), turns=turns) for _ in range(2))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(AuditError):
            audit.write([NAMED], **WHO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    (next_audit if other else audit).write([NAMED], **WHO)
    audit.close()
    next_audit.close()
    torn, whole = path.read_text().splitlines()
    assert len(torn) == 100
    assert json.loads(whole)["principal"] == "radiology"


@pytest.mark.parametrize("left", [b"", b'{"whole": 1}\n', b'{"torn": '])
def test_what_a_killed_service_left_does_not_spoil_the_first_line(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(left)
    for _ in range(2):
        audit = Audit(str(path))
        audit.write([NAMED], **WHO)
        audit.close()
    lines = path.read_bytes().removeprefix(left).splitlines()
    assert [line and json.loads(line)["principal"] for line in lines] == [b""] * left.startswith(b'{"torn') + [
        "radiology",
        "radiology",
    ]


def test_a_pipe_that_nobody_reads_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: SQLiteStore
) -> None:
    monkeypatch.setattr("graphql_service.web.audit.SECONDS", 0.2)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    client = Client(create_app(store, Settings(audit_log=str(path))))
    fields = " ".join(f"a{number}: imageSets {{ nodes {{ id }} }}" for number in range(20))
    asked: dict[str, Any] = {"json": {"query": f"{{ {fields} }}"}}
    answers = [client.post("/graphql", **asked) for _ in range(20)]
    assert answers[0].status_code == 200
    assert answers[-1].status_code == 503
    assert answers[-1].json()["errors"][0]["extensions"] == {"code": "AUDIT_UNAVAILABLE"}
    assert client.get("/healthz").status_code == 200
    while os.read(reader, 65_536):
        if len(client.post("/graphql", **asked).json().get("data", {})) == 20:
            break
    os.close(reader)


def test_those_who_write_to_one_pipe_take_turns(tmp_path: Path) -> None:
    """A pipe takes 4,096 bytes at once, and these lines are longer."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reading = ThreadPoolExecutor(1).submit(path.read_bytes)
    many = NAMED._replace(image_set_ids=tuple(f"{number:032}" for number in range(400)))
    audits = [Audit(str(path), with_ids=True, turns=tmp_path / "turns") for _ in range(2)]

    def write(audit: Audit) -> None:
        for _ in range(40):
            audit.write([many, NAMED], **WHO)
        audit.close()

    with ThreadPoolExecutor(2) as writers:
        list(writers.map(write, audits))
    written = [json.loads(line)["imageSets"] for line in reading.result().splitlines()]
    assert written == [400, 1] * 80


def test_who_never_ends_a_turn_keeps_the_others_from_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphql_service.web.audit.SECONDS", 0.1)
    audit = Audit(str(tmp_path / "audit.log"), turns=tmp_path / "turns")
    with (tmp_path / "turns").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AuditError) as refused:
            audit.write([NAMED], **WHO)
    assert str(refused.value) == "the audit log is not read fast enough, so nothing is answered"
    audit.write([NAMED], **WHO)
    audit.close()
    assert len(lines(tmp_path / "audit.log")) == 1


def test_a_full_disk_is_no_audit() -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("this system has no full device")
    with pytest.raises(AuditError) as refused:
        Audit("/dev/full").write([NAMED], **WHO)
    assert str(refused.value) == "the audit log cannot be written (No space left on device), so nothing is answered"


def test_who_would_have_to_wait_is_not_brief(tmp_path: Path) -> None:
    path, turns = tmp_path / "audit.log", tmp_path / "turns"
    audit = Audit(str(path), turns=turns)
    with be_brief():
        audit.write([NAMED], **WHO)
        with turns.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(NotBrief):
                audit.write([NAMED], **WHO)
        audit.write([NAMED], **WHO)
        audit._lock.acquire()
        with pytest.raises(NotBrief):
            audit.write([NAMED], **WHO)
        audit._lock.release()
    audit.close()
    audit.close()
    assert len(path.read_text().splitlines()) == 2
    os.mkfifo(tmp_path / "pipe")
    reading = ThreadPoolExecutor(1).submit((tmp_path / "pipe").read_bytes)
    piped = Audit(str(tmp_path / "pipe"))
    with pytest.raises(NotBrief), be_brief():
        piped.write([NAMED], **WHO)
    piped.close()
    assert reading.result() == b""
