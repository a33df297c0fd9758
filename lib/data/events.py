"""Files of an event camera: .aedat4, .npy, .h5 → events → 8-bit images.

A key "seq/events.h5#3/10" of a sequence means: of the events in seq/events.h5, the part that belongs to image 3 of 10.
"seq/events.h5#1000:2000" means those from 1000 to 2000 microseconds.

.npy and .h5 contain x, y, time and polarity as columns (t, x, y, p) of one table, or as fields or data sets with these
names. Times are microseconds; numbers with fractions are seconds. .aedat4 needs the package aedat, .h5 needs h5py:
pip install 'transcmd[events]'.
"""

from __future__ import annotations

import functools
import io
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lib.data.storage import Store
from lib.utils.texts import one_line

SUFFIXES = (".aedat4", ".npy", ".h5", ".hdf5")
NAMES = {
    "t": ("t", "ts", "timestamp", "timestamps", "time"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "on", "pol", "polarity", "polarities"),
}
GROUPS = ("", "events", "CD/events")  # of an .h5 file
FULL = 4  # voxel: sum of polarities at a pixel that is drawn as black or white
EXTRA = "pip install 'transcmd[events]'"


class Events(NamedTuple):
    """Events in the order of their times."""

    t: np.ndarray  # (N,) int64, microseconds
    x: np.ndarray  # (N,) int64, pixels of the sensor
    y: np.ndarray  # (N,) int64
    on: np.ndarray  # (N,) bool: it became brighter
    size: tuple[int, int] | None  # width, height of the sensor; None: the file does not say
    backwards: int = 0  # how often the time of an event in the file precedes that of the event before

    def outside(self, size: tuple[int, int]) -> int:
        """Returns the number of events whose coordinates are outside a sensor of this width and height."""
        return int((~self._inside(size)).sum())

    def between(self, start: float, stop: float, size: tuple[int, int]) -> Events:
        """Returns the events with start <= t < stop that are inside a sensor of this size."""
        part = slice(*np.searchsorted(self.t, (start, stop)))
        cut = Events(self.t[part], self.x[part], self.y[part], self.on[part], size)
        inside = cut._inside(size)
        return Events(cut.t[inside], cut.x[inside], cut.y[inside], cut.on[inside], size)

    def _inside(self, size: tuple[int, int]) -> np.ndarray:
        return (self.x >= 0) & (self.x < size[0]) & (self.y >= 0) & (self.y < size[1])


def read_events(data: bytes, source: str) -> Events:
    """Reads a file of events.

    Args:
        source: data set and key of the file, with its suffix; used in error texts.

    Raises:
        ValueError: the package for this format is missing, or the file is damaged or has other contents.
    """
    suffix = f".{source.lower().rsplit('.', 1)[-1]}"
    try:
        columns, size = READERS[suffix](data)
        t, x, y, p = (np.asarray(columns[name]).reshape(-1) for name in NAMES)
        if not len(t) == len(x) == len(y) == len(p):
            raise ValueError(f"{len(t)} times, {len(x)} x, {len(y)} y and {len(p)} polarities")
        t = _microseconds(t)
        order, backwards = slice(None), int((np.diff(t) < 0).sum())
        if backwards:
            order = np.argsort(t, kind="stable")
        return Events(t[order], x.astype(np.int64)[order], y.astype(np.int64)[order], (p > 0)[order], size, backwards)
    except ImportError as error:
        raise ValueError(f"{source}: {suffix} files need the package '{error.name}'; {EXTRA}") from error
    except (ValueError, KeyError, OSError, RuntimeError, EOFError, OverflowError) as error:
        raise ValueError(f"{source}: not a file of events: {one_line(error)}; fetch or record it again") from error


def _microseconds(t: np.ndarray) -> np.ndarray:
    if not np.isfinite(t).all():
        raise ValueError("a time is not finite")
    if t.dtype.kind == "f" and (t != np.rint(t)).any():
        t = np.rint(t.astype(np.float64) * 1e6)
    return t.astype(np.int64)


def _read_aedat4(data: bytes):
    import aedat  # an extra

    with tempfile.NamedTemporaryFile(suffix=".aedat4") as file:
        file.write(data)
        file.flush()
        decoder = aedat.Decoder(file.name)
        streams = [stream for stream in decoder.id_to_stream().values() if stream["type"] == "events"]
        if not streams:
            raise ValueError("it has no stream of events")
        packets = [packet["events"] for packet in decoder if "events" in packet]
    fields = np.concatenate(packets) if packets else np.empty(0, [("t", "u8"), ("x", "u2"), ("y", "u2"), ("on", "?")])
    return _fields(fields), (streams[0]["width"], streams[0]["height"])


def _read_npy(data: bytes):
    return _columns(np.load(io.BytesIO(data), allow_pickle=False)), None


def _read_h5(data: bytes):
    import h5py  # an extra

    with h5py.File(io.BytesIO(data), "r") as file:
        size = file.attrs.get("sensor_resolution")  # height, width
        size = None if size is None else (int(size[1]), int(size[0]))
        for group in (file[name] if name else file for name in GROUPS if not name or name in file):
            if isinstance(group, h5py.Dataset):
                return _columns(group[...]), size
            found = {name: next((other for other in others if other in group), "") for name, others in NAMES.items()}
            if all(found.values()):
                return {name: group[other][...] for name, other in found.items()}, size
        raise ValueError(f"found {', '.join(file) or 'nothing'}; expected t, x, y, p, or events/t, events/x, …")


