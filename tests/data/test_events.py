"""Files of event cameras: three formats, three pictures, the times of images, and events that cannot be right."""

import io
import struct

import numpy as np
import pytest
import yaml

from lib.config.loader import load_config
from lib.data.datasets import build_dataset
from lib.data.doctor.sequences import check_sequence
from lib.data.events import (
    EVENTS,
    SUFFIXES,
    Events,
    draw_key,
    event_frame,
    is_event_key,
    read_events,
    share_keys,
    time_keys,
    time_surface,
    voxel_picture,
)  # fmt: skip
from tests.helpers import MemoryStore, encode, write_file

COLUMNS = np.array([[1000, 3, 1, 1], [2000, 4, 2, 0], [3000, 4, 2, 1], [4000, 19, 15, 0]])
SIZE = 20, 16


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def h5(size=None, **datasets):
    h5py = pytest.importorskip("h5py")
    file = io.BytesIO()
    with h5py.File(file, "w") as target:
        for name, values in datasets.items():
            target[name.replace("__", "/")] = values
        if size:
            target.attrs["sensor_resolution"] = size[::-1]
    return file.getvalue()


def aedat4(columns, size=SIZE):
    """An uncompressed .aedat4 file with one stream of events, in two packets."""
    flatbuffers = pytest.importorskip("flatbuffers")
    pytest.importorskip("aedat")
    attributes = {"compression": "NONE", "typeIdentifier": "EVTS"}
    info = "".join(f'<attr key="sizeX" type="int">{size[0]}</attr><attr key="sizeY" type="int">{size[1]}</attr>')
    node = "".join(f'<attr key="{key}" type="string">{value}</attr>' for key, value in attributes.items())
    xml = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        f'<node name="0" path="/mainloop/Recorder/outInfo/0/">{node}'
        f'<node name="info" path="/mainloop/Recorder/outInfo/0/info/">{info}</node></node></node></dv>'
    )
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString(xml)
    builder.StartObject(3)
    builder.PrependInt64Slot(1, -1, 0)
    builder.PrependUOffsetTRelativeSlot(2, text, 0)
    builder.FinishSizePrefixed(builder.EndObject(), b"IOHE")
    content = b"#!AER-DAT4.0\r\n" + bytes(builder.Output())
    for part in np.array_split(columns, 2):
        builder = flatbuffers.Builder(1024)
        builder.StartVector(16, len(part), 8)
        for t, x, y, on in part[::-1]:
            builder.Prep(8, 16)
            builder.Pad(3)
            builder.PrependBool(bool(on))
            builder.PrependInt16(int(y))
            builder.PrependInt16(int(x))
            builder.PrependInt64(int(t))
        vector = builder.EndVector()
        builder.StartObject(1)
        builder.PrependUOffsetTRelativeSlot(0, vector, 0)
        builder.FinishSizePrefixed(builder.EndObject(), b"EVTS")
        packet = bytes(builder.Output())
        content += struct.pack("<ii", 0, len(packet)) + packet
    return content


def structured(names=("t", "x", "y", "p")):
    kinds = [(name, kind) for name, kind in zip(names, ("<u8", "<u2", "<u2", "?"), strict=True)]
    return np.array([tuple(row) for row in COLUMNS], kinds)


