"""The commands as they are run: standard output, standard error and exit status, whole."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from graphql_service.cli import main
from graphql_service.sample import open_sample

ROOT = Path(__file__).parents[3]
PROGRAM = str(Path(sys.executable).with_name("imagesets"))
DATASTORE = "a" * 32


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


def summary(number: int, **tags: object) -> dict[str, object]:
    """An image set with its number for an id, updated in the order of the numbers."""
    return {
        "imageSetId": f"{number:032d}",
        "version": 1,
        "createdAt": "2024-03-10T08:00:00.000Z",
        "updatedAt": f"2024-03-11T00:{number:02d}:00.000Z",
        "DICOMTags": tags,
    }


SUMMARIES = [
    summary(1, DICOMPatientId="P1", DICOMPatientName="García^Ana", DICOMSeriesModality="CT", DICOMStudyDate="20240302"),
    summary(
        2, DICOMPatientId="=1+1", DICOMPatientName="Evil\x1b[2J^Eve", DICOMStudyDescription="@x", DICOMSeriesNumber=-2
    ),
    summary(
        3, DICOMPatientId="P3", DICOMPatientBirthDate="19601231", DICOMSeriesModality="MR", DICOMSeriesBodyPart="KNEE"
    ),
]


def ndjson(summaries: list[dict[str, object]]) -> str:
    return "".join(f"{json.dumps(each, ensure_ascii=False, separators=(',', ':'))}\n" for each in summaries)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the program in this process, on a store of its own in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGESETS_STORE", "sqlite:///store.db")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["imagesets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, out, err)

    return run


@pytest.fixture
def loaded(run: Run) -> Run:
    """As `run`, with three image sets in the store's only data store."""
    Path("three.ndjson").write_text(ndjson(SUMMARIES))
    assert run("load", "three.ndjson", "--datastore", DATASTORE).status == 0
    return run


def test_table(loaded: Run) -> None:
    ran = loaded("search", "*")
    assert (ran.status, ran.err) == (0, "3 image sets.\n")
    lines = ran.out.splitlines()
    assert [line[:-32].rstrip() for line in lines] == [
        "Patient   Name              Studied            Modality   Description   Updated (UTC)",
        "─" * 91,
        "P3                                             MR KNEE                  2024-03-11 00:03",
        "=1+1      Evil\\x1b[2J^Eve                                 @x            2024-03-11 00:02",
        "P1        García^Ana        2024-03-02 00:00   CT                       2024-03-11 00:01",
    ]
    assert [line[-32:] for line in lines] == [f"{'Image set':32}", "─" * 32, f"{3:032}", f"{2:032}", f"{1:032}"]


def test_table_tells_moments_in_the_zone_that_was_asked_for(loaded: Run) -> None:
    ran = loaded("search", "patient = P1 and updated = 2024-03-10", "--time-zone", "America/New_York")
    header, _, row = ran.out.splitlines()
    assert header[:-32].rstrip().endswith("   Updated (America/New_York)")
    assert "2024-03-10 20:01" in row


def test_nothing_found(loaded: Run) -> None:
    assert loaded("search", "patient = nobody") == Ran(0, "", "0 image sets.\n")
    assert loaded("search", "patient = nobody", "--format", "json") == Ran(0, "[]\n", "0 image sets.\n")


def test_ndjson_is_what_was_loaded(loaded: Run) -> None:
    ran = loaded("search", "sort updated", "--format", "ndjson")
    assert ran == Ran(0, ndjson(SUMMARIES), "3 image sets.\n")


def test_json_is_an_array_of_the_same(loaded: Run) -> None:
    ran = loaded("search", "sort updated", "--format", "json")
    assert json.loads(ran.out) == SUMMARIES
    assert ran.out.count("\n") == 5


def test_csv_has_a_column_for_each_field_and_no_formulas(loaded: Run) -> None:
    assert loaded("search", "sort updated", "--format", "csv").out == (
        "DICOMPatientId,DICOMAccessionNumber,DICOMStudyId,imageSetId,DICOMStudyInstanceUID,DICOMSeriesInstanceUID,"
        "createdAt,updatedAt,lastAccessedAt,DICOMStudyDateAndTime,DICOMPatientBirthDate,isPrimary,DICOMPatientName,"
        "DICOMPatientSex,DICOMStudyDescription,DICOMSeriesModality,DICOMSeriesBodyPart,DICOMSeriesNumber,"
        "DICOMNumberOfStudyRelatedSeries,DICOMNumberOfStudyRelatedInstances,version,storageTier\n"
        "P1,,,00000000000000000000000000000001,,,2024-03-10T08:00:00Z,2024-03-11T00:01:00Z,,2024-03-02T00:00:00,,,"
        "García^Ana,,,CT,,,,,1,\n"
        "'=1+1,,,00000000000000000000000000000002,,,2024-03-10T08:00:00Z,2024-03-11T00:02:00Z,,,,,"
        "Evil\x1b[2J^Eve,,'@x,,,-2,,,1,\n"
        "P3,,,00000000000000000000000000000003,,,2024-03-10T08:00:00Z,2024-03-11T00:03:00Z,,,1960-12-31,,"
        ",,,MR,KNEE,,,,1,\n"
    )


