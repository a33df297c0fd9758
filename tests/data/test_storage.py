"""A folder and an LMDB file written from it give the same results in any process."""

import multiprocessing
import os
import pickle
import signal
import struct
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.storage import DiskStore, LmdbStore, check_lmdb, open_store, pack_lmdb
from tests.helpers import MemoryStore, pack, write_file
from tests.processes import ROOT, run

# Names that sort before and after "/": as strings, "a-b" < "a.txt" < "a/…" < "a0"
TREE = [
    "a.txt", "a/x.txt", "a/10.jpg", "a/2.jpg", "a-b/y", "a0/z", "a0.txt", "ab/c/d/e.txt", "ab/c.txt", "ab/c/f",
    "blkboy`shead/visible/v1.jpg", "leftgirl'swhitebag/v1.jpg", "with space/é.txt", "zz/0", "zz!",
]  # fmt: skip


def make_stores(folder, keys):
    for key in keys:
        write_file(folder / "Set" / key, f"content of {key}")
    return DiskStore(folder / "Set"), LmdbStore(pack(folder / "Set", folder / "Set.lmdb"))


@pytest.fixture
def stores(tmp_path):
    return make_stores(tmp_path, TREE)


def folders_of(keys):
    return {""} | {key[:i] for key in keys for i, letter in enumerate(key) if letter == "/"}


def assert_alike(disk, packed, keys):
    for folder in folders_of(keys):
        assert packed.list(folder) == disk.list(folder), folder
    for key in keys:
        assert packed.read(key) == disk.read(key) == f"content of {key}".encode()


def test_folder_and_lmdb_list_and_read_the_same(stores):
    assert_alike(*stores, TREE)
    assert stores[0].list("ab") == ["c", "c.txt"] and stores[0].list("ab/") == stores[1].list("ab/")
    assert [store.name for store in stores] == ["Set", "Set"]


parts = st.text("a0-.!", min_size=1, max_size=3).filter(lambda part: part.strip("."))
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)


@settings(max_examples=20, deadline=None)
@given(st.sets(paths, min_size=1, max_size=12))
def test_folder_and_lmdb_list_and_read_the_same_on_any_tree(tmp_path_factory, keys):
    keys = {key for key in keys if key not in folders_of(keys)}  # a file is not a folder too
    disk, packed = make_stores(tmp_path_factory.mktemp("tree"), keys)
    assert_alike(disk, packed, keys)
    assert_alike(
        disk, MemoryStore({key: f"content of {key}".encode() for key in keys}), keys
    )  # the store used in tests


@pytest.mark.parametrize("kind", [0, 1])
def test_a_missing_file_or_folder_is_named(stores, kind):
    for key in ("a/none.txt", "none/x.txt", "a/x.tx", "a/x.txt."):
        with pytest.raises(FileNotFoundError, match=key):
            stores[kind].read(key)
    for folder in ("none", "a/none", "z", "ab/c/d/e"):
        with pytest.raises(FileNotFoundError, match=folder):
            stores[kind].list(folder)


def test_a_missing_lmdb_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.lmdb"):
        LmdbStore(tmp_path / "none.lmdb").read("a")


def test_two_stores_read_one_lmdb_file_in_one_process(stores):
    packed = stores[1]
    assert packed.read("a.txt")  # opens the file
    second, copy = LmdbStore(packed.path), pickle.loads(pickle.dumps(packed))  # e.g. LasHeR_train and LasHeR_val
    for store in (second, copy, packed, LmdbStore(packed.path.parent / "." / packed.path.name)):
        assert store.read("a/x.txt") == b"content of a/x.txt"


def test_a_replaced_lmdb_file_is_read_anew_after_its_stores_are_deleted(tmp_path):
    assert make_stores(tmp_path, ["a"])[1].list() == ["a"]
    (tmp_path / "Set.lmdb").unlink()
    assert make_stores(tmp_path, ["a", "b"])[1].list() == ["a", "b"]


