"""What was read of image sets, for whom: the records that the audit log holds."""

from __future__ import annotations

from dataclasses import dataclass

from grammar.criteria import Search


@dataclass(frozen=True, slots=True)
class Reading:
    """Image sets that one part of a request was answered with. `operation` is the field or the action that asked.

    `search` is what was searched for, as written; None where image sets were named.
    """

    operation: str
    datastore_id: str
    search: Search | None
    image_set_ids: tuple[str, ...]
