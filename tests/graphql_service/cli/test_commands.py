"""The commands as they are run: standard output, standard error and exit status, whole."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC
from io import StringIO
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from graphql_service.cli import main
from graphql_service.cli.results import write_datastores, write_table
from graphql_service.image_set import Datastore, ImageSet
from graphql_service.sample import open_sample
from graphql_service.stores.sqlite import SQLiteStore

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
        "Patient   Name              Studied      Modality   Description   Updated (UTC)",
        "─" * 85,
        "P3                                       MR KNEE                  2024-03-11 00:03",
        "=1+1      Evil\\x1b[2J^Eve                           @x            2024-03-11 00:02",
        "P1        García^Ana        2024-03-02   CT                       2024-03-11 00:01",
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
        "P1,,,00000000000000000000000000000001,,,2024-03-10T08:00:00Z,2024-03-11T00:01:00Z,,2024-03-02,,,"
        "García^Ana,,,CT,,,,,1,\n"
        "'=1+1,,,00000000000000000000000000000002,,,2024-03-10T08:00:00Z,2024-03-11T00:02:00Z,,,,,"
        "Evil\\x1b[2J^Eve,,'@x,,,-2,,,1,\n"
        "P3,,,00000000000000000000000000000003,,,2024-03-10T08:00:00Z,2024-03-11T00:03:00Z,,,1960-12-31,,"
        ",,,MR,KNEE,,,,1,\n"
    )


@pytest.mark.parametrize(
    ("stored", "shown"), [("P\x00\n", "P\\x00\\n"), ("\t=1", "\\t=1"), ("山田　太\u202e", "山田　太\\u202e")]
)
def test_control_characters_are_shown_escaped(run: Run, stored: str, shown: str) -> None:
    Path("control.ndjson").write_text(ndjson([summary(1, DICOMPatientId=stored)]))
    assert run("load", "control.ndjson", "--datastore", "mine").status == 0
    assert run("search", "*").out.splitlines()[-1].startswith(f"{shown} ")
    assert run("search", "*", "--format", "csv").out.splitlines()[-1].startswith(f"{shown},")


def test_ids_are_not_broken_where_the_terminal_is_narrow() -> None:
    printed = StringIO()
    tags = {"DICOMPatientId": "SUBJECT08701", "DICOMPatientName": "Melissa844 Huel628"}
    image_set = ImageSet(DATASTORE, f"{1:032}", None, None, None, None, None, None, tags)
    console = Console(file=printed, width=60, force_terminal=True, no_color=True)
    write_table([[image_set]], console, UTC)
    write_datastores([Datastore(DATASTORE, "mine")], console)
    shown = ("SUBJECT08701", "Melissa8", image_set.image_set_id, DATASTORE)
    assert [printed.getvalue().count(each) for each in shown] == [1, 1, 1, 1]


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
            "Error: --store: 'mysql://x' is no store; a store is sqlite:///path/to/file.db",
        ),
        (
            ["load", "three.ndjson", "--full", "--datastore", "x"],
            "Error: --full takes one SOURCE: a folder, or a healthimaging:ID.",
        ),
        (
            ["load", ".", "three.ndjson", "--full", "--datastore", "x"],
            "Error: --full takes one SOURCE: a folder, or a healthimaging:ID.",
        ),
        (
            ["load", "three.ndjson", "--reread", "--datastore", "x"],
            "Error: --reread is for a SOURCE that is a folder of DICOM files.",
        ),
        (
            ["load", "-", "--report", "r", "--datastore", "x"],
            "Error: --report is for a SOURCE that is a folder of DICOM files.",
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
        "bad.ndjson:4: not JSON\n"
        "bad.ndjson:5: not JSON, or cut short\n"
        "bad.ndjson: 2 image sets read: 2 new, 0 replaced, 0 as they were; 3 lines refused.\n",
    )
    assert run("search", "*").err == "2 image sets.\n"


def test_loading_again_changes_nothing_but_what_is_newer(loaded: Run) -> None:
    newer = SUMMARIES[0] | {"version": 2}
    Path("newer.ndjson").write_text(ndjson([newer, *SUMMARIES[1:]]))
    assert loaded("load", "newer.ndjson", "three.ndjson", "--datastore", DATASTORE).err == (
        "newer.ndjson: 3 image sets read: 0 new, 1 replaced, 2 as they were; 0 lines refused.\n"
        "three.ndjson: 3 image sets read: 0 new, 0 replaced, 3 as they were; 0 lines refused.\n"
    )


def test_twenty_refused_lines_are_named(run: Run) -> None:
    Path("bad.txt").write_text("GARCIA\n" * 22)
    named = "".join(f"bad.txt:{number}: not JSON\n" for number in range(1, 21))
    assert run("load", "bad.txt", "--datastore", "mine") == Ran(
        1,
        "",
        f"{named}… and 2 more\nbad.txt: 0 image sets read: 0 new, 0 replaced, 0 as they were; 22 lines refused.\n",
    )


def test_a_failed_load_leaves_no_empty_data_store_of_its_own(loaded: Run) -> None:
    before = loaded("datastores")
    Path("bad.txt").write_text("GARCIA\n")
    assert [loaded("load", "bad.txt", "--datastore", name).status for name in ("new", DATASTORE)] == [1, 1]
    assert loaded("datastores") == before
    Path("empty.txt").touch()
    assert [loaded("load", name, "--datastore", "new").status for name in ("empty.txt", "bad.txt")] == [0, 1]
    assert len(loaded("datastores").out.splitlines()) == len(before.out.splitlines()) + 1


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
        "Filtered here: nothing, the store answers the whole search.\n"
        "Asked of AWS HealthImaging: nothing. This store cannot sort by DICOMPatientName:"
        " it sorts by one of updatedAt, createdAt, DICOMStudyDateAndTime.\n",
        "",
    )
    assert list(Path().iterdir()) == []


def test_explain_says_what_each_store_is_asked(run: Run) -> None:
    assert run("explain", "patient = P1 and modality = CT").out.splitlines()[2:] == [
        "Asked of the embedded store: DICOMPatientId = P1 and DICOMSeriesModality = CT",
        "Filtered here: nothing, the store answers the whole search.",
        "Asked of AWS HealthImaging: DICOMPatientId = P1",
        "Filtered here, row by row: DICOMPatientId = P1 and DICOMSeriesModality = CT",
    ]
    assert run("explain", "updated > 2022 and updated < 2021").out.splitlines()[-1] == (
        "Asked of AWS HealthImaging: nothing, no image set can meet this search."
    )


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
def test_explain_as_code(run: Run, language: str) -> None:
    ran = run("explain", "patient = P1", "--as", language, "--datastore", DATASTORE)
    assert (ran.status, ran.err) == (0, "")
    assert DATASTORE in ran.out
    refused = run("explain", "patient = ", "--as", language)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.splitlines()[1] == "  patient = "


def test_explain_looks_up_the_name_of_a_data_store_alone(run: Run, tmp_path: Path) -> None:
    assert run("explain", "*", "--as", "cli", "--datastore", "mine") == Ran(
        1, "", f"Error: there is no store at {tmp_path}/store.db; `imagesets load` makes one\n"
    )
    Path("three.ndjson").write_text(ndjson(SUMMARIES))
    run("load", "three.ndjson", "--datastore", "mine")
    datastore_id = run("datastores").out.splitlines()[-1].split()[0]
    assert datastore_id in run("explain", "*", "--as", "cli", "--datastore", "mine").out


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


def test_what_it_says_first_works_as_it_stands(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path / "store.db", create=True)) as store:
        store.create_datastore(DATASTORE)
    keys = {"IMAGESETS_KEYS_FILE": str(tmp_path / "keys.json"), "IMAGESETS_AUT": "oidc"}
    subprocess.run([PROGRAM, "keys", "add", "portal"], env=os.environ | keys, check=True, capture_output=True)
    arguments = ["serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/store.db", "--host", "0.0.0.0"]  # noqa: S104
    for auth, header, let_in in (
        ("keys", " -H 'Authorization: Bearer KEY'", "whoever sends a key."),
        ("none", "", "whoever reaches it (IMAGESETS_AUTH is none)."),
    ):
        command = [PROGRAM, *arguments, *(["--allow-anonymous"] if auth == "none" else [])]
        environment = os.environ | keys | {"IMAGESETS_AUTH": auth}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            # Up to the end where it ends before it has said so.
            said = list(takewhile(lambda line: line != "Ctrl-C stops it.\n", process.stderr or ()))
            process.terminate()
        assert said[0] == "IMAGESETS_AUT is no setting, and is not read: did you mean 'IMAGESETS_AUTH'?\n"
        assert re.fullmatch(r"  open      http://localhost:\d+/\n", said[2])
        assert f"/graphql -H 'content-type: application/json'{header} -d " in said[3]
        assert said[-1] == f"It lets in {let_in}\n"


@pytest.fixture
def sample(run: Run) -> None:
    with open_sample() as lines:
        Path("sample.ndjson").write_bytes(lines.read())
    run("load", "sample.ndjson", "--datastore", "sample")


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("form", ["table", "json", "ndjson", "csv"])
def test_a_reader_that_leaves_early_is_no_error(form: str) -> None:
    with subprocess.Popen(
        [PROGRAM, "search", "*", "--all", "--format", form], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 0


def test_a_load_goes_on_where_nobody_reads_what_it_says(run: Run) -> None:
    Path("three.ndjson").write_text(ndjson(SUMMARIES))
    command = f"{PROGRAM} load three.ndjson three.ndjson --datastore mine 2>&1 >&2 | true"
    ran = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert run("search", "*").err == "3 image sets.\n"


@pytest.mark.parametrize(
    ("command", "status", "err"),
    [
        ("search '*' >&-", 1, "Error: standard output is closed: there is nowhere to write to.\n"),
        ("search '*' 2>&-", 0, ""),
        ("search '*' <&-", 0, "3 image sets.\n"),
        (
            "load - --datastore empty <&-",
            0,
            "standard input: 0 image sets read: 0 new, 0 replaced, 0 as they were; 0 lines refused.\n",
        ),
    ],
)
@pytest.mark.usefixtures("loaded")
def test_standard_streams_may_be_closed(command: str, status: int, err: str) -> None:
    ran = subprocess.run(["/bin/sh", "-c", f"{PROGRAM} {command}"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (status, err)


def test_an_interrupt_while_it_starts_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    ran = subprocess.run(
        [PROGRAM, "--help"], env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "Interrupted.\n")


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
        "standard input: 3 image sets read: 3 new, 0 replaced, 0 as they were; 0 lines refused.\n",
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stderr is not None
        program.stdin.write(f"{ndjson([summary(4)])}no image set\n")
        program.stdin.flush()
        assert program.stderr.readline() == "standard input:2: not JSON\n"
        program.send_signal(signal.SIGINT)
        assert program.stderr.read() == (
            "standard input: stopped after 1 image set and 1 refused line; the data store holds 4 image sets.\n"
            "\nInterrupted.\n"
        )
    assert program.returncode == 1
    assert run("search", "*").err == "4 image sets.\n"
