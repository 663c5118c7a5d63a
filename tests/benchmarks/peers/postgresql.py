"""A PostgreSQL of the benchmark's own: made in a temporary folder, reached through a socket there, removed with it."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

#: Where Debian and Red Hat keep the programs of a server, which they leave off the path.
FOLDERS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin")
PROGRAMS = ("initdb", "pg_isready", "postgres", "psql")
#: The user that is root's stand-in, since PostgreSQL refuses to run as root.
STAND_IN = "nobody"
#: Reads alone count: enough memory for all that they touch, and no plan that is compiled for one short read.
SETTINGS = {"shared_buffers": "1GB", "effective_cache_size": "4GB", "random_page_cost": "1.1", "jit": "off"}
#: Sort keys that are NOT NULL let PostGraphile compare whole rows behind a cursor, which an index answers.
TABLE = """
CREATE TABLE image_sets (
    image_set_id text PRIMARY KEY, version int NOT NULL, created_at timestamptz, updated_at timestamptz NOT NULL,
    storage_tier text, is_primary boolean, patient_id text, patient_name text, birth_date date, sex text,
    study_instance_uid text, study_id text, accession_number text, study_description text, study_date date,
    study_time time, series_instance_uid text, series_number int, modality text)
"""
INDEXES = """
CREATE INDEX ON image_sets (updated_at, image_set_id);
CREATE INDEX ON image_sets (patient_id, updated_at, image_set_id);
CREATE INDEX ON image_sets (series_instance_uid, updated_at, image_set_id);
VACUUM ANALYZE image_sets
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running server: its first process, and how it is reached."""

    process: int
    url: str


@cache
def programs() -> Path | None:
    """The folder of a server's programs: those on the path, or else the newest; None where there is none."""
    found = shutil.which("postgres")
    on_path = [Path(found).resolve().parent] if found else []
    folders = [*on_path, *(folder for pattern in FOLDERS for folder in Path("/").glob(pattern))]
    whole = [folder for folder in folders if all((folder / name).exists() for name in PROGRAMS)]
    return whole[0] if whole and whole[0] in on_path else max(whole, key=version, default=None)


def version(folder: Path) -> tuple[int, ...]:
    """The version of PostgreSQL whose programs these are."""
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in told.split()[2].split(".") if part.isdigit())


@contextmanager
def running(rows: Iterable[tuple[object, ...]]) -> Iterator[Cluster]:
    """A server whose table `image_sets` has these rows, their values in the order of its columns."""
    folder = programs()
    assert folder
    with TemporaryDirectory(prefix="pg") as home:
        as_user: dict[str, Any] = {"cwd": home}
        if not os.geteuid():
            account = pwd.getpwnam(STAND_IN)
            os.chown(home, account.pw_uid, account.pw_gid)
            as_user |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = f"{home}/data"

        def run(program: str, *arguments: str, **how: Any) -> None:
            told = subprocess.run(
                [folder / program, *arguments], check=False, capture_output=True, text=True, **how, **as_user
            )
            assert told.returncode == 0, told.stderr

        run("initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync")
        options = {"listen_addresses": "", "unix_socket_directories": home, "fsync": "off", **SETTINGS}
        command = [str(folder / "postgres"), "-D", data, *(f"--{name}={value}" for name, value in options.items())]
        # A session of its own: an interrupt is for the benchmark, which then stops the server.
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True, **as_user)
        try:
            while subprocess.run([folder / "pg_isready", "-q", "-h", home], check=False).returncode:
                assert server.poll() is None, "PostgreSQL has ended"
                time.sleep(0.1)
            psql = ("-q", "-v", "ON_ERROR_STOP=1", "-h", home, "-U", "bench", "-d", "postgres")
            run("psql", *psql, "-c", TABLE)
            copy = [str(folder / "psql"), *psql, "-c", "COPY image_sets FROM STDIN"]
            with subprocess.Popen(copy, stdin=subprocess.PIPE, text=True, encoding="utf-8", **as_user) as copying:
                assert copying.stdin
                copying.stdin.writelines(f"{write_row(row)}\n" for row in rows)
            assert copying.returncode == 0
            run("psql", *psql, input=INDEXES)
            yield Cluster(server.pid, f"postgresql://bench@/postgres?host={home}")
        finally:
            # Fast: it ends the connections and then itself, and leaves nothing.
            server.send_signal(signal.SIGINT)
            server.wait()


def write_row(row: tuple[object, ...]) -> str:
    """A row as COPY reads it."""
    return "\t".join(write_value(value) for value in row)


def write_value(value: object) -> str:
    if value is None:
        return r"\N"
    text = str(value)
    for sign, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(sign, written)
    return text
