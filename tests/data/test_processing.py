"""Two frames become one sample. The augmentation is consistent over modalities, crops and boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data.augment import Augmentation, jitter_box
from lib.data.crop import CropSpec, box_to_crop, crop_pair, crop_square
from lib.data.degrade import KINDS, Degradation
from lib.data.processing import Processing
from lib.data.tensors import pair_tensors
from lib.structures import MAX_DISTRACTORS, MODALITIES, Frame, modality_index

TEMPLATE, SEARCH = CropSpec(64, 2.0), CropSpec(128, 4.0)
JITTERED = CropSpec(64, 2.0, 0.6, 0.1), CropSpec(128, 4.0, 2.0, 0.2)
BOXES = np.array([90.0, 70, 24, 20]), np.array([110.0, 60, 30, 22])
RNG = np.random.default_rng(0)
NOISE = [Frame(*RNG.integers(1, 256, (2, 160, 240, 3), dtype=np.uint8)) for _ in range(2)]


def marked_frame(box_xywh: np.ndarray) -> Frame:
    """A black frame with a bright target in all channels of both modalities and a darker mark to the left of it."""
    x, y, w, h = box_xywh.astype(int)
    images = np.zeros((2, 160, 240, 3), np.uint8)
    images[:, y : y + h, x : x + w] = 255
    images[:, y + h // 3 : y + 2 * h // 3, x - 10 : x - 4] = 100
    return Frame(*images)


def process(template=TEMPLATE, search=SEARCH, frames=NOISE, modality="rgbt", seed=0, **augmentation):
    processing = Processing(template, search, Augmentation(**augmentation))
    return processing(frames[0], BOXES[0], frames[1], BOXES[1], modality, np.random.default_rng(seed))


def images_of(sample):
    """Returns the four images (3, S, S), each with its box."""
    return [(image, box) for pair, box in zip(sample[:2], sample[2:4], strict=True) for image in pair]


def extent(mask: torch.Tensor) -> list[float]:
    """Returns centre and size of the true pixels, as fractions of the crop."""
    rows, columns = (torch.nonzero(mask.any(dim=dim)).flatten() for dim in (1, 0))
    (top, bottom), (left, right) = ((n.min().item(), n.max().item() + 1) for n in (rows, columns))
    size = mask.shape[0]
    return [(left + right) / 2 / size, (top + bottom) / 2 / size, (right - left) / size, (bottom - top) / size]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_flip_and_jitter_move_image_and_box_together_in_all_four_images(flip, seed):
    sample = process(*JITTERED, [marked_frame(box) for box in BOXES], seed=seed, flip=flip)
    for image, box in images_of(sample):
        np.testing.assert_allclose(extent(image[0] > 180), box, rtol=0, atol=1.6 / image.shape[-1])
        mark = torch.nonzero(((image[0] > 60) & (image[0] < 140)).sum(dim=0) > 2).flatten().float().mean()
        assert (mark / image.shape[-1] > box[0]) == bool(flip)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_distractors_follow_the_search_crop_and_the_largest_are_kept(flip):
    """Boxes that the crop shows are kept, as many as fit, those with the largest visible part first."""
    centre = BOXES[1][:2] + BOXES[1][2:] / 2
    sizes = np.arange(1.0, 21)
    shown = np.stack([centre[0] + sizes, centre[1] - sizes, sizes, sizes], axis=1)
    outside = np.array([[500.0, 500, 30, 30]])
    processing = Processing(TEMPLATE, SEARCH, Augmentation(flip=flip))
    args = (NOISE[0], BOXES[0], NOISE[1], BOXES[1], "rgbt", np.random.default_rng(3))
    sample = processing(*args, distractors=np.concatenate([outside, shown]))
    crop = crop_square(NOISE[1].rgb, BOXES[1], SEARCH.factor, SEARCH.size)
    expected = box_to_crop(shown[::-1][:MAX_DISTRACTORS], crop)
    if flip:
        expected[:, 0] = 1 - expected[:, 0]
    np.testing.assert_allclose(sample.distractors, expected, atol=1e-6)
    few = processing(*args[:-1], np.random.default_rng(3), distractors=outside)
    assert not few.distractors.any() and not process().distractors.any()


def test_flip_mirrors_the_whole_image_and_keeps_size_and_height_of_the_box():
    plain, flipped = process(*JITTERED, flip=0.0), process(*JITTERED, flip=1.0)
    for (image, box), (other, other_box) in zip(images_of(plain), images_of(flipped), strict=True):
        assert torch.equal(image.flip(-1), other)
        np.testing.assert_allclose(other_box, [1 - box[0], *box[1:]], atol=1e-6)


def test_flips_have_the_configured_probability():
    rng = np.random.default_rng(0)
    share = np.mean([Augmentation(flip=0.3).draw(rng).flip for _ in range(2000)])
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)


@pytest.mark.parametrize(("dropped", "kept"), [("rgb", "aux"), ("aux", "rgb")])
def test_a_dropped_modality_is_black_in_both_crops_and_the_other_is_untouched(dropped, kept):
    sample = process(**{f"drop_{dropped}": 1.0})
    plain = process()
    for pair, whole in zip(sample[:2], plain[:2], strict=True):
        assert not getattr(pair, dropped).any()
        assert torch.equal(getattr(pair, kept), getattr(whole, kept))
    assert torch.equal(sample.search_box, plain.search_box)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_both_modalities_are_never_dropped_at_once(rgb, aux, seed):
    drawn = Augmentation(drop_rgb=rgb, drop_aux=min(aux, 1 - rgb)).draw(np.random.default_rng(seed))
    assert not (drawn.drop_rgb and drawn.drop_aux)


def test_modalities_are_dropped_with_the_configured_probability():
    rng = np.random.default_rng(0)
    drawn = [Augmentation(drop_rgb=0.3, drop_aux=0.1).draw(rng) for _ in range(3000)]
    for share, found in ((0.3, [d.drop_rgb for d in drawn]), (0.1, [d.drop_aux for d in drawn])):
        assert abs(np.mean(found) - share) < 4 * np.sqrt(share * (1 - share) / 3000)


def test_brightness_scales_each_modality_by_its_own_factor_within_its_bounds():
    rng = np.random.default_rng(0)
    drawn = [Augmentation(brightness=0.2).draw(rng) for _ in range(1000)]
    factors = np.array([d.brightness for d in drawn])
    assert 0.8 <= factors.min() < 0.81 and 1.19 < factors.max() <= 1.2
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.15
    picture = np.full((4, 4, 3), 100, np.uint8)
    bright = np.full((4, 4, 3), 250, np.uint8)
    for change in drawn[:50]:
        crop, _ = change(Frame(picture, picture), np.zeros(4))
        np.testing.assert_allclose([crop.rgb[0, 0, 0], crop.aux[0, 0, 0]], 100 * np.array(change.brightness), atol=0.51)
        saturated, _ = change(Frame(bright, bright), np.zeros(4))
        assert saturated.rgb.min() == min(255, round(250 * change.brightness[0]))  # no overflow


def test_grayscale_takes_the_colour_of_rgb_alone():
    sample, plain = process(grayscale=1.0), process()
    for pair, whole in zip(sample[:2], plain[:2], strict=True):
        assert (pair.rgb == pair.rgb[:1]).all() and pair.rgb.float().std() > 10
        assert torch.equal(pair.aux, whole.aux)


def test_one_modality_is_degraded_in_each_crop_apart():
    rng = np.random.default_rng(0)
    square = Frame(*(image[:160, :160] for image in NOISE[0]))
    seen, both = set(), 0
    for _ in range(400):
        drawn = Augmentation(degrade=0.5).draw(rng)
        for search, degradation in enumerate(drawn.degradations):
            crop, _ = drawn(square, np.zeros(4), search=bool(search))
            changed = [not np.array_equal(image, plain) for image, plain in zip(crop, square, strict=True)]
            if degradation is None:
                assert changed == [False, False]
            else:
                assert changed == [degradation.modality == 0, degradation.modality == 1]
                seen.add((degradation.kind, degradation.modality))
        both += all(drawn.degradations)
    assert seen == {(kind, m) for kind in KINDS for m in (0, 1)}
    assert abs(both / 400 - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)  # drawn apart


@pytest.mark.parametrize("kind", KINDS)
def test_a_stronger_degradation_changes_more_and_is_repeatable(kind):
    picture = np.random.default_rng(1).integers(40, 216, (64, 64, 3)).astype(np.uint8)
    weak, strong = (Degradation(0, kind, strength, 3)(Frame(picture, picture)).rgb for strength in (0.0, 1.0))
    again = Degradation(0, kind, 1.0, 3)(Frame(picture, picture)).rgb
    difference = [np.abs(image.astype(float) - picture).mean() for image in (weak, strong)]
    assert 0 < difference[0] <= difference[1] and strong.dtype == np.uint8 and strong.shape == picture.shape
    assert np.array_equal(strong, again)
    assert kind == "black" or difference[0] < difference[1]


def test_degradation_at_rate_0_leaves_the_other_draws_alone():
    options = dict(flip=0.5, brightness=0.3, grayscale=0.3, drop_rgb=0.2, drop_aux=0.2)
    rngs = [np.random.default_rng(5) for _ in "ab"]
    plain = [Augmentation(**options).draw(rngs[0]) for _ in range(20)]
    assert plain == [Augmentation(**options, degrade=0.0).draw(rngs[1]) for _ in range(20)]
    assert rngs[0].random() == rngs[1].random()


def test_augmentation_does_not_change_its_input():
    change = Augmentation(1.0, 0.5, 1.0, 0.5, 0.5).draw(np.random.default_rng(0))
    crop, box = Frame(NOISE[0].rgb.copy(), NOISE[0].aux.copy()), np.array([0.2, 0.3, 0.1, 0.1])
    change(crop, box)
    np.testing.assert_array_equal(crop, NOISE[0])
    assert box.tolist() == [0.2, 0.3, 0.1, 0.1]


def test_the_jittered_centre_stays_within_half_the_jitter_of_the_box_and_fills_that_range():
    rng, box = np.random.default_rng(0), np.array([100.0, 200, 40, 90])
    jittered = np.array([jitter_box(box, 3.0, 0.25, rng) for _ in range(4000)])
    moved = jittered[:, :2] + jittered[:, 2:] / 2 - [120, 245]
    moved /= np.sqrt(jittered[:, 2:].prod(axis=1, keepdims=True))
    assert np.abs(moved).max() <= 1.5 + 1e-9
    np.testing.assert_allclose(moved.std(axis=0), 3 / np.sqrt(12), rtol=0.05)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=0.06)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.08
    logs = np.log(jittered[:, 2:] / [40, 90])
    np.testing.assert_allclose(logs.std(axis=0), 0.25, rtol=0.06)
    np.testing.assert_allclose(logs.mean(axis=0), 0, atol=0.02)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.08


def test_without_jitter_the_box_is_unchanged():
    np.testing.assert_allclose(jitter_box(BOXES[0], 0, 0, RNG), BOXES[0], atol=1e-12)


def test_without_augmentation_a_sample_is_the_two_crops_and_their_boxes():
    sample = process()
    for pair, box_out, frame, box, spec in zip(sample[:2], sample[2:4], NOISE, BOXES, (TEMPLATE, SEARCH), strict=True):
        for tensor, image in zip(pair, frame, strict=True):
            crop = crop_square(image, box, spec.factor, spec.size)
            np.testing.assert_array_equal(tensor.permute(1, 2, 0), crop.image)
        np.testing.assert_allclose(box_out, box_to_crop(box, crop), atol=1e-6)


@pytest.mark.parametrize("modality", MODALITIES)
def test_shapes_and_types_of_a_sample(modality):
    sample = process(modality=modality, flip=1.0, brightness=0.2)
    for pair, size in ((sample.template, 64), (sample.search, 128)):
        for image in pair:
            assert image.shape == (3, size, size) and image.dtype == torch.uint8 and image.is_contiguous()
    for box in (sample.template_box, sample.search_box):
        assert box.shape == (4,) and box.dtype == torch.float32
    assert sample.modality.shape == () and sample.modality.dtype == torch.int64
    assert sample.modality == modality_index(modality)


@pytest.mark.parametrize("part", ["template", "search"])
def test_no_sample_where_the_jitter_leaves_the_target_out_of_either_crop(part):
    found = [process(**{part: CropSpec(64, 2.0, center_jitter=4.0)}, seed=seed) for seed in range(60)]
    assert (
        5 < sum(sample is None for sample in found) < 55
    )  # the centre moves by up to ±2 and is outside beyond ±1: in 3 of 4 draws
    for sample in found:
        if sample is not None:
            box = getattr(sample, f"{part}_box")
            assert 0 < box[:2].min() and box[:2].max() < 1


def test_a_sample_depends_only_on_the_random_generator():
    options = dict(flip=0.5, brightness=0.3, grayscale=0.3, drop_rgb=0.2, drop_aux=0.2)
    first, again, other = (process(*JITTERED, seed=seed, **options) for seed in (3, 3, 4))
    for (image, box), (same, same_box), (_, other_box) in zip(*map(images_of, (first, again, other)), strict=True):
        assert torch.equal(image, same) and torch.equal(box, same_box) and not torch.equal(box, other_box)


def test_both_modalities_are_cropped_alike():
    frame = marked_frame(BOXES[0])
    crops, geometry = crop_pair(frame, BOXES[0] + [5, -3, 0, 0], CropSpec(96, 3.0))
    np.testing.assert_array_equal(crops.rgb, crops.aux)
    np.testing.assert_array_equal(crops.rgb, geometry.image)
    assert pair_tensors(crops).aux.shape == (3, 96, 96)


def test_the_auxiliary_image_of_modality_rgb_repeats_the_augmented_rgb_image():
    frames = [Frame(frame.rgb, frame.rgb) for frame in NOISE]
    settings = {"brightness": 0.5, "grayscale": 0.5, "drop_rgb": 0.5, "drop_aux": 0.5, "degrade": 0.5, "flip": 0.5}
    seen = set()
    for seed in range(12):
        template, search = process(frames=frames, modality="rgb", seed=seed, **settings)[:2]
        assert torch.equal(template.rgb, template.aux) and torch.equal(search.rgb, search.aux)
        seen.add(search.rgb.float().mean().item())
        assert search.rgb.any()  # neither dropped nor black
    assert len(seen) == 12  # it is augmented
