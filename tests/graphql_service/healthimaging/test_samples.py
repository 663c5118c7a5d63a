from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.session
import pytest
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from grammar.criteria import And, Comparison, Condition, Everything, Not, Operator, Or, Range, Search, SortKey
from grammar.printer import canonical
from graphql_service.healthimaging.criteria import CAPABILITIES, criteria_json, to_search_criteria
from graphql_service.healthimaging.samples import LANGUAGES, sample
from graphql_service.planning import Plan, make_plan

OPERATION = botocore.session.get_session().get_service_model("medical-imaging").operation_model("SearchImageSets")
INPUT: Any = OPERATION.input_shape
DATASTORE_ID = "12345678901234567890123456789012"
FIRST, SECOND, THIRD = ("a" * 32, "b" * 32, "c" * 32)
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def patient(value: str) -> Comparison:
    return Comparison("DICOMPatientId", Operator.EQ, value)


def between(field: str, start: datetime | None, end: datetime | None) -> Comparison:
    return Comparison(field, Operator.RANGE, Range(start, end))


SERIES = Comparison("DICOMSeriesInstanceUID", Operator.EQ, "1.1.123.123456")
STUDIED = between("DICOMStudyDateAndTime", datetime(1999, 1, 1), datetime(2023, 9, 1))
CREATED = between("createdAt", datetime(1985, 4, 12, 23, 20, 50, 520_000, tzinfo=UTC), None)
UPDATED = between("updatedAt", None, datetime(2024, 3, 11, tzinfo=UTC))
PRIMARY = Comparison("isPrimary", Operator.EQ, operand=True)
CHEST = Comparison("DICOMStudyDescription", Operator.LIKE, "*chest*")
OLDEST_FIRST = (SortKey("updatedAt"),)

SEARCHES: dict[str, Search] = {
    "equal": Search(patient("1234567")),
    "study dates": Search(STUDIED, (SortKey("DICOMStudyDateAndTime", descending=True),)),
    "an instant": Search(CREATED),
    "two filters and a sort": Search(And((SERIES, UPDATED)), OLDEST_FIRST),
    "a flag": Search(And((PRIMARY, CHEST))),
    "everything": Search(),
    "branches": Search(Or((patient("A"), And((SERIES, CREATED)))), OLDEST_FIRST),
} | {
    f"hostile {value!a}": Search(patient(value))
    for value in (
        "O'Brien",
        'a "quoted" one',
        "back\\slash \\u000a \\n \\x41 \\",
        "$HOME `id` $(id) ${x} %d {0} !!",
        "two\nlines\r\ttab \u2028 \u0085 \x07",
        "患者😀ß",
        "*/ // # -- ' \" ??/",
        "'",
    )
}
HOSTILE = next(name for name in SEARCHES if name.startswith("hostile"))
searches = pytest.mark.parametrize("search", list(SEARCHES.values()), ids=list(SEARCHES))


def plan_of(search: Search) -> Plan:
    return make_plan(search, CAPABILITIES)


def criteria_of(search: Search) -> list[dict[str, object]]:
    plan = plan_of(search)
    return [to_search_criteria(branch.where, plan.sort) for branch in plan.branches]


def wire_body(criteria: dict[str, object]) -> object:
    """What boto3 itself sends for the criteria."""
    parameters = {"datastoreId": DATASTORE_ID, "searchCriteria": criteria}
    return json.loads(create_serializer("rest-json").serialize_to_request(parameters, OPERATION)["body"])


