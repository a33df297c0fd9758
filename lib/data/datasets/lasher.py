"""LasHeR (RGB-thermal, 979 + 245 videos), as downloaded: file names differ between sequences and are never built."""

from lib.data.datasets.folders import build_sequence, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store


def lasher(store: Store, split: str) -> list[Sequence]:
    """Splits "train", "val" (97 of the training set, as ViPT holds out), "test" and "all" (protocol 1: all of it)."""
    if split == "all":
        return lasher(store, "test") + lasher(store, "train") + lasher(store, "val")
    part = "test" if split == "test" else "train"
    folders = (f"{part}ingset", f"{part}/{part}ingset", part)
    return load_split(store, split, folders, "visible", _read, val_list="lasher_val.txt")


def _read(store: Store, folder: str) -> Sequence:
    # Both modalities share one annotation in the aligned release; absent is w = h = 0.
    annotation = "visible.txt" if "visible.txt" in store.list(folder) else "init.txt"
    boxes_xywh = read_numbers(store, f"{folder}/{annotation}", (4,))
    return build_sequence(store, folder, "rgbt", ("visible", "infrared"), boxes_xywh)
