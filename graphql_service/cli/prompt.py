"""The prompt that `imagesets search` opens on a terminal: completion, highlighting, problems as they are typed.

What was typed is remembered until the prompt closes and never written to a file: queries hold patients' values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.formatted_text.utils import split_lines
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style
from prompt_toolkit.validation import ValidationError, Validator
from rich.console import Console

from grammar.completion import complete
from grammar.fields import find_field
from grammar.parser import lex, parse
from grammar.problems import Problem, QueryError, draw
from grammar.values import KEYWORDS
from graphql_service.cli.pages import read_pages
from graphql_service.cli.results import write_table
from graphql_service.errors import ServiceError
from graphql_service.image_set import Datastore
from graphql_service.paging import Page
from graphql_service.searching import Inquiry
from graphql_service.stores.base import Store

_ROWS: Final = 20
_MORE: Final = "more"
_LEAVE: Final = frozenset({"exit", "quit"})
_WELCOME: Final = (
    "Type a query, such as: modality = CT and updated > 2024-06 sort updated desc\n"
    "Tab completes, 'more' shows the next page, Ctrl-D leaves."
)
_STYLE: Final = Style.from_dict(
    {
        "field": "ansicyan",
        "keyword": "bold",
        "operator": "ansiyellow",
        "text": "ansigreen",
        "problem": "underline ansired",
    }
)
#: The style of each kind of token; a word that is a field is one, too.
_STYLES: Final = dict.fromkeys(KEYWORDS, "keyword") | {
    "COMPARATOR": "operator",
    "WRONG_OPERATOR": "operator",
    "DOTDOT": "operator",
    "STRING": "text",
    "UNTERMINATED": "text",
}
#: Keywords in a sort, words anywhere else.
_SORT_WORDS: Final = frozenset({"BY", "ASC", "DESC"})


def open_prompt(
    store: Store, datastore: Datastore, zone: ZoneInfo, variables: Mapping[str, object], console: Console
) -> None:
    """Answers what is typed, query by query, until the person leaves."""

    def find_problems(text: str) -> tuple[Problem, ...]:
        if text.strip() in {"", _MORE, *_LEAVE}:
            return ()
        try:
            parse(text, variables=variables, time_zone=zone.key)
        except QueryError as error:
            return error.problems
        return ()

    console.print(f"{datastore.name or datastore.datastore_id}. {_WELCOME}", markup=False, highlight=False)
    session: PromptSession[str] = PromptSession(
        "> ",
        history=InMemoryHistory(),
        completer=QueryCompleter(partial(store.values, datastore.datastore_id)),
        lexer=QueryLexer(find_problems),
        validator=QueryValidator(find_problems),
        validate_while_typing=False,
        style=_STYLE,
    )
    pages: Iterator[Page] = iter(())
    for text in _read_lines(session):
        if text != _MORE:
            inquiry = Inquiry(datastore.datastore_id, text, variables, time_zone=zone.key)
            pages = read_pages(store, inquiry, None, _ROWS)
        try:
            _show(next(pages, None), text, zone, console)
        except ServiceError as error:
            console.print(f"Error: {error}", style="red", markup=False, highlight=False)


def _read_lines(session: PromptSession[str]) -> Iterator[str]:
    """What is typed, line by line, until the person leaves. Ctrl-C gives up the line alone."""
    while True:
        try:
            text = session.prompt().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if text in _LEAVE:
            return
        if text:
            yield text


def _show(page: Page | None, text: str, zone: ZoneInfo, console: Console) -> None:
    if page is None:
        console.print("There is no next page.")
        return
    if text != _MORE:
        for notice in page.notices:
            console.print(draw(text, notice), markup=False, highlight=False)
    write_table([page.image_sets], console, zone)
    if page.has_next_page:
        console.print(f"There are more: type '{_MORE}'.")
    elif not page.image_sets:
        console.print("No image set meets this query.")


class QueryCompleter(Completer):
    """What may come next, wherever it replaces text up to the cursor; `values` are those that the data store holds."""

    def __init__(self, values: Callable[[str], Iterable[str]]) -> None:
        self._values = values

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """The language's own completions in the form of the prompt."""
        position = document.cursor_position
        for found in complete(document.text, position, self._values):
            if found.end == position:
                yield Completion(
                    found.insert, found.start - position, display=found.label, display_meta=found.description
                )


class QueryLexer(Lexer):
    """Colours for fields, keywords, operators and quoted texts; what is wrong already is underlined."""

    def __init__(self, find_problems: Callable[[str], tuple[Problem, ...]]) -> None:
        self._find_problems = find_problems

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """The styled text of each line."""
        text = document.text
        # A query that only ends too early is still being typed.
        wrong = {
            position
            for problem in self._find_problems(text)
            if problem.start < len(text.rstrip())
            for position in range(problem.start, problem.end)
        }
        styles = ["other"] * len(text)
        sorting = False
        for token in lex(text):
            sorting = sorting or token.type == "SORT"
            style = "keyword" if sorting and token.type in _SORT_WORDS else _STYLES.get(token.type, "other")
            if token.type == "WORD" and find_field(token.text):
                style = "field"
            styles[token.start : token.end] = [style] * (token.end - token.start)
        fragments: StyleAndTextTuples = [
            ("class:problem" if position in wrong else f"class:{style}", text[position])
            for position, style in enumerate(styles)
        ]
        lines = list(split_lines(fragments))
        return lambda number: lines[number] if number < len(lines) else []


class QueryValidator(Validator):
    """Refuses a query with problems on Enter: says the first one, and puts the cursor there."""

    def __init__(self, find_problems: Callable[[str], tuple[Problem, ...]]) -> None:
        self._find_problems = find_problems

    def validate(self, document: Document) -> None:
        """Raises ValidationError for the first problem."""
        for problem in self._find_problems(document.text):
            raise ValidationError(problem.start, problem.message)
