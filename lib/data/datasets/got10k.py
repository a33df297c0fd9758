"""GOT-10k (RGB, 9,335 training and 180 validation videos), for pretraining."""

from lib.data.datasets.folders import check_flags, list_frames, list_sequences, read_each, read_numbers, rgb_sequence
from lib.data.sequence import Sequence
from lib.data.storage import Store


def got10k(store: Store, split: str) -> list[Sequence]:
    """Reads split "train" or "val" as published.

    Raises:
        FileNotFoundError: there is no sequence, or a file is missing.
        ValueError: an annotation is invalid.
    """
    names = list_sequences(store, split, "groundtruth.txt")
    return read_each(store, [f"{split}/{name}" for name in names], _read)


def _read(store: Store, folder: str) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder}/groundtruth.txt", (4,))
    absent, cover = (
        check_flags(read_numbers(store, key, (1,))[:, 0], len(boxes_xywh), f"{store.name}/{key}")
        for key in (f"{folder}/absence.label", f"{folder}/cover.label")
    )
    visible = (absent == 0) & (cover > 0)  # cover: visible part of the target, in eighths
    return rgb_sequence(store, folder, list_frames(store, folder), boxes_xywh, visible)