def _columns(table: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the columns of a structured array, or of an (N, 4) table in the order t, x, y, p."""
    if table.dtype.names:
        return _fields(table)
    if table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind not in "iuf":
        raise ValueError(f"expected a table with the columns t, x, y, p, got {table.dtype} {table.shape}")
    if len(table) and not np.isin(table[:, 3], (-1, 0, 1)).all():
        raise ValueError("expected the columns t, x, y, p: the fourth must be -1, 0 or 1")
    return dict(zip(NAMES, table.T, strict=True))


def _fields(table: np.ndarray) -> dict[str, np.ndarray]:
    fields = table.dtype.fields  # with titles: aedat names the polarity "on" and "p"
    found = {name: next((other for other in others if other in fields), "") for name, others in NAMES.items()}
    if not all(found.values()):
        raise ValueError(f"expected the fields t, x, y, p, got {', '.join(fields)}")
    return {name: table[other] for name, other in found.items()}


READERS: dict[str, Callable] = dict(zip(SUFFIXES, (_read_aedat4, _read_npy, _read_h5, _read_h5), strict=True))


def event_frame(events: Events, start: float, stop: float) -> np.ndarray:
    """Draws the last event of each pixel, red if it became brighter and blue if darker, on white; (H, W, 3) uint8."""
    width, height = events.size
    image = np.full((height, width, 3), 255, np.uint8)
    # Numpy assigns in order, so that the last event of a pixel remains.
    image[events.y, events.x] = np.where(events.on[:, None], np.uint8([[255, 0, 0]]), np.uint8([[0, 0, 255]]))
    return image


def voxel_picture(events: Events, start: float, stop: float) -> np.ndarray:
    """Draws the sums of polarities in three equal parts of the time as red, green and blue; (H, W, 3) uint8.

    An event is divided between the two parts whose centres are the nearest. Grey, 128, is no event.
    """
    width, height = events.size
    grid = np.zeros((3, height, width))
    place = np.clip((events.t - start) / max(stop - start, 1) * 3 - 0.5, 0, 2)
    lower = np.minimum(place.astype(int), 1)
    sign = np.where(events.on, 1.0, -1.0)
    for part, weight in ((lower, 1 - (place - lower)), (lower + 1, place - lower)):
        np.add.at(grid, (part, events.y, events.x), sign * weight)
    return np.rint(128 + 127 * np.clip(grid / FULL, -1, 1)).astype(np.uint8).transpose(1, 2, 0).copy()


def time_surface(events: Events, start: float, stop: float) -> np.ndarray:
    """Draws how recent the last event of each pixel is: brighter in red, darker in blue, either in green.

    255 is the end of the time and 1 its start; 0 is no event. Returns (H, W, 3) uint8.
    """
    width, height = events.size
    image = np.zeros((height, width, 3), np.uint8)
    recent = np.rint(1 + 254 * (events.t - start) / max(stop - start, 1)).astype(np.uint8)
    for channel, chosen in ((0, events.on), (2, ~events.on), (1, slice(None))):
        image[events.y[chosen], events.x[chosen], channel] = recent[chosen]  # in order: the last one counts
    return image


# DATA.INPUT.EVENTS → function (events inside the sensor, start and stop in microseconds) → (H, W, 3) uint8.
EVENTS: dict[str, Callable[[Events, float, float], np.ndarray]] = {
    "frames": event_frame,
    "voxel": voxel_picture,
    "time_surface": time_surface,
}


def is_event_key(key: str) -> bool:
    """Returns whether a key refers to a part of a file of events."""
    return file_of(key).lower().endswith(SUFFIXES)


def file_of(key: str) -> str:
    """Returns the file that a key of events refers to."""
    return key.rpartition("#")[0]


def share_keys(key: str, count: int) -> tuple[str, ...]:
    """Returns a key for each of `count` images that divide the time of a file of events equally."""
    return tuple(f"{key}#{index}/{count}" for index in range(count))


def time_keys(key: str, times: np.ndarray) -> tuple[str, ...]:
    """Returns a key for each image: the events since the image before. `times`: (N,) microseconds, increasing."""
    starts = np.concatenate([[2 * times[0] - times[1] if len(times) > 1 else 0], times[:-1]])
    return tuple(f"{key}#{start:.0f}:{stop:.0f}" for start, stop in zip(starts, times, strict=True))


def draw_key(store: Store, key: str, kind: str, size: tuple[int, int] | None) -> np.ndarray:
    """Draws the events that a key refers to, (H, W, 3) uint8.

    Args:
        kind: a key of EVENTS.
        size: width and height, if the file does not state those of the sensor; None: as large as the coordinates.

    Raises:
        FileNotFoundError, ValueError: as `read_events`.
    """
    file, _, part = key.rpartition("#")
    events = recent_events(store, file)
    if "/" in part:
        index, count = map(int, part.split("/"))
        first, span = (int(events.t[0]), int(events.t[-1]) + 1 - int(events.t[0])) if len(events.t) else (0, 1)
        start, stop = first + span * index / count, first + span * (index + 1) / count
    else:
        start, stop = map(float, part.split(":"))
    size = events.size or size or (int(events.x.max(initial=0)) + 1, int(events.y.max(initial=0)) + 1)
    return EVENTS[kind](events.between(start, stop, size), start, stop)


@functools.lru_cache(maxsize=2)
def recent_events(store: Store, key: str) -> Events:
    """Reads a file of events of a store, or returns one that was read a moment ago."""
    return read_events(store.read(key), f"{store.name}/{key}")
