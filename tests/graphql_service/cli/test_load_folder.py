"""`imagesets load FOLDER`, as it is run: what it says, what it writes, and its exit status."""

import json
import os
import pty
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.dicom_files import write_file

PROGRAM = str(Path(sys.executable).with_name("imagesets"))

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program in a process of its own, in a folder of two images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGESETS_STORE", "sqlite:///store.db")
    write_file(tmp_path / "files" / "1", SOPInstanceUID="1.2.3.4.1")
    write_file(tmp_path / "files" / "2", SOPInstanceUID="1.2.3.4.2")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)

    return run


def told(ran: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return ran.returncode, ran.stdout, ran.stderr


def test_a_folder_is_loaded_and_searched(run: Run) -> None:
    said = "files: 2 files read, 0 as they were; 0 files refused. 1 image set new, 0 changed, 0 erased.\n"
    assert told(run("load", "files", "--datastore", "mine")) == (0, "", said)
    said = "files: 0 files read, 2 as they were; 0 files refused. 0 image sets new, 0 changed, 0 erased.\n"
    assert told(run("load", "files", "--datastore", "mine")) == (0, "", said)
    said = "files: 2 files read, 0 as they were; 0 files refused. 0 image sets new, 0 changed, 0 erased.\n"
    assert told(run("load", "files", "--datastore", "mine", "--reread")) == (0, "", said)
    found = run("search", "name = garcia^ana and instanceCount = 2", "--format", "csv")
    assert len(found.stdout.splitlines()) == 2


def test_refused_files_are_named(run: Run, tmp_path: Path) -> None:
    for number in range(21):
        (tmp_path / "files" / f"README{number:02d}").write_text("x")
    (tmp_path / "files" / "\x1b[2J").touch()
    ran = run("load", "files", "--datastore", "mine")
    *lines, more, said = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert len(lines) == 20
    known = {f"{tmp_path}/files/README{number:02d}: not DICOM" for number in range(21)}
    assert set(lines) <= known | {f"{tmp_path}/files/\\x1b[2J: it is empty"}
    assert more == "… and 2 more; --report FILE names every one."
    assert said == "files: 2 files read, 0 as they were; 22 files refused. 1 image set new, 0 changed, 0 erased."


def test_a_report_names_every_refused_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "files" / "README").write_text("x")
    (tmp_path / "files" / "Müller").touch()
    os.close(os.open(os.fsencode(tmp_path) + b"/files/M\xfcller", os.O_CREAT))
    report = tmp_path / "files" / "report.ndjson"
    report.touch(mode=0o644)
    for _ in range(2):
        ran = run("load", "files", "--datastore", "mine", "--report", str(report))
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 1
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        assert {line["path"]: line["reason"] for line in lines} == {
            f"{tmp_path}/files/README": "not DICOM",
            f"{tmp_path}/files/Müller": "it is empty",
            f"{tmp_path}/files/M\\xfcller": "it is empty",
        }
        # Only a path that is no text needs its bytes beside what is shown of it.
        odd = os.fsencode(tmp_path) + b"/files/M\xfcller"
        assert [b64decode(line["pathBase64"]) for line in lines if "pathBase64" in line] == [odd]
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
    ran = run("load", "files", "--datastore", "mine", "--report", "nowhere/report")
    assert told(ran) == (1, "", "Error: the report 'nowhere/report' cannot be written: No such file or directory\n")


def test_a_new_data_store_stays_only_for_what_was_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "README").write_text("x")
    assert run("load", "none", "--datastore", "mine").returncode == 1
    assert "mine" not in run("datastores").stdout
    assert run("load", "none", "files", "--datastore", "mine").returncode == 1
    assert "mine" in run("datastores").stdout


def test_full_erases_what_is_gone(run: Run, tmp_path: Path) -> None:
    run("load", "files", "--datastore", "mine")
    (tmp_path / "files" / "1").unlink()
    said = (
        "files: 0 files read, 1 as they were, 1 file no longer there; 0 files refused."
        " 0 image sets new, 1 changed, 0 erased.\n"
    )
    assert told(run("load", "files", "--datastore", "mine", "--full")) == (0, "", said)


def has_files(path: Path) -> bool:
    """Whether a store holds what was read from files."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        return connection.execute("SELECT 1 FROM dicom_files_1").fetchone() is not None
    return False  # its tables are still to be made


def test_an_interrupted_load_goes_on(run: Run, tmp_path: Path) -> None:
    template = (tmp_path / "files" / "1").read_bytes()
    for number in range(3_000):
        uid = f"1.2.3.5.{number:04d}".encode()
        (tmp_path / "files" / f"more{number}").write_bytes(template.replace(b"1.2.3.4.1\0", uid[:9] + b"\0"))
    command = [PROGRAM, "load", "files", "--datastore", "mine"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        # Ctrl-C goes to every process of the terminal, as soon as some of the files are in the store.
        while process.poll() is None and not has_files(tmp_path / "store.db"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    if process.returncode == 1:
        *_, stopped, last = filter(None, said.splitlines())
        assert stopped.startswith("files: stopped after ")
        assert stopped.endswith("; load it again to go on.")
        assert last == "Interrupted."
        assert "Traceback" not in said
    else:
        assert process.returncode == 0
    ran = run("load", "files", "--datastore", "mine")
    assert ran.returncode == 0
    assert "1 image set new" in said + ran.stderr


@pytest.mark.usefixtures("run")
def test_a_terminal_shows_how_far_it_is() -> None:
    shown, terminal = pty.openpty()
    with subprocess.Popen([PROGRAM, "load", "files", "--datastore", "mine"], stderr=terminal) as process:
        os.close(terminal)
        said = b""
        with suppress(OSError):  # how Linux ends a terminal that nobody writes to
            while chunk := os.read(shown, 4_096):
                said += chunk
    os.close(shown)
    assert process.returncode == 0
    assert b"Loading files" in said
    assert b"2 files, 1 image set made, 0 refused" in said
