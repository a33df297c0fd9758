"""Where things are in every frame: smooth paths through the picture, and the timetable of what happens when."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 240, 180  # pixels of every synthetic picture
LEAD_IN = 3  # frames at the start in which both modalities show the target
GAP = 2  # undisturbed frames between two events, so that the fading of one never meets that of the next

# What may go wrong in a stretch, and the flag that says so.
RGB_FAULTS = {"dark": "LI", "glare": "HI", "camouflage": "BC"}
AUX_FAULTS = {
    "LasHeR": {"crossover": "TC"},
    "DepthTrack": {"flat": "TC", "holes": "TC"},
    "VisEvent": {"still": "TC"},
}


class Event(NamedTuple):
    """One thing that happens in frames start <= t < stop."""

    kind: str  # "rgb" or "aux" (that modality loses the target), "occlusion", "out"
    fault: str  # how it is lost: a key of RGB_FAULTS or AUX_FAULTS; "" for the other kinds
    start: int
    stop: int
    abrupt: bool  # sets in from one frame to the next; otherwise half strength on the frames just outside

    def strength(self, t: int) -> float:
        """0, 0.5 or 1: how far the fault has set in at frame t."""
        if self.start <= t < self.stop:
            return 1.0
        return 0.5 if not self.abrupt and self.start - 1 <= t <= self.stop else 0.0


def timetable(rng: np.random.Generator, dataset: str, frames: int) -> tuple[Event, ...]:
    """Draws a sequence's events, in order of time and never overlapping: stretches where only one modality shows the
    target (each modality about a quarter of the frames, in most sequences), a short occlusion, rarely a way out.
    """
    pairs = max(1, frames // 30)
    lost = ["rgb", "aux"] if rng.random() < 0.5 else ["aux", "rgb"]
    kinds = [kind for kind in lost * pairs if rng.random() < 0.92]
    if rng.random() < 0.4:
        kinds.insert(rng.integers(len(kinds) + 1), "occlusion")
    if rng.random() < 0.12 and frames >= 16:
        if kinds:
            kinds.pop(rng.integers(len(kinds)))
        kinds.insert(rng.integers(len(kinds) + 1), "out")
    low, high = 0.2 * frames / pairs, 0.29 * frames / pairs
    fixed = {"occlusion": 5, "out": 11}
    lengths = [fixed.get(kind) or max(3, round(rng.uniform(low, high))) for kind in kinds]
    spare = _shorten(kinds, lengths, frames)
    waits = np.diff(np.sort(rng.integers(0, spare + 1, len(kinds))), prepend=0)
    events, t = [], LEAD_IN
    for kind, length, wait in zip(kinds, lengths, waits, strict=True):
        t += int(wait) + GAP
        faults = {"rgb": RGB_FAULTS, "aux": AUX_FAULTS[dataset]}.get(kind, {"": ""})
        fault = list(faults)[rng.integers(len(faults))]
        events.append(Event(kind, fault, t - 1, t - 1 + length, bool(rng.random() < 0.5)))
        t += length
    return tuple(events)


def _shorten(kinds: list[str], lengths: list[int], frames: int) -> int:
    """Shortens stretches to 3 frames, then drops the last events, until all fit. Returns the frames to spare."""
    while (spare := frames - LEAD_IN - sum(lengths) - GAP * len(kinds)) < 0:
        stretches = [i for i, kind in enumerate(kinds) if kind in ("rgb", "aux") and lengths[i] > 3]
        if stretches:
            lengths[max(stretches, key=lengths.__getitem__)] -= 1
        else:
            kinds.pop()
            lengths.pop()
    return spare


def smooth_noise(rng: np.random.Generator, frames: int, knot: int = 8) -> np.ndarray:
    """(frames,) float64 in [-1, 1] that changes slowly: a random value every `knot` frames, rounded off between."""
    values = rng.uniform(-1, 1, frames // knot + 3)
    line = np.interp(np.arange(frames) / knot + 0.5, np.arange(len(values)), values)
    for _ in range(3):
        line = np.convolve(np.pad(line, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    return line


def wander(rng: np.random.Generator, frames: int, speed: np.ndarray, margin: float) -> np.ndarray:
    """Steers from one random waypoint to the next.

    Args:
        speed: (frames,) pixels per frame.
        margin: distance the waypoints keep from the border, pixels.

    Returns:
        (frames, 2) x, y of a smooth path inside the picture.
    """
    low, high = np.array([margin, margin]), np.array([WIDTH - margin, HEIGHT - margin])
    position, goal = rng.uniform(low, high), rng.uniform(low, high)
    heading = np.zeros(2)
    path = np.empty((frames, 2))
    for t in range(frames):
        path[t] = position
        for _ in range(20):  # a goal close by would make the target circle on the spot
            if np.hypot(*(goal - position)) > 45:
                break
            goal = rng.uniform(low, high)
        wish = (goal - position) / max(np.hypot(*(goal - position)), 1e-9)
        heading = wish if t == 0 else 0.7 * heading + 0.3 * wish
        position = np.clip(position + heading * speed[t], low / 2, [WIDTH, HEIGHT] - low / 2)
    return path


def excursion(path: np.ndarray, event: Event, reach: np.ndarray) -> np.ndarray:
    """Bends a path out of the picture during `event` and back to where it left.

    Args:
        path: (frames, 2) centres.
        reach: (2,) distance behind the border that hides the whole target, pixels.
    """
    middle = path[(event.start + event.stop) // 2]
    gaps = np.array([middle[0], WIDTH - middle[0], middle[1], HEIGHT - middle[1]]) + np.repeat(reach, 2)
    side = int(np.argmin(gaps))
    direction = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)][side])
    half = (event.stop - event.start) / 2
    t = np.arange(len(path)) + 0.5 - (event.start + event.stop) / 2
    weight = np.clip((half - np.abs(t)) / (half - 1), 0, 1)
    return path + (weight * (2 - weight))[:, None] * direction * gaps[side]


def progress(rng: np.random.Generator, events: tuple[Event, ...], frames: int) -> np.ndarray:
    """(frames,) the scene's own clock, in frames: it runs unevenly (speed changes), and stands in "still" stretches.

    Everything that moves follows it, so that a stop stops translation, rotation, scale and camera together.
    """
    rate = 1 + 0.45 * smooth_noise(rng, frames)
    for event in events:
        if event.kind == "rgb":  # events must show what RGB does not
            rate[event.start : event.stop] = np.maximum(rate[event.start : event.stop], 0.9)
        if event.fault == "still":  # the difference t-1 → t is what an event camera sees at t
            rate[event.start : event.stop] = 0
    rate *= frames / rate.sum()  # a stop is made up for elsewhere
    return np.cumsum(rate) - rate[0]
