import os
import socket
from pathlib import Path

import pytest

from graphql_service.loading.dicom.folder import FoundFile, RefusedFile, find_files


def found_in(folder: Path) -> dict[str, str]:
    """What is found, by its path in the folder: its size, or why it is refused."""
    found = {}
    for each in find_files(os.fsencode(folder)):
        path = os.fsdecode(each.path)
        assert path not in found
        found[os.path.relpath(path, folder)] = str(each.size) if isinstance(each, FoundFile) else each.reason
    return found


def test_files_are_found_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "a" / "b" / "c" / "two").write_bytes(b"22")
    os.utime(tmp_path / "one", ns=(5, 1_234_567_890_123_456_789))
    found = {each.path: each for each in find_files(os.fsencode(tmp_path))}
    one = os.fsencode(tmp_path / "one")
    assert found[one] == FoundFile(one, 1, 1_234_567_890_123_456_789)
    assert found_in(tmp_path) == {"one": "1", "a/b/c/two": "2"}


def test_names_need_not_be_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/M\xfcller\n"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    [found] = find_files(os.fsencode(tmp_path))
    assert found.path == path


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(tmp_path)  # the path of a socket is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    assert found_in(tmp_path) == {
        "pipe": "not a regular file",
        "socket": "not a regular file",
        "lost": "a link that leads nowhere",
    }


def test_links_are_followed_but_never_round(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    (folder / "a" / "b").mkdir(parents=True)
    (outside / "c").mkdir(parents=True)
    (folder / "a" / "one").write_bytes(b"1")
    (outside / "c" / "two").write_bytes(b"22")
    (folder / "a" / "b" / "up").symlink_to(folder)
    (folder / "sideways").symlink_to(folder / "a")
    (folder / "self").symlink_to(folder / "self")
    (folder / "file").symlink_to(folder / "a" / "one")
    (folder / "out").symlink_to(outside)
    (folder / "out again").symlink_to(outside)
    (outside / "back").symlink_to(folder)
    (outside / "c" / "round").symlink_to(outside)
    found = found_in(folder)
    loop = found.pop("self")
    assert loop in ("a link that leads nowhere", "cannot be read: Too many levels of symbolic links")
    twice = found.pop("out/c/two", None) or found.pop("out again/c/two")
    assert twice == "2"
    assert found == {"a/one": "1", "file": "1"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "one").touch()
    assert found_in(tmp_path) == {"closed": "cannot be read: Permission denied", "one": "0"}


def test_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "gone")
    reason = "cannot be read: No such file or directory"
    assert list(find_files(path)) == [RefusedFile(path, reason, unreadable=True)]
