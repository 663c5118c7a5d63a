"""The language's README: its tables are those of the code, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import grammar
from grammar.fields import FIELDS
from grammar.parser import parse
from grammar.problems import CODES, QueryError, draw
from tests.grammar.cases import NOW, read_cases

README = (Path(grammar.__file__).parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\n(.*?)```", README, re.DOTALL)
QUERIES = [line for block in (BLOCKS[0], BLOCKS[1]) for line in block.splitlines()]
MISTAKE = BLOCKS[2].rstrip("\n")


def section(name: str) -> str:
    """What stands between the two comments of a generated table."""
    found = re.search(rf"<!-- {name}: [^\n]*-->\n(.*?)<!-- end of {name} -->", README, re.DOTALL)
    assert found
    return found[1]


def field_table() -> str:
    rows = ["| write | or | type | is |", "| --- | --- | --- | --- |"]
    for field in FIELDS:
        short, *more = (*field.aliases, field.name)
        others = ", ".join(f"`{name}`" for name in more)
        rows.append(f"| `{short}` | {others} | {field.type.value} | {field.description} |")
    return "\n" + "\n".join(rows) + "\n\n"


def code_table() -> str:
    rows = ["| code | when |", "| --- | --- |", *(f"| {code} | {when} |" for code, when in CODES.items())]
    return "\n" + "\n".join(rows) + "\n\n"


def test_fields_are_those_of_the_code() -> None:
    assert section("fields") == field_table()


def test_codes_are_those_of_the_code() -> None:
    assert section("codes") == code_table()


def test_every_code_is_in_the_table_of_refused_queries() -> None:
    problems = " ".join(case.expected["problems"] for case in read_cases("refused.txt"))
    limits = {"too_long", "too_many_comparisons", "too_many_values", "mixed_and_or", "name_with_comma"}
    assert {code for code in CODES if f'"code": "{code}"' not in problems} == limits
    assert set(re.findall(r'"code": "(\w+)"', problems)) <= CODES.keys()


@pytest.mark.parametrize("query", QUERIES)
def test_example_runs(query: str) -> None:
    parse(query, now=NOW)


@pytest.mark.parametrize("query", re.findall(r"^\| (`.*?`) \|", README.split("## Values")[0], re.MULTILINE))
def test_example_of_a_condition_runs(query: str) -> None:
    for part in re.findall(r"`([^`]+)`", query):
        field = "" if part[0].isalpha() and not part.startswith("between") else "seriesNumber "
        value = " 5" if part in ("<=", ">", ">=") else ""
        parse(f"{field}{part}{value}", now=NOW)


def test_the_mistake_is_drawn_so() -> None:
    message, line, _ = MISTAKE.split("\n")
    with pytest.raises(QueryError) as refusal:
        parse(line.strip())
    assert draw(line.strip(), refusal.value.problems[0]) == MISTAKE
    assert message.startswith("unknown field")
