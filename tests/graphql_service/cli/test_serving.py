"""The service in several processes, as it is run: who answers, what all count together, who ends and who goes on."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from click import ClickException

from graphql_service.cli.serving import _Workers, keep_address, listen, make_folder
from graphql_service.settings import Settings
from graphql_service.stores.sqlite import SQLiteStore
from tests.live import DATASTORE, make_image_sets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several workers are for Linux alone")

PROGRAM = str(Path(sys.executable).with_name("imagesets"))
WORKERS = 2
PAGE = "query ($after: String) { imageSets(first: 10, after: $after) { nodes { imageSetId } pageInfo { endCursor } } }"
ANSWERED = 'imagesets_requests_total{method="POST",path="/graphql",status="200"}'


def until(holds: Callable[[], bool]) -> None:
    """Waits for what is to come about by itself."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Service:
    process: subprocess.Popen[str]
    port: int
    folder: Path
    opened: list[HTTPConnection] = field(default_factory=list)

    def workers(self) -> set[int]:
        """The processes that hold a socket which listens at the port."""
        listening = {
            f"socket:[{entry[9]}]"
            for entry in connections()
            if entry[1].endswith(f":{self.port:04X}") and entry[3] == "0A"
        }
        return {child for child in self.started() if listening & sockets(child)}

    def started(self) -> set[int]:
        """The processes that this one has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(child) for child in children.read_text().split()}

    def connect(self) -> dict[int, HTTPConnection]:
        """A connection to each worker."""
        found: dict[int, HTTPConnection] = {}
        workers = self.workers()
        while len(found) < len(workers):
            connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
            self.opened.append(connection)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b"alive\n"
            theirs = f":{connection.sock.getsockname()[1]:04X}"
            [accepted] = [
                f"socket:[{entry[9]}]"
                for entry in connections()
                if entry[1].endswith(f":{self.port:04X}") and entry[2].endswith(theirs)
            ]
            [worker] = [each for each in workers if accepted in sockets(each)]
            found[worker] = connection
        return found

    def read(self) -> str:
        """What the service says until it ends."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


def connections() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def sockets(process: int) -> set[str]:
    """The sockets that a process holds; of one that has ended, none."""
    held = set()
    try:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                held.add(str(descriptor.readlink()))
            except FileNotFoundError:
                continue
    except (FileNotFoundError, PermissionError):
        pass
    return held


def ask(connection: HTTPConnection, after: str | None = None) -> Any:
    body = json.dumps({"query": PAGE, "variables": {"after": after}})
    connection.request("POST", "/graphql", body, {"content-type": "application/json"})
    answer = json.load(connection.getresponse())
    assert "errors" not in answer
    return answer["data"]["imageSets"]


def count(connection: HTTPConnection) -> int:
    """How many answers to GraphQL requests the service says to have given."""
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    found = re.search(rf"^{re.escape(ANSWERED)} ([0-9]+)\.0$", metrics, re.MULTILINE)
    return int(found[1]) if found else 0


def counts(connection: HTTPConnection, answers: int) -> bool:
    """Whether all answers are counted: each is once it was sent. More are never counted than there were."""
    counted = count(connection)
    assert counted <= answers
    return counted == answers


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    store = SQLiteStore(folder / "store.db", create=True)
    store.load(DATASTORE, make_image_sets(50))
    store.close()
    (folder / "temporary").mkdir()
    environment = {"IMAGESETS_AUDIT_LOG": str(folder / "audit.log"), "TMPDIR": str(folder / "temporary")}
    arguments = ["--port", "0", "--store", f"sqlite:///{folder}/store.db", "--workers", str(WORKERS)]
    process = subprocess.Popen(
        [PROGRAM, "serve", *arguments],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        assert process.stderr is not None
        said = ""
        for line in iter(process.stderr.readline, "Ctrl-C stops it.\n"):
            said += line
            assert line, said
        ports = set(re.findall(r"http://127\.0\.0\.1:([0-9]+)", said))
        assert len(ports) == 1
        assert said.count("Serving ") == 1
        service = Service(process, int(ports.pop()), folder)
        yield service
        for connection in service.opened:
            connection.close()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path) as service:
        yield service


def test_workers_answer_and_count_as_one(service: Service) -> None:
    first, second = service.connect().values()
    pages = [ask(first)]
    for connection in (second, first, second, first):
        pages.append(ask(connection, pages[-1]["pageInfo"]["endCursor"]))
    found = [node["imageSetId"] for page in pages for node in page["nodes"]]
    assert sorted(found) == sorted(each.image_set_id for each in make_image_sets(50))
    for _ in range(10):
        ask(first)
        ask(second)
    for connection in (first, second):
        until(partial(counts, connection, 25))
    assert len((service.folder / "audit.log").read_text().splitlines()) == 25


