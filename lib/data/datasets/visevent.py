"""VisEvent (RGB-event, 500 training and 320 test videos).

Frames are bmp or png files, with gaps in the numbers. In `absent_label.txt`, 1 means that the target is present.
"""

from lib.data.datasets.folders import build_sequence, load_split, read_numbers
from lib.data.sequence import Sequence
from lib.data.storage import Store


def visevent(store: Store, split: str) -> list[Sequence]:
    """Reads split "train", "val" (a fixed tenth of the training set, ours) or "test". Raises as `load_split`."""
    part = "test" if split == "test" else "train"
    return load_split(store, split, (part, f"{part}_subset"), "vis_imgs", _read, f"{part}list.txt")


def _read(store: Store, folder: str) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    visible = None
    if "absent_label.txt" in store.list(folder):
        visible = read_numbers(store, f"{folder}/absent_label.txt", (1,))[:, 0] > 0
    return build_sequence(store, folder, "rgbe", ("vis_imgs", "event_imgs"), boxes_xywh, visible)
