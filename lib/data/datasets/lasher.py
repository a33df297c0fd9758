"""LasHeR (RGB-thermal, 979 training and 245 test videos). File names differ between sequences and are always listed."""

from lib.data.datasets.folders import build_sequence, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store


def lasher(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (97 videos of the training set, as in ViPT), "test" or "all" (protocol 1).

    Raises as `load_split`.
    """
    if split == "all":
        return lasher(store, "test") + lasher(store, "train") + lasher(store, "val")
    part = "test" if split == "test" else "train"
    folders = (f"{part}ingset", f"{part}/{part}ingset", part)
    return load_split(store, split, folders, "visible", _read, val_list="lasher_val.txt")


def _read(store: Store, folder: str) -> Sequence:
    # In the aligned release both modalities have the same boxes. An absent target has w = h = 0.
    annotation = "visible.txt" if "visible.txt" in store.list(folder) else "init.txt"
    boxes_xywh = read_numbers(store, f"{folder}/{annotation}", (4,))
    return build_sequence(store, folder, "rgbt", ("visible", "infrared"), boxes_xywh)