def read_both(stores, key):
    return [store.read(key) for store in stores] + [stores[-1].list("ab"), LmdbStore(stores[-1].path).read(key)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_stores_work_in_worker_processes_and_in_their_parent(stores, method):
    packed = stores[1]
    stores = (packed, LmdbStore(packed.path), packed)
    expected = read_both(stores, "a/x.txt")  # opens the file before the fork
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        for key in ("a/x.txt", "zz/0"):
            assert pool.submit(read_both, stores, key).result(30) == read_both(stores, key)
    assert read_both(stores, "a/x.txt") == expected


def read_inherited(key, queue):
    queue.put(INHERITED[0].read(key))


INHERITED = []


def test_a_store_inherited_by_a_fork_works_without_pickling(stores):
    INHERITED[:] = [stores[1]]
    stores[1].read("a.txt")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=read_inherited, args=("zz/0", queue))
    process.start()
    assert queue.get(timeout=30) == b"content of zz/0"
    process.join(30)
    assert process.exitcode == 0
    assert stores[1].read("zz/0") == b"content of zz/0"


def test_open_store_takes_a_folder_an_lmdb_file_or_the_lmdb_beside(stores, tmp_path):
    assert isinstance(open_store(tmp_path / "Set", "Set"), DiskStore)
    assert isinstance(open_store(tmp_path / "Set.lmdb", "Other"), LmdbStore)
    (tmp_path / "Set").rename(tmp_path / "moved")
    beside = open_store(tmp_path / "Set", "LasHeR")
    assert isinstance(beside, LmdbStore) and beside.name == "LasHeR"


def test_open_store_says_how_to_set_the_folder_of_a_missing_data_set(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        open_store(tmp_path / "LasHeR", "LasHeR")
    message = str(error.value)
    assert message.startswith(f"LasHeR: no data set at {tmp_path}/LasHeR; ") and "\n" not in message
    assert "--set DATA.ROOTS.LasHeR=DIR" in message and "TRANSCMD_DATA=DIR" in message


# damaged files


@pytest.fixture
def packed(tmp_path):
    """An LMDB file of 40 files of up to 60 KB."""
    for number in range(40):
        write_file(tmp_path / "Set" / f"{number:02d}.jpg", bytes([number]) * (number * 1500 + 1))
    list(pack_lmdb(tmp_path / "Set", tmp_path / "Set.lmdb"))
    return tmp_path / "Set.lmdb"


def test_a_file_that_was_cut_off_is_named_before_it_kills_the_process(packed):
    """LMDB maps the file; a page beyond its end is a SIGBUS. A process of its own, because this one would end too."""
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    code = "import sys; from lib.data.storage import LmdbStore; print(len(LmdbStore(sys.argv[1]).read('39.jpg')))"
    done = run([sys.executable, "-c", code, packed], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1, f"ended by signal {-done.returncode}"
    expected = f"ValueError: {packed}: cut off, {len(whole) // 2} of {len(whole)} bytes; copy the file again"
    assert expected in done.stderr.splitlines()[-1]


def test_every_length_but_the_whole_one_is_refused(packed):
    whole = packed.read_bytes()
    for length in (1, 15, 150, 4096, 5000, 8191, 8192, len(whole) // 2, len(whole) - 4096, len(whole) - 1):
        packed.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="Set.lmdb: (cut off|not an LMDB file, or cut off)"):
            check_lmdb(packed)
    packed.write_bytes(whole)
    check_lmdb(packed)
    assert len(LmdbStore(packed).read("39.jpg")) == 39 * 1500 + 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"not an LMDB file, or cut off \(0 bytes\)"),
        (b"<!DOCTYPE html><html>Not found</html>" * 300, "not an LMDB file, it begins with b'<!DOCTYPE"),
        (bytes(20000), "not an LMDB file, it begins with"),
        (bytes(16) + struct.pack("<II", 0xBEEFC0DE, 999) + bytes(20000), "an LMDB file of version 999, expected 1"),
        (bytes(16) + struct.pack("<II", 0xBEEFC0DE, 1) + bytes(20000), "not an LMDB file, it begins with"),
    ],
)
def test_a_file_that_is_no_lmdb_file_is_named(tmp_path, content, problem):
    (tmp_path / "Set.lmdb").write_bytes(content)
    for use in (lambda store: store.read("a"), lambda store: store.list()):
        with pytest.raises(ValueError, match=f"Set.lmdb: {problem}.*; copy the file again"):
            use(LmdbStore(tmp_path / "Set.lmdb"))


