import errno

import pytest

from multiposenet.errors import UserError
from multiposenet.files import make_folder, replacing, write_whole


def test_writes_text_and_bytes(tmp_path):
    write_whole(tmp_path / "a.txt", "text")
    write_whole(tmp_path / "b.bin", b"\x00")
    assert (tmp_path / "a.txt").read_text() == "text" and (tmp_path / "b.bin").read_bytes() == b"\x00"
    assert len(list(tmp_path.iterdir())) == 2


def test_full_disk_keeps_what_was_there(tmp_path):
    file = tmp_path / "weights.h5"
    file.write_text("before")
    with pytest.raises(UserError, match="weights.h5: cannot be written .*No space left"):
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_other_errors_pass_and_leave_nothing(tmp_path):
    with pytest.raises(KeyError):
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        write_whole(tmp_path / "nowhere" / "a", "text")


def test_folders_are_made_with_those_above(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be made a folder"):
        make_folder(tmp_path / "file")
