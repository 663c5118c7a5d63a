import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grammar.criteria import Comparison, Everything, Operator
from graphql_service.errors import InvalidArgument
from graphql_service.image_set import ImageSet
from graphql_service.instances import Instance
from graphql_service.loading.dicom import FolderResult, RefusedFile, load_folder
from graphql_service.loading.dicom import readers as readers_module
from graphql_service.loading.dicom.headers import read_files
from graphql_service.stores import sqlite as sqlite_module
from graphql_service.stores.base import Request
from graphql_service.stores.sqlite import MakeResult, SQLiteStore
from tests.dicom_files import REAL, write_file
from tests.graphql_service.stores.older import make_older

ID = "d" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with closing(open_new(tmp_path / "store.db")) as opened:
        yield opened


def open_new(path: Path) -> SQLiteStore:
    store = SQLiteStore(path, create=True)
    store.create_datastore(ID)
    return store


def load(store: SQLiteStore, folder: Path, *, reread: bool = False, full: bool = False) -> FolderResult:
    return load_folder(folder, store, ID, reread=reread, full=full)


def image_sets(store: SQLiteStore) -> list[ImageSet]:
    return list(store.fetch(Request(ID, Everything(), (), 1_000)).image_sets)


def count_where(store: SQLiteStore, field: str, value: str) -> int:
    return store.count(ID, Comparison(field, Operator.EQ, value), 1_000)


def snapshot(store: SQLiteStore) -> list[tuple[object, ...]]:
    """All that a store holds of its image sets, but for the times of writing."""
    found = sorted(image_sets(store), key=lambda each: each.image_set_id)
    ids = [each.image_set_id for each in found]
    versions, documents = store.versions(ID, ids), store.metadata(ID, ids)
    return [
        (
            each.image_set_id,
            each.version,
            each.storage_tier,
            each.is_primary,
            each.last_accessed_at,
            each.tags,
            [(version.version, version.state) for version in versions[each.image_set_id]],
            documents[each.image_set_id],
        )
        for each in found
    ]


