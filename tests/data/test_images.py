"""Decoding of images: the depth colour map, truncated files, channels and sizes."""

import io
import logging
import pickle
import re
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data import image as image_module
from lib.data.image import DECODERS, MAX_PIXELS, colormap_depth, decode_color, decode_depth, picture_size
from lib.data.sequence import Sequence
from lib.structures import MODALITIES
from tests.helpers import MemoryStore, encode

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(
    RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8), (64, 48)
)  # no uniform colour, and three different channels
JET = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_JET)[:, 0].astype(int)  # BGR


def levels(picture: np.ndarray) -> np.ndarray:
    """Returns the index of the JET colour of each pixel. Fails if a pixel has none of the 256 colours."""
    distance = np.abs(picture.reshape(-1, 1, 3).astype(int) - JET).sum(axis=2)
    assert not distance.min(axis=1).any()
    return distance.argmin(axis=1).reshape(picture.shape[:2])


def expected_levels(depth: np.ndarray) -> np.ndarray:
    limit = min(3 * np.median(depth[depth > 0]), 10000)
    clipped = np.where(depth > limit, limit, depth.astype(float))
    low, high = clipped.min(), clipped.max()
    return (clipped - low) * 255 / (high - low) if high > low else np.zeros(depth.shape)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([300, 4000, 20000, 65535]), st.floats(0, 0.9))
def test_depth_is_clipped_stretched_and_coloured_by_the_rule(seed, far, missing):
    rng = np.random.default_rng(seed)
    depth = rng.integers(1, far, (12, 15)).astype(np.uint16)
    depth[rng.random(depth.shape) < missing] = 0
    depth[0, 0] = far
    np.testing.assert_allclose(levels(colormap_depth(depth)), expected_levels(depth), rtol=0, atol=0.51)


def test_readings_beyond_three_medians_and_beyond_ten_metres_look_alike():
    depth = np.full((8, 8), 1000, np.uint16)
    depth[0, :4] = 0, 3000, 3001, 60000
    found = levels(colormap_depth(depth))
    assert found[0, :4].tolist() == [0, 255, 255, 255] and found[4, 4] == 85  # the median excludes zeros
    depth = np.full((8, 8), 8000, np.uint16)
    depth[0, :4] = 0, 10000, 10001, 24000
    assert levels(colormap_depth(depth))[0, :4].tolist() == [0, 255, 255, 255]


