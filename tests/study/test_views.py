"""The pictures of masks, reconstructions and paths are correct."""

import numpy as np
import pytest
import torch

from lib.config.loader import load_config
from lib.data.loader import build_loaders
from lib.models.build import build_mae, build_model
from lib.structures import Pair
from lib.study.views import CELL, LINE, draw_paths, draw_reconstruction, pick_samples
from lib.utils.draw import overlay_score


@pytest.fixture(scope="module")
def sample(demo_data):
    return next(iter(build_loaders(load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}"]))[1]))


def test_masked_patches_are_grey_and_visible_ones_untouched(sample):
    torch.manual_seed(0)
    cfg = load_config("transcmd", "debug_pretrain")
    model = build_model(cfg).eval()
    with torch.inference_mode():
        result = build_mae(cfg, model).eval()(model, sample, exponent=1.0)
    picture = draw_reconstruction(sample, result, stride=16)
    batch = len(sample.modality)
    assert picture.shape == (LINE + 4 + batch * CELL, 7 * CELL, 3)
    body = picture[LINE + 4 :].reshape(batch, CELL, 7, CELL, 3)
    mask = result.masks.mask[:, :, -16:].reshape(batch, 2, 4, 4)
    step = CELL // 4
    for m in (0, 1):
        for index, row, column in mask[:, m].nonzero().tolist():
            middle = body[index, row * step + step // 2, 3 + m, column * step + step // 2]
            assert (abs(middle.astype(int) - 127) <= 1).all()
        for index, row, column in (~mask[:, m]).nonzero().tolist():
            y, x = row * step + step // 2, column * step + step // 2
            assert (abs(body[index, y, 5 + m, x].astype(int) - body[index, y, m, x]) <= 2).all()


def test_paths_are_drawn_with_their_weights(sample):
    model = build_model(load_config("transcmd", "debug_teacher")).eval()
    batch = len(sample.modality)
    with torch.inference_mode():
        output = model(sample.template, sample.search, sample.modality)
    weights = torch.zeros(batch, 16, 3)
    weights[..., 1] = 1
    picture = draw_paths(sample, output, weights, [""] * batch)[LINE + 4 :]
    brightness = picture.reshape(batch, CELL, 5, CELL, 3)[:, : CELL // 2, 2:].mean(axis=(0, 1, 3, 4))
    assert brightness.argmax() == 1


def test_dark_and_faint_samples_are_found():
    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    rgb, aux = images.clone(), images.clone()
    rgb[4] = 3
    aux[7] = 90
    picked, labels = pick_samples(Pair(rgb, aux), 3)
    assert dict(zip(picked, labels, strict=True)) == {4: "dark or flat RGB", 7: "faint auxiliary", 0: ""}


def test_a_score_is_drawn_at_its_corner_of_the_crop():
    image, score_map = np.zeros((64, 64, 3), np.uint8), np.zeros((8, 8))
    score_map[3, 5] = 1
    for at_corners, expected in ((False, (28, 44)), (True, (24, 40))):
        rows, columns = np.nonzero(overlay_score(image, score_map, at_corners).sum(axis=2))
        assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx(expected, abs=0.6)
