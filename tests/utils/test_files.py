"""Writing of files. tests/utils/test_locks.py has what killed processes leave."""

import os

import pytest

from lib.utils.files import check_writable


def test_a_folder_that_cannot_be_written_is_found_without_writing(tmp_path, monkeypatch):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="expected a folder.*file'"):
        check_writable(tmp_path / "file" / "b" / "c")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a test may run as root, who may write everywhere
    with pytest.raises(PermissionError, match=f"cannot be written.*{tmp_path.name}"):
        check_writable(tmp_path / "a")
