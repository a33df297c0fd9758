"""Fits the temperature of a checkpoint's scores on what it tracked in validation data, for tracking/test.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from lib.data.sequence import Sequence
from lib.results.raw import read_boxes, read_numbers
from lib.tracker.build import file_hash
from lib.tracker.confidence import HIT, fit_temperature, write_calibration
from lib.utils.boxes import iou_xywh
from lib.utils.texts import shorten

VALIDATION = "_val"  # end of the name of a data set


def check_calibration(datasets: Collection[str], raw: bool) -> None:
    """Checks that a run can be one for calibration.

    Args:
        datasets: names of the data sets.
        raw: whether the scores are those of the network in PyTorch, on all images.

    Raises:
        ValueError: a data set is not for validation, or the scores are not raw.
    """
    if others := [name for name in datasets if not name.endswith(VALIDATION)]:
        raise ValueError(
            f"--calibrate: {shorten(others)}: expected validation data, names that end in {VALIDATION}, e.g. "
            "LasHeR_val; a benchmark must not choose its own scores"
        )
    if not raw:
        raise ValueError(
            "--calibrate needs the raw scores of transcmd in torch; leave out --runtime, --drop, --sequence and "
            "TRACKER.REDETECT"
        )


def calibrate_checkpoint(
    checkpoint: Path, datasets: Mapping[str, list[Sequence]], folder: Callable[[str], Path]
) -> tuple[Path, float]:
    """Fits the temperature on finished results and stores it beside the checkpoint.

    Args:
        datasets: name → sequences, all tracked.
        folder: function (data set) that returns the folder of its results.

    Returns:
        The path of the calibration, and the temperature.

    Raises:
        ValueError: see `fit_temperature`; or a result is damaged.
        OSError: a result is missing, or the calibration cannot be written.
    """
    scores, hits = [], []
    for name, sequences in datasets.items():
        for sequence in sequences:
            after = slice(sequence.first_visible + 1, None)  # where the tracker starts, it is told the box
            boxes = read_boxes(folder(name) / f"{sequence.name}.txt")
            found = iou_xywh(boxes, sequence.boxes_xywh) >= HIT
            hits.append((found & sequence.visible)[after])
            scores.append(read_numbers(folder(name) / f"{sequence.name}_score.txt")[after])
    temperature = fit_temperature(np.concatenate(scores), np.concatenate(hits))
    source = ", ".join(f"{name} ({len(sequences)})" for name, sequences in datasets.items())
    return write_calibration(checkpoint, file_hash(checkpoint), temperature, source), temperature
