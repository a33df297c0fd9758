"""TrackingNet (RGB, 30,132 training videos), for pretraining. Reads those of the twelve parts that are present."""

from collections.abc import Sequence as SequenceOf
from typing import overload

from lib.data.datasets.folders import read_each, read_numbers, rgb_sequence
from lib.data.sequence import Sequence
from lib.data.storage import Store


class NumberedKeys(SequenceOf):
    """A sequence of keys "<folder>/0.jpg", "<folder>/1.jpg", … that are computed on access.

    The frames of TrackingNet are not listed: fourteen million names need too much time and memory, and all names follow
    this pattern.
    """

    def __init__(self, folder: str, count: int):
        self.folder, self.count = folder, count

    def __len__(self) -> int:
        return self.count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "list[str]": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [f"{self.folder}/{i}.jpg" for i in range(*index.indices(self.count))]
        return f"{self.folder}/{range(self.count)[index]}.jpg"


def trackingnet(store: Store, split: str) -> list[Sequence]:
    """Reads split "train": every video of TRAIN_0 to TRAIN_11.

    Raises:
        FileNotFoundError: there is no annotation.
        ValueError: an annotation is invalid.
    """
    parts = [name for name in store.list() if name.startswith("TRAIN_") and name.removeprefix("TRAIN_").isdecimal()]
    found = []
    for part in sorted(parts, key=lambda name: int(name.removeprefix("TRAIN_"))):
        videos = [name.removesuffix(".txt") for name in store.list(f"{part}/anno") if name.endswith(".txt")]
        found += [f"{part}/frames/{video}" for video in videos]
    if not found:
        raise FileNotFoundError(
            f"{store.name}: no annotation in TRAIN_0/anno to TRAIN_11/anno; check the path and the download"
        )
    return read_each(store, found, _read)


def _read(store: Store, folder: str) -> Sequence:
    boxes_xywh = read_numbers(store, f"{folder.replace('/frames/', '/anno/', 1)}.txt", (4,))
    return rgb_sequence(store, folder, NumberedKeys(folder, len(boxes_xywh)), boxes_xywh)
