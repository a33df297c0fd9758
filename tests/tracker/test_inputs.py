"""Images in memory become frames, or one line says what is expected."""

import numpy as np
import pytest
from PIL import Image

from lib.data.image import colormap_depth
from lib.tracker import Frame, make_frame
from lib.tracker.base import check_frame

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = RGB[..., 0]
DEEP = np.linspace(0, 4080, 48).reshape(6, 8).astype(np.uint16)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (RGB, RGB),
        (Image.fromarray(RGB), RGB),
        (RGB / 255, RGB),
        ((RGB / 255).astype(np.float32), RGB),
        (np.dstack([RGB, GREY]), RGB),
        (Image.fromarray(RGB).convert("RGBA"), RGB),
        (Image.fromarray(GREY), np.dstack([GREY] * 3)),
        (GREY, np.dstack([GREY] * 3)),
        (GREY[..., None], np.dstack([GREY] * 3)),
        (Image.fromarray(GREY).convert("P"), np.dstack([GREY] * 3)),
    ],
)
def test_images_become_rgb_bytes(image, expected):
    frame = make_frame(image, image)
    check_frame(frame)
    np.testing.assert_array_equal(frame.rgb, expected)
    np.testing.assert_array_equal(frame.aux, expected)


@pytest.mark.parametrize("image", [DEEP, DEEP.astype(np.int32), DEEP.astype(float), Image.fromarray(DEEP)])
def test_16_bits_need_levels(image):
    found = make_frame(RGB, image, levels=(0, 4080)).aux
    np.testing.assert_array_equal(found[..., 0], np.rint(DEEP / 16))
    with pytest.raises(ValueError, match=r"auxiliary image: .* values from 0 to 4080; .*levels=\(low, high\)"):
        make_frame(RGB, image)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_raw_depth_is_converted_as_in_data_sets(kind):
    depth = DEEP.astype(kind)
    np.testing.assert_array_equal(make_frame(RGB, depth, "rgbd").aux, colormap_depth(DEEP))
    np.testing.assert_array_equal(make_frame(RGB, colormap_depth(DEEP), "rgbd").aux, colormap_depth(DEEP))


def test_depth_without_reading_and_in_metres():
    depth = DEEP.astype(float)
    depth[0, 0] = np.nan
    depth[0, 1] = -1
    whole = DEEP.copy()
    whole[0, :2] = 0
    np.testing.assert_array_equal(make_frame(RGB, depth, "rgbd").aux, colormap_depth(whole))
    with pytest.raises(ValueError, match="auxiliary image: depth up to 4.08 looks like metres; expected millimetres"):
        make_frame(RGB, DEEP / 1000, "rgbd")


def test_a_missing_stream_is_black():
    assert not make_frame(RGB, None).aux.any() and not make_frame(None, DEEP, "rgbd").rgb.any()
    check_frame(make_frame(None, RGB))
    with pytest.raises(ValueError, match="both images are None"):
        make_frame(None, None)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB.transpose(2, 0, 1), r"RGB image: expected a PIL image or an array .* got \(3, 6, 8\)"),
        ("a.jpg", "RGB image: expected a PIL image"),
        (RGB > 3, "RGB image: expected .* bool"),
        (np.full((4, 4), np.nan), "RGB image: some values are not finite"),
        (np.zeros((0, 4), np.uint8), "RGB image: the image is empty"),
    ],
)
def test_other_inputs_are_refused_in_one_line(image, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_frame(image, RGB)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", [None, Image.fromarray(RGB), RGB / 255])
def test_a_tracker_says_how_to_convert(image):
    with pytest.raises(ValueError, match=r"auxiliary image: expected \(H, W, 3\) uint8, got .*make_frame converts"):
        check_frame(Frame(RGB, image))


def test_an_unknown_modality_and_levels_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="unknown modality 'thermal'"):
        make_frame(RGB, RGB, "thermal")
    with pytest.raises(ValueError, match="low < high"):
        make_frame(RGB, DEEP, levels=(9, 9))
