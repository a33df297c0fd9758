"""A folder and an LMDB file written from it give the same results in any process."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.storage import DiskStore, LmdbStore, open_store
from tests.helpers import MemoryStore, pack, write_file

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
