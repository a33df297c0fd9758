"""The front ends of depth and thermal images: grey levels, what is stable over a sequence, and their choice in YAML."""

import numpy as np
import pytest

from lib.config import schema
from lib.config.loader import ConfigError, load_config
from lib.data.datasets import build_dataset, build_front_end
from lib.data.events import EVENTS
from lib.data.front_end import DEPTH, THERMAL, FrontEnd, grey_depth, metric_limits, target_depth
from lib.data.image import DEPTH_LIMIT_MM, colormap_depth
from lib.data.loader import build_loaders, cache_settings
from lib.data.sequence import Sequence
from tests.helpers import MemoryStore, encode, write_small

BOX = (4, 2, 4, 4)


def depth_image(target, around, height=16, width=20):
    depth = np.full((height, width), around, np.uint16)
    depth[2:6, 4:8] = target
    return depth


def sequence(images, modality="rgbd", front_end=None, rgb_size=(16, 20), visible=None, levels=None):
    """A sequence of the given auxiliary images; None: missing."""
    rgb = encode(np.full((*rgb_size, 3), 90, np.uint8), ".png")
    files = {f"rgb{t}.png": rgb for t in range(len(images))}
    files |= {f"aux{t}.png": encode(image, ".png") for t, image in enumerate(images) if image is not None}
    aux = tuple(None if image is None else f"aux{t}.png" for t, image in enumerate(images))
    scale = rgb_size[0] / 16
    boxes = np.tile(np.array(BOX, np.float64) * scale, (len(images), 1))
    flags = np.ones(len(images), bool) if visible is None else np.array(visible)
    keys = tuple(f"rgb{t}.png" for t in range(len(images)))
    return Sequence(
        "a", modality, MemoryStore(files), keys, aux, boxes, flags, front_end=front_end or FrontEnd(), levels=levels
    )


def aux(images, front_end, **options):
    made = sequence(images, front_end=front_end, **options)
    return [made.frame(t).aux for t in range(len(images))]


def test_the_default_depth_is_vipts_colour_map():
    depth = depth_image(1000, 3000)
    np.testing.assert_array_equal(aux([depth], FrontEnd())[0], colormap_depth(depth))


def test_near_is_bright_far_is_dark_and_no_reading_is_black():
    grey = grey_depth(np.array([[0, 500, 1000, 2000, 3000, 65535]], np.uint16), 1000, 3000)
    assert grey.shape == (1, 6, 3) and grey.dtype == np.uint8
    assert grey[0, :, 0].tolist() == [0, 255, 255, 128, 1, 1]


def test_raw_depth_is_the_same_in_all_images():
    images = [depth_image(1000, around) for around in (2000, 9000)]
    first, second = aux(images, FrontEnd("raw"))
    assert first[3, 5].tolist() == second[3, 5].tolist() == [round(1 + 254 * 0.9)] * 3
    assert grey_depth(np.array([[DEPTH_LIMIT_MM]], np.uint16), 0, DEPTH_LIMIT_MM)[0, 0, 0] == 1


def test_metric_depth_is_clipped_around_the_target_and_stable_over_frames():
    images = [depth_image(3000, 9000), depth_image(3000, 4000), depth_image(4000, 1200)]
    front_end = FrontEnd("metric", depth_range=1000.0)
    first, second, third = aux(images, front_end)
    assert first[3, 5, 0] == second[3, 5, 0] == 128  # the target's depth in the first frame is the middle
    assert first[0, 0, 0] == second[0, 0, 0] == 1 and third[0, 0, 0] == 255 and third[3, 5, 0] == 1
    coloured = aux([depth_image(3000, 9000), depth_image(3000, 1200)], FrontEnd())
    assert (coloured[0][3, 5] != coloured[1][3, 5]).any()  # the colour map is not stable


def test_the_first_frame_with_a_box_and_depth_determines_the_metric_range():
    images = [depth_image(9000, 9000), None, depth_image(2000, 9000)]
    frames = aux(images, FrontEnd("metric", 1000.0), visible=[False, True, True])
    assert frames[2][3, 5, 0] == 128 and frames[0][3, 5, 0] == 1 and not frames[1].any()


def test_the_box_is_in_pixels_of_the_rgb_images():
    (frame,) = aux([depth_image(2000, 9000)], FrontEnd("metric", 1000.0), rgb_size=(64, 80))
    assert frame.shape == (64, 80, 3) and frame[16, 24, 0] == 128


def test_a_target_without_readings_takes_those_of_the_image():
    assert target_depth(depth_image(0, 5000), np.array(BOX)) == 5000
    assert target_depth(depth_image(700, 5000), np.array(BOX)) == 700
    assert target_depth(depth_image(700, 5000), np.array((90, 90, 5, 5))) == 5000  # outside: the last pixel
    assert target_depth(np.zeros((4, 4), np.uint16), np.array(BOX)) is None
    assert metric_limits(None, 50) == (0, DEPTH_LIMIT_MM) and metric_limits(30, 50) == (0, 80)
    assert not aux([np.zeros((16, 20), np.uint16)], FrontEnd("metric"))[0].any()


