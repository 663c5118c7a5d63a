"""The bundled sample: 2,001 synthetic image sets of patients who never lived, in one data store.

`make_sample.py` writes the file; a test makes it again and compares. Nothing here refuses anything.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import IO, Final, cast

DATASTORE_ID: Final = "12345678901234567890123456789012"
DATASTORE_NAME: Final = "sample"


@contextmanager
def open_sample() -> Iterator[IO[bytes]]:
    """The sample as an open stream of NDJSON, one summary a line."""
    with files(__name__).joinpath("sample.ndjson.gz").open("rb") as packed, gzip.open(packed) as lines:
        yield cast("IO[bytes]", lines)
