"""Weights of other projects: read without running their code, converted, and every key reported."""

import hashlib
import logging
import os
import pathlib
import sys
import types
from collections import OrderedDict

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional

from lib.config.loader import load_config
from lib.models.build import build_model
from lib.models.vit import Variant, ViT
from lib.models.weights.convert import convert
from lib.models.weights.read import read_checkpoint, read_foreign, write_net
from lib.models.weights.report import load_fitting
from lib.structures import MODALITIES
from lib.train.start import _missing_prefixes, start_from
from lib.train.tasks import Task
from tests.samples import read_net

KERNEL = "encoder.patch_embed.proj.weight"
SMALL = Variant(64, 2, 2)


class EncoderAlone(nn.Module):
    def __init__(self, encoder: ViT):
        super().__init__()
        self.encoder, self.streams = encoder, (encoder, encoder)


def load_into(vit: ViT, net):
    """Converts `net` and loads it into a model that consists of an encoder."""
    model = EncoderAlone(vit.eval())
    net, converted = convert(net, model, "file")
    return load_fitting(model, net, "file", converted)


@torch.no_grad()
def search_features(vit: ViT, image):
    """Returns the encoder's tokens of a search crop, prefix last."""
    tokens = vit.patch_embed(image) + vit.search_position
    if vit.prefix is not None:
        tokens = torch.cat([tokens, vit.prefix.expand(len(tokens), -1, -1)], dim=1)
    for block in vit.blocks:
        tokens = block(tokens)
    return vit.norm(tokens)


@torch.no_grad()
def timm_features(model, image):
    """timm's features in our order: prefix last."""
    tokens = model.eval().forward_features(image)
    return torch.cat([tokens[:, model.num_prefix_tokens :], tokens[:, : model.num_prefix_tokens]], dim=1)