def test_pages_follow_each_other(loaded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESETS_MAX_PAGE", "1")
    assert loaded("search", "sort updated", "--format", "ndjson", "--all").out == ndjson(SUMMARIES)
    assert loaded("search", "sort updated", "--format", "ndjson", "--first", "2") == Ran(
        0, ndjson(SUMMARIES[:2]), "2 image sets; there are more: --all shows every one.\n"
    )


def test_fifty_are_shown_unless_more_are_asked_for(loaded: Run) -> None:
    Path("many.ndjson").write_text(ndjson([summary(number) for number in range(4, 60)]))
    loaded("load", "many.ndjson", "--datastore", DATASTORE)
    assert loaded("search", "").err == "50 image sets; there are more: --all shows every one.\n"
    assert loaded("search", "", "--all").err == "59 image sets.\n"


def test_variables_are_values_and_never_query_text(loaded: Run) -> None:
    assert loaded("search", "patient = $p", "--var", "p=P1 or patient = P3").err == "0 image sets.\n"
    assert loaded("search", "patient = $p", "--var", "p==1+1").err == "1 image set.\n"
    assert loaded("search", "patient in $p", "--var", "p=P1", "--var", "p=P3").err == "2 image sets.\n"


def test_problems_are_drawn(loaded: Run) -> None:
    assert loaded("search", "pateint = P1 or modality > CT", "--format", "csv") == Ran(
        2,
        "",
        "unknown field 'pateint': did you mean 'patient'?\n"
        "  pateint = P1 or modality > CT\n"
        "  ^^^^^^^\n"
        "'modality' is text; '>' needs a date or a number. Use =, !=, in, like or is.\n"
        "  pateint = P1 or modality > CT\n"
        "                           ^\n",
    )


def test_notices_do_not_stop_a_search(loaded: Run) -> None:
    ran = loaded("search", "patient = P1 or patient = P3 and modality = CT", "--format", "ndjson")
    assert (ran.status, ran.out) == (0, ndjson(SUMMARIES[:1]))
    assert ran.err.splitlines()[-2:] == ["                               ^^^", "1 image set."]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search"], "Error: Give a QUERY, such as 'modality = CT'; without one a prompt needs a terminal."),
        (["search", "*", "--all", "--first", "3"], "Error: --first and --all exclude each other."),
        (["search", "*", "--first", "0"], "Error: Invalid value for '--first': 0 is not in the range x>=1."),
        (["search", "*", "--var", "x"], "Error: Invalid value for --var: 'x' is not NAME=VALUE"),
        (
            ["search", "*", "--time-zone", "Mars"],
            "Error: Invalid value for '--time-zone': there is no time zone 'Mars'; an IANA name is Europe/Lisbon",
        ),
        (
            ["search", "*", "--datastore", "nope"],
            "Error: there is no data store 'nope'; `imagesets datastores` lists what there is",
        ),
        (
            ["search", "*", "--store", "mysql://x"],
            "Error: IMAGESETS_STORE: 'mysql://x' is no store; a store is sqlite:///path/to/file.db",
        ),
        (
            ["load", ".", "--datastore", "x"],
            "Error: '.' cannot be loaded: a SOURCE is a file of NDJSON, - for standard input, or healthimaging:ID.",
        ),
        (
            ["load", "healthimaging:abc", "--datastore", "x"],
            "Error: 'healthimaging:abc' names no data store: its id has 32 digits and lower-case letters.",
        ),
        (
            ["remove", "--datastore", DATASTORE],
            "Error: There is no terminal to ask on: add --yes to erase without asking.",
        ),
    ],
)  # fmt: skip
def test_wrong_arguments(loaded: Run, arguments: list[str], sentence: str) -> None:
    ran = loaded(*arguments)
    assert (ran.status, ran.out, ran.err.splitlines()[-1]) == (2, "", sentence)


def test_one_of_several_data_stores_must_be_named(loaded: Run) -> None:
    loaded("load", "three.ndjson", "--datastore", "second")
    assert loaded("search", "*") == Ran(2, "", "Error: the store holds 2 data stores: name one with --datastore\n")
    assert loaded("search", "*", "--datastore", "second").err == "3 image sets.\n"