# thermal


def thermal(low, high, kind):
    return np.linspace(low, high, 320).reshape(16, 20).astype(kind)


def test_thermal_images_are_by_default_scaled_only_if_they_have_16_bits():
    grey, deep = aux([thermal(100, 150, np.uint8)], FrontEnd(), modality="rgbt"), thermal(8000, 9000, np.uint16)
    assert (grey[0].min(), grey[0].max()) == (100, 150)
    (deep,) = aux([deep], FrontEnd(), modality="rgbt")
    assert (deep.min(), deep.max()) == (0, 255)


@pytest.mark.parametrize(("kind", "low", "high"), [(np.uint8, 100, 150), (np.uint16, 8000, 9000)])
def test_percentiles_of_the_first_images_scale_both_kinds(kind, low, high):
    images = [thermal(low, high, kind)] * 8 + [thermal(low, low + (high - low) // 2, kind)]
    frames = aux(images, FrontEnd(thermal="percentile"), modality="rgbt")
    assert (frames[0].min(), frames[0].max()) == (0, 255)
    assert 120 < frames[8].max() < 135  # the range is that of the sequence, not of the image


def test_an_8_bit_image_without_contrast_is_not_stretched_to_noise():
    (frame,) = aux([thermal(100, 103, np.uint8)], FrontEnd(thermal="percentile"), modality="rgbt")
    assert frame.max() - frame.min() < 30


@pytest.mark.parametrize(("kind", "levels"), [(np.uint8, (50.0, 100.0)), (np.uint16, (7000.0, 9000.0))])
def test_a_fixed_range_holds_for_all_sequences(kind, levels):
    images = [np.full((16, 20), sum(levels) / 2, kind), np.full((16, 20), levels[1] + 20, kind)]
    front_end = FrontEnd(thermal="fixed", thermal_range=levels)
    for given in (None, (0.0, 1.0)):
        first, second = aux(images, front_end, modality="rgbt", levels=given)
        assert (first == 128).all() and (second == 255).all()


def test_other_streams_ignore_the_settings_of_thermal_images():
    image = thermal(100, 150, np.uint8)
    front_end = FrontEnd(thermal="fixed", thermal_range=(0.0, 10.0))
    (frame,) = aux([image], front_end, modality="rgbe")
    assert (frame.min(), frame.max()) == (100, 150)
    assert (sequence([image], "rgbt", front_end).frame(0).rgb == 90).all()


# the choice in YAML


def test_the_choices_of_the_configuration_are_the_front_ends():
    assert set(schema.CHOICES["DATA.INPUT.DEPTH"]) == set(DEPTH)
    assert set(schema.CHOICES["DATA.INPUT.THERMAL"]) == set(THERMAL)
    assert set(schema.CHOICES["DATA.INPUT.EVENTS"]) == set(EVENTS)
    assert build_front_end(load_config("transcmd", "tiny")) == FrontEnd()


@pytest.mark.parametrize(
    "setting", ["DEPTH=jet", "THERMAL=raw", "DEPTH_RANGE=0", "THERMAL_RANGE=[3]", "THERMAL_RANGE=[3,3]"]
)
def test_wrong_settings_are_named(setting):
    with pytest.raises(ConfigError, match=f"DATA.INPUT.{setting.partition('=')[0]}"):
        load_config("transcmd", "debug", [f"DATA.INPUT.{setting}"])


def test_training_and_testing_use_the_front_end_of_the_configuration(tmp_path):
    write_small(tmp_path, "DepthTrack", "train", sequences=3)
    write_small(tmp_path, "DepthTrack", "test", sequences=1)
    names = ["DATA.TRAIN.DATASETS_NAME=[DepthTrack_train]", "DATA.TRAIN.DATASETS_RATIO=[1]"]
    names += ["DATA.VAL.DATASETS_NAME=[DepthTrack_val]", "DATA.VAL.DATASETS_RATIO=[1]", "TRAIN.NUM_WORKER=0"]
    settings = [f"DATA.ROOT={tmp_path}", "DATA.INPUT.DEPTH=metric", "DATA.INPUT.DEPTH_RANGE=500", *names]
    cfg = load_config("transcmd", "debug", settings)
    assert build_dataset(cfg, "DepthTrack")[0].front_end == FrontEnd("metric", 500.0)
    for loader in build_loaders(cfg):
        assert {s.front_end for group in loader.dataset.datasets for s in group} == {FrontEnd("metric", 500.0)}
    assert build_dataset(cfg, "DepthTrack")[0].every_nth(2).front_end.depth == "metric"
    assert cache_settings(cfg)["INPUT"]["DEPTH"] == "metric"
    assert "INPUT" not in cache_settings(load_config("transcmd", "debug"))
