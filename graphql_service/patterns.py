"""Patterns and person names, read once: folded, in parts, and split where DICOM splits them.

The reference meaning and the embedded store both start from here, so a wildcard or a name component is the same thing
to both. Nothing is refused: every text is a pattern.
"""

from __future__ import annotations

from typing import TypeAlias

from grammar.values import ANY_TEXT, fold, pattern_parts

#: Runs of literal text (never empty, never two in a row), `ANY_TEXT` (never two in a row) and `ANY_CHARACTER`.
Pattern: TypeAlias = tuple[object, ...]


def read_pattern(text: str, *, folded: bool) -> Pattern:
    """The pattern that a written one stands for; `folded` where the field compares without case and accents.

    Only literal text is folded, run by run: folding the whole would turn a full-width `＊` into a wildcard.
    """
    runs: list[object] = []
    literal: list[str] = []
    for part in (*pattern_parts(text), None):
        if isinstance(part, str):
            literal.append(part)
            continue
        run = "".join(literal)
        literal.clear()
        runs.extend(read_literal(run, folded=folded))
        if part is not None and not (part is ANY_TEXT and runs[-1:] == [ANY_TEXT]):
            runs.append(part)
    return tuple(runs)


def read_literal(text: str, *, folded: bool) -> Pattern:
    """The pattern that matches this text alone."""
    run = fold(text) if folded else text
    return (run,) if run else ()


def is_open(pattern: Pattern) -> bool:
    """Whether a name's component may be anything: nothing was written for it, or only `*`."""
    return all(part is ANY_TEXT for part in pattern)


def split_pattern(pattern: Pattern) -> tuple[Pattern, ...]:
    """A written name's components, split at `^`; no wildcard crosses one."""
    components: list[list[object]] = [[]]
    for part in pattern:
        if isinstance(part, str):
            first, *others = part.split("^")
            components[-1].append(first)
            components.extend([other] for other in others)
        else:
            components[-1].append(part)
    return tuple(tuple(part for part in component if part != "") for component in components)


def split_name(folded: str) -> list[list[str]]:
    """A stored, folded name: its groups (alphabetic, ideographic, phonetic), each a list of components."""
    return [group.split("^") for group in folded.split("=")]
