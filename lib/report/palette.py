"""Colours, dashes and labels of curves, shared by figures (`plots.py`) and the page (`html.py`)."""

from __future__ import annotations

from typing import NamedTuple


class Plot(NamedTuple):
    """File name, title and axis labels of the plot of one metric."""

    file: str
    title: str
    x_label: str
    y_label: str


PRECISION = Plot("precision", "Precision", "Centre error threshold (pixels)", "Precision (%)")
SUCCESS = Plot("success", "Success", "Overlap threshold", "Success rate (%)")
PLOTS = {
    "PR": PRECISION,
    "MPR": PRECISION._replace(title="Maximum precision"),
    "NPR": Plot("normalised_precision", "Normalised precision", "Normalised centre error", "Precision (%)"),
    "SR": SUCCESS,
    "MSR": SUCCESS._replace(title="Maximum success"),
    "F": Plot("precision_recall", "Precision and recall", "Recall (%)", "Precision (%)"),
    "EAO": Plot("expected_overlap", "Expected average overlap", "Sequence length (frames)", "Overlap (%)"),
}

MAX_TRACKERS = 20
FEW_SEQUENCES = 10  # an attribute with fewer sequences is marked: its scores say little
LONGEST_NAME = 40  # characters of a tracker's name in a plot; tables have all of them
# Ten dashes and eleven colours, alternately dark and light: of two trackers with the same dash, one is darker, also in
# grey. The rank of a tracker selects both.
DASHES = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.3)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
    (0, (10, 3)),
    (0, (2, 2)),
    (0, (8, 1.5, 3, 1.5)),
    (0, (1, 3)),
    (0, (10, 2, 1, 1, 1, 1, 1, 2)),
)
COLOURS = (
    "#b2182b",
    "#2b9ed4",
    "#1b5e20",
    "#f08a24",
    "#4a148c",
    "#7cb342",
    "#0d3c78",
    "#e377a8",
    "#5d4037",
    "#17a2a2",
    "#111111",
)
# The same colours on a dark page: the dark ones are lighter there.
DARK_COLOURS = (
    "#ff6b6b",
    "#4fb8e8",
    "#5fcf6a",
    "#f6a04a",
    "#c08cff",
    "#a5d65c",
    "#6fa8ff",
    "#f29cc4",
    "#c39b86",
    "#35c9c9",
    "#eeeeee",
)
# Shapes of dots. Five and eleven have no common divisor: 55 trackers differ in shape or colour.
MARKERS = ("circle", "square", "triangle", "diamond", "inverted")


def short_name(name: str) -> str:
    """Returns a tracker's name as it fits into a plot, cut in the middle: names of variants differ at the end."""
    tail = LONGEST_NAME * 2 // 5
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1 - tail]}…{name[-tail:]}"
