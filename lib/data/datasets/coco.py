"""COCO 2017 (RGB images with boxes), for pretraining: each object becomes a video of two identical frames."""

import json

import numpy as np

from lib.data.datasets.folders import find_folder, read_text, rgb_sequence
from lib.data.sequence import Sequence
from lib.data.storage import Store


def coco(store: Store, split: str) -> list[Sequence]:
    """Reads split "train" or "val" as published, without annotations of crowds.

    Raises:
        ValueError: the annotation is not COCO's JSON of object instances.
        FileNotFoundError: the annotation or the image folder is missing.
    """
    key = f"annotations/instances_{split}2017.json"
    folder = find_folder(store, f"{split}2017", f"images/{split}2017")
    try:
        content = json.loads(read_text(store, key))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        objects = [entry for entry in content["annotations"] if not entry["iscrowd"]]
        boxes_xywh = np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4)
        names = [files[entry["image_id"]] for entry in objects]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{store.name}/{key}: not COCO's annotation of object instances: {error!r}; fetch the file again"
        ) from error
    if not objects:
        raise ValueError(f"{store.name}/{key}: contains no object; fetch the file again")
    return [
        rgb_sequence(store, f"{folder}/{name}", (f"{folder}/{name}",) * 2, np.broadcast_to(box, (2, 4)))
        for name, box in zip(names, boxes_xywh, strict=True)
    ]
