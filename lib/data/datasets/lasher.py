"""LasHeR (RGB-thermal, 979 + 245 videos), as downloaded: file names differ between sequences and are never built."""

from lib.data.datasets.folders import (
    build_sequence,
    find_folder,
    list_sequences,
    load_folder,
    read_numbers,
    split_names,
)
from lib.data.sequence import Sequence
from lib.data.storage import Store


def lasher(store: Store, split: str) -> list[Sequence]:
    """Splits "train", "val" (97 of the training set, as ViPT holds out) and "test"."""
    if split == "test":
        folder = find_folder(store, "testingset", "test/testingset", "test")
        return load_folder(store, folder, list_sequences(store, folder, "visible"), _read)
    folder = find_folder(store, "trainingset", "train/trainingset", "train")
    names = split_names(list_sequences(store, folder, "visible"), split, "lasher_val.txt")
    return load_folder(store, folder, names, _read)


def _read(store: Store, folder: str) -> Sequence:
    # Both modalities share one annotation in the aligned release; absent is w = h = 0.
    annotation = "visible.txt" if "visible.txt" in store.list(folder) else "init.txt"
    boxes_xywh = read_numbers(store, f"{folder}/{annotation}", (4,))
    return build_sequence(store, folder, "rgbt", ("visible", "infrared"), boxes_xywh)
