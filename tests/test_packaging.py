"""What is shipped: the wheel, the bundled sample, the locks."""

import gzip
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from graphql_service.sample import open_sample
from graphql_service.sample.make_sample import sample_image_sets, write_sample

ROOT = Path(__file__).parent.parent


def test_wheel_holds_what_the_code_reads(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    [wheel] = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "grammar/imagesets.lark",
        "grammar/py.typed",
        "graphql_service/py.typed",
        "graphql_service/sample/sample.ndjson.gz",
        "graphql_service/web/static/graphiql.js",
        "graphql_service/web/static/imageset-search.js",
        "graphql_service/web/static/licences.txt",
        "graphql_service/web/static/portal.html",
        "imagesets-0.1.0.dist-info/entry_points.txt",
        "imagesets-0.1.0.dist-info/licenses/LICENSE",
    } <= names
    assert not any(name.startswith("graphql_service/web/portal/") for name in names)
    assert {name.split("/")[0] for name in names} == {"grammar", "graphql_service", "imagesets-0.1.0.dist-info"}


def test_sample_is_what_its_script_makes(tmp_path: Path) -> None:
    write_sample(tmp_path / "sample.ndjson.gz")
    with open_sample() as shipped, gzip.open(tmp_path / "sample.ndjson.gz") as made:
        assert shipped.read() == made.read()


def test_sample_has_what_searches_stumble_over() -> None:
    image_sets = [json.loads(json.dumps(image_set)) for image_set in sample_image_sets()]
    tags = [image_set["DICOMTags"] for image_set in image_sets]
    assert len({image_set["imageSetId"] for image_set in image_sets}) == len(image_sets) == 2_001
    assert len({tag["DICOMPatientId"] for tag in tags}) > 100
    assert len({tag.get("DICOMSeriesModality") for tag in tags}) > 5
    instants = [image_set["updatedAt"] for image_set in image_sets]
    assert max(instants.count(instant) for instant in set(instants)) > 100
    assert any("DICOMStudyDate" not in tag for tag in tags)
    assert any(not tag["DICOMPatientName"].isascii() for tag in tags)


LOCKS = ("requirements.txt", "requirements-test.txt")
LOCKED = re.compile(r"([\w.-]+==[^ ]+) (; [^\n]+? )?(--hash=sha256:[0-9a-f]{64} ?)+")


def locked(lock: str) -> list[str]:
    """The requirements of a lock, each on one line."""
    text = (ROOT / lock).read_text().replace("\\\n    ", "")
    return text.splitlines()


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_hashes_and_name_no_host(lock: str) -> None:
    assert [line for line in locked(lock) if not LOCKED.fullmatch(line)] == []


def test_tests_run_on_what_is_run() -> None:
    run, tested = (set(locked(lock)) for lock in LOCKS)
    assert run - tested == set()


@pytest.mark.parametrize(
    ("folder", "package"),
    [
        ("tests/clients", "@aws-sdk/client-medical-imaging"),
        ("tests/browser", "playwright-core"),
        ("tests/benchmarks/peers", "postgraphile"),
        ("graphql_service/web/portal", "graphiql"),
    ],
)
def test_locks_of_javascript_have_hashes_and_name_no_host(folder: str, package: str) -> None:
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert f"node_modules/{package}" in packages
    for name, locked_package in packages.items():
        assert "resolved" not in locked_package
        assert not name or locked_package["integrity"].startswith("sha512-")
