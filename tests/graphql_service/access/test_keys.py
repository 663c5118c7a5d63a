import json
import logging
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graphql_service.access.keys import (
    KeysAccess,
    KeysFile,
    WireKey,
    add_bearer_key,
    add_wire_key,
    list_keys,
    remove_key,
)
from graphql_service.access.principals import Principal
from graphql_service.errors import InvalidArgument, SettingError, Unauthenticated

SOME = Principal("portal", frozenset({"a" * 32, "b" * 32}))
ALL = Principal("research group", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def refuses(access: KeysAccess, authorization: str | None) -> bool:
    """Whether this is refused, with a sentence that quotes nothing of it."""
    try:
        access.authenticate(authorization)
    except Unauthenticated as error:
        assert not authorization or len(authorization) < 40 or authorization[-40:] not in str(error)
        return True
    return False


def test_a_bearer_key_lets_its_principal_in(path: Path) -> None:
    tokens = {principal: add_bearer_key(path, principal) for principal in (SOME, ALL)}
    access = KeysAccess(KeysFile(path))
    for principal, token in tokens.items():
        for scheme in ("Bearer ", "bearer ", "BEARER   "):
            assert access.authenticate(f"{scheme}{token}") == principal


def test_no_other_header_does(path: Path) -> None:
    token, other = add_bearer_key(path, SOME), add_bearer_key(path, ALL)
    wire = add_wire_key(path, Principal("wire", None))
    access = KeysAccess(KeysFile(path))
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    crossed = f"{token[:26]}{other[26:]}"
    for header in (
        None, "", "Bearer", "Bearer ", f"Bearer{token}", f"Basic {token}", token, f" Bearer {token}",
        f"Bearer {token} ", f"Bearer {token}\n", f"Bearer {token[:-1]}", f"Bearer {token}0", f"Bearer {changed}",
        f"Bearer {crossed}", f"Bearer {token.upper()}", f"Bearer {token}, Bearer {token}", f"Bearer {wire.id}",
        f"Bearer {wire.secret}", f"Bearer imagesets_{wire.id}_{wire.secret}",
        "Bearer imagesets_" + "0" * 16 + "_" + "0" * 64,
    ):  # fmt: skip
        assert refuses(access, header), header
    assert access.authenticate(f"Bearer {token}") == SOME


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeysAccess, str]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    token = add_bearer_key(path, SOME)
    return KeysAccess(KeysFile(path)), token


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text().map("Bearer {}".format) | st.from_regex("Bearer imagesets_[0-9a-f]{16}_[0-9a-f]{64}"))
def test_any_header_is_refused_in_the_declared_way(made: tuple[KeysAccess, str], header: str) -> None:
    access, _ = made
    assert refuses(access, header)


@settings(deadline=None)
@given(st.integers(0, 90), st.characters(codec="ascii"))
def test_a_key_with_one_other_character_is_refused(made: tuple[KeysAccess, str], place: int, character: str) -> None:
    access, token = made
    changed = token[:place] + character + token[place + 1 :]
    assert refuses(access, f"Bearer {changed}") == (changed != token)


def test_the_file_holds_no_bearer_key_and_is_its_owners_alone(path: Path) -> None:
    token = add_bearer_key(path, SOME)
    wire = add_wire_key(path, Principal("wire", None))
    content = path.read_text()
    assert token not in content
    assert token[26:] not in content
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    bearer_entry, wire_entry = json.loads(content)["keys"]
    del bearer_entry["created"], wire_entry["created"]
    assert bearer_entry == {
        "id": token[10:26],
        "name": "portal",
        "datastores": ["a" * 32, "b" * 32],
        "sha256": sha256(token.encode()).hexdigest(),
    }
    assert wire_entry == {"id": wire.id, "name": "wire", "datastores": None, "secret": wire.secret}
    assert wire.secret not in repr(wire)


def test_a_key_works_when_it_is_added_and_not_once_it_is_removed(path: Path) -> None:
    first = add_bearer_key(path, SOME)
    file = KeysFile(path)
    access = KeysAccess(file)
    # Many changes within one tick of a coarse clock, and inodes that come back.
    for _ in range(50):
        second = add_bearer_key(path, ALL)
        assert access.authenticate(f"Bearer {second}") == ALL
        remove_key(path, ALL.name)
        assert refuses(access, f"Bearer {second}")
        wire = add_wire_key(path, ALL)
        assert file.find(wire.id) == wire
        remove_key(path, ALL.name)
        assert file.find(wire.id) is None
    assert access.authenticate(f"Bearer {first}") == SOME


