"""Whether a load that is killed leaves a whole store, with everything in it that was acknowledged before.

    python -m tests.benchmarks.crash_benchmark [--times 50] [--rows 20000]

Each time a small load ends and is acknowledged by its status, then a large one, into the same data store or into a new
one, is killed (SIGKILL) at a random moment; then the store must open, hold all that was acknowledged and nothing that
is broken, and take the large load whole.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from grammar.criteria import Everything
from graphql_service.image_set import ImageSet, to_summary
from graphql_service.stores.sqlite import SQLiteStore
from tests.live import DATASTORE, make_image_sets

OTHER = "e" * 32


def write(path: Path, image_sets: list[ImageSet]) -> None:
    lines = (json.dumps(to_summary(image_set, lambda moment: moment.isoformat())) for image_set in image_sets)
    path.write_text("".join(f"{line}\n" for line in lines))


def check(store: Path, datastore: str, expected: list[ImageSet]) -> None:
    ids = [image_set.image_set_id for image_set in expected]
    with closing(SQLiteStore(store)) as opened:
        if expected:
            found = opened.image_sets(datastore, ids)
            assert [found[image_set.image_set_id].tags for image_set in expected] == [each.tags for each in expected]
        for each in opened.datastores():
            assert opened.count(each.datastore_id, Everything(), 10**9) == len(opened.image_set_ids(each.datastore_id))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--times", type=int, default=50)
    arguments.add_argument("--rows", type=int, default=20_000)
    given = arguments.parse_args()
    rows = list({each.image_set_id: each for each in make_image_sets(given.rows + 300 * given.times)}.values())
    large, small = rows[: given.rows], rows[given.rows :]
    program, moments = Path(sys.executable).with_name("imagesets"), random.Random(3)  # noqa: S311 - nothing is secret
    killed = 0
    with TemporaryDirectory() as folder:
        file = Path(folder) / "large.ndjson"
        write(file, large)
        begun = time.perf_counter()
        load(program, file, OTHER, Path(folder) / "first.db").wait()
        whole = time.perf_counter() - begun
        store, acknowledged = Path(folder) / "store.db", list[ImageSet]()
        number = -1
        while killed < given.times:
            number += 1
            part = small[number * 100 : number * 100 + 100]
            write(Path(folder) / "small.ndjson", part)
            assert load(program, Path(folder) / "small.ndjson", DATASTORE, store).wait() == 0
            acknowledged += part
            # Every other time into a data store that is empty, and so is filled in one transaction.
            datastore = DATASTORE if number % 2 else OTHER
            process = load(program, file, datastore, store)
            time.sleep(moments.uniform(0.1, 0.9) * whole)
            process.kill()
            killed += process.wait() != 0
            check(store, DATASTORE, acknowledged)
            assert load(program, file, datastore, store).wait() == 0
            check(store, datastore, large)
            with closing(SQLiteStore(store)) as opened:
                if datastore == OTHER:
                    opened.remove_datastore(OTHER)
                else:
                    opened.remove(DATASTORE, {each.image_set_id for each in large})
    print(f"{killed} loads killed ({number + 1 - killed} others had ended before it)")
    print("each time the store was whole, and the next load completed")


def load(program: Path, file: Path, datastore: str, store: Path) -> subprocess.Popen[bytes]:
    command = [program, "load", file, "--datastore", datastore, "--store", f"sqlite:///{store}"]
    return subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