def test_stores_that_cannot_be_opened(run: Run, tmp_path: Path) -> None:
    assert run("search", "*") == Ran(
        1, "", f"Error: there is no store at {tmp_path}/store.db; `imagesets load` makes one\n"
    )
    Path("text.db").write_text("no database at all")
    assert run("datastores", "--store", "sqlite:///text.db") == Ran(
        1, "", f"Error: {tmp_path}/text.db is no database\n"
    )


def test_settings_are_checked_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESETS_MAX_PAGE", "many")
    ran = run("search", "*")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("Error: IMAGESETS_MAX_PAGE must be ")


def test_bad_lines_are_named_and_the_rest_is_loaded(run: Run) -> None:
    lines = ndjson(SUMMARIES).splitlines(keepends=True)
    Path("bad.ndjson").write_text("".join([lines[0], '{"imageSetId":"GARCIA"}\n', lines[1], "GARCIA\n", lines[2][:40]]))
    assert run("load", "bad.ndjson", "--datastore", "mine") == Ran(
        1,
        "",
        "bad.ndjson:2: imageSetId must be 32 digits and lower-case letters\n"
        "bad.ndjson:4: not JSON in UTF-8\n"
        "bad.ndjson:5: not JSON, or cut short\n"
        "bad.ndjson: 2 image sets read: 2 new, 0 replaced by newer ones, 0 as they were; 3 lines refused.\n",
    )
    assert run("search", "*").err == "2 image sets.\n"


def test_loading_again_changes_nothing_but_what_is_newer(loaded: Run) -> None:
    newer = SUMMARIES[0] | {"version": 2}
    Path("newer.ndjson").write_text(ndjson([newer, *SUMMARIES[1:]]))
    assert loaded("load", "newer.ndjson", "three.ndjson", "--datastore", DATASTORE).err == (
        "newer.ndjson: 3 image sets read: 0 new, 1 replaced by newer ones, 2 as they were; 0 lines refused.\n"
        "three.ndjson: 3 image sets read: 0 new, 0 replaced by newer ones, 3 as they were; 0 lines refused.\n"
    )


def test_a_mistyped_file_makes_no_data_store(run: Run) -> None:
    assert run("load", "nothing.ndjson", "--datastore", "mine") == Ran(
        1, "", "Error: 'nothing.ndjson' cannot be read: No such file or directory\n"
    )
    assert not Path("store.db").exists()


def test_datastores(loaded: Run) -> None:
    assert loaded("datastores") == Ran(
        0,
        "Id                                 Name                               Status\n"
        "────────────────────────────────────────────────────────────────────────────\n"
        f"{DATASTORE}   {DATASTORE}   ACTIVE\n",
        "",
    )


def test_remove(loaded: Run) -> None:
    first, third = (f"{number:032d}" for number in (1, 3))
    assert loaded("remove", "--datastore", DATASTORE, "--image-set", first, "--yes") == Ran(
        0, "", "1 image set erased; 0 not found.\n"
    )
    assert loaded("remove", "--datastore", DATASTORE, "--image-set", first, "--image-set", third, "--yes") == Ran(
        1, "", "1 image set erased; 1 not found.\n"
    )
    assert loaded("remove", "--datastore", DATASTORE, "--yes") == Ran(
        0, "", f"Erased data store {DATASTORE} ({DATASTORE}) with 1 image set.\n"
    )
    assert loaded("search", "*").err == "Error: the store holds no data store yet: make one with `imagesets load`\n"


@pytest.mark.parametrize(("answer", "status", "found"), [("n", 1, "3 image sets.\n"), ("y", 0, None)])
def test_remove_asks_first(loaded: Run, answer: str, status: int, found: str | None) -> None:
    person, terminal = pty.openpty()
    os.write(person, f"{answer}\n".encode())
    ran = subprocess.run(
        [PROGRAM, "remove", "--datastore", DATASTORE], stdin=terminal, capture_output=True, text=True, check=False
    )
    os.close(person)
    os.close(terminal)
    assert (ran.returncode, ran.stdout) == (status, "")
    assert ran.stderr.startswith(f"Erase data store {DATASTORE} ({DATASTORE}) with 3 image sets, for good? [y/N]: ")
    if found is not None:
        assert loaded("search", "*").err == found


def test_explain_in_words(run: Run) -> None:
    assert run("explain", "patient = P1 and updated > 2022 sort name") == Ran(
        0,
        "Means: DICOMPatientId = P1 and updatedAt > 2022 sort DICOMPatientName asc\n"
        "Zone of its dates: UTC\n"
        "Asked of the embedded store: DICOMPatientId = P1 and updatedAt >= 2023-01-01T00:00:00Z\n"
        "Filtered here: nothing, the store answers the whole search.\n",
        "",
    )
    assert list(Path().iterdir()) == []


