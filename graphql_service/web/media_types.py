"""Which media type an answer has: what the Accept header asks for, among those that can be had (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def choose_media_type(accept: str | None, offered: Sequence[str]) -> str | None:
    """The one that is wanted most, the first offered among equals; None where none is wanted.

    Without an Accept header it is the first. A range that says more counts before one that says less (`text/html;q=0`
    before `*/*`); what is malformed is skipped.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [found for part in accept.split(",") if (found := _read_range(part)) is not None]
    weights = [max((found for found in ranges if _holds(found[1], each)), default=None) for each in offered]
    best = max((weight[2] for weight in weights if weight is not None), default=0.0)
    if best <= 0:
        return None
    return next(each for each, weight in zip(offered, weights, strict=True) if weight and weight[2] == best)


def _read_range(text: str) -> tuple[int, str, float] | None:
    """How much a media range says, the range, and its weight."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            try:
                weight = float(value)
            except ValueError:
                return None
            if not 0 <= weight <= 1:
                return None
        elif (key, value.strip('"')) != ("charset", "utf-8"):
            return None  # a parameter that no answer of ours has
    kind, slash, subtype = name.partition("/")
    if not (kind and slash and subtype) or (kind == "*" and subtype != "*"):
        return None
    return (kind != "*") + (subtype != "*"), name, weight


def _holds(media_range: str, media_type: str) -> bool:
    kind, _, subtype = media_range.partition("/")
    return media_range in ("*/*", media_type) or (subtype == "*" and media_type.startswith(f"{kind}/"))