def randomised(model, seed=0):
    """Draws every parameter and buffer at random, so that no two have equal values."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + ("var" in name) + ("gamma" in name))
    return model


# DINOv2: the real file


@pytest.fixture(scope="module")
def dino(shared):
    path = shared / "weights" / "dinov2_vits14_fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return read_foreign(path).tensors


@pytest.fixture(scope="module")
def pictures(shared):
    """Real scenes, (N, 3, 224, 224), normalised."""
    paths = sorted((shared / "real" / "LasHeR" / "testingset").glob("*/visible/*000000.jpg"))
    if not paths:
        pytest.skip(f"no pictures in {shared / 'real'}")
    scenes = []
    for path in paths:
        image = cv2.imread(str(path))[:, :, ::-1]
        side = min(image.shape[:2])
        image = cv2.resize(np.ascontiguousarray(image[:side, :side]), (224, 224), interpolation=cv2.INTER_AREA)
        scenes.append(torch.from_numpy(image).permute(2, 0, 1) / 255)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (torch.stack(scenes) - mean) / std


def dino_timm(dino, size):
    model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, img_size=size, num_classes=0)
    net = {key: value.float() for key, value in dino.items()}
    net["pos_embed"] = resample_abs_pos_embed(net["pos_embed"], [size // 14, size // 14])
    model.load_state_dict(net)
    return model


def dino_ours(dino, stride, grid, layer_scale=1e-5):
    vit = ViT(Variant(384, 12, 6), 4 * stride, grid * stride, stride, prefix_tokens=1, layer_scale=layer_scale)
    report = load_into(vit, dino)
    assert report.fits
    return vit, report


@pytest.mark.parametrize("grid", [37, 16], ids=["as trained", "positions resampled"])
def test_dino_features_equal_those_of_timm(dino, pictures, grid):
    image = functional.interpolate(pictures[:1], (grid * 14, grid * 14), mode="bicubic")
    vit, report = dino_ours(dino, 14, grid)
    torch.testing.assert_close(
        search_features(vit, image), timm_features(dino_timm(dino, grid * 14), image), atol=1e-4, rtol=1e-4
    )
    assert set(report.converted) == set(report.used)  # all are in half precision
    assert report.converted["encoder.prefix"] == "float16 to float32, from cls_token with pos_embed"
    assert report.converted["encoder.blocks.3.ls1.gamma"] == "float16 to float32"


def test_dino_features_are_nearly_the_same_with_larger_patches(dino, pictures):
    expected = timm_features(dino_timm(dino, 224), pictures)[:, :256]
    larger = functional.interpolate(pictures, (256, 256), mode="bicubic", antialias=True)
    vit, report = dino_ours(dino, 16, 16)
    assert report.converted[KERNEL] == "float16 to float32, 14x14 to 16x16 pixels"
    kernel, positions = vit.patch_embed.proj.weight.data.clone(), vit.search_position.data.clone()

    def similarity(kernel, positions):
        vit.patch_embed.proj.weight.data, vit.search_position.data = kernel, positions
        return functional.cosine_similarity(search_features(vit, larger)[:, :256], expected, dim=-1).mean().item()

    limit = 0.999  # measured: 0.9999; the broken ones below, in their order: 0.991, 0.707, 0.711, 0.867
    assert similarity(kernel, positions) > limit
    unscaled = functional.interpolate(dino["patch_embed.proj.weight"].float(), (16, 16), mode="bilinear")
    grid = dino["pos_embed"].float()[:, 1:].view(1, 37, 37, 384)
    assert similarity(unscaled, positions) < limit
    assert similarity(kernel.mT.contiguous(), positions) < limit
    assert similarity(kernel, positions.view(1, 16, 16, 384).transpose(1, 2).reshape(1, 256, 384)) < limit
    assert similarity(kernel, grid[:, :16, :16].reshape(1, 256, 384)) < limit


def test_folding_layer_scale_does_not_change_dino_features(dino, pictures):
    kept, folded = (dino_ours(dino, 14, 16, layer_scale) for layer_scale in (1e-5, 0.0))
    features = search_features(kept[0], pictures[:1])
    torch.testing.assert_close(search_features(folded[0], pictures[:1]), features, atol=1e-4, rtol=1e-5)
    for layer in ("attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"):
        for number in range(12):
            how = folded[1].converted[f"encoder.blocks.{number}.{layer}"]
            assert how == "float16 to float32, LayerScale folded in"


# timm's ViTs, small and made up


@pytest.mark.parametrize(
    ("options", "prefix"),
    [
        ({}, 1),
        ({"class_token": False, "global_pool": "avg"}, 0),
        ({"reg_tokens": 4}, 5),
        ({"reg_tokens": 4, "no_embed_class": True}, 5),
        ({"init_values": 0.1, "no_embed_class": True}, 1),
    ],
)
@torch.no_grad()
def test_every_kind_of_timm_vit_keeps_its_features(options, prefix):
    options = {"global_pool": "token", "fc_norm": False, "num_classes": 7, **options}
    theirs = randomised(VisionTransformer(img_size=64, patch_size=8, embed_dim=64, depth=2, num_heads=2, **options))
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for layer_scale in {0.0, options.get("init_values", 0.0)}:
        vit = ViT(SMALL, 32, 64, 8, prefix_tokens=prefix, layer_scale=layer_scale)
        report = load_into(vit, theirs.state_dict())
        assert (report.missing, report.mismatched) == ([], [])
        assert report.unused == ["head.weight", "head.bias"]
        torch.testing.assert_close(search_features(vit, image), timm_features(theirs, image), atol=1e-5, rtol=1e-5)
        assert report.converted["encoder.search_position"] == "from pos_embed"
        assert report.converted["encoder.template_position"] == "from pos_embed, 8x8 to 4x4 cells"
        assert ("encoder.prefix" in report.converted) == bool(prefix)


def small_timm(**options):
    options = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 2, **options}
    return VisionTransformer(num_classes=0, **options).state_dict()


def test_prefix_tokens_that_the_model_lacks_are_reported_as_unused():
    report = load_into(ViT(SMALL, 32, 64, 16), small_timm(reg_tokens=4))
    assert report.unused == ["cls_token", "reg_token"] and report.missing == []
    report = load_into(ViT(SMALL, 32, 64, 16, prefix_tokens=1), small_timm(reg_tokens=4))
    assert report.unused == ["cls_token", "reg_token"] and report.missing == ["encoder.prefix"]


def test_different_width_and_depth_are_reported():
    with pytest.raises(
        ValueError, match=r"no tensor fits.*shape .*encoder\.prefix \(1, 1, 32\) in the file, \(1, 1, 64\)"
    ):
        load_into(ViT(SMALL, 32, 64, 16, prefix_tokens=1), small_timm(embed_dim=32, num_heads=1))
    report = load_into(ViT(SMALL, 32, 64, 16), small_timm(depth=1))
    assert "encoder.blocks.1.norm1.weight" in report.missing and len(report.missing) == 12
    report = load_into(ViT(Variant(64, 1, 2), 32, 64, 16), small_timm(init_values=0.1))
    assert "blocks.1.ls1.gamma" in report.unused and "blocks.1.attn.proj.weight" in report.unused
    assert report.missing == [] and "blocks.0.ls1.gamma" not in report.unused


@pytest.mark.parametrize("positions", [torch.zeros(1, 12, 64), torch.zeros(17), torch.zeros(17, 64)])
def test_positions_that_form_no_grid_are_an_error(positions):
    net = small_timm() | {"pos_embed": positions}
    with pytest.raises(ValueError, match="file: cannot be converted: ") as caught:
        load_into(ViT(SMALL, 32, 64, 16), net)
    assert "\n" not in str(caught.value)


def test_one_tensor_under_two_names_is_an_error():
    net = small_timm() | {"backbone.norm.weight": torch.zeros(64)}
    with pytest.raises(ValueError, match=r"file: cannot be converted: contains norm\.weight with and without"):
        load_into(ViT(SMALL, 32, 64, 16), net)


def test_a_timm_name_is_downloaded(monkeypatch):
    def create_model(name, pretrained, num_classes):
        assert (name, pretrained, num_classes) == ("vit_made_up.in1k", True, 0)
        return VisionTransformer(img_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=2, num_classes=0)

    monkeypatch.setattr(timm, "create_model", create_model)
    cfg = student_config("timm:vit_made_up.in1k", missing="[fusion.,head.,modality_embed]")
    start_from(Task(build_model(cfg)), cfg, "transcmd", "output", None)


def test_an_unknown_timm_name_is_refused():
    with pytest.raises(ValueError, match=r"^timm:vit_nowhere: .*Unknown model \(vit_nowhere\)$"):
        read_foreign("timm:vit_nowhere")


def test_timm_without_network_fails_with_one_line(monkeypatch):
    def create_model(*args, **kwargs):
        raise OSError("Cannot reach the hub.\nPlease check your connection.")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(ValueError, match="timm:vit_tiny_patch16_224: .*hub. Please check your connection.$") as caught:
        read_foreign("timm:vit_tiny_patch16_224")
    assert "\n" not in str(caught.value)


# OSTrack and ViPT


def ostrack_net(width=64, depth=2, channels=16, template=2, search=4):
    """Random tensors with the names and shapes of an OSTrack network."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator) * 0.1

    net = OrderedDict()

    def layer(name, *shape):
        net[f"{name}.weight"], net[f"{name}.bias"] = draw(*shape) + (len(shape) == 1), draw(shape[0])

    net["backbone.cls_token"], net["backbone.pos_embed"] = draw(1, 1, width), draw(1, 197, width)
    net["backbone.pos_embed_z"], net["backbone.pos_embed_x"] = draw(1, template**2, width), draw(1, search**2, width)
    layer("backbone.patch_embed.proj", width, 3, 16, 16)
    for number in range(depth):
        block = f"backbone.blocks.{number}"
        layer(f"{block}.norm1", width)
        layer(f"{block}.attn.qkv", 3 * width, width)
        layer(f"{block}.attn.proj", width, width)
        layer(f"{block}.norm2", width)
        layer(f"{block}.mlp.fc1", 4 * width, width)
        layer(f"{block}.mlp.fc2", width, 4 * width)
    layer("backbone.norm", width)
    for branch, outputs in (("ctr", 1), ("offset", 2), ("size", 2)):
        inputs = width
        for stage in (1, 2, 3, 4):
            name, after = f"box_head.conv{stage}_{branch}", channels >> (stage - 1)
            layer(f"{name}.0", after, inputs, 3, 3)
            layer(f"{name}.1", after)
            net[f"{name}.1.running_mean"], net[f"{name}.1.running_var"] = draw(after), draw(after).abs() + 0.5
            net[f"{name}.1.num_batches_tracked"] = torch.tensor(7)
            inputs = after
        layer(f"box_head.conv5_{branch}", outputs, inputs, 1, 1)
    return net