FILES = {
    "table.npy": lambda: npy(COLUMNS),
    "float.npy": lambda: npy(COLUMNS.astype(np.float64)),
    "seconds.npy": lambda: npy(COLUMNS * [1e-6, 1, 1, 1]),
    "signed.npy": lambda: npy(COLUMNS * [1, 1, 1, 2] - [0, 0, 0, 1]),
    "fields.npy": lambda: npy(structured()),
    "other_names.npy": lambda: npy(structured(("timestamp", "x", "y", "polarity"))),
    "sets.h5": lambda: h5(**dict(zip("txyp", COLUMNS.T, strict=True))),
    "group.hdf5": lambda: h5(
        SIZE, **{f"events__{name}": c for name, c in zip(("ts", "xs", "ys", "ps"), COLUMNS.T, strict=True)}
    ),
    "prophesee.h5": lambda: h5(CD__events=structured()),
    "table.h5": lambda: h5(events=COLUMNS),
    "a.aedat4": lambda: aedat4(COLUMNS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_events(name):
    events = read_events(FILES[name](), f"Drone/a/{name}")
    found = np.stack([events.t, events.x, events.y, events.on], axis=1)
    np.testing.assert_array_equal(found, COLUMNS)
    assert events.size == (SIZE if name in ("group.hdf5", "a.aedat4") else None) and events.backwards == 0


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.npy", lambda: b"nothing", "a.npy: not a file of events: "),
        ("a.npy", lambda: npy(COLUMNS)[:150], "a.npy: not a file of events: "),
        ("a.npy", lambda: npy(COLUMNS[:, ::-1].copy()), "the fourth must be -1, 0 or 1"),
        ("a.npy", lambda: npy(COLUMNS[:, :3]), r"expected a table with the columns t, x, y, p, got int64 \(4, 3\)"),
        ("a.npy", lambda: npy(structured(("a", "x", "y", "p"))), "expected the fields t, x, y, p, got a, x, y, p"),
        ("a.npy", lambda: npy(COLUMNS * [np.nan, 1, 1, 1]), "a time is not finite"),
        ("a.npy", lambda: npy(np.array([{}], object)), "a.npy: not a file of events: "),
        ("a.h5", lambda: h5(other=[1]), "found other; expected t, x, y, p"),
        ("a.h5", lambda: h5(t=[1], x=[1], y=[1], p=[1, 2]), "1 times, 1 x, 1 y and 2 polarities"),
        ("a.aedat4", lambda: aedat4(COLUMNS)[:40], "a.aedat4: not a file of events: "),
        ("a.aedat4", lambda: aedat4(COLUMNS)[:-9], "a.aedat4: not a file of events: "),
    ],
)
def test_damaged_and_other_files_are_named(name, data, problem):
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    with pytest.raises(ValueError, match=problem):
        read_events(data(), f"Drone/a/{name}")


