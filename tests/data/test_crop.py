"""Crops have the same pixels as OSTrack's, and the mapping of boxes is invertible."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.crop import Crop, box_from_crop, box_to_crop, crop_square, square_around

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 256, (40, 50, 3), dtype=np.uint8)
BIG = np.zeros((600, 800, 3), np.uint8)
near = st.floats(-60, 100)
boxes_near = st.tuples(near, near, st.floats(0.5, 30), st.floats(0.5, 30)).map(np.array)
any_box = st.tuples(st.floats(-500, 2500), st.floats(-500, 2500), st.floats(0.5, 900), st.floats(0.5, 900)).map(
    np.array
)


def slow_crop(image: np.ndarray, box_xywh: np.ndarray, factor: float, size: int, lost: int = 0) -> np.ndarray:
    """OSTrack's sample_target as published, pixel by pixel. The area outside the image is black.

    Args:
        lost: number of black rows and columns at the lower and right edge of the image if the square extends beyond it.
            1 in OSTrack, because of `x2_pad = max(x2 - W + 1, 0)`, and 0 here.
    """
    x, y, w, h = (float(value) for value in box_xywh)
    side = math.ceil(math.sqrt(w * h) * factor)
    left, top = round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)
    bottom, right = (n - lost * (start + side >= n) for n, start in zip(image.shape[:2], (top, left), strict=True))
    patch = np.zeros((side, side, 3), np.uint8)
    for row in range(max(top, 0), min(top + side, bottom)):
        for column in range(max(left, 0), min(left + side, right)):
            patch[row - top, column - left] = image[row, column]
    return cv2.resize(patch, (size, size))


@settings(max_examples=60, deadline=None)
@given(boxes_near, st.sampled_from([1.0, 2.0, 3.3, 4.0]), st.sampled_from([16, 64]))
def test_pixels_are_those_of_ostrack_inside_across_and_outside_the_image(box, factor, size):
    crop = crop_square(IMAGE, box, factor, size)
    np.testing.assert_array_equal(crop.image, slow_crop(IMAGE, box, factor, size))
    assert crop.image.shape == (size, size, 3) and crop.image.dtype == np.uint8


@pytest.mark.parametrize("box", [[-500, 5, 10, 10], [500, 5, 10, 10], [5, -500, 10, 10], [5, 500, 10, 10]])
def test_a_crop_that_misses_the_image_is_black(box):
    assert not crop_square(IMAGE, box, 2.0, 16).image.any()


@pytest.mark.parametrize(
    ("box", "row", "column"),
    [([20, 16, 8, 8], None, None), ([40, 16, 8, 8], None, 21), ([20, 28, 8, 8], 23, None), ([38, 28, 8, 8], 23, 23)],
)
def test_ostrack_differs_only_in_the_images_last_row_and_column(box, row, column):
    ours, theirs = crop_square(IMAGE, box, 4.0, 32).image, slow_crop(IMAGE, box, 4.0, 32, lost=1)  # no resize
    differs = (ours != theirs).any(axis=2)
    expected = np.zeros((32, 32), bool)
    if row is not None:
        expected[row] = ours[row].any(axis=1)
    if column is not None:
        expected[:, column] = ours[:, column].any(axis=1)
    np.testing.assert_array_equal(differs, expected)


def test_the_image_is_not_changed():
    before = IMAGE.copy()
    crop_square(IMAGE, [-3, -3, 20, 20], 4.0, 32).image[:] = 0
    crop_square(IMAGE, [10, 10, 16, 16], 1.0, 16).image[:] = 0  # no resize, no border
    np.testing.assert_array_equal(IMAGE, before)


def test_half_pixels_round_to_even():
    assert square_around([10, 20, 3, 3], 2.0) == (8, 18, 6)  # 8.5 and 18.5
    assert square_around([11, 21, 3, 3], 2.0) == (10, 20, 6)  # 9.5 and 19.5
    assert square_around([10, 20, 4, 9], 2.0).side == 12
    assert square_around([10, 20, 4, 9.01], 2.0).side == 13


@settings(max_examples=100, deadline=None)
@given(any_box, any_box, st.sampled_from([2.0, 4.0, 5.0]), st.sampled_from([64, 128, 256]))
def test_a_box_goes_to_the_crop_and_back_unchanged(box, around, factor, size):
    square = square_around(around, factor)
    crop = Crop(np.empty((size, size, 3), np.uint8), np.array(square[:2], float), size / square.side)
    np.testing.assert_allclose(box_from_crop(box_to_crop(box, crop), crop), box, rtol=0, atol=1e-6)
    fractions = np.array([0.25, 0.5, 0.1, 0.75])
    np.testing.assert_allclose(box_to_crop(box_from_crop(fractions, crop), crop), fractions, rtol=0, atol=1e-6)


def test_mapping_keeps_leading_shapes_and_does_not_change_its_input():
    crop = crop_square(IMAGE, [10, 10, 12, 12], 2.0, 64)
    boxes = RNG.uniform(1, 30, (2, 3, 4))
    before = boxes.copy()
    there = box_to_crop(boxes, crop)
    np.testing.assert_allclose(there[1, 2], box_to_crop(boxes[1, 2], crop))
    np.testing.assert_allclose(box_from_crop(there, crop), boxes)
    np.testing.assert_array_equal(boxes, before)


def test_the_box_that_is_cropped_around_lies_in_the_middle():
    crop = crop_square(BIG, [100, 200, 40, 90], 4.0, 256)
    np.testing.assert_allclose(box_to_crop([100, 200, 40, 90], crop), [0.5, 0.5, 40 / 240, 90 / 240])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(250, 400), st.integers(200, 300), st.integers(12, 70), st.integers(12, 70)),
    st.floats(-0.8, 0.8),
    st.floats(-0.8, 0.8),
    st.sampled_from([(3.0, 128), (4.0, 256), (5.0, 320)]),
)
def test_a_painted_rectangle_lies_in_the_crop_where_its_box_is_mapped_to(box, dx, dy, spec):
    x, y, w, h = box
    image = BIG.copy()
    image[y : y + h, x : x + w] = 255
    half_side = math.sqrt(w * h) / 2
    crop = crop_square(image, [x + dx * half_side, y + dy * half_side, w, h], *spec)
    cx, cy, cw, ch = box_to_crop(box, crop) * spec[1]
    lit = crop.image[..., 0] > 127
    columns, rows = np.flatnonzero(lit.any(axis=0)), np.flatnonzero(lit.any(axis=1))
    expected = [max(cx - cw / 2, 0), min(cx + cw / 2, spec[1]), max(cy - ch / 2, 0), min(cy + ch / 2, spec[1])]
    found = [columns[0], columns[-1] + 1, rows[0], rows[-1] + 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1.0)


@pytest.mark.parametrize(
    ("box", "named"),
    [
        ([1, 2, 0, 4], "x=1 y=2 w=0 h=4"),
        ([1, 2, 3, -4], "w=3 h=-4"),
        ([1, 2, -3, -4], "w=-3 h=-4"),
        ([math.nan, 2, 3, 4], "x=nan"),
        ([1, 2, math.nan, 4], "w=nan"),
        ([1, math.inf, 3, 4], "y=inf"),
        ([1, 2, 3, math.inf], "h=inf"),
    ],
)
def test_a_box_that_cannot_be_cropped_raises_with_its_values(box, named):
    with pytest.raises(ValueError, match=named):
        crop_square(IMAGE, box, 2.0, 16)


def test_a_tiny_box_still_gives_a_crop():
    assert crop_square(IMAGE, [10, 10, 1e-6, 1e-6], 2.0, 16).image.shape == (16, 16, 3)
