"""The interactive prompt, typed into through a pipe."""

import json
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from grammar.parser import parse
from grammar.problems import Problem, QueryError
from graphql_service.cli.prompt import QueryCompleter, QueryLexer, open_prompt
from graphql_service.image_set import Datastore, ImageSet
from graphql_service.loading.ndjson import read_lines
from graphql_service.stores.sqlite import SQLiteStore

WELCOME = [
    "mine. Type a query, such as: modality = CT and updated > 2024-06 sort updated desc",
    "Tab completes, 'more' shows the next page, Ctrl-D leaves.",
]
KILL_LINE = "\x05\x15"  # to the end of the line, then all before it


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """25 image sets of one patient, in one data store."""
    lines = [{"imageSetId": f"{number:032}", "DICOMTags": {"DICOMPatientId": "P1"}} for number in range(25)]
    stream = BytesIO("\n".join(map(json.dumps, lines)).encode())
    store = SQLiteStore(tmp_path / "store.db", create=True)
    datastore = store.create_datastore("mine")
    store.load("mine", [line for line in read_lines(stream, datastore.datastore_id) if isinstance(line, ImageSet)])
    yield store
    store.close()


def type_into_prompt(store: SQLiteStore, datastore: Datastore, keys: str) -> list[str]:
    """What the prompt prints for these keys, line by line; it ends with them at the latest."""
    printed = StringIO()
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text(keys)
        typed.close()
        open_prompt(store, datastore, ZoneInfo("UTC"), {}, Console(file=printed, width=120))
    return [line.rstrip() for line in printed.getvalue().splitlines()]


def test_queries_pages_and_leaving(store: SQLiteStore) -> None:
    [datastore] = store.datastores()
    keys = "more\rpatient = P1 sort imageSetId\rmore\rmore\rpatient = nobody\r\rquit\rpatient = P1\r"
    lines = type_into_prompt(store, datastore, keys)
    assert [line.split()[1] for line in lines if line.startswith("P1 ")] == [f"{number:032}" for number in range(25)]
    assert [line for line in lines if not line.startswith(("P1 ", "Patient ", "─"))] == [
        *WELCOME,
        "There is no next page.",
        "There are more: type 'more'.",
        "There is no next page.",
        "No image set meets this query.",
    ]


def test_a_query_with_problems_is_not_run(store: SQLiteStore) -> None:
    [datastore] = store.datastores()
    assert type_into_prompt(store, datastore, f"modality > CT\r{KILL_LINE}exit\r") == WELCOME


def test_an_error_does_not_close_the_prompt(store: SQLiteStore) -> None:
    gone = Datastore("b" * 32, "mine")
    error = "Error: there is no data store with this id: 'datastores' lists those there are"
    assert type_into_prompt(store, gone, "*\r*\r\x04") == [*WELCOME, error, error]


@pytest.mark.parametrize(("text", "completed"), [("modal", [("modality", -5)]), ("modality = us", [("US", -2)])])
def test_completions_end_at_the_cursor(text: str, completed: list[tuple[str, int]]) -> None:
    completer = QueryCompleter({"DICOMSeriesModality": ("CT", "US")}.__getitem__)
    found = completer.get_completions(Document(text, len(text)), CompleteEvent())
    assert [(each.text.strip(), each.start_position) for each in found] == completed


def find_problems(text: str) -> tuple[Problem, ...]:
    try:
        parse(text)
    except QueryError as error:
        return error.problems
    return ()


def styled(text: str) -> list[tuple[str, str]]:
    """Each stretch of one style, without the spaces between."""
    stretches: list[tuple[str, str]] = []
    line = QueryLexer(find_problems).lex_document(Document(text))
    for number in range(text.count("\n") + 1):
        for style, character, *_ in line(number):
            if stretches and stretches[-1][0] == style:
                stretches[-1] = (style, stretches[-1][1] + character)
            else:
                stretches.append((style, character))
    return [(style.removeprefix("class:"), stretch.strip()) for style, stretch in stretches if stretch.strip()]


def test_highlighting() -> None:
    assert styled("name = 'a b' and\nmodality in (CT)") == [
        ("field", "name"),
        ("operator", "="),
        ("text", "'a b'"),
        ("keyword", "and"),
        ("field", "modality"),
        ("keyword", "in"),
        ("other", "(CT)"),
    ]


def test_an_apostrophe_in_a_word_begins_no_text() -> None:
    assert styled("name = O'Brien and sex = F") == [
        ("field", "name"),
        ("operator", "="),
        ("other", "O'Brien"),
        ("keyword", "and"),
        ("field", "sex"),
        ("operator", "="),
        ("other", "F"),
    ]


def test_words_of_a_sort_are_keywords_there_alone() -> None:
    assert styled("patient = desc sort by name desc") == [
        ("field", "patient"),
        ("operator", "="),
        ("other", "desc"),
        ("keyword", "sort"),
        ("keyword", "by"),
        ("field", "name"),
        ("keyword", "desc"),
    ]


def test_problems_are_underlined_but_an_unfinished_query_is_not() -> None:
    assert styled("pateint = x") == [("problem", "pateint"), ("operator", "="), ("other", "x")]
    assert styled("patient = ") == [("field", "patient"), ("operator", "=")]