def test_explain_shows_problems_with_their_fixes(run: Run) -> None:
    assert run("explain", "pateint = P1") == Ran(
        2,
        "unknown field 'pateint': did you mean 'patient'?\n  pateint = P1\n  ^^^^^^^\n  Try: patient = P1\n",
        "",
    )


def test_explain_as_json_has_the_fields_of_search_analysis(run: Run) -> None:
    ran = run("explain", "patient = P1 and modality != CT sort created", "--as", "json")
    comparison = {"field": "DICOMPatientId", "op": "eq", "value": "P1"}
    criteria = {
        "filters": [{"operator": "EQUAL", "values": [{"DICOMPatientId": "P1"}]}],
        "sort": {"sortField": "createdAt", "sortOrder": "ASC"},
    }
    assert ran.status == 0
    assert json.loads(ran.out) == {
        "canonical": "DICOMPatientId = P1 and DICOMSeriesModality != CT sort createdAt asc",
        "meaning": {
            "where": {"and": [comparison, {"not": {"field": "DICOMSeriesModality", "op": "eq", "value": "CT"}}]},
            "sort": [{"field": "createdAt", "dir": "asc"}],
        },
        "timeZone": "UTC",
        "notices": [],
        "problems": [],
        "searchCriteria": [criteria],
        "plan": {
            "store": "AWS HealthImaging",
            "branches": ["DICOMPatientId = P1"],
            "residual": "DICOMPatientId = P1 and DICOMSeriesModality != CT",
        },
    }
    refused = run("explain", "patient = ", "--as", "json")
    found = json.loads(refused.out)
    assert (refused.status, [problem["code"] for problem in found.pop("problems")]) == (2, ["missing_value"])
    assert found == {
        "canonical": None, "meaning": None, "timeZone": "UTC", "notices": [], "searchCriteria": [], "plan": None,
    }  # fmt: skip


@pytest.mark.parametrize("language", ["cli", "python", "javascript", "java", "cpp"])
def test_explain_as_code(loaded: Run, language: str) -> None:
    ran = loaded("explain", "patient = P1", "--as", language, "--datastore", DATASTORE)
    assert (ran.status, ran.err) == (0, "")
    assert DATASTORE in ran.out
    refused = loaded("explain", "patient = ", "--as", language)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.splitlines()[1] == "  patient = "


def test_schema_is_the_committed_one(run: Run) -> None:
    assert run("schema") == Ran(0, (ROOT / "schema.graphql").read_text(), "")


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; sys.argv = ['imagesets', '--help']\n"
        "from graphql_service.cli import main\n"
        "try: main()\n"
        "finally: print({'boto3', 'strawberry', 'uvicorn', 'starlette', 'prompt_toolkit'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "set()"


def test_serve_says_that_a_port_is_in_use(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = run("serve", "--sample", "--port", port)
    assert ran.status == 1
    assert ran.err.splitlines()[-1] == (
        f"Error: cannot listen on 127.0.0.1 port {port}: it is in use; take another with --port"
    )


@pytest.fixture
def sample(run: Run) -> None:
    with open_sample() as lines:
        Path("sample.ndjson").write_bytes(lines.read())
    run("load", "sample.ndjson", "--datastore", "sample")


@pytest.mark.usefixtures("sample")
def test_a_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen(
        [PROGRAM, "search", "*", "--all", "--format", "ndjson"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 1


@pytest.mark.usefixtures("sample")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
def test_a_full_disk_behind_the_output(form: str) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [PROGRAM, "search", "*", "--format", form], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ran.returncode, ran.stderr.splitlines()[-1:]) == (
        1,
        ["Error: the output cannot be written: No space left on device"],
    )


def test_standard_input_is_a_source_that_can_be_interrupted(run: Run) -> None:
    command = [PROGRAM, "load", "-", "--datastore", "mine"]
    ran = subprocess.run(command, input=ndjson(SUMMARIES), capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        0,
        "",
        "standard input: 3 image sets read: 3 new, 0 replaced by newer ones, 0 as they were; 0 lines refused.\n",
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stderr is not None
        program.stdin.write("no image set\n")
        program.stdin.flush()
        assert program.stderr.readline() == "standard input:1: not JSON in UTF-8\n"
        program.send_signal(signal.SIGINT)
        assert program.stderr.read() == "\nInterrupted.\n"
    assert program.returncode == 1
    assert run("search", "*").err == "3 image sets.\n"