def test_damage_inside_a_file_is_named(packed):
    whole = bytearray(packed.read_bytes())
    whole[8192:] = b"\xff" * (len(whole) - 8192)
    packed.write_bytes(whole)
    with pytest.raises(ValueError, match="Set.lmdb: .*copy the file again"):
        LmdbStore(packed).read("39.jpg")


@pytest.mark.parametrize("key", ["", "x" * 512, "ü" * 300])
def test_a_key_that_lmdb_cannot_have_is_a_missing_file(packed, key):
    with pytest.raises(FileNotFoundError, match="Set.lmdb: no file"):
        LmdbStore(packed).read(key)


# packing


def test_killed_packing_continues_with_what_is_missing(tmp_path, monkeypatch):
    folder, target = tmp_path / "Set", tmp_path / "Set.lmdb"
    for number in range(10):
        write_file(folder / f"{number}.txt", f"content {number}")
    code = (
        "import os, signal, sys; from lib.data.storage import pack_lmdb\n"
        "for number, key in enumerate(pack_lmdb(*sys.argv[1:])):\n"
        "    if number == 5: os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert run([sys.executable, "-c", code, folder, target], env=environment).returncode == -signal.SIGKILL
    assert not target.exists() and (tmp_path / ".Set.lmdb.part").exists()
    (folder / "0.txt").write_text("changed 0")  # same length
    (folder / "1.txt").unlink()
    read, original = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or original(path))
    keys = list(pack_lmdb(folder, target))
    assert read == ["0.txt", *(f"{number}.txt" for number in range(6, 10))]
    assert keys == LmdbStore(target).list() == ["0.txt", *(f"{number}.txt" for number in range(2, 10))]
    assert LmdbStore(target).read("0.txt") == b"changed 0" and LmdbStore(target).read("9.txt") == b"content 9"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Set", "Set.lmdb"]


def test_unfinished_packing_of_another_folder_or_a_damaged_file_is_not_continued(tmp_path):
    for name in ("A", "B"):
        write_file(tmp_path / name / "x", f"of {name}")
    next(pack_lmdb(tmp_path / "A", tmp_path / "Set.lmdb"))
    assert list(pack_lmdb(tmp_path / "B", tmp_path / "Set.lmdb")) == ["x"]
    assert LmdbStore(tmp_path / "Set.lmdb").read("x") == b"of B"
    (tmp_path / ".Second.lmdb.part").write_bytes(b"?" * 10000)
    assert list(pack_lmdb(tmp_path / "A", tmp_path / "Second.lmdb")) == ["x"]
    assert LmdbStore(tmp_path / "Second.lmdb").read("x") == b"of A"


def test_a_full_disk_ends_packing_in_one_line_and_the_next_run_continues(tmp_path):
    for number in range(30):
        write_file(tmp_path / "Set" / f"{number:02d}.bin", bytes([number]) * 20000)
    command = f"{sys.executable} {ROOT}/tracking/pack_lmdb.py Set Set.lmdb"
    done = run(["bash", "-c", f"ulimit -f 300; exec {command}"], cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: Set.lmdb: ") and "free space" in done.stderr
    assert run(["bash", "-c", command], cwd=tmp_path).returncode == 0
    store = LmdbStore(tmp_path / "Set.lmdb")
    assert all(store.read(f"{number:02d}.bin") == bytes([number]) * 20000 for number in range(30))


def test_a_path_that_cannot_be_a_key_is_named(tmp_path):
    write_file(tmp_path / "Set" / "/".join(["folder" * 20] * 5) / "x", "")
    with pytest.raises(ValueError, match="a path of 606 bytes, LMDB allows 511; shorten it"):
        list(pack_lmdb(tmp_path / "Set", tmp_path / "Set.lmdb"))
    write_file(tmp_path / "Other" / os.fsdecode(b"\xff.txt"), "")
    with pytest.raises(ValueError, match="the name is not UTF-8"):
        list(pack_lmdb(tmp_path / "Other", tmp_path / "Set.lmdb"))