def ostrack_encoder(net, template, search, heads=2):
    """OSTrack's encoder, written out: normalised crops → search tokens (1, hw, D)."""

    def linear(name, x):
        return x @ net[f"{name}.weight"].flatten(1).T + net[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return centred / scale * net[f"{name}.weight"] + net[f"{name}.bias"]

    def embed(image, positions):
        patches = functional.unfold(image, 16, stride=16).transpose(1, 2)
        return linear("backbone.patch_embed.proj", patches) + net[positions]

    x = torch.cat([embed(template, "backbone.pos_embed_z"), embed(search, "backbone.pos_embed_x")], dim=1)
    for number in range(2):
        block = f"backbone.blocks.{number}"
        parts = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x)).chunk(3, dim=-1)
        queries, keys, values = (part.chunk(heads, dim=-1) for part in parts)
        attended = [
            (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v for q, k, v in zip(queries, keys, values, strict=True)
        ]
        x = x + linear(f"{block}.attn.proj", torch.cat(attended, dim=-1))
        x = x + linear(f"{block}.mlp.fc2", functional.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))))
    return norm("backbone.norm", x)[:, 4:]


def ostrack_branch(net, branch, features):
    """One branch of OSTrack's head without its sigmoid, in numpy, cell by cell: (D, h, w) → (1 or 2, h, w)."""
    weights = {key.removeprefix("box_head."): value.double().numpy() for key, value in net.items()}
    x = features.double().numpy()
    _, height, width = x.shape
    for stage in (1, 2, 3, 4):
        name = f"conv{stage}_{branch}"
        kernel, padded = weights[f"{name}.0.weight"], np.pad(x, ((0, 0), (1, 1), (1, 1)))
        y = np.empty((len(kernel), height, width))
        for row in range(height):
            for column in range(width):
                patch = padded[:, row : row + 3, column : column + 3]
                y[:, row, column] = [(one * patch).sum() for one in kernel] + weights[f"{name}.0.bias"]
        mean, variance, gain, shift = (
            weights[f"{name}.1.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = np.maximum((y - mean) / np.sqrt(variance + 1e-5) * gain + shift, 0)
    last = weights[f"conv5_{branch}.weight"][:, :, 0, 0], weights[f"conv5_{branch}.bias"]
    return np.einsum("oc,chw->ohw", last[0], x) + last[1][:, None, None]


def save_as_ostrack(path, net, monkeypatch, **extra):
    """Writes a checkpoint as OSTrack's trainer does, objects of its own modules included."""

    def foreign(module, name, **attributes):
        made = type(name, (), {"__module__": module})
        owner = types.ModuleType(module)
        setattr(owner, name, made)
        patch.setitem(sys.modules, module, owner)
        thing = made()
        thing.__dict__.update(attributes)
        return thing

    with monkeypatch.context() as patch:
        environment = foreign("lib.train.admin.local", "EnvironmentSettings", workspace_dir="/home/somebody")
        settings = foreign("lib.train.admin.settings", "Settings", env=environment, device=torch.device("cuda:0"))
        meter = foreign("lib.train.admin.stats", "AverageMeter", avg=np.float64(0.25), history=[torch.ones(1)])
        content = {
            "epoch": 300,
            "actor_type": "OSTrackActor",
            "net_type": "OSTrack",
            "net": net,
            "net_info": None,
            "constructor": None,
            "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]},
            "stats": OrderedDict(train=OrderedDict({"Loss/total": meter}), val=None),
            "settings": settings,
            **extra,
        }
        torch.save(content, path)
    return path


def teacher_config(path, missing="[exchanges.,fusion.,modality_embed]", *more):
    return load_config(
        "transcmd", "debug_teacher", [f"MODEL.PRETRAIN_FILE={path}", f"MODEL.PRETRAIN_MISSING={missing}", *more]
    )


def student_config(path, missing="[]"):
    return load_config("transcmd", "debug", [f"MODEL.PRETRAIN_FILE={path}", f"MODEL.PRETRAIN_MISSING={missing}"])


def start(cfg, finetune=None):
    task = Task(build_model(cfg))
    start_from(task, cfg, "transcmd", "output", finetune)
    return task.model.eval()


@torch.no_grad()
def test_ostrack_weights_give_the_same_output_in_a_teacher(tmp_path, monkeypatch, caplog):
    net = ostrack_net()
    path = save_as_ostrack(tmp_path / "OSTrack_ep0300.pth.tar", net, monkeypatch)
    with caplog.at_level(logging.INFO):
        model = start(teacher_config(path))
    generator = torch.Generator().manual_seed(5)
    template, search = (torch.randn(1, 3, size, size, generator=generator) for size in (32, 64))
    expected = ostrack_encoder(net, template, search)
    for stream in model.streams:
        tokens = stream.embed(template, search)
        for block in stream.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(stream.norm(tokens)[:, 4:], expected, atol=1e-5, rtol=1e-5)
    features = expected.transpose(1, 2).unflatten(2, (4, 4))
    score, size, offset = (part[0].double() for part in model.head(features))
    slow = {branch: torch.from_numpy(ostrack_branch(net, branch, features[0])) for branch in ("ctr", "size", "offset")}
    torch.testing.assert_close(score, slow["ctr"].sigmoid().clamp(1e-4, 1 - 1e-4), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(size, slow["size"].sigmoid(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(offset, slow["offset"], atol=1e-5, rtol=1e-5)
    for line in (
        "converted: rgb.search_position: from backbone.pos_embed_x",
        "converted: aux.template_position: from backbone.pos_embed_z",
        "converted: head.score.{0,1,3,4,6,7,9,10,12}.weight: from OSTrack's box_head",
        "converted: head.offset.{1,4,7,10}.num_batches_tracked: from OSTrack's box_head",
        "not used: backbone.cls_token",
        "not used: backbone.pos_embed",
        "missing: fusion.joint.query.weight",
        "missing: exchanges.01.to_rgb.ffn_gate",
    ):
        assert f"  {line}" in caplog.messages, line
    assert sum("not used:" in message for message in caplog.messages) == 2


def test_ostrack_positions_are_resampled_to_the_crop_sizes(tmp_path, monkeypatch, caplog):
    path = save_as_ostrack(tmp_path / "o.pth.tar", ostrack_net(template=2, search=6), monkeypatch)
    with caplog.at_level(logging.INFO):
        start(teacher_config(path))
    assert "  converted: rgb.search_position: from backbone.pos_embed_x, 6x6 to 4x4 cells" in caplog.messages
    assert "  converted: rgb.template_position: from backbone.pos_embed_z" in caplog.messages


def test_vipt_prompts_are_reported_as_unused(tmp_path, monkeypatch, caplog):
    prompts = {
        "backbone.patch_embed_prompt.proj.weight": torch.zeros(64, 3, 16, 16),
        "backbone.prompt_blocks.0.conv0_0.weight": torch.zeros(8, 64, 1, 1),
        "backbone.prompt_norms.1.weight": torch.zeros(64),
    }
    path = save_as_ostrack(tmp_path / "ViPT.pth.tar", OrderedDict(ostrack_net() | prompts), monkeypatch)
    with caplog.at_level(logging.INFO):
        start(teacher_config(path))
    left = {message.removeprefix("  not used: ") for message in caplog.messages if "not used: " in message}
    assert left >= prompts.keys() and len([key for key in left if key.startswith("backbone.")]) == 5


def test_missing_parameters_must_be_listed(tmp_path, monkeypatch):
    net = ostrack_net()
    del net["backbone.blocks.1.norm2.bias"]
    path = save_as_ostrack(tmp_path / "o.pth.tar", net, monkeypatch)
    with pytest.raises(
        ValueError, match=r"o\.pth\.tar: 2 tensors.*rgb\.blocks\.1\.norm2\.bias.*PRETRAIN_MISSING"
    ) as error:
        start(teacher_config(path))
    start(teacher_config(path, str(error.value).partition("PRETRAIN_MISSING=")[2].strip("'")))  # as a shell reads it
    start(teacher_config(path, "[exchanges.,fusion.,modality_embed,rgb.blocks.1.,aux.blocks.1.]"))
    start(teacher_config(path), finetune=str(path))


def test_parameters_with_a_different_shape_must_be_listed(tmp_path, monkeypatch):
    path = save_as_ostrack(tmp_path / "o.pth.tar", ostrack_net(channels=32), monkeypatch)
    with pytest.raises(
        ValueError, match=r"head\.score\.0\.weight \(32, 64, 3, 3\) in the file, \(16, 64, 3, 3\)"
    ) as error:
        start(teacher_config(path))
    proposed = str(error.value).partition("PRETRAIN_MISSING=")[2].strip("'")
    assert "(" not in proposed
    start(teacher_config(path, proposed))
    start(teacher_config(path, "[exchanges.,fusion.,modality_embed,head.]"))


def test_a_student_takes_one_copy_of_the_ostrack_weights(tmp_path, monkeypatch):
    path = save_as_ostrack(tmp_path / "o.pth.tar", OrderedDict(ostrack_net()), monkeypatch)
    model = start(student_config(path, "[fusion.,modality_embed]"))
    assert torch.equal(model.encoder.blocks[1].mlp.fc1.weight, ostrack_net()["backbone.blocks.1.mlp.fc1.weight"])
    assert torch.equal(model.head.size[12].bias, ostrack_net()["box_head.conv5_size.bias"])


@torch.no_grad()
def test_a_teacher_starts_from_a_student(tmp_path, caplog):
    student = randomised(build_model(load_config("transcmd", "debug"))).state_dict()
    path = tmp_path / "student.safetensors"
    write_net(path, student, {}, torch.float32)
    cfg = load_config("transcmd", "debug_teacher", ["DATA.SEARCH.SIZE=96", "TEST.SEARCH_SIZE=96"])
    with caplog.at_level(logging.INFO):
        model = start(cfg, finetune=str(path))
    for stream in model.streams:
        assert torch.equal(stream.blocks[1].mlp.fc1.weight, student["encoder.blocks.1.mlp.fc1.weight"])
        assert stream.search_position.shape[1] == 36  # of crops of 96 pixels, the student's have 64
    assert torch.equal(model.head.size[12].bias, student["head.size.12.bias"])
    assert torch.equal(model.modality_embed, student["modality_embed"])
    for line in (
        "converted: aux.blocks.{0,1}.mlp.fc1.weight: from the student's one stream",
        "converted: rgb.search_position: from the student's one stream, 4x4 to 6x6 cells",
        "missing: exchanges.01.to_rgb.ffn_gate",
        "not used: fusion.up.weight",
    ):
        assert f"  {line}" in caplog.messages, line


def test_our_own_files_are_read_unchanged(tmp_path):
    model = build_model(load_config("transcmd", "debug"))
    net = model.state_dict()
    assert convert(net, model, "file") == (net, {})
    torch.save({"net": net}, tmp_path / "ours.pth.tar")
    for key, value in start(student_config(tmp_path / "ours.pth.tar")).state_dict().items():
        assert torch.equal(value, net[key])


# files


class Evil:
    """Pickled as a call that makes a file."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


EVIL = {
    "open": lambda path: Evil(open, str(path), "w"),
    "exec": lambda path: Evil(exec, f"open({str(path)!r}, 'w')"),
    "state": lambda path: {Evil(print, "never"): [Evil(open, str(path), "w")]},
}
REFUSED = {
    "shell": lambda path: Evil(os.system, f"touch {path}"),
    "method": lambda path: Evil(pathlib.Path.touch, path),
}


@pytest.mark.parametrize("name", EVIL)
def test_code_in_a_file_is_not_run(tmp_path, monkeypatch, capsys, name):
    victim, path = tmp_path / "created", tmp_path / "evil.pth.tar"
    save_as_ostrack(path, ostrack_net(), monkeypatch, evil=EVIL[name](victim))
    assert read_foreign(path).tensors.keys() == ostrack_net().keys()
    with pytest.raises(ValueError, match=r"evil\.pth\.tar: refused.*would run code"):
        read_checkpoint(path)  # as in tracking/test.py: the exceptions of read_foreign no longer apply
    assert not victim.exists() and "never" not in capsys.readouterr().out


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_torch_refuses_is_refused_with_one_line(tmp_path, monkeypatch, name):
    victim, path = tmp_path / "created", tmp_path / "evil.pth.tar"
    save_as_ostrack(path, ostrack_net(), monkeypatch, evil=REFUSED[name](victim))
    with pytest.raises(ValueError, match=r"evil\.pth\.tar: refused") as caught:
        read_foreign(path)
    assert not victim.exists() and "\n" not in str(caught.value)


def test_the_malicious_test_files_run_code_when_loaded_without_protection(tmp_path):
    for name, evil in (EVIL | REFUSED).items():
        torch.save({"evil": evil(tmp_path / name)}, tmp_path / "evil.pth")
        torch.load(tmp_path / "evil.pth", weights_only=False)
        assert (tmp_path / name).exists()


def test_a_foreign_file_must_contain_a_network(tmp_path, monkeypatch):
    path = save_as_ostrack(tmp_path / "o.pth.tar", nn.Linear(2, 2), monkeypatch)  # the module itself
    with pytest.raises(ValueError, match=r"o\.pth\.tar: contains no network"):
        read_foreign(path)
    torch.save(ostrack_net(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_foreign(tmp_path / "old.pth").tensors.keys() == ostrack_net().keys()
    torch.save({"model": ostrack_net()}, tmp_path / "mae.pth")
    assert read_foreign(tmp_path / "mae.pth").tensors.keys() == ostrack_net().keys()
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such checkpoint; expected a path, or a name in"):
        read_foreign(tmp_path / "absent.pth")


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth.tar"])
@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1])
def test_a_damaged_file_fails_with_one_line(tmp_path, monkeypatch, name, keep):
    path = tmp_path / name
    if path.suffix == ".tar":
        save_as_ostrack(path, ostrack_net(), monkeypatch)
    else:
        save_file(ostrack_net(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{name}: not a checkpoint, or cut off") as caught:
        read_foreign(path)
    assert "\n" not in str(caught.value)


def test_a_value_that_does_not_fit_the_type_is_refused(tmp_path):
    with pytest.raises(ValueError, match="x.safetensors: b does not fit torch.float16"):
        write_net(tmp_path / "x.safetensors", {"a": torch.ones(2), "b": torch.tensor([7e4])}, {}, torch.float16)
    assert not list(tmp_path.iterdir())
    write_net(tmp_path / "x.safetensors", {"b": torch.tensor([7e4])}, {"MODEL": {}}, torch.bfloat16)
    assert read_checkpoint(tmp_path / "x.safetensors")["config"] == {"MODEL": {}}


def test_a_stored_config_must_be_a_mapping(tmp_path):
    write_net(tmp_path / "x.safetensors", {"a": torch.ones(2)}, ["MODEL"], torch.float32)
    with pytest.raises(ValueError, match="x.safetensors: not a checkpoint"):
        read_checkpoint(tmp_path / "x.safetensors")


def test_a_network_is_read_from_safetensors(tmp_path):
    save_file(ostrack_net(), tmp_path / "net.safetensors")
    net = read_foreign(tmp_path / "net.safetensors").tensors
    assert net.keys() == ostrack_net().keys()
    assert all(torch.equal(net[key], value) for key, value in ostrack_net().items())


def test_only_files_of_older_versions_are_renamed(tmp_path):
    """A part of an extension may have a name that one of our parts once had."""
    net = {"fusion.weigh.weight": torch.ones(2), "encoder.vit.weight": torch.ones(3), "vit.norm.bias": torch.ones(1)}
    torch.save({"net": net}, tmp_path / "old.pth")
    assert read_net(tmp_path / "old.pth").keys() == {"fusion.gate.weight", "encoder.vit.weight", "encoder.norm.bias"}
    torch.save({"net": net, "modalities": list(MODALITIES)}, tmp_path / "new.pth")
    assert read_net(tmp_path / "new.pth").keys() == net.keys()


@pytest.mark.parametrize("names", [5, "rgb", ["rgb", "rgb"], [1, 2]])
def test_modalities_of_a_checkpoint_are_a_list_of_names(names, tmp_path):
    torch.save({"net": {"modality_embed": torch.ones(2, 4)}, "modalities": names}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="x.pth: 'modalities': expected a list of different names"):
        read_net(tmp_path / "x.pth")


def test_a_backbone_decides_which_foreign_files_it_converts():
    """Also one that is not a ViT, and for which timm's patch embedding means nothing."""

    class Other(ViT):
        def can_convert(self, names):
            return "stem.weight" in names

        def convert(self, items):
            item = items.pop("stem.weight")
            items["norm.weight"] = item.then(item.tensor * 2, "doubled")

    other = Other(SMALL, 32, 64, 16)
    report = load_into(other, {"stem.weight": torch.ones(64)})
    assert report.used == ["encoder.norm.weight"] and report.converted == {"encoder.norm.weight": "doubled"}
    assert torch.equal(other.norm.weight, torch.full((64,), 2.0))


def test_flipped_bytes_in_a_checkpoint_are_found_by_their_crc(tmp_path):
    path = tmp_path / "flipped.pth"
    torch.save({"net": {"a": torch.arange(5000.0)}}, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(b ^ 255 for b in data[len(data) // 2 : len(data) // 2 + 64])
    path.write_bytes(data)
    for read in (read_checkpoint, read_foreign):
        with pytest.raises(ValueError, match=r"flipped\.pth: damaged: flipped/data/0 does not fit its CRC"):
            read(path)


def test_a_file_that_differs_from_its_listed_sha256_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    write_net(path, {"a": torch.ones(2)}, {}, torch.float32)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  x.safetensors\n")
    assert read_net(path)["a"].tolist() == [1, 1]
    path.write_bytes(path.read_bytes()[:-1] + b"\1")  # still a valid safetensors file
    with pytest.raises(ValueError, match=rf"x\.safetensors: damaged or another file: .* lists {digest[:16]}"):
        read_net(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, value):
    torch.save({"net": {"good": torch.ones(2), "bad": torch.tensor([1.0, value])}}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: 1 tensors contain NaN or infinity \(bad\)"):
        read_net(tmp_path / "x.pth")


@pytest.mark.parametrize("key", ["net", "model", "state_dict", "teacher", "student"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_networks_are_unwrapped(tmp_path, key, prefix):
    torch.save({"epoch": 3, key: {f"{prefix}a.weight": torch.ones(2)}}, tmp_path / "x.pth")
    assert list(read_net(tmp_path / "x.pth")) == ["a.weight"]


def test_dinos_teacher_is_preferred_to_its_student(tmp_path):
    torch.save({"student": {"a": torch.zeros(1)}, "teacher": {"a": torch.ones(1)}}, tmp_path / "x.pth")
    assert read_net(tmp_path / "x.pth")["a"].item() == 1


def test_prefixes_of_missing_tensors_are_short_and_begin_no_used_tensor():
    absent = ["rgb.blocks.1.norm.bias", "rgb.blocks.1.norm.weight", "head.a.weight", "head.b.bias", "scale"]
    text = _missing_prefixes(absent, ["rgb.blocks.0.norm.bias", "rgb.blocks.1.fc.bias"], ["fusion."])
    assert text == "'[fusion.,rgb.blocks.1.norm.,head.,scale]'"
