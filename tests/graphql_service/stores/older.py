"""Files of the embedded store as its older versions left them."""

import sqlite3
from contextlib import closing
from pathlib import Path

from graphql_service.stores import instances, sql


def make_older(path: Path, version: int) -> None:
    """Takes from the file of a closed store what later versions of its schema have added."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = ON")  # an older file never held it
        numbers = [number for (number,) in connection.execute("SELECT number FROM datastores")]
        for number in numbers:
            for column in sql.WRITTEN.values():
                connection.execute(f"ALTER TABLE image_sets_{number} DROP COLUMN {column}")
        if version < 4:
            for number in numbers:
                connection.execute(f"DROP TABLE texts_{number}")
                connection.execute(f"DROP TABLE grams_{number}")
                connection.execute(f"DROP INDEX image_sets_{number}_by_patient_id_and_created_at")
                columns = "patient_id, created_at, image_set_id"
                connection.execute(f"CREATE INDEX old_{number} ON image_sets_{number} ({columns})")
        if version < 3:
            for number in numbers:
                instances.drop_tables(connection, number)
        if version < 2:
            connection.execute("DROP TABLE watermarks")
        connection.execute(f"PRAGMA user_version = {version}")
