"""Finds results that can be read but are probably not what they should be. Nothing is corrected, only reported."""

from __future__ import annotations

import numpy as np

from lib.evaluation.annotations import Annotation
from lib.evaluation.rules.base import Output, Remark
from lib.utils.boxes import cxcywh_to_xywh, iou_xywh, is_valid, xyxy_to_xywh
from lib.utils.texts import shorten

START_OVERLAP = 0.5  # the first box of a result is the annotated one, or nearly so
MOST_STARTS = 0.1  # share of results whose first box may differ; of six trackers on LasHeR, the worst has 4 of 245
SLOWEST = 4.0  # seconds per frame; times with a larger median are frames per second
FIRST_MORE = "have rows that fit the annotation better without the first one: a row too many? They are scored unchanged"
LAST_MORE = "have rows after the last annotated frame"
OTHER_IMAGES = (
    "have another number of rows than the sequence has images: were images missing when they were tracked? Rows are "
    "compared by their positions"
)
FIRST_LESS = "lack a row and fit the annotation better from its second frame on: is the first box missing?"


def first_box_warning(annotations: list[Annotation], outputs: list[Output]) -> str:
    """Returns a text if the first boxes of many results differ from the annotation, with the likely format; or ""."""
    starts = [
        (output.boxes_xywh[0], annotation.boxes_xywh[0])
        for annotation, output in zip(annotations, outputs, strict=True)
        if len(output.boxes_xywh) and is_valid(annotation.boxes_xywh[0])
    ]
    if not starts:
        return ""
    boxes, truth = (np.array(side) for side in zip(*starts, strict=True))
    differ = iou_xywh(boxes, truth) < START_OVERLAP
    if differ.mean() <= MOST_STARTS:
        return ""
    return (
        f"{differ.sum()} of {len(differ)} results do not start at the annotated box (IoU below {START_OVERLAP}); "
        f"expected x y w h in pixels, {_likely_format(boxes, truth)}"
    )


def _likely_format(boxes: np.ndarray, truth: np.ndarray) -> str:
    """Returns the format in which most boxes equal the annotation, as text."""
    finite = boxes[np.isfinite(boxes).all(axis=1)]
    if len(finite) and 0 <= finite.min() and finite.max() <= 2:
        return "these look like fractions of the image"
    x, y, w, h = boxes.T
    readings = {
        "x1 y1 x2 y2": xyxy_to_xywh(boxes),
        "the centre and w h": cxcywh_to_xywh(boxes),
        "y x h w": np.stack([y, x, h, w], axis=1),
    }
    fitting = {name: float((iou_xywh(read, truth) >= START_OVERLAP).mean()) for name, read in readings.items()}
    best = max(fitting, key=fitting.get)
    return f"these look like {best}" if fitting[best] > 0.5 else "these fit no format that is known here"


def row_remark(annotation: Annotation, boxes_xywh: np.ndarray) -> Remark | None:
    """Returns what a result of another length than its annotation (N frames) seems to be, (M, 4); or None.

    The overlaps tell: without its first rows, a result with an extra first row fits better than without its last ones.
    """
    truth, rows, frames = annotation.boxes_xywh, len(boxes_xywh), len(annotation.boxes_xywh)
    detail = f"{annotation.name} ({rows} of {frames})"
    if rows > frames:
        late, early = iou_xywh(boxes_xywh[rows - frames :], truth), iou_xywh(boxes_xywh[:frames], truth)
        return Remark(FIRST_MORE if late.mean() > early.mean() else LAST_MORE, detail)
    if rows == frames - 1 and rows:
        late, early = iou_xywh(boxes_xywh, truth[1:]), iou_xywh(boxes_xywh, truth[:-1])
        return Remark(FIRST_LESS, detail) if late.mean() > early.mean() else None
    return None


def check_times(times: np.ndarray, rows: int) -> str:
    """Returns why (n,) seconds of a result of `rows` rows cannot be used, as text; "" if they can."""
    if len(times) not in (rows, rows - 1):
        return f"{len(times)} times for {rows} rows"
    measured = times[1:][~np.isnan(times[1:])]
    if (wrong := measured[(measured < 0) | np.isinf(measured)]).size:
        return f"a time is {wrong[0]:g} s"
    if len(measured) and np.median(measured) > SLOWEST:
        return f"the median is {np.median(measured):g}: frames per second instead of seconds?"
    return ""


def report_remarks(outputs: list[Output]) -> list[str]:
    """Returns one text for each kind of remark: "12 of 245 results <text>: <details>"."""
    details: dict[str, list[str]] = {}
    for output in outputs:
        for remark in output.remarks:
            details.setdefault(remark.text, []).append(remark.detail)
    return [f"{len(found)} of {len(outputs)} results {text}: {shorten(found)}" for text, found in details.items()]