def dump(path: Path) -> list[str]:
    """The whole database as it is written out, times too."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def chest(tmp_path: Path) -> Path:
    """Two studies: one with series of two and one instances, one with a single image."""
    folder = tmp_path / "files"
    write_file(folder / "1", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.1.1")
    write_file(folder / "2", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.1.2")
    write_file(folder / "a" / "3", SeriesInstanceUID="1.2.3.2", SOPInstanceUID="1.2.3.2.1", SeriesNumber="3")
    write_file(folder / "4", StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", SOPInstanceUID="1.9.1.1")
    return folder


def test_one_image_set_a_series(store: SQLiteStore, chest: Path) -> None:
    before = datetime.now(UTC)
    result = load(store, chest)
    assert result == FolderResult(read=4, image_sets=MakeResult(inserted=3))
    found = {str(each.tags["DICOMSeriesInstanceUID"]): each for each in image_sets(store)}
    counts = {
        uid: (
            each.tags["DICOMNumberOfStudyRelatedSeries"],
            each.tags["DICOMNumberOfStudyRelatedInstances"],
            each.tags["DICOMSeriesNumber"],
        )
        for uid, each in found.items()
    }
    assert counts == {"1.2.3.1": (2, 3, 2), "1.2.3.2": (2, 3, 3), "1.9.1": (1, 1, 2)}
    for each in found.values():
        assert (each.version, each.storage_tier, each.is_primary, each.last_accessed_at) == (
            1,
            "FREQUENT_ACCESS",
            True,
            None,
        )
        assert each.created_at is not None
        assert each.created_at == each.updated_at
        assert before <= each.created_at <= datetime.now(UTC)


def test_loading_again_changes_nothing(tmp_path: Path, store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    before = dump(tmp_path / "store.db")
    assert load(store, chest) == FolderResult(unchanged=4)
    assert load(store, chest, full=True) == FolderResult(unchanged=4)
    assert dump(tmp_path / "store.db") == before
    assert load(store, chest, reread=True) == FolderResult(read=4)
    assert sorted(dump(tmp_path / "store.db")) == sorted(before)


def test_a_file_that_was_only_touched_makes_no_version(store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    before = snapshot(store)
    os.utime(chest / "1")
    assert load(store, chest) == FolderResult(read=1, unchanged=3)
    assert load(store, chest) == FolderResult(unchanged=4)
    assert snapshot(store) == before


def test_a_change_is_a_new_version_of_what_has_changed(store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    old = {each.tags["DICOMSeriesInstanceUID"]: each for each in image_sets(store)}
    write_file(chest / "5", SeriesInstanceUID="1.2.3.2", SOPInstanceUID="1.2.3.2.2", SeriesNumber="3")
    assert load(store, chest).image_sets == MakeResult(updated=2)
    new = {each.tags["DICOMSeriesInstanceUID"]: each for each in image_sets(store)}
    assert {uid: each.version for uid, each in new.items()} == {"1.2.3.1": 2, "1.2.3.2": 2, "1.9.1": 1}
    assert new["1.9.1"] == old["1.9.1"]
    for uid in ("1.2.3.1", "1.2.3.2"):
        assert new[uid].image_set_id == old[uid].image_set_id
        assert new[uid].tags["DICOMNumberOfStudyRelatedInstances"] == 4
        created, updated = new[uid].created_at, new[uid].updated_at
        assert created == old[uid].created_at
        assert created is not None
        assert updated is not None
        assert updated > created
        [versions] = store.versions(ID, [new[uid].image_set_id]).values()
        assert [(each.version, each.created_at, each.updated_at, each.state) for each in versions] == [
            (2, created, updated, "ACTIVE"),
            (1, created, created, "ACTIVE"),
        ]


def test_a_change_that_no_search_sees_is_a_new_version_too(store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    write_file(chest / "4", StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", SOPInstanceUID="1.9.1.1", Rows=3)
    assert load(store, chest).image_sets == MakeResult(updated=1)
    assert [each.version for each in image_sets(store)].count(2) == 1


def test_patients_who_share_a_series_are_kept_apart(store: SQLiteStore, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for number in range(5):
        name = "García^Ana" if number < 3 else "Silva^Rui"
        write_file(folder / str(number), SOPInstanceUID=f"1.2.3.4.{number}", PatientName=name)
    load(store, folder)
    found = {str(each.tags["DICOMPatientName"]): each for each in image_sets(store)}
    assert {name: each.is_primary for name, each in found.items()} == {"García^Ana": True, "Silva^Rui": False}
    assert {each.tags["DICOMNumberOfStudyRelatedInstances"] for each in found.values()} == {5}
    # The majority changes, the ids stay with their patients.
    for number in range(5, 7):
        write_file(folder / str(number), SOPInstanceUID=f"1.2.3.4.{number}", PatientName="Silva^Rui")
    load(store, folder)
    again = {str(each.tags["DICOMPatientName"]): each for each in image_sets(store)}
    assert {name: each.is_primary for name, each in again.items()} == {"García^Ana": False, "Silva^Rui": True}
    assert {name: each.image_set_id for name, each in again.items()} == {
        name: each.image_set_id for name, each in found.items()
    }


@pytest.mark.parametrize(
    "attributes",
    [{"PatientID": "A2"}, {"StudyInstanceUID": "1.2.9"}, {"StudyDescription": "x"}, {"PatientComments": "x"}],
)
def test_what_disagrees_in_patient_or_study_is_split(
    store: SQLiteStore, tmp_path: Path, attributes: dict[str, str]
) -> None:
    write_file(tmp_path / "files" / "1", SOPInstanceUID="1.2.3.4.1")
    write_file(tmp_path / "files" / "2", SOPInstanceUID="1.2.3.4.2", **attributes)
    load(store, tmp_path / "files")
    assert sorted(each.is_primary is True for each in image_sets(store)) == [False, True]


def test_what_disagrees_in_the_series_is_not_split(store: SQLiteStore, tmp_path: Path) -> None:
    write_file(tmp_path / "files" / "1", SOPInstanceUID="1.2.3.4.2", StationName="B")
    write_file(tmp_path / "files" / "2", SOPInstanceUID="1.2.3.4.1", StationName="A", PatientComments="")
    load(store, tmp_path / "files")
    [found] = image_sets(store)
    document = store.metadata(ID, [found.image_set_id])[found.image_set_id]
    [series] = json.loads(json.dumps(document))["Study"]["Series"].values()
    assert "StationName" not in series["DICOM"]
    assert [each["DICOM"]["StationName"] for each in series["Instances"].values()] == ["A", "B"]


def test_copies_count_once(store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    before = snapshot(store)
    shutil.copytree(chest, chest / "copy")
    assert load(store, chest) == FolderResult(read=4, unchanged=4, image_sets=MakeResult(unchanged=3))
    assert snapshot(store) == before
    # Moved: what is left says the same.
    (chest / "1").unlink()
    assert load(store, chest, full=True).erased == 1
    assert snapshot(store) == before


def test_an_instance_with_two_contents_is_kept_twice(store: SQLiteStore, chest: Path) -> None:
    write_file(chest / "other", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.1.1", Rows=3)
    load(store, chest)
    of_series = [each for each in image_sets(store) if each.tags["DICOMSeriesInstanceUID"] == "1.2.3.1"]
    assert sorted(each.is_primary is True for each in of_series) == [False, True]
    assert {each.tags["DICOMNumberOfStudyRelatedInstances"] for each in of_series} == {3}
    documents = store.metadata(ID, [each.image_set_id for each in of_series])
    rows = sorted(json.dumps(document).count('"Rows"') for document in documents.values())
    assert rows == [1, 2]
    # Erased with its further contents, an image set does not come back as one of them.
    [primary] = [each.image_set_id for each in of_series if each.is_primary]
    store.remove(ID, [primary])
    assert {each.tags["DICOMSeriesInstanceUID"] for each in image_sets(store)} == {"1.2.3.2", "1.9.1"}


def test_what_is_gone_stays_until_full(store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    before = snapshot(store)
    (chest / "1").unlink()
    (chest / "4").write_text("no longer DICOM")
    assert load(store, chest) == FolderResult(unchanged=2, refused=1)
    assert snapshot(store) == before
    result = load(store, chest, full=True)
    assert result == FolderResult(unchanged=2, refused=1, erased=2, image_sets=MakeResult(updated=2, erased=1))
    assert {each.tags["DICOMNumberOfStudyRelatedInstances"] for each in image_sets(store)} == {2}


def test_full_leaves_other_folders_alone(store: SQLiteStore, chest: Path) -> None:
    chest.rename(chest.parent / "a")
    shutil.copytree(chest.parent / "a", chest.parent / "ab")
    write_file(chest.parent / "ab" / "own", SeriesInstanceUID="1.8.1", SOPInstanceUID="1.8.1.1")
    load(store, chest.parent / "a")
    load(store, chest.parent / "ab")
    shutil.rmtree(chest.parent / "ab")
    assert load(store, chest.parent / "a", full=True).erased == 0
    assert count_where(store, "DICOMSeriesInstanceUID", "1.8.1") == 1


def test_image_sets_from_elsewhere_stay(store: SQLiteStore, chest: Path) -> None:
    other = ImageSet(ID, "0" * 32, 7, None, None, None, None, None, {"DICOMStudyInstanceUID": "1.2.3"})
    store.load(ID, [other])
    load(store, chest)
    shutil.rmtree(chest / "a")
    load(store, chest, full=True)
    assert store.image_sets(ID, ["0" * 32]) == {"0" * 32: other}
    assert store.metadata(ID, ["0" * 32, "x", "1" * 32]) == {}
    # An older summary of what was made of files changes nothing, and a newer one is one version more.
    [made] = [each for each in image_sets(store) if each.tags.get("DICOMSeriesInstanceUID") == "1.9.1"]
    store.load(ID, [made])
    assert store.image_sets(ID, [made.image_set_id]) == {made.image_set_id: made}


def test_what_was_erased_can_be_loaded_again(store: SQLiteStore, tmp_path: Path, chest: Path) -> None:
    load(store, chest)
    before = snapshot(store)
    [gone] = [each.image_set_id for each in image_sets(store) if each.tags["DICOMSeriesInstanceUID"] == "1.2.3.1"]
    assert store.remove(ID, [gone]) == 1
    assert {each.tags["DICOMNumberOfStudyRelatedInstances"] for each in image_sets(store)} == {1}
    assert b"1.2.3.1.1" not in (tmp_path / "store.db").read_bytes()
    assert load(store, chest).read == 2
    assert [row[:1] + row[2:6] for row in snapshot(store)] == [row[:1] + row[2:6] for row in before]
    store.remove_datastore(ID)
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert tables == {"datastores", "watermarks", "sqlite_sequence"}


def test_a_store_from_before_takes_files(tmp_path: Path, chest: Path) -> None:
    open_new(tmp_path / "store.db").close()
    make_older(tmp_path / "store.db", 2)
    with closing(SQLiteStore(tmp_path / "store.db")) as store:
        assert load(store, chest).image_sets.inserted == 3


def test_metadata_is_that_of_its_version(store: SQLiteStore, chest: Path) -> None:
    load(store, chest)
    before = snapshot(store)
    path = write_file(chest / "2", SeriesInstanceUID="1.2.3.1", SOPInstanceUID="1.2.3.1.2", Rows=3)
    changed = [each for each in read_files([os.fsencode(path)]) if isinstance(each, Instance)]
    store.write_files(ID, changed)  # and the load is stopped
    ids = [each.image_set_id for each in image_sets(store)]
    [gone] = ids - store.metadata(ID, ids).keys()
    assert store.image_sets(ID, [gone])[gone].tags["DICOMSeriesInstanceUID"] == "1.2.3.1"
    assert load(store, chest).image_sets == MakeResult(updated=1, unchanged=1)
    assert [row[0] for row in snapshot(store) if row not in before] == [gone]


def test_metadata_has_a_limit(store: SQLiteStore, chest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(store, chest)
    ids = [each.image_set_id for each in image_sets(store)]
    monkeypatch.setattr(sqlite_module, "METADATA_LIMIT", 500)
    assert store.metadata(ID, ids[:1])
    with pytest.raises(InvalidArgument, match="more than 500 bytes together: ask for that of fewer at once"):
        store.metadata(ID, ids)


def test_every_real_file_is_found_again_or_named(store: SQLiteStore) -> None:
    refused: list[RefusedFile] = []
    result = load_folder(REAL, store, ID, refuse=refused.append)
    files = {os.fsencode(path) for path in REAL.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(store._path)) as connection:
        read = dict(connection.execute("SELECT path, series_uid FROM dicom_files_1"))
    assert len(refused) == result.refused
    assert len(read) == result.read > 150
    assert read.keys() | {each.path for each in refused} == files
    assert not read.keys() & {each.path for each in refused}
    found = image_sets(store)
    assert {each.tags["DICOMSeriesInstanceUID"] for each in found} == set(read.values())
    for each in found:
        for field in ("DICOMPatientId", "DICOMSeriesInstanceUID", "DICOMPatientName"):
            for group in filter(None, str(each.value(field) or "").split("=")):
                where = Comparison(field, Operator.EQ, group)
                assert each in store.fetch(Request(ID, where, (), 1_000)).image_sets
    before = snapshot(store)
    assert load_folder(REAL, store, ID).image_sets == MakeResult()
    assert snapshot(store) == before


@pytest.mark.parametrize("name", ["Yamada", "yamada^tarou", "山田", "やまだ^たろう", "太郎"])
def test_names_are_found_by_each_group(store: SQLiteStore, name: str) -> None:
    load(store, REAL / "charset_files")
    assert count_where(store, "DICOMPatientName", name) >= 1


ATTRIBUTES = st.fixed_dictionaries(
    {"SOPInstanceUID": st.integers(1, 6).map(lambda number: f"1.2.3.4.{number}")},
    optional={
        "SeriesInstanceUID": st.sampled_from(("1.2.3.1", "1.2.3.2")),
        "StudyInstanceUID": st.sampled_from(("1.2.1", "1.2.2")),
        "PatientName": st.sampled_from(("García^Ana", "Silva^Rui", "")),
        "StationName": st.sampled_from(("A", "B")),
        "Rows": st.integers(1, 2),
    },
)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.lists(st.tuples(st.integers(0, 7), ATTRIBUTES), max_size=6), min_size=1, max_size=3))
def test_image_sets_depend_on_the_files_alone(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[int, dict[str, object]]]]
) -> None:
    """Loaded in several steps, with changes between them, or at once: the same, but for versions."""
    folder = tmp_path_factory.mktemp("files")
    with (
        closing(open_new(folder / "steps.db")) as steps,
        closing(open_new(folder / "once.db")) as once,
    ):
        for files in runs:
            for number, attributes in files:
                write_file(folder / "files" / str(number), **attributes)
            (folder / "files").mkdir(exist_ok=True)
            load(steps, folder / "files", reread=True)
        load(once, folder / "files")
        found, wanted = snapshot(steps), snapshot(once)
        assert [row[:1] + row[2:6] + row[7:] for row in found] == [row[:1] + row[2:6] + row[7:] for row in wanted]
        assert len({row[0] for row in wanted}) == len(wanted)


def make_many(folder: Path, count: int) -> None:
    for number in range(count):
        study, series = number // 40, number // 20
        write_file(
            folder / str(study) / str(number),
            PatientID=f"P{study}",
            StudyInstanceUID=f"1.2.{study}",
            SeriesInstanceUID=f"1.2.{study}.{series}",
            SOPInstanceUID=f"1.2.{study}.{series}.{number}",
        )
    (folder / "README").write_text("not DICOM")


LOADER = """
import sys, time
from pathlib import Path
from graphql_service.loading.dicom import load_folder, readers
from graphql_service.stores import sqlite