class HealthImaging(ThreadingHTTPServer):
    """Answers each search with two pages: an image set of its own, and one that every search answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, list[str]], object]] = []
        self.bodies: list[object] = []

    def answer(self, target: str, body: object) -> dict[str, object]:
        address = urlsplit(target)
        query = parse_qs(address.query)
        self.requests.append((address.path, query, body))
        if body not in self.bodies:
            self.bodies.append(body)
        if "nextToken" in query:
            return {"imageSetsMetadataSummaries": [{"imageSetId": THIRD, "createdAt": 1710115200.5}]}
        own = (FIRST, SECOND)[self.bodies.index(body)]
        return {"imageSetsMetadataSummaries": [{"imageSetId": own}], "nextToken": "more+/="}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, HealthImaging)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps(self.server.answer(self.path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gave it
        pass


@pytest.fixture
def health_imaging() -> Iterator[HealthImaging]:
    with HealthImaging() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(command: list[str], cwd: Path, **variables: str) -> str:
    keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=keep | variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def code_lines(program: str) -> list[str]:
    return [line for line in program.splitlines() if not line.startswith(("#", "//"))]


@searches
def test_cli(search: Search) -> None:
    words = shlex.split(sample(plan_of(search), DATASTORE_ID, "cli"), comments=True)
    expected = criteria_of(search)
    commands = [index for index, word in enumerate(words) if word == "aws"]
    assert len(commands) == len(expected)
    for index, criteria in zip(commands, expected, strict=True):
        command = words[index : index + 11]
        sent = json.loads(command[6])
        assert command[:6] == [
            "aws",
            "medical-imaging",
            "search-image-sets",
            "--datastore-id",
            DATASTORE_ID,
            "--search-criteria",
        ]
        assert command[7:10] == ["--page-size", "50", "--output"]
        assert command[10] == "json"
        parameters = {"datastoreId": DATASTORE_ID, "searchCriteria": sent}
        report = ParamValidator().validate(parameters, INPUT)
        assert not report.has_errors(), report.generate_report()
        assert sent == criteria_json(criteria)
        assert wire_body(sent) == wire_body(criteria)


def test_cli_runs_in_a_shell(tmp_path: Path) -> None:
    (tmp_path / "aws").write_text('#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done\n')
    (tmp_path / "aws").chmod(0o755)
    for search in SEARCHES.values():
        expected = criteria_of(search)
        if len(expected) == 1:
            path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
            (tmp_path / "search.sh").write_text(sample(plan_of(search), DATASTORE_ID, "cli"), encoding="utf-8")
            words = run(["sh", "search.sh"], tmp_path, PATH=path).split("\0")
            assert json.loads(words[5]) == criteria_json(expected[0])


def test_cli_joins_its_commands() -> None:
    opening, first, second, closing = code_lines(sample(plan_of(SEARCHES["branches"]), DATASTORE_ID, "cli"))
    assert opening == "{"
    assert first.endswith(" &&")
    assert shlex.split(second)[:3] == ["aws", "medical-imaging", "search-image-sets"]
    assert closing == (
        "} | jq --slurp '{imageSetsMetadataSummaries: (map(.imageSetsMetadataSummaries[]) | unique_by(.imageSetId))}'"
    )


@searches
def test_python_compiles_to_the_criteria(search: Search) -> None:
    program = sample(plan_of(search), DATASTORE_ID, "python")
    compile(program, "sample.py", "exec")
    head = program.partition("paginator =")[0]
    names: dict[str, object] = {}
    exec(head, names)  # noqa: S102 - the sample's own constants
    assert names["SEARCHES"] == criteria_of(search)
    assert names["DATASTORE_ID"] == DATASTORE_ID


def expected_requests(search: Search) -> list[tuple[str, dict[str, list[str]], object]]:
    path = f"/datastore/{DATASTORE_ID}/searchImageSets"
    return [
        (path, query, wire_body(criteria))
        for criteria in criteria_of(search)
        for query in ({"maxResults": ["50"]}, {"maxResults": ["50"], "nextToken": ["more+/="]})
    ]


@pytest.mark.parametrize("name", ["two filters and a sort", "branches", HOSTILE, "everything"])
def test_python_runs(name: str, health_imaging: HealthImaging, tmp_path: Path) -> None:
    search = SEARCHES[name]
    (tmp_path / "sample.py").write_text(sample(plan_of(search), DATASTORE_ID, "python"), encoding="utf-8")
    answer = run(
        [sys.executable, "-W", "error", "sample.py"],
        tmp_path,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",  # noqa: S106 - no secret: the server looks at none
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL_MEDICAL_IMAGING=f"http://127.0.0.1:{health_imaging.server_port}",
        AWS_DISABLE_HOST_PREFIX_INJECTION="true",
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert health_imaging.requests == expected_requests(search)
    own = [{"imageSetId": FIRST}, {"imageSetId": THIRD, "createdAt": "2024-03-11 00:00:00.500000+00:00"}]
    others = [{"imageSetId": SECOND}] if name == "branches" else []
    assert json.loads(answer) == own + others


JAVASCRIPT_CLIENT = """\
export class MedicalImagingClient { constructor(configuration) { this.configuration = configuration; } }
export async function* paginateSearchImageSets({ client, pageSize }, input) {
  console.error(JSON.stringify({ configuration: client.configuration, pageSize, input }));
  yield { imageSetsMetadataSummaries: [{ imageSetId: "1" }] };
  yield {};
  yield { imageSetsMetadataSummaries: [{ imageSetId: "2" }, { imageSetId: "1" }] };
}
"""


@pytest.fixture
def javascript_project(tmp_path: Path) -> Path:
    """A folder in which the SDK's package is a stand-in that tells what it was asked."""
    package = tmp_path / "node_modules" / "@aws-sdk" / "client-medical-imaging"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "client-medical-imaging", "type": "module", "main": "index.js"}')
    (package / "index.js").write_text(JAVASCRIPT_CLIENT)
    return tmp_path


