"""What was read of image sets: the records that the audit log holds, each beside who read it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from grammar.criteria import Search
from grammar.printer import canonical, shape


class Wording(NamedTuple):
    """A search in words: as it is for the audit log, and with `?` for each of its values, as it is for any other."""

    canonical: str
    shape: str


def word(search: Search) -> Wording:
    """The words of a search."""
    return Wording(canonical(search), shape(search))


class Reading(NamedTuple):
    """Image sets that one part of a request was answered with. `operation` is the field or the action that asked.

    `search` is what was searched for, as written, with its dates read in `time_zone` at `dated`. None where image sets
    or studies were asked for by their ids: these are `named`, also those that were not found.
    """

    operation: str
    datastore_id: str
    image_set_ids: tuple[str, ...]
    search: Wording | None = None
    time_zone: str = "UTC"
    dated: datetime | None = None
    named: tuple[str, ...] = ()
