"""Whether a tracker still sees its target: a calibrated score, loss and return with hysteresis, a wider search.

Ours: all numbers. Temperature: Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Imports no torch.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from lib.utils.files import read_text, write_text

LOST, FOUND = 0.1, 0.5  # calibrated scores: below the first, the target may be lost; from the second, it is found again
PATIENCE = 5  # frames below LOST in a row after which it is lost
ANNOUNCED = 12  # frames for which a target that was found again is called so
GROWTH, STEPS = 1.25, 6  # factor of the search crop's side per frame of a loss; frames after which it starts again
WATCH_RULES = 3  # of `Watch`; increase with any change of its predictions, so that results are tracked again
SCORE_EPS = 1e-4  # as in the head: the logarithm of the odds is finite
MIN_SCORES = 50  # tracked frames that a temperature is fitted on
HIT = 0.5  # IoU from which a box is right
TEMPERATURES = np.geomspace(0.1, 20, 1000)


def calibrate(score, temperature: float):
    """Maps scores in [0, 1], numbers or arrays, to sigmoid(logit(score) / temperature)."""
    clipped = np.clip(score, SCORE_EPS, 1 - SCORE_EPS)
    return 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)) / temperature))


def fit_temperature(scores: np.ndarray, hits: np.ndarray) -> float:
    """Returns the temperature under which the calibrated scores predict best whether boxes are right.

    It minimises the negative log likelihood over TEMPERATURES.

    Args:
        scores: (N,) raw scores in [0, 1].
        hits: (N,) bool, whether the box was right.

    Raises:
        ValueError: there are fewer than MIN_SCORES scores, or all boxes are right, or none.
    """
    if len(scores) < MIN_SCORES or hits.all() or not hits.any():
        raise ValueError(
            f"calibration: {int(hits.sum())} of {len(hits)} boxes are right; expected at least {MIN_SCORES} boxes, "
            "some right and some wrong: name more validation data"
        )
    likelihoods = []
    for temperature in TEMPERATURES:
        chance = np.clip(calibrate(scores, temperature), SCORE_EPS, 1 - SCORE_EPS)
        likelihoods.append(np.log(np.where(hits, chance, 1 - chance)).mean())
    return float(TEMPERATURES[int(np.argmax(likelihoods))])


def calibration_path(checkpoint: Path) -> Path:
    """Returns the path of the JSON beside a checkpoint that states its temperature."""
    return checkpoint.with_name(f"{checkpoint.name}.calibration.json")


def write_calibration(checkpoint: Path, sha256: str, temperature: float, source: str) -> Path:
    """Stores a temperature beside the weights that it belongs to; returns the path.

    Args:
        sha256: of the checkpoint.
        source: the data that it was fitted on, for readers.

    Raises:
        OSError: the file cannot be written.
    """
    path = calibration_path(checkpoint)
    write_text(path, json.dumps({"sha256": sha256, "temperature": temperature, "data": source}, indent=1))
    return path


def read_temperature(checkpoint: Path, sha256: str) -> float:
    """Returns the temperature beside a checkpoint; without one 1, which leaves scores as they are.

    Raises:
        ValueError: the file is damaged or belongs to other weights; names it.
    """
    path = calibration_path(checkpoint)
    if not path.is_file():
        return 1.0
    again = "fit it again with tracking/test.py --calibrate, or remove it"
    try:
        stored = json.loads(read_text(path))
        temperature, owner = float(stored["temperature"]), stored["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a calibration; {again}") from error
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"{path}: temperature {temperature}, expected a finite number above 0; {again}")
    if owner != sha256:
        raise ValueError(f"{path}: belongs to other weights, sha256 {str(owner)[:16]}…, not {sha256[:16]}…; {again}")
    return temperature


class Watch:
    """Follows the scores of one target.

    The target is lost after PATIENCE scores below LOST in a row, and found again with a score of at least FOUND. While
    it is lost, the tracker stays at the last box that it believed, and the search grows around it, to three times its
    side; then it starts again, because a target may be too small in a wide crop to be recognised.

    Args:
        temperature: see `calibrate`.
    """

    def __init__(self, temperature: float = 1.0):
        self.temperature = temperature
        self.reset()

    def reset(self) -> None:
        """Starts with a target that is seen."""
        self.lost = False
        self.low = 0  # frames below LOST in a row
        self.missed = 0  # frames that were searched since it was lost
        self.fresh = 0  # frames for which it is still called found again

    def update(self, score: float) -> float:
        """Takes the raw score of the next frame in [0, 1]; returns the calibrated one. 0, nothing to see, stays 0."""
        confidence = float(calibrate(score, self.temperature)) if score > 0 else 0.0
        self.low = self.low + 1 if confidence < LOST else 0
        self.fresh = max(0, self.fresh - 1)
        if self.lost and confidence >= FOUND:
            self.lost, self.missed, self.fresh = False, 0, ANNOUNCED
        elif self.lost:
            self.missed += confidence > 0  # in frames that show nothing, nothing was searched
        elif self.low >= PATIENCE:
            self.lost = True
        return confidence

    @property
    def believed(self) -> bool:
        """Whether the last box is one to come back to after a loss."""
        return not self.lost and self.low == 0

    @property
    def widening(self) -> float:
        """Factor of the side of the next search crop, 1 unless the target is lost."""
        return GROWTH ** ((self.missed + 1) % STEPS) if self.lost else 1.0