def test_a_key_of_the_same_name_is_another_key(path: Path) -> None:
    old = add_bearer_key(path, SOME)
    remove_key(path, SOME.name)
    new = add_bearer_key(path, SOME)
    access = KeysAccess(KeysFile(path))
    assert refuses(access, f"Bearer {old}")
    assert access.authenticate(f"Bearer {new}") == SOME


def test_names_are_single_and_clean(path: Path) -> None:
    add_bearer_key(path, SOME)
    for add in (add_bearer_key, add_wire_key):
        with pytest.raises(InvalidArgument, match="there is a key 'portal': remove it first, or take another name"):
            add(path, SOME)
        for name in ("", " ", "a ", "a\n", "a\x1b[2J", "n" * 65):
            with pytest.raises(InvalidArgument, match="a key's name has 1 to 64 characters, and no space at its ends"):
                add(path, Principal(name, None))
    with pytest.raises(InvalidArgument, match="there is no key 'nobody': `imagesets keys list` lists them"):
        remove_key(path, "nobody")
    assert [key.principal for key in list_keys(path)] == [SOME]


def test_writers_at_once_lose_nothing(path: Path) -> None:
    def add(number: int) -> str:
        return add_bearer_key(path, Principal(f"thread {number}", None))

    script = (
        "import sys; from pathlib import Path; from graphql_service.access.keys import *\n"
        "from graphql_service.access.principals import Principal\n"
        "for n in range(10): add_wire_key(Path(sys.argv[1]), Principal(f'{sys.argv[2]} {n}', None))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(path), str(each)]) for each in range(3)]
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(add, range(40)))
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    access = KeysAccess(KeysFile(path))
    assert [access.authenticate(f"Bearer {token}").name for token in tokens] == [f"thread {each}" for each in range(40)]
    assert len(list_keys(path)) == 70
    assert list(path.parent.iterdir()) == [path]


def test_readers_never_see_a_part(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = add_bearer_key(path, SOME)
    access = KeysAccess(KeysFile(path))
    done = threading.Event()

    def change() -> None:
        try:
            for number in range(100):
                add_wire_key(path, Principal(f"{number}", None))
        finally:
            done.set()

    writer = threading.Thread(target=change)
    writer.start()
    while not done.is_set():
        assert access.authenticate(f"Bearer {token}") == SOME
    writer.join()
    assert caplog.records == []


def spoil_mode(path: Path) -> None:
    path.chmod(0o640)


def spoil_others_mode(path: Path) -> None:
    path.chmod(0o602)


def spoil_text(path: Path) -> None:
    path.write_text(path.read_text()[:-1])


def spoil_bytes(path: Path) -> None:
    path.write_bytes(b"\xff" + path.read_bytes())


def spoil_depth(path: Path) -> None:
    path.write_text("[" * 100_000)


def change(edit: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """Spoils one entry of the file."""

    def spoil(path: Path) -> None:
        document = json.loads(path.read_text())
        edit(document["keys"][0])
        path.write_text(json.dumps(document))

    return spoil


def repeat(path: Path) -> None:
    document = json.loads(path.read_text())
    document["keys"] *= 2
    path.write_text(json.dumps(document))


def renew(path: Path) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"version": 2}))


