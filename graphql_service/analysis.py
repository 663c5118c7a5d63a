"""What a query means, without running it: what `searchAnalysis` and `imagesets explain` both say.

A query with problems is answered, not raised: its problems are what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from grammar.parser import Query, parse
from grammar.printer import canonical, meaning
from grammar.problems import Problem, QueryError, to_json
from graphql_service.errors import UnsupportedSearch
from graphql_service.healthimaging.criteria import CAPABILITIES, criteria_json, to_search_criteria
from graphql_service.healthimaging.samples import sample
from graphql_service.planning import Plan, describe_plan, make_plan

_HEALTHIMAGING: Final = "AWS HealthImaging"


@dataclass(frozen=True, slots=True)
class Analysis:
    """A query with either its problems or its parsed form; `time_zone` is the one in which its dates are read."""

    query: str
    time_zone: str
    parsed: Query | None
    problems: tuple[Problem, ...] = ()

    @property
    def notices(self) -> tuple[Problem, ...]:
        """What deserves a second look."""
        return () if self.parsed is None else self.parsed.notices

    @property
    def canonical(self) -> str | None:
        """The one way to write the query; None where it has problems."""
        return None if self.parsed is None else canonical(self.parsed.written)


def analyse(query: str, variables: Mapping[str, object], time_zone: str, now: datetime | None = None) -> Analysis:
    """The query as it is understood in this zone (an IANA name) at this instant, by default now."""
    try:
        return Analysis(query, time_zone, parse(query, variables=variables, time_zone=time_zone, now=now))
    except QueryError as error:
        return Analysis(query, time_zone, None, error.problems)


def describe_analysis(analysis: Analysis) -> dict[str, object]:
    """The fields of `searchAnalysis` as JSON. The plan and the criteria are those for HealthImaging."""
    criteria: list[object] = []
    plan: dict[str, object] | None = None
    if analysis.parsed is not None:
        try:
            made = plan_for_healthimaging(analysis.parsed)
        except UnsupportedSearch as error:
            plan = {"store": _HEALTHIMAGING, "refused": str(error)}
        else:
            plan = describe_plan(made, _HEALTHIMAGING)
            criteria = [criteria_json(to_search_criteria(branch.where, made.sort)) for branch in made.branches]
    return {
        "canonical": analysis.canonical,
        "meaning": None if analysis.parsed is None else meaning(analysis.parsed.search),
        "timeZone": analysis.time_zone,
        "notices": [to_json(analysis.query, notice) for notice in analysis.notices],
        "problems": [to_json(analysis.query, problem) for problem in analysis.problems],
        "searchCriteria": criteria,
        "plan": plan,
    }


def describe_as_code(analysis: Analysis, datastore_id: str, language: str) -> str | None:
    """The search as code for a client of HealthImaging, in one of the samples' languages.

    None where the query has problems, or where HealthImaging cannot sort as it asks.
    """
    if analysis.parsed is None:
        return None
    try:
        return sample(plan_for_healthimaging(analysis.parsed), datastore_id, language)
    except UnsupportedSearch:
        return None


def plan_for_healthimaging(parsed: Query) -> Plan:
    """How HealthImaging is searched, whatever store is at hand. Raises UnsupportedSearch where it cannot sort so."""
    return make_plan(parsed.search, CAPABILITIES)
