"""Images in memory become frames, or one line says what is expected."""

import numpy as np
import pytest
from PIL import Image

from lib.data.front_end import FrontEnd, grey_depth
from lib.data.image import colormap_depth
from lib.tracker import Frame, depth_levels, make_frame
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


def test_raw_depth_is_converted_as_the_front_end_says():
    """As a sequence of files is, for which lib/data/front_end.py has the rules."""
    raw, metric = FrontEnd(depth="raw"), FrontEnd(depth="metric", depth_range=500)
    np.testing.assert_array_equal(make_frame(RGB, DEEP, "rgbd", front_end=raw).aux, grey_depth(DEEP, 0, 10000))
    near, far = depth_levels(DEEP, (2, 1, 3, 2), metric)
    middle = np.median(DEEP[1:3, 2:5])
    assert (near, far) == (middle - 500, middle + 500)
    later = (DEEP // 2).astype(np.float32)
    found = make_frame(RGB, later, "rgbd", levels=(near, far), front_end=metric).aux
    np.testing.assert_array_equal(found, grey_depth(DEEP // 2, near, far))
    grey = make_frame(RGB, found, "rgbd", front_end=metric).aux  # three channels: converted already
    np.testing.assert_array_equal(grey, found)
    with pytest.raises(ValueError, match=r"auxiliary image: metric depth needs levels=depth_levels\("):
        make_frame(RGB, DEEP, "rgbd", front_end=metric)
    with pytest.raises(ValueError, match=r"depth: expected an image \(H, W\) in millimetres, got \(6, 8, 3\) uint8"):
        depth_levels(RGB, (2, 1, 3, 2), metric)


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
