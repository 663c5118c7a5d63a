"""Reads the tables of queries in tests/cases: blocks of `key: value` lines, parted by blank lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CASES = Path(__file__).parent.parent / "cases"
NOW = datetime(2024, 3, 15, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One query with what it is given and what must come of it."""

    query: str
    given: dict[str, Any]
    expected: dict[str, str]

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `parse`."""
        now = self.given.get("now")
        return {
            "variables": self.given.get("variables"),
            "time_zone": self.given.get("timeZone", "UTC"),
            "now": datetime.fromisoformat(now) if now else NOW,
        }


def read_cases(name: str) -> Iterator[Case]:
    """The cases of one table."""
    for block in (CASES / name).read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith("#")]
        if lines:
            entries = dict(line.partition(":")[::2] for line in lines)
            values = {key: _text(value.removeprefix(" ")) for key, value in entries.items()}
            yield Case(values.pop("query"), json.loads(values.pop("given", "{}")), values)


def _text(value: str) -> str:
    """A value as it stands, or the text of a JSON string."""
    if value.startswith('"'):
        try:
            text = json.loads(value)
        except json.JSONDecodeError:
            return value
        assert isinstance(text, str)
        return text
    return value