def remove(path: Path) -> None:
    path.unlink()


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGED = "is damaged, or no keys file: nobody is let in by it"
OTHERS = "others than its owner may use"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_mode, OTHERS),
        (spoil_others_mode, OTHERS),
        (spoil_text, DAMAGED),
        (spoil_bytes, DAMAGED),
        (spoil_depth, DAMAGED),
        (repeat, DAMAGED),
        (renew, DAMAGED),
        (change(lambda entry: entry.pop("name")), DAMAGED),
        (change(lambda entry: entry.update(name="a\n")), DAMAGED),
        (change(lambda entry: entry.pop("datastores")), DAMAGED),
        (change(lambda entry: entry.update(datastores="*")), DAMAGED),
        (change(lambda entry: entry.update(datastores=["short"])), DAMAGED),
        (change(lambda entry: entry.update(datastores=[["a" * 32]])), DAMAGED),
        (change(lambda entry: entry.update(created="yesterday")), DAMAGED),
        (change(lambda entry: entry.update(sha256="00")), DAMAGED),
        (change(lambda entry: entry.update(more=1)), DAMAGED),
        (change(lambda entry: entry.update(id="IMAGESETS0000000000000000")), DAMAGED),
        (remove, "there is no file"),
        (become_folder, "Is a directory"),
    ],
)
def test_a_file_that_is_refused_lets_nobody_in(
    path: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], reason: str
) -> None:
    token = add_bearer_key(path, SOME)
    wire = add_wire_key(path, ALL)
    file = KeysFile(path)
    access = KeysAccess(file)
    whole = path.read_bytes()
    spoil(path)
    for _ in range(3):
        assert refuses(access, f"Bearer {token}")
        assert file.find(wire.id) is None
    if spoil is not remove:  # else there is no state of it to remember
        assert len(caplog.records) == 1
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert reason in caplog.text
    assert wire.secret not in caplog.text
    for use in (KeysFile, list_keys, lambda path: remove_key(path, "portal")):
        with pytest.raises(SettingError, match=rf"^IMAGESETS_KEYS_FILE: .*{reason}"):
            use(path)
    if path.is_dir():
        path.rmdir()
    path.write_bytes(whole)
    path.chmod(0o600)
    assert access.authenticate(f"Bearer {token}") == SOME


def test_a_file_that_cannot_be_read_for_a_moment_is_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = add_bearer_key(path, SOME)
    access = KeysAccess(KeysFile(path))
    new = add_bearer_key(path, ALL)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No descriptor is left: that is EMFILE.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        refused = [refuses(access, f"Bearer {each}") for each in (token, new, new)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert refused == [True] * 3
    assert access.authenticate(f"Bearer {new}") == ALL
    assert access.authenticate(f"Bearer {token}") == SOME
    assert caplog.messages == [
        f"nobody is let in by a key: IMAGESETS_KEYS_FILE: {path} cannot be read: Too many open files"
    ]


def test_a_refused_file_is_not_written_over(path: Path) -> None:
    add_bearer_key(path, SOME)
    spoil_text(path)
    content = path.read_bytes()
    with pytest.raises(SettingError, match=DAMAGED):
        add_wire_key(path, ALL)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("length", [0, None])
def test_a_missing_or_empty_file_is_no_keys(path: Path, length: int | None) -> None:
    if length is not None:
        path.parent.mkdir()
        path.touch(mode=0o600)
    file = KeysFile(path, required=False)
    assert refuses(KeysAccess(file), "Bearer imagesets_" + "0" * 16 + "_" + "0" * 64)
    token = add_bearer_key(path, SOME)
    assert KeysAccess(file).authenticate(f"Bearer {token}") == SOME


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"^IMAGESETS_KEYS_FILE: .*file/keys.json cannot be written: "):
        add_bearer_key(tmp_path / "file" / "keys.json", SOME)


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    add_bearer_key(path, SOME)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    wire = add_wire_key(link, ALL)
    assert link.is_symlink()
    assert KeysFile(path).find(wire.id) == wire


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["version", "keys", "id", "name"]) | st.text(), inner)
        ),
    ).map(lambda document: json.dumps(document).encode())
)
@example(b'{"version": 1, "keys": {}}')
@example(b'{"version": 1, "keys": [null]}')
@example(b'{"version": 1, "keys": [' + b"1" * 5_000 + b"]}")
def test_any_content_is_refused_in_the_declared_way(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.json"
    path.touch(mode=0o600)
    path.write_bytes(content)
    try:
        keys = list_keys(path)
    except SettingError as error:
        assert str(error) == f"IMAGESETS_KEYS_FILE: {path} {DAMAGED}"
    else:
        assert keys == ()


def test_wire_keys_are_told_from_bearer_keys(path: Path) -> None:
    token, wire = add_bearer_key(path, SOME), add_wire_key(path, ALL)
    file = KeysFile(path)
    assert isinstance(file.find(wire.id), WireKey)
    assert not isinstance(file.find(token[10:26]), WireKey)