@needs_node
@searches
def test_javascript(search: Search, javascript_project: Path) -> None:
    (javascript_project / "sample.mjs").write_text(
        sample(plan_of(search), DATASTORE_ID, "javascript"), encoding="utf-8"
    )
    assert NODE is not None
    run([NODE, "--check", "sample.mjs"], javascript_project)
    done = subprocess.run(
        [NODE, "sample.mjs"], cwd=javascript_project, capture_output=True, encoding="utf-8", check=True, timeout=60
    )
    assert [json.loads(line) for line in done.stderr.split("\n")[:-1]] == [
        {
            "configuration": {},
            "pageSize": 50,
            "input": {"datastoreId": DATASTORE_ID, "searchCriteria": in_milliseconds(criteria_json(criteria))},
        }
        for criteria in criteria_of(search)
    ]
    assert json.loads(done.stdout) == [{"imageSetId": "1"}, {"imageSetId": "2"}]


def in_milliseconds(value: object) -> object:
    """JSON with instants as JavaScript's `Date` writes them."""
    match value:
        case dict():
            return {
                name: member.replace("Z", ".000Z") if name in ("createdAt", "updatedAt") else in_milliseconds(member)
                for name, member in value.items()
            }
        case list():
            return [in_milliseconds(member) for member in value]
        case _:
            return value


@pytest.mark.parametrize(
    ("value", "java", "cpp"),
    [
        ('a"b\\c\n', r'"a\"b\\c\n"', r'"a\042b\134c\012"'),
        ("\\u000a", r'"\\u000a"', r'"\134u000a"'),
        ("患😀", r'"\u60a3\ud83d\ude00"', r'"\346\202\243\360\237\230\200"'),
        ("??/1", '"??/1"', r'"\077\077/1"'),
        ("\x077", r'"\u00077"', r'"\0077"'),
    ],
)
def test_java_and_cpp_texts(value: str, java: str, cpp: str) -> None:
    plan = plan_of(Search(patient(value)))
    assert f".dicomPatientId({java})\n" in sample(plan, DATASTORE_ID, "java")
    assert f".WithDICOMPatientId({cpp})" in sample(plan, DATASTORE_ID, "cpp")


def test_java_criteria() -> None:
    search = Search(And((STUDIED, UPDATED)), OLDEST_FIRST)
    program = sample(plan_of(search), DATASTORE_ID, "java")
    assert f'        String datastoreId = "{DATASTORE_ID}";\n' in program
    assert "".join(program.split("List.of(")[1].split(");\n")[0].split()) == (
        "SearchCriteria.builder().filters("
        'SearchFilter.builder().operator("BETWEEN").values('
        "SearchByAttributeValue.builder().dicomStudyDateAndTime(DICOMStudyDateAndTime.builder()"
        '.dicomStudyDate("19981231").dicomStudyTime("235959.000000").build()).build(),'
        "SearchByAttributeValue.builder().dicomStudyDateAndTime(DICOMStudyDateAndTime.builder()"
        '.dicomStudyDate("20230901").dicomStudyTime("000000.000000").build()).build()).build(),'
        'SearchFilter.builder().operator("BETWEEN").values('
        'SearchByAttributeValue.builder().updatedAt(Instant.parse("0001-01-01T00:00:00Z")).build(),'
        'SearchByAttributeValue.builder().updatedAt(Instant.parse("2024-03-11T00:00:00Z")).build()).build())'
        '.sort(Sort.builder().sortField("updatedAt").sortOrder("ASC").build()).build()'
    )


