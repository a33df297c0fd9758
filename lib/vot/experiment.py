"""Replaces the VOT toolkit's multistart experiment; stack.yaml contains the name of the class.

The experiment of vot-toolkit 0.9.0 fails before the first frame ("ObjectQuery.state must be a Region"). Results are
analysed by the toolkit.
"""

from __future__ import annotations

from collections.abc import Callable

from vot.dataset.proxy import FrameMapSequence
from vot.experiment.multistart import MultiStartExperiment
from vot.region import Special
from vot.tracker import ObjectQuery, Trajectory

from lib.results.vot_files import anchors_of


class MultiStart(MultiStartExperiment):
    """Runs a tracker from every anchor of a sequence, forward to its end or backward to its first frame."""

    def execute(self, tracker, sequence, force: bool = False, callback: Callable[[float], None] | None = None) -> None:
        """Writes one trajectory per anchor, with the names that the toolkit's analyses expect.

        Args:
            force: repeat finished trajectories.
            callback: called with the completed share in [0, 1] after each anchor.

        Raises:
            ValueError: the sequence has no anchor.
        """
        results = self.results(tracker, sequence)
        values = [sequence.values(frame).get(self.anchor, 0) for frame in range(len(sequence))]
        anchors = anchors_of(values, sequence.name)
        with self._get_runtime(tracker, sequence) as runtime:
            for number, anchor in enumerate(anchors, start=1):
                name = f"{sequence.name}_{anchor.frame:08d}"
                if force or not Trajectory.exists(results, name):
                    frames = FrameMapSequence(sequence, anchor.frames(len(sequence)).tolist())
                    track(runtime, frames).write(results, name)
                if callback:
                    callback(number / len(anchors))


def track(runtime, frames: FrameMapSequence) -> Trajectory:
    """Runs a tracker once, initialised with the annotation of the first frame. Times are in seconds."""
    answers, times = runtime.run(frames, [ObjectQuery(frames.groundtruth(0), {}, 0)])
    trajectory = Trajectory(len(frames))
    for index, (answer, seconds) in enumerate(zip(answers[0], times, strict=True)):
        region = answer.region if index else Special(Trajectory.INITIALIZATION)
        trajectory.set(index, region, {**answer.properties, "time": seconds})
    return trajectory
