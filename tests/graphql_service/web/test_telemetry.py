"""Nothing that is told of requests holds a patient's value: a whole run of the service, and then a search for them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from graphql_service.image_set import ImageSet
from graphql_service.stores.sqlite import SQLiteStore
from tests.graphql_service.web.conftest import DATASTORE, JSON

#: What is stored of a patient, and what is asked for; the second names a patient too.
STORED = {
    "DICOMPatientId": "PLANTED-ID-1",
    "DICOMPatientName": "Plantedname^Quux",
    "DICOMPatientBirthDate": "19471103",
    "DICOMStudyInstanceUID": "1.2.840.777777.1",
    "DICOMSeriesInstanceUID": "not.a.uid.777777",
    "DICOMStudyDescription": "planted description",
    "DICOMStudyDate": "planted date",
}
ASKED = ("PLANTED-ID-1", "Askedname", "1.2.840.888888", "planted *", "1947-11-03", "SECRETALIAS", "SECRETPATH")
PLANTED = tuple(
    value.lower() for value in (*STORED.values(), *ASKED, "plantedname", "quux", "777777", "888888", "planted")
)


@dataclass(frozen=True, slots=True)
class Run:
    url: str
    process: subprocess.Popen[str]
    folder: Path

    def stop(self) -> list[dict[str, Any]]:
        """The lines of the log, the greeting left out."""
        self.process.send_signal(signal.SIGTERM)
        _, told = self.process.communicate(timeout=30)
        return [json.loads(line) for line in told.splitlines() if line.startswith("{")]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    store = SQLiteStore(tmp_path / "store.db", create=True)
    store.load(DATASTORE, [ImageSet(DATASTORE, "1" * 32, 1, None, None, None, None, None, STORED)])
    store.close()
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("imagesets"),
            "serve",
            "--port",
            "0",
            "--store",
            f"sqlite:///{tmp_path}/store.db",
        ],
        env=os.environ | {"IMAGESETS_AUDIT_LOG": str(tmp_path / "audit.log")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    url = ""
    while "Ctrl-C" not in (line := process.stderr.readline()):
        if found := re.search(r"http://127\.0\.0\.1:[0-9]+", line):
            url = found[0]
    yield Run(url, process, tmp_path)
    process.kill()
    process.communicate()


def ask(url: str, query: str, **arguments: Any) -> httpx.Response:
    document = (
        "query SECRETALIAS ($q: String, $v: JSON, $f: ImageSetFilter, $after: String) {"
        " SECRETALIAS: imageSets(query: $q, variables: $v, filter: $f, after: $after) { nodes { id dicomTags } } }"
    )
    return httpx.post(f"{url}/graphql", json={"query": document, "variables": {"q": query, **arguments}})


def test_no_patient_value_is_told(run: Run) -> None:
    url, wire = run.url, f"{run.url}/datastore/{DATASTORE}/searchImageSets"
    answers = [
        ask(url, 'patient = PLANTED-ID-1 and name = "Askedname" and birthDate = 1947-11-03'),
        ask(url, 'study in (1.2.840.888888, 1.2.840.777777.1) or description like "planted *"'),
        ask(url, "patient = $p", v={"p": "PLANTED-ID-1"}),
        ask(url, "", f={"patientName": {"eq": "Askedname"}}),
        ask(url, "pateint = PLANTED-ID-1"),
        ask(url, "patient = PLANTED-ID-1 extra"),
        ask(url, "*", after="PLANTED-ID-1"),
        httpx.get(f"{url}/graphql", params={"query": '{ imageSets(query: "name = Askedname") { nodes { id } } }'}),
        httpx.get(f"{url}/SECRETPATH/PLANTED-ID-1"),
        httpx.post(f"{url}/graphql", content=b"PLANTED-ID-1"),
        httpx.post(wire, json={"filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "PLANTED-ID-1"}]}]}),
        httpx.post(wire, json={"filters": [{"operator": "PLANTED-ID-1", "values": []}]}),
        httpx.request("SECRETPATH", f"{url}/graphql"),
        httpx.post(f"{url}/graphql", json={"query": "{ Plantedname }"}),
    ]
    assert [answer.status_code for answer in answers].count(500) == 0
    # Errors may say what was asked for to whoever asked, but nothing that is stored.
    unasked = [value for value in PLANTED if value not in " ".join(ASKED).lower()]
    errors = [answer.text.lower() for answer in answers if "error" in answer.text or answer.status_code >= 400]
    assert len(errors) >= 7
    assert [(value, error) for value in unasked for error in errors if value in error and value != "plantedname"] == []
    metrics = httpx.get(f"{url}/metrics").text.lower()
    log = run.stop()
    told = json.dumps(log).lower()
    assert [value for value in PLANTED if value in metrics] == []
    assert [value for value in PLANTED if value in told] == []
    first = log[0]
    assert first["searches"] == [
        "DICOMPatientId = ? and DICOMPatientName = ? and DICOMPatientBirthDate = ? sort updatedAt desc"
    ]
    assert (first["event"], first["path"], first["status"], first["operations"]) == (
        "request",
        "/graphql",
        200,
        ["imageSets"],
    )
    assert first["requestId"] == answers[0].headers["x-request-id"]
    # What is no request of GraphQL's has its status alone.
    told_errors = [
        [error["extensions"]["code"] for error in answer.json().get("errors", ())]
        for answer in answers
        if answer.status_code == 200 and answer.url.path == "/graphql"
    ]
    found = [line["errors"] for line in log if (line.get("path"), line.get("status")) == ("/graphql", 200)]
    assert found == told_errors
    assert [] in told_errors
    assert ["INVALID_QUERY"] in told_errors
    assert len(log) == len(answers) + 1
    audit = [json.loads(line) for line in (run.folder / "audit.log").read_text().splitlines()]
    assert audit[0]["query"].startswith("DICOMPatientId = PLANTED-ID-1 and DICOMPatientName = Askedname")
    assert audit[0]["requestId"] == first["requestId"]


def test_a_stop_lets_what_runs_end(run: Run) -> None:
    """A request whose body is still on its way when the service is stopped is answered; no new one comes in."""
    body = json.dumps({"query": "{ imageSets { nodes { version } } }"}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(run.url).port or 80), timeout=20) as running:
        running.sendall(head.encode() + body[:10])
        assert httpx.get(f"{run.url}/readyz").text == "ready\n"
        run.process.send_signal(signal.SIGTERM)
        while listens(run.url):
            time.sleep(0.05)
        running.sendall(body[10:])
        answered = running.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 200 OK")
    assert b'{"data":{"imageSets":{"nodes":[{"version":1}]}},' in answered
    assert run.process.wait(10) == 0
    # The store was closed: its log is gone.
    assert sorted(path.name for path in run.folder.iterdir()) == ["audit.log", "store.db"]


def listens(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz")
    except httpx.ConnectError:
        return False
    return True
