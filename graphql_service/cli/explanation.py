"""What a query means, as `imagesets explain` says it: for people, as JSON, or as code for a HealthImaging client."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from grammar.parser import Query
from grammar.problems import Problem, draw
from graphql_service.analysis import Analysis, describe_analysis, plan_for_healthimaging
from graphql_service.errors import UnsupportedSearch
from graphql_service.healthimaging.samples import sample
from graphql_service.planning import make_plan, plan_lines
from graphql_service.stores.base import Capabilities


def draw_problem(problem: Problem, query: str, colour: str) -> Text:
    """The problem with carets below its place; colours show where the terminal has them."""
    message, line, carets = draw(query, problem).rsplit("\n", 2)
    return Text.assemble((message, "bold"), f"\n{line}\n", (carets, colour))


def explain_in_words(analysis: Analysis, console: Console) -> None:
    """Problems, or the canonical form, what each of the stores is asked, and notices."""
    for problem in analysis.problems:
        console.print(draw_problem(problem, analysis.query, "bold red"), soft_wrap=True)
        if problem.fix is not None:
            console.print(Text(f"  Try: {problem.fix.apply(analysis.query)}"), soft_wrap=True)
    if analysis.parsed is None:
        return
    lines = [f"Means: {analysis.canonical}", f"Zone of its dates: {analysis.time_zone}"]
    lines += plan_lines(make_plan(analysis.parsed.search, Capabilities()), "the embedded store")
    lines += _ask_healthimaging(analysis.parsed)
    console.print(Text("\n".join(lines)), soft_wrap=True)
    for notice in analysis.notices:
        console.print(draw_problem(notice, analysis.query, "bold yellow"), soft_wrap=True)


def _ask_healthimaging(parsed: Query) -> Iterator[str]:
    store = "AWS HealthImaging"
    try:
        plan = plan_for_healthimaging(parsed)
    except UnsupportedSearch as error:
        yield f"Asked of {store}: nothing. {error}"
        return
    if plan.branches:
        yield from plan_lines(plan, store)
    else:
        yield f"Asked of {store}: nothing, no image set can meet this search."


def explain_as_json(analysis: Analysis) -> str:
    """The fields of `searchAnalysis`."""
    return json.dumps(describe_analysis(analysis), ensure_ascii=False, indent=2)


def explain_as_code(analysis: Analysis, datastore_id: str, language: str) -> str:
    """The search as code for a client of HealthImaging, which says what it leaves to be filtered.

    The analysis has no problems. Raises UnsupportedSearch where HealthImaging cannot sort as the search asks.
    """
    assert analysis.parsed is not None  # the caller has shown problems instead
    return sample(plan_for_healthimaging(analysis.parsed), datastore_id, language).rstrip("\n")
