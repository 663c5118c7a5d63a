"""What was read of image sets: the records that the audit log holds, each beside who read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from grammar.criteria import Search


@dataclass(frozen=True, slots=True)
class Reading:
    """Image sets that one part of a request was answered with. `operation` is the field or the action that asked.

    `search` is what was searched for, as written, with its dates read in `time_zone` at `dated`. None where image sets
    or studies were asked for by their ids: these are `named`, also those that were not found.
    """

    operation: str
    datastore_id: str
    image_set_ids: tuple[str, ...]
    search: Search | None = None
    time_zone: str = "UTC"
    dated: datetime | None = None
    named: tuple[str, ...] = ()
