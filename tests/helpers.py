"""Small data sets in memory and on disk, with pictures that encode their frame number."""

from __future__ import annotations

from pathlib import Path

import cv2
import lmdb
import numpy as np

HEIGHT, WIDTH = 16, 20  # size of a numbered picture, enough for 320 numbers


def numbered_picture(number: int) -> np.ndarray:
    """(16, 20, 3) uint8 RGB: the number in base 7, as colours that differ after JPEG compression."""
    digits = [number % 7, number // 7 % 7, number // 49]
    return np.full((HEIGHT, WIDTH, 3), np.uint8(digits) * 40, np.uint8)


def numbered_depth(number: int) -> np.ndarray:
    """(16, 20) uint16: a reading of one metre at the pixel with this index, no reading elsewhere."""
    depth = np.zeros(HEIGHT * WIDTH, np.uint16)
    depth[number] = 1000
    return depth.reshape(HEIGHT, WIDTH)


def read_number(picture: np.ndarray) -> int:
    """The number in a `numbered_picture`, or in a colour-mapped `numbered_depth`."""
    far = (
        picture[..., 2].astype(int) > picture[..., 0]
    )  # JET in BGR order: dark red at the reading, dark blue elsewhere
    if far.sum() == 1:
        return int(far.argmax())
    return int(np.rint(picture.mean(axis=(0, 1)) / 40) @ [1, 7, 49])


def encode(image: np.ndarray, suffix: str) -> bytes:
    """RGB, grey or 16-bit picture → bytes of a .jpg, .png or .bmp."""
    options = (cv2.IMWRITE_JPEG_QUALITY, 100) if suffix == ".jpg" else ()
    done, data = cv2.imencode(suffix, image[..., ::-1] if image.ndim == 3 else image, options)
    assert done
    return data.tobytes()


def write_file(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_rows(path: Path, rows) -> None:
    write_file(path, "".join(",".join(str(value) for value in row) + "\n" for row in rows))


def write_video(folder: Path, frames: list[tuple[str, str]], **annotations) -> None:
    """Numbered pictures under the given names, and `<annotation>.txt` of comma-separated rows."""
    for number, names in enumerate(frames):
        for name in names:
            picture = numbered_depth(number) if name.startswith("depth/") else numbered_picture(number)
            write_file(folder / name, encode(picture, Path(name).suffix))
    for name, rows in annotations.items():
        write_rows(folder / f"{name}.txt", rows)


def write_small(root: Path, dataset: str, split: str, sequences: int = 3, frames: int = 6) -> list[Path]:
    """A plain copy of "LasHeR", "DepthTrack" or "VisEvent", split "train" or "test"; the sequences' folders."""
    parent = root / dataset / ({"train": "trainingset", "test": "testingset"}[split] if dataset == "LasHeR" else split)
    boxes = [(4 + t, 3, 11, 12) for t in range(frames)]
    folders = [parent / f"{dataset.lower()}{index}" for index in range(sequences)]
    for folder in folders:
        if dataset == "LasHeR":
            names = [(f"visible/v{t:03d}.jpg", f"infrared/i{t:03d}.jpg") for t in range(frames)]
            write_video(folder, names, visible=boxes, infrared=boxes, init=boxes)
        elif dataset == "DepthTrack":
            names = [(f"color/{t + 1:08d}.jpg", f"depth/{t + 1:08d}.png") for t in range(frames)]
            write_video(folder, names, groundtruth=boxes)
        else:
            names = [(f"vis_imgs/frame{t:04d}.bmp", f"event_imgs/frame{t:04d}.bmp") for t in range(frames)]
            write_video(folder, names, groundtruth=boxes, absent_label=[(1,)] * frames)
    return folders


def pack(folder: Path, path: Path) -> Path:
    """An LMDB of every file below `folder`, with relative paths as keys."""
    with lmdb.open(str(path), subdir=False, map_size=1 << 26, lock=False) as environment:
        with environment.begin(write=True) as transaction:
            for file in folder.rglob("*"):
                if file.is_file():
                    transaction.put(file.relative_to(folder).as_posix().encode(), file.read_bytes())
    return path


class MemoryStore:
    """A store on a dict of key → bytes."""

    def __init__(self, files: dict[str, bytes], name: str = "Memory"):
        self.files, self.name = files, name

    def list(self, folder: str = "") -> list[str]:
        prefix = f"{folder}/" if folder else ""
        names = {key[len(prefix) :].split("/")[0] for key in self.files if key.startswith(prefix)}
        if not names:
            raise FileNotFoundError(f"{self.name}: no folder '{folder}'")
        return sorted(names)

    def read(self, key: str) -> bytes:
        try:
            return self.files[key]
        except KeyError:
            raise FileNotFoundError(f"{self.name}: no file '{key}'") from None