def test_depth_pictures_stay_blue_first_near_is_blue_and_far_is_red():
    depth = np.array([[500, 1000, 1500]], np.uint16)
    near, _, far = colormap_depth(depth)[0].astype(int)
    assert near[0] > near[2] and far[2] > far[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_without_readings_is_black_and_constant_depth_is_one_colour(dtype):
    assert not colormap_depth(np.zeros((4, 5), dtype)).any()
    assert (levels(colormap_depth(np.full((4, 5), 200, dtype))) == 0).all()


def test_depth_is_read_from_its_file_and_left_unchanged():
    depth = RNG.integers(0, 9000, (12, 15)).astype(np.uint16)
    np.testing.assert_array_equal(decode_depth(encode(depth, ".png"), "a"), colormap_depth(depth.copy()))
    before = depth.copy()
    colormap_depth(depth)
    np.testing.assert_array_equal(depth, before)


@pytest.mark.parametrize("image", [SMOOTH, SMOOTH.astype(np.uint16) * 100])
def test_depth_of_three_channels_is_refused_by_name(image):
    with pytest.raises(ValueError, match=r"^DepthTrack/a/00000001\.png: expected a one-channel .* \(48, 64, 3\)"):
        decode_depth(encode(image, ".png"), "DepthTrack/a/00000001.png")


def test_images_are_decoded_in_rgb_order():
    np.testing.assert_array_equal(decode_color(encode(SMOOTH, ".png"), "a"), SMOOTH)
    np.testing.assert_array_equal(decode_color(encode(SMOOTH, ".bmp"), "a"), SMOOTH)
    assert np.abs(decode_color(encode(SMOOTH, ".jpg"), "a").astype(int) - SMOOTH).mean() < 8


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_grey_becomes_three_equal_channels(suffix):
    picture = decode_color(encode(SMOOTH[..., 0], suffix), "a")
    assert picture.shape == (48, 64, 3) and picture.dtype == np.uint8
    assert (picture == picture[..., :1]).all() and np.abs(picture[..., 0].astype(int) - SMOOTH[..., 0]).max() <= 4


def with_thumbnail(jpeg: bytes) -> bytes:
    """A JPEG with a thumbnail JPEG in its EXIF header, as written by cameras. It has two end markers."""
    thumbnail = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(thumbnail, "JPEG")
    segment = b"Exif\0\0" + thumbnail.getvalue()
    return jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


FILES = {suffix: encode(SMOOTH, suffix) for suffix in (".jpg", ".png", ".bmp")}
FILES["grey .png"] = encode(SMOOTH[..., 0], ".png")
FILES["thumbnail .jpg"] = with_thumbnail(FILES[".jpg"])


@pytest.mark.parametrize("kind", FILES)
def test_a_truncated_file_is_named_unless_no_pixel_is_lost(kind):
    data = FILES[kind]
    whole = decode_color(data, "a")
    cuts = {*range(0, 40), *range(0, len(data), len(data) // 60), *range(len(data) - 40, len(data))}
    refused = 0
    for cut in sorted(cuts):
        try:
            picture = decode_color(data[:cut], "LasHeR/a/v001.jpg")
        except ValueError as error:
            assert str(error).startswith("LasHeR/a/v001.jpg: ") and f"({cut} bytes)" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(picture, whole)
    assert refused >= len(cuts) - 12  # only the last checksum of a PNG may be missing


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_a_truncated_file_is_named_before_opencv_decodes_it(suffix, monkeypatch):
    """Some versions of OpenCV return the upper half and grey below."""
    monkeypatch.delattr(cv2, "imdecode")
    with pytest.raises(ValueError, match=r"^a: image is empty or cut off \(\d+ bytes\); fetch the file again$"):
        decode_color(FILES[suffix][: len(FILES[suffix]) // 2], "a")


def test_a_truncated_depth_file_is_named():
    data = encode(RNG.integers(0, 9000, (40, 50)).astype(np.uint16), ".png")
    for cut in (0, 1, 8, 100, len(data) // 2, len(data) - 20):
        with pytest.raises(ValueError, match=r"^a/00000001\.png: .*fetch the file again"):
            decode_depth(data[:cut], "a/00000001.png")


@pytest.mark.parametrize("data", [b"", b"\0" * 5000, b"<html>404</html>", b"\xff\xd8\xff\xd9", b"BM", b"\x89PNGIEND"])
def test_a_file_that_is_not_an_image_is_named(data):
    for decode in (decode_color, decode_depth):
        with pytest.raises(ValueError, match="^somewhere: "):
            decode(data, "somewhere")


def test_every_modality_has_a_decoder():
    assert {modality.decoder for modality in MODALITIES.values()} <= DECODERS.keys()


def one_frame(modality: str, rgb: bytes, aux: bytes) -> Sequence:
    store = MemoryStore({"a/rgb": rgb, "a/aux": aux}, "Test")
    return Sequence("a", modality, store, ("a/rgb",), ("a/aux",), np.array([[1.0, 1, 5, 5]]), np.array([True]))


@pytest.mark.parametrize("modality", ["rgbt", "rgbe", "rgbd"])
def test_an_auxiliary_image_is_resized_to_the_rgb_image(modality):
    aux = np.uint16(RNG.integers(1, 3000, (24, 32))) if modality == "rgbd" else cv2.resize(SMOOTH, (32, 24))
    frame = one_frame(modality, FILES[".png"], encode(aux, ".png")).frame(0)
    np.testing.assert_array_equal(frame.rgb, SMOOTH)
    assert frame.aux.shape == frame.rgb.shape and frame.aux.dtype == np.uint8
    if modality != "rgbd":
        assert np.abs(frame.aux.astype(int) - SMOOTH).mean() < 10


def test_a_broken_image_of_either_modality_is_named_with_data_set_and_key():
    for rgb, aux, named in ((b"", FILES[".png"], "Test/a/rgb"), (FILES[".png"], FILES[".jpg"][:200], "Test/a/aux")):
        with pytest.raises(ValueError, match=f"^{named}: "):
            one_frame("rgbt", rgb, aux).frame(0)


def test_rgb_only_data_repeat_rgb_as_the_auxiliary_modality():
    frame = one_frame("rgb", FILES[".png"], b"never read").frame(0)
    np.testing.assert_array_equal(frame.rgb, frame.aux)


def video(images: list[tuple[bytes, bytes]], modality: str = "rgbt", **options) -> Sequence:
    files = {
        f"{kind}/{i}.png": data
        for i, pair in enumerate(images)
        for kind, data in zip(("rgb", "aux"), pair, strict=True)
    }
    keys = ([f"{kind}/{i}.png" for i in range(len(images))] for kind in ("rgb", "aux"))
    boxes, visible = np.ones((len(images), 4)), np.ones(len(images), bool)
    return Sequence("a", modality, MemoryStore(files, "Test"), *keys, boxes, visible, **options)


def thermal(low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 48 * 64).reshape(48, 64).astype(np.uint16)


@pytest.mark.parametrize("modality", ["rgbt", "rgbe"])
def test_a_12_bit_range_keeps_its_grey_levels(modality):
    frame = video([(FILES[".png"], encode(thermal(0, 4095), ".png"))], modality).frame(0)
    assert len(np.unique(frame.aux)) == 256  # divided by 256, there were 16
    np.testing.assert_allclose(frame.aux[..., 0], thermal(0, 4095) / 4095 * 255, atol=1.5)
    np.testing.assert_array_equal(frame.rgb, SMOOTH)


def test_all_frames_of_a_sequence_share_one_range_in_any_order_and_process():
    images = [(FILES[".png"], encode(thermal(1000, high), ".png")) for high in (3040, 2000, 5000)]
    sequence = video(images[:2])
    later = pickle.loads(pickle.dumps(sequence)).frame(1).aux
    np.testing.assert_array_equal(later, (sequence.frame(0), sequence.frame(1))[1].aux)
    assert later.max() in (125, 126)  # (2000 - 1000) / (3040 - 1000) of 255, cut by a percentile
    given = video(images, levels=(1000, 6100)).frame(2).aux
    assert given.min() == 0 and given.max() == 200  # (5000 - 1000) / 20


def test_a_narrow_range_is_not_amplified_and_two_depths_are_not_mixed():
    flat = video([(FILES[".png"], encode(thermal(7000, 7010), ".png"))]).frame(0).aux
    assert flat.max() <= 10
    images = [(FILES[".png"], encode(SMOOTH[..., 0], ".png"))] * 9 + [(FILES[".png"], encode(thermal(0, 9), ".png"))]
    with pytest.raises(ValueError, match="^Test/a: 8- and 16-bit images are mixed"):
        video(images).frame(9)


def test_16_bits_are_refused_where_no_range_is_known():
    with pytest.raises(ValueError, match="^a: a uint16 image needs the grey levels"):
        decode_color(encode(thermal(0, 4095), ".png"), "a")


def turned(array: np.ndarray, suffix: str) -> bytes:
    image, file = Image.fromarray(array), io.BytesIO()
    exif = image.getexif()
    exif[0x0112] = 6  # show it turned by 90 degrees
    image.save(file, {"jpg": "JPEG", "png": "PNG"}[suffix], exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_exif_orientation_is_ignored_in_both_modalities(suffix):
    frame = video([(turned(SMOOTH, suffix), turned(SMOOTH, suffix))]).frame(0)
    for image in frame:
        assert image.shape == SMOOTH.shape and np.abs(image.astype(int) - SMOOTH).mean() < 8
    depth = thermal(500, 4000)
    np.testing.assert_array_equal(decode_depth(turned(depth, "png"), "a"), colormap_depth(depth))


def resized(width: int, height: int) -> bytes:
    return encode(cv2.resize(SMOOTH, (width, height)), ".png")


@pytest.mark.parametrize(("size", "warns"), [((32, 24), False), ((64, 47), True), ((33, 24), True), ((130, 97), False)])
def test_modalities_of_different_aspect_are_reported_once(size, warns, caplog):
    sequence = video([(FILES[".png"], resized(*size))] * 3)
    with caplog.at_level(logging.WARNING):
        for index in range(3):
            sequence.frame(index)
    assert [r.getMessage().startswith("Test/aux/0.png has") for r in caplog.records] == [True] * warns


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_auxiliary_image_without_rgb_image_has_the_size_of_the_others(order):
    sequence = video([(FILES[".png"], resized(32, 24))] * 2)
    sequence = replace(sequence, rgb_keys=[sequence.rgb_keys[0], None])
    assert [sequence.frame(index).aux.shape for index in order] == [SMOOTH.shape] * 2
    assert replace(sequence, rgb_keys=[None, None]).frame(1).aux.shape == (24, 32, 3)


def test_a_change_of_the_frame_size_is_reported_once(caplog):
    other = resized(32, 24)
    sequence = video([(FILES[".png"], FILES[".png"]), (other, other), (other, other)])
    for index in range(3):
        sequence.frame(index)
    (record,) = caplog.records
    assert record.getMessage().startswith("Test/rgb/1.png has 32x24 pixels, an image before it 64x48")


def giant(suffix: str, side: int) -> bytes:
    """A valid header of a picture of side x side pixels with hardly any data."""
    if suffix == ".png":
        chunks = (
            (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(b"0")),
            (b"IEND", b""),
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    data = bytearray(FILES[suffix])
    if suffix == ".bmp":
        data[18:26] = struct.pack("<ii", side, -side)
    else:
        place = data.index(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
@pytest.mark.parametrize("side", [20000, 60000])
def test_a_giant_picture_is_named_before_it_is_decoded(suffix, side, monkeypatch):
    monkeypatch.delattr(cv2, "imdecode")
    for decode in (decode_color, decode_depth):
        with pytest.raises(ValueError, match=f"^a: {side}x{side} pixels, more than {MAX_PIXELS}"):
            decode(giant(suffix, side), "a")


def test_sizes_are_read_from_headers_and_a_failing_decoder_names_the_file(monkeypatch):
    assert {picture_size(data) for data in FILES.values()} == {(64, 48)}
    assert picture_size(b"\xff\xd8\xff") is None and picture_size(b"II*\0") is None

    def fail(*_):
        raise cv2.error("Insufficient memory")

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(ValueError, match="^a: cannot be decoded"):
        decode_color(FILES[".png"], "a")


def test_a_jpeg_with_a_damaged_middle_is_named():
    data = bytearray(FILES[".jpg"])
    middle = len(data) * 3 // 4
    data[middle : middle + 4] = b"\x00\xff\xd5\x00"  # a restart marker, in a file without restarts
    with pytest.raises(ValueError, match=rf"^a: damaged JPEG .*marker ffd5.*at byte {middle + 1}; fetch"):
        decode_color(bytes(data), "a")


def noisy_jpeg(quality: int = 90, **options) -> bytes:
    file = io.BytesIO()
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), (0, 0), 2)
    Image.fromarray(picture).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def test_most_damage_in_the_middle_of_a_jpeg_is_named():
    """Damage that gives other, valid codes of the same length cannot be seen."""
    whole, rng, named = noisy_jpeg(), np.random.default_rng(0), 0
    for _ in range(60):
        data, place = bytearray(whole), int(rng.integers(len(whole) // 4, len(whole) * 3 // 4))
        data[place : place + 64] = rng.integers(0, 256, 64, np.uint8).tobytes()
        try:
            decode_color(bytes(data), "rgb/0001.jpg")
        except ValueError as error:
            assert re.match(r"rgb/0001\.jpg: damaged JPEG \(\d+ bytes\): .*; fetch the file again$", str(error))
            named += 1
    assert named >= 40
    zeros = bytearray(whole)
    zeros[len(whole) // 2 : len(whole) * 3 // 4] = bytes(len(whole) * 3 // 4 - len(whole) // 2)
    with pytest.raises(ValueError, match="^a: damaged JPEG"):
        decode_color(bytes(zeros), "a")


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}]
)
def test_jpeg_files_are_decoded_as_opencv_does(options, monkeypatch):
    data = noisy_jpeg(**options)
    fast = decode_color(data, "a")
    monkeypatch.setattr(image_module, "simplejpeg", None)
    assert np.array_equal(fast, decode_color(data, "a"))


UPPER = [{}, {"subsampling": 0}, {"subsampling": 1}, {"optimize": True}, {"restart_marker_rows": 1}, {"quality": 30}]


@pytest.mark.parametrize("options", UPPER)
@pytest.mark.parametrize("rows", [-7, 1, 15, 16, 17, 100, 203])
def test_the_upper_part_of_a_jpeg_is_that_of_the_whole_image(options, rows):
    data = noisy_jpeg(**options)
    whole, upper = decode_color(data, "a"), decode_color(data, "a", rows=rows)
    assert max(rows, 0) <= len(upper) < max(rows, 0) + 16
    shown = max(rows, 0)
    assert np.array_equal(upper[:shown], whole[:shown]) and upper.shape[1:] == whole.shape[1:]


def test_the_upper_part_of_a_grey_jpeg_is_that_of_the_whole_image():
    data = grey_jpeg()
    upper = decode_color(data, "a", rows=20)
    assert len(upper) < 40 and np.array_equal(upper[:20], decode_color(data, "a")[:20])


@pytest.mark.parametrize("rows", [240, 500])
def test_a_jpeg_of_which_all_rows_are_needed_is_decoded_whole(rows):
    data = noisy_jpeg()
    assert np.array_equal(decode_color(data, "a", rows=rows), decode_color(data, "a"))


@pytest.mark.parametrize("kind", ["progressive", "CMYK", "png", "without simplejpeg"])
def test_files_that_cannot_be_decoded_in_part_are_decoded_whole(kind, monkeypatch):
    data = noisy_jpeg(progressive=True) if kind == "progressive" else noisy_jpeg()
    if kind == "CMYK":
        data = grey_jpeg("CMYK")
    if kind == "png":
        data = encode(RNG.integers(0, 256, (90, 60, 3), dtype=np.uint8), ".png")
    if kind == "without simplejpeg":
        monkeypatch.setattr(image_module, "simplejpeg", None)
    assert np.array_equal(decode_color(data, "a", rows=10), decode_color(data, "a"))


def test_damage_that_the_decoder_names_in_the_upper_part_is_an_error_as_in_the_whole_image():
    whole = noisy_jpeg()
    zeros = bytearray(whole)
    zeros[len(whole) // 4 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 4)
    with pytest.raises(ValueError, match="^a: damaged JPEG"):
        decode_color(bytes(zeros), "a", rows=230)
    with pytest.raises(ValueError, match="^a: .*cut off"):
        decode_color(whole[: len(whole) // 3], "a", rows=10)


def grey_jpeg(mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (90, 60, 3), dtype=np.uint8)).convert(mode).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpeg_files_of_other_colours_are_decoded_as_opencv_does(mode, monkeypatch):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)).convert(mode).save(file, "JPEG")
    found = decode_color(file.getvalue(), "a")
    monkeypatch.setattr(image_module, "simplejpeg", None)
    assert np.array_equal(found, decode_color(file.getvalue(), "a")) and found.shape == (40, 60, 3)


def test_a_few_bytes_before_the_end_are_no_damage():
    data = noisy_jpeg()
    assert np.array_equal(decode_color(data[:-2] + b"\0\0\0" + data[-2:], "a"), decode_color(data, "a"))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}])
def test_every_kind_of_whole_jpeg_is_decoded(options):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(file, "JPEG", **options)
    assert decode_color(with_thumbnail(file.getvalue()) + b"\0trailing", "a").shape == (90, 120, 3)
