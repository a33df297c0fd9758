"""The features stage: a pretrained encoder reads single images, and its tokens are learnt."""

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional

from lib.config.loader import load_config
from lib.models.build import BACKBONES
from lib.models.features import FeatureEncoder, encode_apart
from lib.models.vit import Normalize
from lib.structures import Pair
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer
from lib.train.teacher_cache import CachedEncoder
from tests.samples import random_pair, random_sample

NORMALIZE = Normalize([0.5, 0.5, 0.5], [0.25, 0.25, 0.25])


def timm_vit(width: int = 64) -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=64, patch_size=16, embed_dim=width, depth=2, num_heads=2, num_classes=0, init_values=0.1
    )
    return vit.eval().requires_grad_(False)


@pytest.fixture
def weights(tmp_path):
    save_file(timm_vit().state_dict(), tmp_path / "encoder.safetensors")
    return tmp_path / "encoder.safetensors"


def make_encoder(weights, layer: int = 0, backbone: str = "vit_micro") -> FeatureEncoder:
    network = BACKBONES[backbone](template_size=32, search_size=64, stride=16, prefix_tokens=1)
    encoder = FeatureEncoder(network, layer, NORMALIZE)
    encoder.load(weights)
    return encoder


@pytest.mark.parametrize("layer", [1, 2, 0])
def test_the_encoder_gives_the_tokens_of_timm_for_a_single_image(weights, layer):
    template, search = (random_pair(3, size).rgb for size in (32, 64))
    found = make_encoder(weights, layer)(template, search)
    expected = timm_vit().forward_intermediates(
        NORMALIZE(search), indices=[(layer or 2) - 1], output_fmt="NLC", intermediates_only=True
    )[0]
    torch.testing.assert_close(found[:, 4:], functional.layer_norm(expected, (64,)), atol=1e-4, rtol=1e-4)


def test_tokens_of_one_crop_do_not_depend_on_the_other():
    backbone = BACKBONES["vit_micro"](template_size=32, search_size=64, stride=16, prefix_tokens=1).eval()
    torch.manual_seed(1)
    tokens = torch.randn(2, backbone.tokens + 1, 64)
    changed = tokens.clone()
    changed[:, : backbone.template_tokens] += 1
    first, second = (encode_apart(backbone, t, 2) for t in (tokens, changed))
    torch.testing.assert_close(first[:, backbone.template_tokens :], second[:, backbone.template_tokens :])
    assert not torch.allclose(first[:, : backbone.template_tokens], second[:, : backbone.template_tokens])


def test_an_encoder_of_another_geometry_says_what_was_expected(tmp_path):
    save_file(timm_vit(96).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: no tensor fits .* a ViT of width 64 with 2 blocks"):
        make_encoder(tmp_path / "other.safetensors")
    state = {name: tensor for name, tensor in timm_vit().state_dict().items() if "blocks.1" not in name}
    save_file(state, tmp_path / "shallow.safetensors")
    with pytest.raises(ValueError, match=r"shallow\.safetensors: not the expected .* missing .* with 2 blocks"):
        make_encoder(tmp_path / "shallow.safetensors")


def test_a_layer_that_does_not_exist_is_refused(weights):
    with pytest.raises(ValueError, match="FEATURES.LAYER 3: expected 1 to 2"):
        make_encoder(weights, layer=3)


def test_cached_tokens_equal_those_that_are_computed(weights, tmp_path):
    encoder = make_encoder(weights)
    cached = CachedEncoder(encoder, tmp_path / "cache")
    images = [random_pair(2, size).rgb for size in (32, 64)]
    first, second = cached(*images), cached(*images)
    assert torch.equal(first, second) and torch.equal(first, encoder(*images).half().float())
    assert len(list((tmp_path / "cache").iterdir())) == 1
    next((tmp_path / "cache").iterdir()).write_bytes(b"no tokens")
    with pytest.raises(ValueError, match="no stored tokens"):
        cached(*images)


@pytest.mark.parametrize("model", ["debug", "debug_teacher"])
def test_the_stage_learns_the_tokens_and_leaves_fusion_and_head(weights, model):
    overrides = ["TRAIN.STAGE=features", f"TRAIN.FEATURES.FILE={weights}", "TRAIN.FEATURES.BACKBONE=vit_micro"]
    task = build_task(load_config("transcmd", model, overrides), RunInfo("transcmd", "", 60))
    optimizer = build_optimizer(load_config("transcmd", model, overrides), task)
    untouched = {n: p.clone() for n, p in task.model.named_parameters() if n.startswith(("head.", "fusion."))}
    sample, losses = random_sample(8), []
    task.train()
    for _ in range(60):
        terms, _ = task(sample, 0.0)
        optimizer.zero_grad()
        terms["features"].backward()
        optimizer.step()
        losses.append(terms["features"].item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(p, dict(task.model.named_parameters())[n]) for n, p in untouched.items())
    assert not any(name.startswith("encoder.") for name in task.own_state())
    assert 0 < task.eval().evaluate(sample)["cosine"].mean() <= 1


def test_black_images_do_not_count(weights):
    overrides = ["TRAIN.STAGE=features", f"TRAIN.FEATURES.FILE={weights}", "TRAIN.FEATURES.BACKBONE=vit_micro"]
    task = build_task(load_config("transcmd", "debug", overrides), RunInfo("transcmd", "", 1)).eval()
    sample = random_sample(2)
    dark = sample._replace(
        **{name: Pair(getattr(sample, name).rgb, getattr(sample, name).aux * 0) for name in ("template", "search")}
    )
    noise = dark._replace(template=Pair(dark.template.rgb, dark.template.aux + 9))  # the search crop decides
    assert torch.equal(task(dark, 0.0)[0]["features"], task(noise, 0.0)[0]["features"])


def test_the_stage_needs_weights():
    with pytest.raises(ValueError, match="TRAIN.FEATURES.FILE is empty"):
        build_task(load_config("transcmd", "debug", ["TRAIN.STAGE=features"]), RunInfo("transcmd", "", 1))
