"""The pages in a browser: each file of tests is run by node, against a service of its own on this machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SOURCES = FOLDER.parents[1] / "graphql_service/web/portal"

pytestmark = pytest.mark.skipif(
    shutil.which("chromium") is None or not all((folder / "node_modules").is_dir() for folder in (FOLDER, SOURCES)),
    reason="needs npm, the network and chromium: `make browser-tests`",
)


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.test.js")))
def test_a_page_does_what_its_tests_say(
    file: str,
    address: str,
    crowded: str,
    mounted: str,
    healthimaging: str,
    guarded: dict[str, str],
    exports: dict[str, str],
) -> None:
    addresses = {"ADDRESS": address, "CROWDED": crowded, "MOUNTED": mounted, "HEALTHIMAGING": healthimaging}
    environ = os.environ | addresses | guarded | exports | {"CHROMIUM": shutil.which("chromium") or ""}
    command = ["node", "--test", "--test-concurrency=1", str(FOLDER / file)]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stdout + ran.stderr
