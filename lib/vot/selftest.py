"""Our scores of what the VOT toolkit left in a workspace, against its own."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from pathlib import Path

from lib.data.sequence import Sequence
from lib.evaluation.annotations import annotations_from_sequences
from lib.evaluation.benchmarks import DEPTHTRACK
from lib.evaluation.evaluate import evaluate
from lib.vot.workspace import read_analysis

TOLERANCE = 1e-7  # per cent; sums are formed in another order


def check_scores(workspace: Path, experiment: str, tracker: str, sequences: SequenceOf[Sequence]) -> dict[str, float]:
    """Pr, Re and F in per cent, as `vot analysis --name scores` wrote them and as we find them from its files.

    Raises:
        ValueError: they are not the same.
    """
    analysed = Path(workspace) / "analysis" / "scores.json"
    theirs = dict(zip(("Pr", "Re", "F"), read_analysis(analysed, experiment)[0][0], strict=True))
    annotations = annotations_from_sequences(sequences, with_size=True)
    folder = Path(workspace) / "results" / tracker / experiment
    ours = evaluate(DEPTHTRACK, annotations, {tracker: folder}).trackers[tracker].scores
    for metric, value in theirs.items():
        if not abs(100 * value - ours[metric]) <= TOLERANCE:
            raise ValueError(f"{metric}: the toolkit's {analysed} says {100 * value!r}, we find {ours[metric]!r}")
    return ours
