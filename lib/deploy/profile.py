"""Measures what a network costs: parameters, multiply-accumulates, latency per part, memory."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lib.data.crop import CropSpec
from lib.deploy.memory import BOX, example_frames
from lib.structures import Frame, Pair, to_device
from lib.tracker.cropped import CropTracker
from lib.tracker.transcmd import TransCMDTracker
from lib.utils.misc import available_cores, count_parameters

PARTS = ("crop", "network", "postprocessing", "track")


class ModuleCost(NamedTuple):
    """A row of the table of modules."""

    name: str
    parameters: int
    macs: int


class Cost(NamedTuple):
    """What one forward pass of one pair needs."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions, linear layers and attention
    modules: list[ModuleCost]

    def to_plain(self) -> dict:
        """Returns plain values for JSON."""
        return {**self._asdict(), "modules": [row._asdict() for row in self.modules]}


class Latency(NamedTuple):
    """Milliseconds per frame."""

    median: float
    p95: float


def count_cost(model: nn.Module, template: CropSpec, search: CropSpec, depth: int = 2) -> Cost:
    """Counts parameters and multiply-accumulates with torch's counter, attention included.

    Args:
        model: maps (template, search, modality, template box) to a `TrackOutput`.
        depth: levels of modules in the table, 1: children, 2: their children as well.
    """
    counter = FlopCounterMode(display=False, depth=None)
    # The fused kernels of attention are not counted on every device; the plain one consists of products that are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        device = next(model.parameters()).device
        pairs = (to_device(pair, device) for pair in example_pairs(template, search))
        box = torch.full((1, 4), 0.5, device=device)
        model.eval()(*pairs, torch.zeros(1, dtype=torch.int64, device=device), box)
    counts = {name: sum(kinds.values()) // 2 for name, kinds in counter.get_flop_counts().items()}
    rows = [
        ModuleCost(name, count_parameters(module, False), _macs_of(module, f"{type(model).__name__}.{name}", counts))
        for name, module in model.named_modules()
        if name and name.count(".") < depth
    ]
    return Cost(count_parameters(model, False), counts["Global"], [row for row in rows if row.macs or row.parameters])


def _macs_of(module: nn.Module, name: str, counts: Mapping[str, int]) -> int:
    """Returns the count of a module, or that of its parts if it is a list or its `forward` is not used."""
    if name in counts:
        return counts[name]
    return sum(_macs_of(child, f"{name}.{key}", counts) for key, child in module.named_children())


def count_frame(tracker: TransCMDTracker) -> int:
    """Returns the multiply-accumulates of the network for one frame; a remembered template costs none."""
    (frame,) = example_frames(1)
    tracker.initialize(frame, BOX)
    search, _ = tracker.crop(frame)
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        tracker.infer(search)
    return counter.get_total_flops() // 2


def matrix_rate(size: int = 1024, times: int = 9) -> float:
    """Returns the multiply-accumulates per second of large float32 matrix products on the processor, the median."""
    first, second = torch.rand(2, size, size).unbind()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        first @ second
        found.append(time.perf_counter() - begin)
    return size**3 / float(np.median(found))


def example_pairs(template: CropSpec, search: CropSpec) -> tuple[Pair, Pair]:
    """Returns template and search crops of zeros, (1, 3, S, S) uint8."""
    pairs = (Pair(*torch.zeros(2, 1, 3, spec.size, spec.size, dtype=torch.uint8)) for spec in (template, search))
    return next(pairs), next(pairs)


def time_parts(
    tracker: CropTracker, frames: Sequence[Frame], clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Tracks in frames from `BOX` and returns the milliseconds of each of PARTS, one value per frame.

    Every frame is cropped at `BOX`, so that all trackers do the same work. "track" is a call of `track` as a whole; the
    parts are measured in other calls.
    """
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    tracker.initialize(frames[0], BOX)
    for frame in frames:
        tracker.box_xywh = BOX.copy()
        marks = [clock()]
        search, crop = tracker.crop(frame)
        marks.append(clock())
        maps = tracker.infer(search)
        marks.append(clock())
        tracker.locate(maps, crop, frame.rgb.shape[:2])
        marks.append(clock())
        tracker.box_xywh = BOX.copy()
        begin = clock()
        tracker.track(frame)
        whole = clock() - begin
        for part, seconds in zip(PARTS, [*np.diff(marks), whole], strict=True):
            found[part].append(1000 * float(seconds))
    return found


def compare(
    trackers: Mapping[str, CropTracker], rounds: int, frames: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict]:
    """Measures several trackers in turns, A B A B …, so that a change of the machine's speed meets all of them.

    Args:
        trackers: name → tracker; the first is the one that ratios refer to.
        rounds: turns; one more comes before them as a warm-up.
        frames: per turn.
        clock: seconds; `time.process_time` leaves out what other work takes of the processor, for one thread.

    Returns:
        For each name: `Latency` of each part as a dictionary, and "ratio": the latency of `track` divided by that of
        the first tracker in the same turn: median, lowest and highest over the turns. "speedup" is the latency of the
        last tracker divided by its own, the median over the turns.
    """
    pictures = example_frames(frames)
    times = {name: {part: [] for part in PARTS} for name in trackers}
    medians: dict[str, list[float]] = {name: [] for name in trackers}
    for turn in range(rounds + 1):
        for name, tracker in trackers.items():
            found = time_parts(tracker, pictures, clock)
            if turn:
                medians[name].append(float(np.median(found["track"])))
                for part, values in found.items():
                    times[name][part] += values
    first, last = (np.array(medians[name]) for name in (next(iter(trackers)), next(reversed(trackers))))
    report = {}
    for name in trackers:
        ratios = np.array(medians[name]) / first
        report[name] = {part: latency_of(values)._asdict() for part, values in times[name].items()}
        report[name]["ratio"] = {
            "median": float(np.median(ratios)),
            "low": float(ratios.min()),
            "high": float(ratios.max()),
        }
        report[name]["speedup"] = float(np.median(last / np.array(medians[name])))
    return report


def latency_of(milliseconds: Sequence[float]) -> Latency:
    """Returns median and 95th percentile."""
    return Latency(float(np.median(milliseconds)), float(np.percentile(milliseconds, 95)))


def measure_costs(trackers: Mapping[str, CropTracker]) -> dict[str, Cost]:
    """Returns the cost of the networks of all trackers in PyTorch, by name."""
    return {
        name: count_cost(tracker.model, tracker.template_spec, tracker.search_spec)
        for name, tracker in trackers.items()
        if isinstance(tracker, TransCMDTracker)
    }


def describe_machine(device: str) -> dict[str, str | int]:
    """Returns what measured times depend on: processor, cores, device, versions."""
    found: dict[str, str | int] = {"processor": platform.processor() or platform.machine(), "cores": available_cores()}
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found["processor"] = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    if device.startswith("cuda"):
        device = f"{device}: {torch.cuda.get_device_name(device)}"
    return {**found, "device": device, "torch": torch.__version__, "opencv": cv2.__version__, "numpy": np.__version__}


def cost_table(cost: Cost) -> str:
    """Returns the table of modules as text: name, parameters, millions of multiply-accumulates."""
    width = max(len(row.name) for row in cost.modules)
    lines = [f"{'module':<{width}}  {'parameters':>12}  {'MMACs':>10}"]
    lines += [f"{row.name:<{width}}  {row.parameters:>12,}  {row.macs / 1e6:>10.1f}" for row in cost.modules]
    return "\n".join([*lines, f"{'total':<{width}}  {cost.parameters:>12,}  {cost.macs / 1e6:>10.1f}"])


def summary_table(costs: Mapping[str, Cost], memory: Mapping[str, float]) -> str:
    """Returns a Markdown table of parameters, multiply-accumulates and peak resident memory by name."""
    rows = ["| | parameters (M) | GMACs | peak memory (MiB) |", "|---|---:|---:|---:|"]
    for name, peak in memory.items():
        cost = costs.get(name)
        cells = (f"{cost.parameters / 1e6:.2f}", f"{cost.macs / 1e9:.2f}") if cost else ("", "")
        rows.append(f"| {name} | {' | '.join(cells)} | {peak:.0f} |")
    return "\n".join(rows)


def latency_table(report: Mapping[str, Mapping]) -> str:
    """Returns the result of `compare` as a Markdown table, milliseconds as median (95th percentile)."""
    first, last = next(iter(report)), next(reversed(report))
    rows = [f"| ms per frame | {' | '.join(PARTS)} | ratio to {first} | {last} is slower by |"]
    rows.append("|---|" + "---:|" * (len(PARTS) + 2))
    for name, found in report.items():
        cells = [f"{found[part]['median']:.2f} ({found[part]['p95']:.2f})" for part in PARTS]
        ratio = found["ratio"]
        cells.append(f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})")
        cells.append(f"{found['speedup']:.2f}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)
