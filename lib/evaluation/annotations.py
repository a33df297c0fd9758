"""Ground truth for scoring, from a data set or from annotation files that are published without images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.sequence import Sequence
from lib.results.raw import read_boxes, read_numbers
from lib.results.vot_files import Anchor, anchors_of, read_anchors
from lib.utils.boxes import is_valid, xyxy_to_xywh
from lib.utils.files import decode_text, is_clutter, parse_rows


@dataclass(frozen=True, eq=False)
class Annotation:
    """The ground truth of one sequence of N frames. Boxes are in image pixels."""

    name: str
    boxes_xywh: np.ndarray  # (N, 4) float64, unchanged from the data set: rules depend on zeros and NaN
    visible: np.ndarray  # (N,) bool; False where the target is labelled absent
    aux_boxes_xywh: np.ndarray | None = None  # (N, 4), if each modality has its own annotation
    size: tuple[int, int] | None = None  # width and height of the images in pixels, if known
    anchors: tuple[Anchor, ...] = ()  # where runs start, for multi-start benchmarks
    # Numbers of all images of the sequence, ascending, counted from the first one; None if every frame is annotated, or
    # without images. Images between annotated ones can be missing.
    numbers: np.ndarray | None = None

    def select(self, rows: np.ndarray, every: int) -> np.ndarray:
        """Returns the rows of a result that belong to annotated frames; another number than N if it does not fit.

        If images are missing, a result can have a row for each image that is there, or for each image number.

        Args:
            rows: (R, ...) one row per frame.
            every: every n-th frame is annotated, starting with the first.
        """
        if self.numbers is None or len(rows) != len(self.numbers):
            return rows[::every]
        return rows[self.numbers % every == 0]

    def fits_images(self, rows: int) -> bool:
        """Returns whether a result has one row per image, or per image number; also True if the images are unknown."""
        if self.numbers is None or not len(self.numbers):
            return True
        return rows in (len(self.numbers), self.numbers[-1] + 1)


# Annotation files in a sequence's folder: files of RGB and of the auxiliary modality; whether rows are x1 y1 x2 y2.
FILES = (
    (("visible.txt", "infrared.txt"), False),  # RGBT234
    (("groundTruth_v.txt", "groundTruth_i.txt"), True),  # GTOT
    (("rgb.txt", "ir.txt"), False),  # VTUAV
    (("init.txt",), False),  # RGBT210
    (("groundtruth.txt",), False),  # DepthTrack, CDTB, RGBD1K, COESOT
)
ANCHORS = "anchor.value"  # next to groundtruth.txt, for multi-start benchmarks
PRESENT = ("absent.txt", "absent_label.txt")  # next to groundtruth.txt, one number per frame: 1 = present
PREFIX = "GT_"  # prefix of all files of STC


def annotations_from_folder(folder: Path) -> list[Annotation]:
    """Reads annotations that were published without images.

    Accepts `<sequence>.txt` files, optionally with the prefix GT_; `gt_rect/` and `absent/` (1 = absent) as in the
    evaluation code of VisEvent; or one folder per sequence with one file, or with one file per modality.

    Without absence labels, the target is visible in all frames with a valid box.

    Raises:
        FileNotFoundError: the folder contains no annotation.
        ValueError: a file is invalid, or the numbers of labels and boxes differ.
    """
    folder = Path(folder)
    if (folder / "groundtruth").is_dir():
        folder = folder / "groundtruth"
    labels = folder / "absent" if (folder / "gt_rect").is_dir() else None
    paths = [
        path for path in sorted((folder / "gt_rect" if labels else folder).glob("*.txt")) if not is_clutter(path.name)
    ]
    annotations = [_from_file(path, labels) for path in paths]
    annotations = annotations or [_from_files(*found) for found in map(_find_files, sorted(folder.iterdir())) if found]
    if not annotations:
        raise FileNotFoundError(
            f"{folder}: no annotation, expected <sequence>.txt files, gt_rect/ and absent/, or folders with "
            f"{', '.join(' and '.join(names) for names, _ in FILES)}"
        )
    return annotations


def is_annotation_folder(folder: Path) -> bool:
    """Returns whether a folder has annotations without images, for `annotations_from_folder`, and is no data set."""
    if any((folder / name).is_dir() for name in ("gt_rect", "groundtruth")):
        return True
    entries = [path for path in sorted(folder.iterdir()) if not is_clutter(path.name)]
    sequences = [path for path in entries if path.is_dir()]
    if not sequences:
        return any(path.suffix == ".txt" for path in entries)
    return any(_find_files(path) and not any(p.is_dir() for p in path.iterdir()) for path in sequences[:3])


def _from_file(path: Path, labels: Path | None) -> Annotation:
    boxes = _read_annotation(path)
    visible = read_numbers(labels / path.name) == 0 if labels else is_valid(boxes)
    if len(visible) != len(boxes):
        raise ValueError(f"{labels / path.name}: {len(visible)} labels for {len(boxes)} boxes")
    return Annotation(path.stem.removeprefix(PREFIX), boxes, visible)


def _find_files(folder: Path) -> tuple[list[Path], bool] | None:
    for names, corners in FILES:
        paths = [folder / name for name in names]
        if all(path.is_file() for path in paths):
            return paths, corners
    return None


def _from_files(paths: list[Path], corners: bool) -> Annotation:
    boxes = [_read_annotation(path) for path in paths]
    if corners:
        boxes = [xyxy_to_xywh(b) for b in boxes]
    if len(boxes) > 1 and len(boxes[0]) != len(boxes[1]):
        raise ValueError(f"{paths[0]}: {len(boxes[0])} boxes, but {len(boxes[1])} in {paths[1].name}")
    visible = is_valid(boxes[0])
    for labels in filter(Path.is_file, map(paths[0].with_name, PRESENT)):
        flags = read_numbers(labels)
        if len(flags) != len(visible):
            raise ValueError(f"{labels}: {len(flags)} labels for {len(visible)} boxes")
        visible = visible & (flags > 0)
    anchors = paths[0].with_name(ANCHORS)
    return Annotation(
        paths[0].parent.name,
        boxes[0],
        visible,
        boxes[1] if len(boxes) > 1 else None,
        anchors=tuple(read_anchors(anchors, len(visible))) if anchors.is_file() else (),
    )


def _read_annotation(path: Path) -> np.ndarray:
    boxes = read_boxes(path)
    if not len(boxes):
        raise ValueError(f"{path}: no box")
    return boxes


def annotations_from_sequences(
    sequences: Iterable[Sequence], with_size: bool = False, with_anchors: bool = False, every: int = 1
) -> list[Annotation]:
    """Makes annotations from the names, boxes and visibility flags of `Sequence`s.

    Args:
        with_size: read the first image of each sequence to get the image size.
        with_anchors: read the anchors of each sequence.
        every: annotations of every n-th frame only, see `Sequence.every_nth`.

    Raises:
        FileNotFoundError: an image or the file of the anchors is missing.
        ValueError: an image cannot be decoded, or the anchors are invalid.
    """
    return [
        Annotation(
            s.name,
            s.boxes_xywh,
            s.visible,
            s.aux_boxes_xywh,
            s.frame(0).rgb.shape[1::-1] if with_size else None,
            _anchors_of(s) if with_anchors else (),
            np.arange(len(whole)) if every > 1 and whole.numbers is None else whole.numbers,
        )
        for whole in sequences
        for s in [whole.every_nth(every)]
    ]


def _anchors_of(sequence: Sequence) -> tuple[Anchor, ...]:
    key = f"{sequence.rgb_keys[0].rsplit('/', 2)[0]}/{ANCHORS}"
    where = f"{sequence.store.name}/{key}"
    values = parse_rows(decode_text(sequence.store.read(key), where), where, columns=(1,))[:, 0]
    return tuple(anchors_of(values, where))
