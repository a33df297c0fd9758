"""Motion of the objects: smooth paths through the image, and the events of a sequence with their times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 240, 180  # pixels of every synthetic image
LEAD_IN = 3  # frames at the start in which both modalities show the target
SHORT_ABSENCE = 11  # frames of an interval out of view, unless another length is asked for
GAP = 2  # undisturbed frames between two events, so that their transitions do not overlap

# Faults of a modality → attribute flag, see `ATTRIBUTES` in render.py.
RGB_FAULTS = {"dark": "LI", "glare": "HI", "camouflage": "BC"}
AUX_FAULTS = {
    "LasHeR": {"crossover": "TC"},
    "DepthTrack": {"flat": "TC", "holes": "TC"},
    "VisEvent": {"still": "TC"},
}


class Event(NamedTuple):
    """A disturbance in the frames start <= t < stop."""

    kind: str  # "rgb" or "aux" (this modality does not show the target), "occlusion", "out" (of view)
    fault: str  # cause for "rgb" and "aux": a key of RGB_FAULTS or AUX_FAULTS; "" for the other kinds
    start: int
    stop: int
    abrupt: bool  # full strength from one frame to the next; otherwise half strength in the frames before and after

    def strength(self, t: int) -> float:
        """Returns the strength of the fault at frame t: 0, 0.5 or 1."""
        if self.start <= t < self.stop:
            return 1.0
        return 0.5 if not self.abrupt and self.start - 1 <= t <= self.stop else 0.0


def draw_events(rng: np.random.Generator, dataset: str, frames: int, absence: int = 0) -> tuple[Event, ...]:
    """Draws the events of a sequence, sorted by time and without overlap.

    There are intervals in which only one modality shows the target (in most sequences each modality fails in about a
    quarter of the frames), sometimes a short occlusion, and rarely an interval out of view.

    Args:
        absence: if not 0, an interval out of view always occurs and has this many frames.
    """
    pairs = max(1, frames // 30)
    failing = ["rgb", "aux"] if rng.random() < 0.5 else ["aux", "rgb"]
    kinds = [kind for kind in failing * pairs if rng.random() < 0.92]
    if rng.random() < 0.4:
        kinds.insert(rng.integers(len(kinds) + 1), "occlusion")
    if (rng.random() < 0.12 and frames >= 16) or absence:
        if kinds:
            kinds.pop(rng.integers(len(kinds)))
        kinds.insert(rng.integers(len(kinds) + 1), "out")
    low, high = 0.2 * frames / pairs, 0.29 * frames / pairs
    fixed = {"occlusion": 5, "out": absence or SHORT_ABSENCE}
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
    """Shortens "rgb" and "aux" events to at least 3 frames, then removes the last events, until all fit.

    Modifies both lists. Returns the number of unused frames.
    """
    while (spare := frames - LEAD_IN - sum(lengths) - GAP * len(kinds)) < 0:
        shortenable = [i for i, kind in enumerate(kinds) if kind in ("rgb", "aux") and lengths[i] > 3]
        if shortenable:
            lengths[max(shortenable, key=lengths.__getitem__)] -= 1
        else:
            kinds.pop()
            lengths.pop()
    return spare


def smooth_noise(rng: np.random.Generator, frames: int, knot: int = 8) -> np.ndarray:
    """Returns (frames,) float64 in [-1, 1]: a random value every `knot` frames, interpolated and smoothed."""
    values = rng.uniform(-1, 1, frames // knot + 3)
    curve = np.interp(np.arange(frames) / knot + 0.5, np.arange(len(values)), values)
    for _ in range(3):
        curve = np.convolve(np.pad(curve, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    return curve


def waypoint_path(rng: np.random.Generator, frames: int, speed: np.ndarray, margin: float) -> np.ndarray:
    """Draws a smooth path from one random waypoint to the next.

    Args:
        speed: (frames,) pixels per frame.
        margin: smallest distance of a waypoint from the image border, pixels.

    Returns:
        (frames, 2) x, y inside the image.
    """
    low, high = np.array([margin, margin]), np.array([WIDTH - margin, HEIGHT - margin])
    position, goal = rng.uniform(low, high), rng.uniform(low, high)
    heading = np.zeros(2)
    path = np.empty((frames, 2))
    for t in range(frames):
        path[t] = position
        for _ in range(20):  # a nearby goal would make the target move in a small circle
            if np.hypot(*(goal - position)) > 45:
                break
            goal = rng.uniform(low, high)
        direction = (goal - position) / max(np.hypot(*(goal - position)), 1e-9)
        heading = direction if t == 0 else 0.7 * heading + 0.3 * direction
        position = np.clip(position + heading * speed[t], low / 2, [WIDTH, HEIGHT] - low / 2)
    return path


def leave_image(path: np.ndarray, event: Event, distance: np.ndarray) -> np.ndarray:
    """Returns a path that leaves the image across the nearest border during `event` and then comes back.

    Args:
        path: (frames, 2) centres; not modified.
        distance: (2,) distance beyond the border, in x and y, at which the whole target is outside, pixels.
    """
    middle = path[(event.start + event.stop) // 2]
    gaps = np.array([middle[0], WIDTH - middle[0], middle[1], HEIGHT - middle[1]]) + np.repeat(distance, 2)
    side = int(np.argmin(gaps))
    direction = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)][side])
    half = (event.stop - event.start) / 2
    t = np.arange(len(path)) + 0.5 - (event.start + event.stop) / 2
    ramp = min(half, SHORT_ABSENCE / 2) - 1  # it does not leave more slowly if it stays away for longer
    weight = np.clip((half - np.abs(t)) / ramp, 0, 1)
    gap = gaps[side]
    # In a long interval, the path goes on and must not lead back into the image. Short ones stay as they were drawn.
    if event.stop - event.start > SHORT_ABSENCE:
        gap += np.max((middle - path[event.start : event.stop]) @ direction)
    return path + (weight * (2 - weight))[:, None] * direction * gap


def scene_clock(rng: np.random.Generator, events: tuple[Event, ...], frames: int) -> np.ndarray:
    """Returns the time of the scene at each frame, (frames,), in frames. It runs unevenly and stops in "still" events.

    All motion depends on this time, so that translation, rotation, scale and camera stop together.
    """
    rate = 1 + 0.45 * smooth_noise(rng, frames)
    for event in events:
        if event.kind == "rgb":  # the event camera must show the target while RGB does not
            rate[event.start : event.stop] = np.maximum(rate[event.start : event.stop], 0.9)
        if event.fault == "still":  # an event camera responds at t to the change from t - 1 to t
            rate[event.start : event.stop] = 0
    rate *= frames / rate.sum()  # the mean speed does not depend on stops
    return np.cumsum(rate) - rate[0]
