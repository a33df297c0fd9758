"""Decoding of images: the depth colour map, truncated files, channels and sizes."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib.data.image import DECODERS, colormap_depth, decode_color, decode_depth
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
