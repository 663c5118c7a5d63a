"""Every command, query and setting that README.md shows is run, and answers what README.md says."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from grammar.parser import parse
from graphql_service.access import open_access
from graphql_service.access.keys import WireKey, list_keys
from graphql_service.access.oidc import OIDCAccess
from graphql_service.errors import SettingError
from graphql_service.loading.ndjson import JQ_ANSWER
from graphql_service.sample import DATASTORE_ID, DATASTORE_NAME, open_sample
from graphql_service.settings import Settings, read_settings
from graphql_service.stores.sqlite import SQLiteStore
from tests.dicom_files import write_file

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def blocks(kind: str) -> list[str]:
    return [text for language, text in EXAMPLES if language == kind]


SHELL_LINES = [line for block in blocks("sh") for line in block.splitlines()]
[EXPORT] = [line for line in SHELL_LINES if line.startswith("export ")]


def make_checkout(folder: Path) -> Path:
    """A folder that has of a checkout what the commands need: its `.venv`."""
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the sample as store, and as a file to load."""
    folder = make_checkout(tmp_path_factory.mktemp("readme"))
    with open_sample() as lines:
        (folder / "image_sets.ndjson").write_bytes(lines.read())
    write_file(folder / "scans" / "1")
    with closing(SQLiteStore(folder / ".imagesets" / "sample.db", create=True)) as store:
        store.create_datastore(DATASTORE_ID, name=DATASTORE_NAME)
    run(f"imagesets load image_sets.ndjson --datastore {DATASTORE_NAME}", folder)
    assert (folder / ".imagesets" / "sample.db").exists()
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command after README's line that makes it work."""
    return subprocess.run(
        ["/bin/sh", "-c", f"{EXPORT}\n{command}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_every_kind_of_block_is_run() -> None:
    assert {language for language, _ in EXAMPLES} == {
        "console", "sh", "imagesets", "graphql", "json", "html", "bash", "python",
    }  # fmt: skip


@pytest.mark.parametrize("block", blocks("console"))
def test_commands_answer_what_is_shown(block: str, folder: Path) -> None:
    command, _, shown = block.removeprefix("$ ").partition("\n")
    answered = run(command, folder).stdout
    assert [line.rstrip() for line in answered.splitlines()] == shown.splitlines()


def test_commands_of_the_list_work_in_their_order(folder: Path) -> None:
    commands = [line for line in SHELL_LINES if line.startswith("imagesets ") and " serve " not in line]
    assert [(command, run(command, folder).returncode) for command in commands] == [
        (command, 0) for command in commands
    ]
    assert {shlex.split(command)[1] for command in commands} == {
        "load", "search", "explain", "datastores", "schema", "remove",
    }  # fmt: skip
    assert (folder / "image_sets.ndjson").read_bytes().count(b"\n") == 2_001
    assert (folder / "printed.graphql").read_text() == (ROOT / "schema.graphql").read_text()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the command of the list serves the sample, on a port that is free."""
    [command] = [line for line in SHELL_LINES if " serve " in line]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = f"{EXPORT}\nexec {command.replace('8123', str(port))}"
    folder = make_checkout(tmp_path_factory.mktemp("served"))
    server = subprocess.Popen(["/bin/sh", "-c", script], cwd=folder, stderr=subprocess.PIPE)
    try:
        assert server.stderr is not None
        welcome = iter(server.stderr.readline, b"Ctrl-C stops it.\n")
        assert any(b"2,001 new" in line for line in welcome)
        assert any(f"http://127.0.0.1:{port}/graphql".encode() in line for line in welcome)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate(timeout=20)


def ask(address: str, document: str) -> Any:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}/graphql", json.dumps({"query": document}).encode(), headers)  # noqa: S310 - our own
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own
        return json.load(answer)


@pytest.mark.parametrize("line", [line for line in SHELL_LINES if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    make = shutil.which("make")
    assert make is not None
    assert (
        subprocess.run([make, "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("query", [line for block in blocks("imagesets") for line in block.splitlines()])
def test_queries_are_queries(query: str, folder: Path) -> None:
    parse(query)
    answered = run(shlex.join(["imagesets", "search", query, "--first", "1", "--format", "ndjson"]), folder)
    assert answered.returncode == 0
    assert answered.stdout.splitlines()[-1].startswith(("0 image sets", "1 image set"))


def test_graphql_answers_what_is_shown(address: str) -> None:
    asked, aliased, charted = blocks("graphql")
    for document, shown in zip((asked, charted), blocks("json"), strict=True):
        assert ask(address, document) == json.loads(shown)
    found = {"edges": [{"node": {"imageSetId": "09876543210987654321098765432109"}}]}
    assert ask(address, aliased)["data"] == {"byVariable": found, "byFilter": found}


def test_the_search_box_comes_from_where_the_lines_say(address: str) -> None:
    [lines] = blocks("html")
    served = dict(re.findall(r'(src|endpoint|datastore)="([^"]+)"', lines.replace("http://127.0.0.1:8000", address)))
    with urllib.request.urlopen(served["src"], timeout=20) as answer:  # noqa: S310 - our own
        assert b'"imageset-search"' in answer.read()
    document = f'{{ imageSets(datastoreId: "{served["datastore"]}") {{ totalCount {{ value }} }} }}'
    assert served["endpoint"] == f"{address}/graphql"
    answered = ask(address, document)
    assert isinstance(answered, dict)
    assert answered["data"] == {"imageSets": {"totalCount": {"value": 2_001}}}


def test_settings_are_those_that_are_read() -> None:
    named = re.findall(r"^\| `(IMAGESETS_\w+)` \|", README, re.MULTILINE)
    assert set(named) == set(re.findall(r"IMAGESETS_\w+", README))
    for setting in named:
        with pytest.raises(SettingError, match=f"^{setting} "):
            read_settings({setting: "no such value"})
    defaults = dict(re.findall(r"^\| `(IMAGESETS_\w+)` \| `([^`]+)` \|", README, re.MULTILINE))
    assert len(defaults) >= 29
    assert [key for key, shown in defaults.items() if read_settings({key: shown}) != Settings()] == []


def test_clients_of_healthimaging_find_what_is_there(address: str, folder: Path) -> None:
    [commands], [program] = blocks("bash"), blocks("python")
    commands = commands.replace("http://localhost:8000", address)
    settings, _, search = commands.partition("aws ")
    found = json.loads(run(f"{settings}\naws {search}", folder).stdout)
    assert [one["imageSetId"] for one in found["imageSetsMetadataSummaries"]] == ["09876543210987654321098765432109"]
    (folder / "program.py").write_text(program)
    assert run(f"{settings}\npython program.py", folder).stdout.count("\n") == 2_001


def test_keys_are_made_as_is_shown(folder: Path) -> None:
    [_, section] = README.split("\n### Keys\n")
    [commands] = re.findall(r"^    export IMAGESETS_AUTH=keys.*?\n\n", section, re.DOTALL | re.MULTILINE)
    script = commands.replace(
        "imagesets keys remove", 'echo "$KEY $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY"\nimagesets keys remove'
    )
    ran = run(f"set -e\n{script}", folder)
    assert ran.returncode == 0
    [shown] = [line.split() for line in ran.stdout.splitlines() if line.startswith("imagesets_")]
    [scanner] = list_keys(folder / "keys.json")
    assert isinstance(scanner, WireKey)
    assert shown[1:] == [scanner.id, scanner.secret]
    assert f"data store {DATASTORE_ID}." in ran.stdout
    assert (folder / "keys.json").stat().st_mode & 0o777 == 0o600


def test_an_issuer_is_set_up_as_is_shown() -> None:
    [_, section] = README.split("\n### Tokens of an issuer (OpenID Connect)\n")
    [commands] = re.findall(r"^    export IMAGESETS_AUTH=oidc.*?\n\n", section, re.DOTALL | re.MULTILINE)
    environ = dict(word.split("=", 1) for word in shlex.split(commands) if "=" in word)
    settings = read_settings(environ)
    assert (settings.auth, settings.oidc_datastores_claim) == ("oidc", "imagesets_datastores")
    assert isinstance(open_access(settings), OIDCAccess)


@pytest.mark.skipif(shutil.which("jq") is None, reason="the system has no jq")
def test_an_answer_of_the_aws_cli_is_loaded(address: str, folder: Path) -> None:
    [command] = re.findall(r"^      (aws .*?load - [^\n]*)$", README, re.DOTALL | re.MULTILINE)
    assert JQ_ANSWER in command
    [commands] = blocks("bash")
    settings = commands.partition("aws ")[0].replace("http://localhost:8000", address)
    ran = run(f"{settings}\n{command.replace('mine', 'answers')}", folder)
    run("imagesets remove --datastore answers --yes", folder)
    assert ran.stdout == (
        "standard input: 2,001 image sets read: 2,001 new, 0 replaced, 0 as they were; 0 lines refused.\n"
    )


def test_the_policy_allows_what_the_client_calls() -> None:
    [policy] = re.findall(r"^    \{\n.*?^    \}$", README, re.DOTALL | re.MULTILINE)
    allowed = {
        action
        for statement in json.loads(policy)["Statement"]
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
    }
    client = (ROOT / "graphql_service" / "healthimaging" / "client.py").read_text()
    called = set(re.findall(r"\b(?:list|get|search)_(?:datastores?|image_sets?(?:_versions|_metadata)?)\b", client))
    words = {"".join(word.capitalize() for word in name.split("_")) for name in called}
    assert allowed == {f"medical-imaging:{word}" for word in words}