def test_a_worker_that_ends_is_replaced(service: Service) -> None:
    found = service.connect()
    for connection in found.values():
        ask(connection)
    until(partial(counts, connection, 2))
    (killed, _), (left, connection) = found.items()
    before = service.started()
    os.kill(killed, signal.SIGKILL)
    ask(connection)
    until(partial(counts, connection, 3))
    # The next one ends before it serves.
    until(lambda: service.started() - before != set())
    [early] = service.started() - before
    os.kill(early, signal.SIGKILL)
    until(lambda: len(service.workers()) == WORKERS)
    assert service.workers() & {left, killed} == {left}
    found = service.connect()
    for connection in found.values():
        ask(connection)
    for connection in found.values():
        until(partial(counts, connection, 5))
    service.process.terminate()
    log = [json.loads(line) for line in service.read().splitlines() if line.startswith("{")]
    told = [(line["level"], line["event"]) for line in log if line["event"] != "request"]
    number = told[0][1].split()[1]
    assert number in ("0", "1")
    assert told == [("warning", f"worker {number} has ended, exit code -9; another takes its place")] * 2


def test_a_stop_lets_what_runs_end_at_every_worker(service: Service) -> None:
    body = json.dumps({"query": "{ imageSets(first: 1) { nodes { version } } }"})
    running = service.connect().values()
    for connection in running:
        connection.putrequest("POST", "/graphql")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body[:10].encode())
    # Each worker has seen the head of the request, for it reads what has come in its order.
    for connection in service.connect().values():
        connection.request("GET", "/readyz")
        assert connection.getresponse().read() == b"ready\n"
    service.process.terminate()
    until(lambda: not listens(service.port))
    for connection in running:
        connection.send(body[10:].encode())
        assert json.load(connection.getresponse())["data"]["imageSets"]["nodes"]
    assert service.process.wait(20) == 0
    assert service.read().endswith("Stopped.\n")
    # The store was closed, and what the workers shared is gone.
    assert sorted(path.name for path in service.folder.iterdir()) == ["audit.log", "store.db", "temporary"]
    assert list((service.folder / "temporary").iterdir()) == []


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_ctrl_c_stops_all(service: Service) -> None:
    os.killpg(service.process.pid, signal.SIGINT)
    assert service.process.wait(20) == 0
    assert service.read() == "Stopped.\n"


def test_workers_do_not_outlive_the_one_that_started_them(service: Service) -> None:
    service.process.kill()
    until(lambda: not listens(service.port))


def test_an_address_is_for_the_workers_of_one_service_from_its_start_on() -> None:
    with keep_address("127.0.0.1", 0) as address:
        refused = f"cannot listen on 127.0.0.1 port {address[1]}: it is in use; take another with --port"
        with pytest.raises(ClickException, match=f"^{refused}$"), keep_address(*address):
            pass
        with listen(*address, shared=True), listen(*address, shared=True):
            pass


def test_a_folder_for_what_workers_share_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(ClickException) as refused:
        make_folder()
    assert str(refused.value) == (
        "several workers need a folder for temporary files, such as TMPDIR may name: No such file or directory"
    )


def test_what_keeps_workers_from_starting_is_said_once(tmp_path: Path) -> None:
    def start(*arguments: str, **environment: str) -> tuple[int, str]:
        ran = subprocess.run(
            [PROGRAM, "serve", "--workers", "2", *arguments],
            env=os.environ | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stderr

    assert start("--port", "0", "--store", "sqlite:///no.db") == (
        1,
        f"Error: there is no store at {tmp_path}/no.db; `imagesets load` makes one\n",
    )
    SQLiteStore(tmp_path / "store.db", create=True).close()
    status, said = start("--port", "0", "--store", "sqlite:///store.db", IMAGESETS_MAX_REQUESTS="1")
    assert status == 2
    assert said == (
        "Error: IMAGESETS_MAX_REQUESTS is shared out among the workers (IMAGESETS_WORKERS): it must be at least 2,"
        " as many as they are; it is 1\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert start("--port", port, "--store", "sqlite:///store.db") == (
            1,
            f"Error: cannot listen on 127.0.0.1 port {port}: it is in use; take another with --port\n",
        )


def test_a_worker_that_cannot_be_started_is_tried_again_and_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, told = socket.socketpair()
    tried: list[int] = []

    def start(_: object, number: int) -> None:
        tried.append(number)
        if len(tried) == 2:
            told.send(b"x")
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("graphql_service.cli.serving._PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(_Workers, "_start", start)
    with heard, told:
        workers = _Workers(("127.0.0.1", 0), Settings(workers=2), tmp_path, heard)
        workers._missing[1] = 0.0
        workers.watch()
    assert tried[:2] == [1, 1]