def test_cpp_criteria() -> None:
    search = Search(And((UPDATED, PRIMARY)), (SortKey("createdAt", descending=True),))
    program = sample(plan_of(search), DATASTORE_ID, "cpp")
    assert f'    const Aws::String datastoreId = "{DATASTORE_ID}";\n' in program
    # The SDK's DateTime overflows before 1677, so the open end is later there than in the other languages.
    assert "".join(program.split("searches = ")[1].split(";\n")[0].split()) == (
        "{SearchCriteria().WithFilters({SearchFilter().WithOperator(Operator::BETWEEN).WithValues({"
        "SearchByAttributeValue()"
        '.WithUpdatedAt(Aws::Utils::DateTime("1678-01-01T00:00:00Z",Aws::Utils::DateFormat::ISO_8601)),'
        "SearchByAttributeValue()"
        '.WithUpdatedAt(Aws::Utils::DateTime("2024-03-11T00:00:00Z",Aws::Utils::DateFormat::ISO_8601))}),'
        "SearchFilter().WithOperator(Operator::EQUAL).WithValues({SearchByAttributeValue().WithIsPrimary(true)})})"
        ".WithSort(Sort().WithSortField(SortField::createdAt).WithSortOrder(SortOrder::DESC))}"
    )


def remarks(where: Condition, language: str, residual: str | None = None) -> list[str]:
    program = sample(plan_of(Search(where)), DATASTORE_ID, language, residual)
    return [line for line in program.splitlines() if line.startswith(("#", "//")) and "#include" not in line]


WHAT = "Searches AWS HealthImaging with SearchImageSets, to the last page."
KEEP = "Of what comes back, keep only the image sets that meet"
MORE = "SearchImageSets cannot say all of this search, so more may come back than was asked for."
WIDER = "Whether BETWEEN holds its ends is not documented, so a little more is asked for than the search."
ORDER = "2 searches run one after the other: each is in order, all together are not."


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (patient("A"), [WHAT]),
        (Everything(), [WHAT]),
        (
            And((patient("A"), CHEST)),
            [WHAT, MORE, KEEP, f"    {canonical(Search(And((patient('A'), CHEST))))}", "(nothing here does that)."],
        ),
        (UPDATED, [WHAT, WIDER, KEEP, f"    {canonical(Search(UPDATED))}", "(nothing here does that)."]),
        (Or((patient("A"), patient("B"))), [WHAT, ORDER]),
        (Not(Everything()), ["No image set can meet this search: there is nothing to send."]),
    ],
    ids=["exact", "everything", "residual", "range", "branches", "nothing"],
)
def test_remarks(language: str, where: Condition, expected: list[str]) -> None:
    sign = "#" if language in ("cli", "python") else "//"
    tools = ["Needs jq."] if language == "cli" and ORDER in expected else []
    assert remarks(where, language) == [f"{sign} {line}" for line in [*expected, *tools]]


def test_the_residual_can_be_given_as_it_was_written() -> None:
    assert remarks(UPDATED, "python", "updatedAt < today")[3] == "#     updatedAt < today"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_ends_its_comment(language: str) -> None:
    residual = 'name = "a\nb\u2028c\rd\x85e" \\'
    lines = remarks(And((patient("A"), CHEST)), language, residual)
    shown = 'name = "a<U+000A>b<U+2028>c<U+000D>d<U+0085>e" \\'
    if language == "java":
        shown = shown.replace("\\", "\\u005c")
    assert lines[3] == f"{lines[0].split(' ')[0]}     {shown}"
    assert len(lines) == 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_to_send(language: str) -> None:
    program = sample(plan_of(Search(Not(Everything()))), DATASTORE_ID, language)
    empty = {
        "cli": None,
        "python": "SEARCHES = []\n",
        "javascript": "const searches = [];\n",
        "java": "List<SearchCriteria> searches = List.of();\n",
        "cpp": "const std::vector<SearchCriteria> searches = {};\n",
    }[language]
    if empty is None:
        assert code_lines(program) == []
    else:
        assert empty in program
