"""`imagesets keys`, as it is run: what it prints, where, and what comes of it."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from graphql_service.access.keys import KeysAccess, KeysFile, WireKey, list_keys
from graphql_service.access.principals import Principal
from graphql_service.cli import main
from graphql_service.stores.sqlite import SQLiteStore

DATASTORE = "a" * 32


class Ran(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


@pytest.fixture
def run(tmp_path: Path, keys_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the program in this process, with a keys file and a store of its own."""
    monkeypatch.setenv("IMAGESETS_KEYS_FILE", str(keys_file))
    monkeypatch.setenv("IMAGESETS_STORE", f"sqlite:///{tmp_path}/store.db")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["imagesets", "keys", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, out, err)

    return run


def test_a_bearer_key_is_printed_once(run: Run, keys_file: Path) -> None:
    ran = run("add", "portal")
    assert ran.status == 0
    assert re.fullmatch("imagesets_[0-9a-f]{16}_[0-9a-f]{64}\n", ran.out)
    assert ran.err == (
        "'portal' may search every data store. Send it as the header 'Authorization: Bearer KEY'."
        " It is not shown again.\n"
    )
    access = KeysAccess(KeysFile(keys_file))
    assert access.authenticate(f"Bearer {ran.out.strip()}") == Principal("portal", None)


def test_a_wire_key_is_printed_as_an_environment(run: Run, keys_file: Path) -> None:
    ran = run("add", "scanner", "--wire", "--datastore", DATASTORE)
    assert ran.status == 0
    printed = dict(line.split("=") for line in ran.out.splitlines())
    [key] = list_keys(keys_file)
    assert isinstance(key, WireKey)
    assert printed == {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret}
    assert key.principal == Principal("scanner", frozenset({DATASTORE}))
    assert ran.err == (
        f"'scanner' may search data store {DATASTORE}. Give both to the AWS CLI or an SDK, as variables of its"
        " environment or in its credentials file. It is not shown again.\n"
    )


def test_a_data_store_is_named_by_id_or_name(run: Run, keys_file: Path, tmp_path: Path) -> None:
    assert run("add", "portal", "--datastore", "mine") == Ran(
        1, "", f"Error: there is no store at {tmp_path}/store.db; `imagesets load` makes one\n"
    )
    store = SQLiteStore(tmp_path / "store.db", create=True)
    mine = store.create_datastore("mine").datastore_id
    store.close()
    assert run("add", "portal", "--datastore", "other") == Ran(
        2, "", "Error: there is no data store 'other'; `imagesets datastores` lists what there is\n"
    )
    assert not keys_file.exists()
    ran = run("add", "portal", "--datastore", "mine", "--datastore", DATASTORE)
    first, second = sorted((mine, DATASTORE))
    assert ran.err.startswith(f"'portal' may search data stores {first}, {second}. ")
    [key] = list_keys(keys_file)
    assert key.principal.datastores == frozenset({mine, DATASTORE})


def test_the_list_shows_no_secret(run: Run, keys_file: Path) -> None:
    assert run("list") == Ran(
        2, "", f"Error: IMAGESETS_KEYS_FILE: there is no file {keys_file}: `imagesets keys add NAME` makes it\n"
    )
    token = run("add", "portal").out.strip()
    wire = run("add", "a scanner", "--wire", "--datastore", DATASTORE).out
    ran = run("list")
    assert (ran.status, ran.err) == (0, "")
    lines = [re.split("  +", line.strip()) for line in ran.out.splitlines()]
    made = [f"{key.created:%Y-%m-%d %H:%M}" for key in list_keys(keys_file)]
    assert lines[0] == ["Name", "Kind", "Id", "Made (UTC)", "Data stores"]
    assert lines[2:] == [
        ["a scanner", "wire", wire.split("=")[1].split()[0], made[0], DATASTORE],
        ["portal", "bearer", token[10:26], made[1], "all"],
    ]
    assert token[27:] not in ran.out
    assert wire.split("=")[2].strip() not in ran.out


def test_a_key_is_removed_by_its_name(run: Run, keys_file: Path) -> None:
    token = run("add", "portal").out.strip()
    access = KeysAccess(KeysFile(keys_file))
    assert access.authenticate(f"Bearer {token}").name == "portal"
    assert run("add", "portal") == Ran(2, "", "Error: there is a key 'portal': remove it first, or take another name\n")
    assert run("remove", "portal") == Ran(0, "", "'portal' is not let in any more.\n")
    assert list_keys(keys_file) == ()
    assert run("remove", "portal") == Ran(2, "", "Error: there is no key 'portal': `imagesets keys list` lists them\n")


def test_a_bad_setting_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESETS_KEYS_FILE", "keys.json")
    for command in (("add", "portal"), ("list",), ("remove", "portal")):
        assert run(*command) == Ran(2, "", "Error: IMAGESETS_KEYS_FILE must be an absolute path; it is 'keys.json'\n")