if __name__ == "__main__":
    readers.CHUNK, sqlite._STUDIES = 5, 1
    store = sqlite.SQLiteStore(Path(sys.argv[2]))
    load_folder(Path(sys.argv[1]), store, "d" * 32, progress=lambda _: time.sleep(0.02))
"""


def count_rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}_1").fetchone()[0])  # noqa: S608 - our own names


def test_a_killed_load_goes_on_to_the_same_store(tmp_path: Path) -> None:
    make_many(tmp_path / "files", 200)
    (tmp_path / "loader.py").write_text(LOADER)
    for name in ("killed.db", "once.db"):
        open_new(tmp_path / name).close()
    command = [sys.executable, str(tmp_path / "loader.py"), str(tmp_path / "files")]
    subprocess.run([*command, str(tmp_path / "once.db")], check=True, capture_output=True)
    children = []
    on_the_way = 0
    kills = [*(("dicom_files", 35 * number) for number in range(1, 5)), ("image_sets", 1), ("image_sets", 5)]
    for table, least in kills:
        with subprocess.Popen([*command, str(tmp_path / "killed.db")], stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and count_rows(tmp_path / "killed.db", table) < least:
                time.sleep(0.005)
            children += children_of(process.pid)
            process.kill()
        on_the_way += process.returncode == -signal.SIGKILL
    assert on_the_way >= 4
    subprocess.run([*command, str(tmp_path / "killed.db")], check=True, capture_output=True)
    with closing(SQLiteStore(tmp_path / "killed.db")) as killed, closing(SQLiteStore(tmp_path / "once.db")) as once:
        assert snapshot(killed) == snapshot(once)
        assert len(snapshot(once)) == 10
        assert {each.version for each in image_sets(killed)} == {1}
    deadline = time.monotonic() + 20
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, "a process outlived the load that started it"
        time.sleep(0.05)


def children_of(parent: int) -> list[int]:
    """The processes that a process has started."""
    try:
        threads = list(Path(f"/proc/{parent}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_file_that_ends_its_reader_is_named_and_the_others_are_read(
    tmp_path: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_many(tmp_path / "files", 60)
    monkeypatch.setattr(readers_module, "CHUNK", 5)
    killed = 0

    def kill(_: FolderResult) -> None:
        nonlocal killed
        if killed < 2:
            for child in children_of(os.getpid()):
                with suppress(FileNotFoundError, ProcessLookupError):  # it may just have ended
                    if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(child, signal.SIGKILL)
                        killed += 1

    result = load_folder(tmp_path / "files", store, ID, progress=kill)
    assert killed >= 2
    assert result.read + result.refused == 61
    # Whatever was being read when its reader died may be named; a second load reads it.
    load(store, tmp_path / "files")
    with closing(open_new(tmp_path / "once.db")) as once:
        load(once, tmp_path / "files")
        assert [row[0] for row in snapshot(store)] == [row[0] for row in snapshot(once)]
