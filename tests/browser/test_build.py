"""What is committed for browsers is what its sources build; `make browser-tests` installs the packages."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "graphql_service" / "web"


@pytest.mark.skipif(
    not (WEB / "portal" / "node_modules").is_dir(), reason="needs npm and the network: `make browser-tests`"
)
def test_what_is_served_is_what_the_sources_build(tmp_path: Path) -> None:
    command = ["node", str(WEB / "portal" / "build.js"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=120)
    built, committed = (
        {path.name: path.read_bytes() for path in each.iterdir()} for each in (tmp_path, WEB / "static")
    )
    assert sorted(built) == sorted(committed)
    assert [name for name in built if built[name] != committed[name]] == []
