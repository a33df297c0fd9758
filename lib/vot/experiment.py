"""The VOT toolkit's multistart experiment with a loop that runs; the toolkit finds the class by its name in stack.yaml.

In vot-toolkit 0.9.0 its own stops before the first frame ("ObjectQuery.state must be a Region"). The analyses of the
results are the toolkit's.
"""

from __future__ import annotations

from collections.abc import Callable

from vot.dataset.proxy import FrameMapSequence
from vot.experiment.multistart import MultiStartExperiment
from vot.region import Special
from vot.tracker import ObjectQuery, Trajectory

from lib.results.vot_files import anchors_of


class MultiStart(MultiStartExperiment):
    """Runs a tracker from every anchor of a sequence, forwards to its end or back to its beginning."""

    def execute(self, tracker, sequence, force: bool = False, callback: Callable[[float], None] | None = None) -> None:
        """Writes one trajectory per anchor, as the toolkit's analyses look for them; finished ones are kept."""
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
    """One run of a tracker, started with the annotation of the first frame."""
    answers, times = runtime.run(frames, [ObjectQuery(frames.groundtruth(0), {}, 0)])
    trajectory = Trajectory(len(frames))
    for index, (answer, seconds) in enumerate(zip(answers[0], times, strict=True)):
        region = answer.region if index else Special(Trajectory.INITIALIZATION)
        trajectory.set(index, region, {**answer.properties, "time": seconds})
    return trajectory
