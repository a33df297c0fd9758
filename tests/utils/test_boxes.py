"""Box conversions, overlap and clipping, compared with pixel counts and checked for their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.utils.boxes import clip_xywh, cxcywh_to_xywh, iou_xywh, is_valid, xywh_to_cxcywh

corner, side = st.floats(-1000, 3000), st.floats(0.1, 2000)
boxes = st.tuples(corner, corner, side, side).map(np.array)
small = st.tuples(st.integers(-4, 12), st.integers(-4, 12), st.integers(1, 9), st.integers(1, 9))
BROKEN = [[0, 0, 0, 5], [0, 0, 5, 0], [0, 0, -5, 5], [0, 0, -5, -5], [np.nan, 0, 5, 5], [0, 0, 5, np.nan], [np.inf] * 4]


@given(boxes)
def test_conversions_are_inverse_and_do_not_change_their_input(box):
    before = box.copy()
    np.testing.assert_allclose(cxcywh_to_xywh(xywh_to_cxcywh(box)), box, atol=1e-9)
    np.testing.assert_allclose(xywh_to_cxcywh(cxcywh_to_xywh(box)), box, atol=1e-9)
    np.testing.assert_array_equal(box, before)


def test_the_centre_is_half_the_size_from_the_corner():
    assert xywh_to_cxcywh([10, 20, 4, 6]).tolist() == [12, 23, 4, 6]
    assert cxcywh_to_xywh([[[12, 23, 4, 6]]]).tolist() == [[[10, 20, 4, 6]]]


@given(boxes, boxes)
def test_overlap_is_symmetric_and_between_0_and_1(a, b):
    assert iou_xywh(a, b) == iou_xywh(b, a)
    assert 0 <= iou_xywh(a, b) <= 1


@given(boxes)
def test_equal_boxes_have_an_overlap_of_1(box):
    assert 1 - 1e-9 < iou_xywh(box, box) <= 1


@given(boxes, boxes, corner, corner)
def test_overlap_does_not_depend_on_where_the_origin_is(a, b, dx, dy):
    moved = [box + [dx, dy, 0, 0] for box in (a, b)]
    assert iou_xywh(*moved) == pytest.approx(iou_xywh(a, b), abs=1e-6)


@given(small, small)
def test_overlap_of_whole_boxes_is_the_count_of_shared_pixels(a, b):
    cells = [{(i, j) for i in range(x, x + w) for j in range(y, y + h)} for x, y, w, h in (a, b)]
    assert iou_xywh(a, b) == pytest.approx(len(cells[0] & cells[1]) / len(cells[0] | cells[1]), abs=1e-12)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_broken_box_is_invalid_and_overlaps_nothing_not_even_itself(broken):
    assert not is_valid(broken)
    assert iou_xywh(broken, broken) == iou_xywh(broken, [0, 0, 5, 5]) == iou_xywh([0, 0, 5, 5], broken) == 0


def test_functions_accept_any_leading_shape():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 20, (2, 3, 4, 4))
    overlap = iou_xywh(a, b)
    assert overlap.shape == is_valid(a).shape == (3, 4)
    for index in np.ndindex(3, 4):
        assert overlap[index] == iou_xywh(a[index], b[index])
        np.testing.assert_array_equal(xywh_to_cxcywh(a)[index], xywh_to_cxcywh(a[index]))
    assert iou_xywh(a[0, 0], b).shape == (3, 4)  # one box with many boxes


@settings(max_examples=200)
@given(boxes, st.integers(30, 700), st.integers(30, 700), st.sampled_from([0.0, 2.0, 10.0]))
def test_a_clipped_box_overlaps_the_image_by_the_margin(box, height, width, margin):
    x, y, w, h = clip_xywh(box, height, width, margin)
    assert 0 <= x <= width - margin and 0 <= y <= height - margin
    assert w >= margin and h >= margin
    assert x + w <= width + 1e-9 and y + h <= height + 1e-9


@given(st.integers(0, 20), st.integers(0, 20), st.integers(10, 30), st.integers(10, 30))
def test_a_box_inside_the_image_is_not_clipped(x, y, w, h):
    assert clip_xywh([x, y, w, h], 50, 50, 10).tolist() == [x, y, w, h]


@given(boxes)
def test_clipping_without_margin_is_the_intersection_with_the_image(box):
    x, y, w, h = clip_xywh(box, 400, 600)
    low, high = np.maximum(box[:2], 0), np.minimum(box[:2] + box[2:], [600, 400])
    if (high > low).all():
        np.testing.assert_allclose([x, y, x + w, y + h], [*low, *high], atol=1e-9)
    else:
        assert w * h == 0
