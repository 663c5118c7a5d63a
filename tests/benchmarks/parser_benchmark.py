"""How long reading a query takes: cold, seen before, at its worst; beside luqum on an equal query in the same run.

    python tests/benchmarks/parser_benchmark.py

Prints medians of rounds in microseconds. Machines differ and are noisy: the ratios say more than the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from statistics import median

from luqum.parser import parser as luqum

from grammar.parser import parse, read
from grammar.problems import QueryError

TYPICAL = "patient = SUBJECT{:05d} and updated between 2024-03-11..2024-03-12 sort updatedAt asc"
EQUAL_IN_LUCENE = "patient:SUBJECT{:05d} AND updated:[2024-03-11 TO 2024-03-12]"

#: Texts of 8,000 characters, each hard in its own way.
WORST = {
    "open parentheses": "(" * 8000,
    "words": "a " * 4000,
    "list without end": "patient in (" + "a," * 3994,
    "list with a gap at its end": "patient in (" + "a," * 3990 + ")",
    "list of 200 long values": "patient in (" + ",".join(["x" * 38] * 200) + ")",
    "50 comparisons": " and ".join(["description like '*a?b*' "] * 50).ljust(8000),
    "negations": "not " * 1990 + "version = 1",
    "unknown fields": " and ".join(["pateint=1"] * 570),
    "curly quotes": "“a” " * 2000,
    "curly quotes without partners": "‘a " * 2600,
    "unknown sort keys": "sort " + "pateint," * 990,
    "invisible characters": "\u200b" * 8000,
    "wildcards": "name like " + "*a" * 3990,
    "bad escapes": 'patient = "' + "\\a" * 3990 + '"',
    "operators": "= " * 4000,
    "dots": ".." * 4000,
}


def measure(act: Callable[[], object], times: int, rounds: int = 9) -> float:
    """Microseconds an act takes: the median of rounds."""
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(times):
            act()
        taken.append((time.perf_counter() - begun) / times * 1e6)
    return median(taken)


def measure_once(text: str) -> float:
    """Microseconds that a text takes which was never seen: spaces before it make it another one each time."""
    spaces = count(1)

    def read_once() -> None:
        with suppress(QueryError):
            parse((" " * next(spaces) + text)[:8000])

    return measure(read_once, 1, rounds=5)


def main() -> None:
    """Measures and prints."""
    numbers = count()
    seen = TYPICAL.format(1)
    built = measure(lambda: read(TYPICAL.format(next(numbers))), 2_000)
    dated = measure(lambda: parse(TYPICAL.format(next(numbers))), 2_000)
    warm = measure(lambda: parse(seen), 50_000)
    lucene = measure(lambda: luqum.parse(EQUAL_IN_LUCENE.format(next(numbers))), 500)
    print(f"never seen      {built:9.1f} µs   {built / lucene:.2f} of luqum's {lucene:.1f} µs")
    print(f"  and dated     {dated:9.1f} µs")
    print(f"seen before     {warm:9.2f} µs")
    for name, text in WORST.items():
        print(f"worst, {name:28}{measure_once(text) / 1000:9.1f} ms")
    for size in (2000, 4000, 8000):
        print(f"words of {size} characters    {measure_once('b ' * (size // 2)) / 1000:9.1f} ms")


if __name__ == "__main__":
    main()
