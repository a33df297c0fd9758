"""Front ends: how depth and thermal files become the 8-bit images that the networks see. Chosen in DATA.INPUT."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib.data.image import DEPTH_LIMIT_MM, Levels, colormap_depth

THERMAL = ("auto", "percentile", "fixed")


class FrontEnd(NamedTuple):
    """The settings of DATA.INPUT."""

    depth: str = "colormap"  # a key of DEPTH
    depth_range: float = 2000.0  # metric: millimetres before and behind the target
    thermal: str = "auto"  # one of THERMAL
    thermal_range: Levels = (0.0, 65535.0)  # fixed: the grey levels that become 0 and 255
    events: str = "frames"  # a key of lib.data.events.EVENTS; for files of events, not for images of them


def grey_depth(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Maps depth linearly to grey: near is 255, far is 1, no reading is 0. What lies outside is cut.

    Args:
        depth: (H, W) in millimetres; 0 means that there is no reading.

    Returns:
        (H, W, 3) uint8.
    """
    share = (far - np.clip(depth.astype(np.float32), near, far)) / (far - near)
    grey = np.where(depth > 0, np.rint(1 + 254 * share), 0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def target_depth(depth: np.ndarray, box_xywh: np.ndarray) -> float | None:
    """Returns the median of the readings in a box, or in the image if the box has none; None without readings.

    Args:
        depth: (H, W) in millimetres.
        box_xywh: (4,) in pixels of the depth image.
    """
    height, width = depth.shape
    x, y, w, h = box_xywh
    left, top = int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))
    right, bottom = int(np.clip(np.ceil(x + w), left + 1, width)), int(np.clip(np.ceil(y + h), top + 1, height))
    for part in (depth[top:bottom, left:right], depth):
        if (readings := part[part > 0]).size:
            return float(np.median(readings))
    return None


def metric_limits(target: float | None, depth_range: float) -> Levels:
    """Returns the depths that become white and black in a whole sequence, millimetres.

    Args:
        target: depth of the target in the first frame with a box; None: unknown, the range of "raw" is used.
        depth_range: distance before and behind the target that is shown.
    """
    return (0.0, float(DEPTH_LIMIT_MM)) if target is None else (max(0.0, target - depth_range), target + depth_range)


# DATA.INPUT.DEPTH → function ((H, W) depth in mm, limits of the sequence) → (H, W, 3) uint8.
# colormap: ViPT's, by the content of each image. metric: around the target's depth in the first frame, the same range
# in the whole sequence, so that a depth keeps its grey level. raw: 0 to 10 m, the same in all sequences.
DEPTH: dict[str, Callable[[np.ndarray, Levels], np.ndarray]] = {
    "colormap": lambda depth, limits: colormap_depth(depth),
    "metric": lambda depth, limits: grey_depth(depth, *limits),
    "raw": lambda depth, limits: grey_depth(depth, 0, DEPTH_LIMIT_MM),
}