@pytest.mark.parametrize(("suffix", "package"), [(".aedat4", "aedat"), (".h5", "h5py")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, suffix, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(
        ValueError, match=rf"a{suffix}: {suffix} files need the package '{package}'; pip install '.*events"
    ):
        read_events(b"", f"a{suffix}")


# pictures


def of(*rows):
    t, x, y, on = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(t, x, y, on > 0, SIZE)


def test_a_frame_shows_the_last_event_of_a_pixel_on_white():
    image = event_frame(of((0, 3, 1, 1), (5, 4, 2, 1), (6, 4, 2, 0)), 0, 10)
    assert image.shape == (16, 20, 3) and image.dtype == np.uint8
    assert image[1, 3].tolist() == [255, 0, 0] and image[2, 4].tolist() == [0, 0, 255]
    assert (image == 255).all(axis=2).sum() == 16 * 20 - 2


def test_a_voxel_picture_divides_events_between_parts_of_the_time():
    image = voxel_picture(of((5, 3, 1, 1), (15, 4, 2, 0), (29, 5, 3, 1), (10, 6, 4, 1)), 0, 30)
    one, half = 128 + 127 / 4, 128 + 127 / 8
    assert image[1, 3].tolist() == [round(one), 128, 128] and image[3, 5].tolist() == [128, 128, round(one)]
    assert image[2, 4].tolist() == [128, round(128 - 127 / 4), 128]
    assert image[4, 6].tolist() == [round(half), round(half), 128] and (image[0] == 128).all()
    assert voxel_picture(of(*[(5, 3, 1, 1)] * 9), 0, 30)[1, 3, 0] == 255


def test_a_time_surface_shows_how_recent_the_last_event_is():
    image = time_surface(of((0, 3, 1, 1), (50, 3, 1, 1), (100, 3, 1, 0), (50, 4, 2, 0)), 0, 100)
    assert image[1, 3].tolist() == [128, 255, 255] and image[2, 4].tolist() == [0, 128, 128]
    assert not image[0].any()


@pytest.mark.parametrize("kind", EVENTS)
def test_every_picture_can_be_drawn_without_events(kind):
    assert EVENTS[kind](of(), 0, 1).shape == (16, 20, 3)
    assert draw_key(MemoryStore({"a.npy": npy(COLUMNS[:0])}), "a.npy#0/4", kind, SIZE).shape == (16, 20, 3)


# the parts of a file


def drawn(key, columns=COLUMNS, size=SIZE):
    image = draw_key(MemoryStore({"a.npy": npy(columns)}), key, "frames", size)
    return {(int(x), int(y)) for y, x in np.argwhere((image != 255).any(axis=2))}


def test_the_time_is_divided_equally_or_by_the_times_of_the_images():
    assert [drawn(key) for key in share_keys("a.npy", 3)] == [{(3, 1), (4, 2)}, {(4, 2)}, {(19, 15)}]
    assert drawn("a.npy#0/1") == {(3, 1), (4, 2), (19, 15)}
    keys = time_keys("a.npy", np.array([1500.0, 3500.0, 9000.0]))
    assert keys == ("a.npy#-500:1500", "a.npy#1500:3500", "a.npy#3500:9000")
    assert [drawn(key) for key in keys] == [{(3, 1)}, {(4, 2)}, {(19, 15)}]
    assert time_keys("a", np.array([7.0])) == ("a#0:7",) and is_event_key("a/b#1.h5#0/1")
    assert not any(map(is_event_key, ("a.npy", "a.png", "#.png", "a#b.png")))


def test_events_outside_the_sensor_are_left_out_and_unsorted_times_are_sorted():
    assert drawn("a.npy#0/1", size=(10, 10)) == {(3, 1), (4, 2)}
    assert drawn("a.npy#0/1", COLUMNS * [1, -1, 1, 1]) == set()
    events = read_events(npy(COLUMNS[::-1].copy()), "a.npy")
    assert events.t.tolist() == [1000, 2000, 3000, 4000] and events.backwards == 3 and events.x[0] == 3


# in a data set


def write_recording(folder, columns=COLUMNS, frames=4, name="events.npy"):
    for number in range(frames):
        noise = np.random.default_rng(number).integers(0, 255, (16, 20, 3)).astype(np.uint8)
        write_file(folder / f"rgb/{number:03d}.png", encode(noise, ".png"))
    write_file(folder / "boxes.csv", "4,3,11,12\n" * frames)
    write_file(folder / name, npy(columns))


def read(root, aux="events.npy", *settings, **entry):
    own = {"ROOT": str(root), "MODALITY": "rgbe", "RGB": "rgb/*.png", "AUX": aux, **entry}
    (root / "own.yaml").write_text(yaml.safe_dump({"DATA": {"CUSTOM": {"Events": own}}}))
    return build_dataset(load_config("transcmd", str(root / "own.yaml"), list(settings)), "Events")


@pytest.mark.parametrize("kind", EVENTS)
def test_own_data_may_be_files_of_events(tmp_path, kind):
    write_recording(tmp_path / "a")
    (sequence,) = read(tmp_path, "events.npy", f"DATA.INPUT.EVENTS={kind}")
    frames = [sequence.frame(index) for index in range(4)]
    assert all(frame.aux.shape == frame.rgb.shape == (16, 20, 3) for frame in frames)
    background = {"frames": 255, "voxel": 128, "time_surface": 0}[kind]
    assert [tuple(np.argwhere((frame.aux != background).any(axis=2))[0]) for frame in frames][:2] == [(1, 3), (2, 4)]
    assert check_sequence(sequence) == []


def test_times_and_one_file_per_image_are_read(tmp_path):
    write_recording(tmp_path / "a")
    write_file(tmp_path / "a/times.csv", "1500\n1600\n3500\n9000\n")
    (sequence,) = read(tmp_path, TIMES="times.csv")
    assert sequence.aux_keys[2] == "a/events.npy#1600:3500"
    write_file(tmp_path / "a/times.csv", "1500\n1600\n1500\n9000\n")
    with pytest.raises(ValueError, match="a/times.csv: expected 4 increasing times, one per RGB image, got 4 rows"):
        read(tmp_path, TIMES="times.csv")
    for number, row in enumerate(COLUMNS):
        write_file(tmp_path / f"a/events/{number}.npy", npy(row[None]))
    (sequence,) = read(tmp_path, "events/*.npy")
    assert sequence.aux_keys == tuple(f"a/events/{number}.npy#0/1" for number in range(4))
    assert (sequence.frame(3).aux[15, 19] == (0, 0, 255)).all()
    (tmp_path / "a/events/3.npy").unlink()
    with pytest.raises(ValueError, match="4 RGB images but 3 auxiliary images"):
        read(tmp_path, "events/*.npy")


@pytest.mark.parametrize(
    ("columns", "kind", "text"),
    [
        (COLUMNS + [0, 5, 0, 0], "events", "a/events.npy: 1 of 4 events outside 20x16 pixels"),
        (COLUMNS[::-1].copy(), "events", "a/events.npy: times run backwards in 3 places"),
        (COLUMNS[:0], "empty", "a/events.npy: no event"),
        (COLUMNS[:, :3], "image", "Events/a/events.npy: not a file of events"),
    ],
)
def test_the_doctor_names_events_that_cannot_be_right(tmp_path, columns, kind, text):
    write_recording(tmp_path / "a", columns)
    (sequence,) = read(tmp_path)
    (finding,) = check_sequence(sequence)
    assert finding.kind == kind and text in finding.where
    assert SUFFIXES == (".aedat4", ".npy", ".h5", ".hdf5")
