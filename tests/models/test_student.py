"""The student, its parts, and loading of weights."""

import io
import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.config.loader import ConfigError, load_config
from lib.data.crop import CropSpec
from lib.deploy.profile import count_cost
from lib.models.box_coder import decode, encode_score, gaussian_radius
from lib.models.build import build_model, load_trained_model, network_settings
from lib.models.fusion import FUSIONS
from lib.models.head import HEADS
from lib.models.network import box_coverage
from lib.models.student import Student
from lib.models.vit import VARIANTS, SeparateAttention, separate_attention
from lib.models.weights.convert import convert
from lib.models.weights.read import read_checkpoint
from lib.models.weights.report import load_exact, load_fitting
from lib.structures import MODALITIES, Pair, modality_index
from lib.tracker.postprocess import decode_peak, hann_window
from lib.utils.misc import count_parameters
from lib.utils.trees import flatten, to_plain
from tests.samples import read_net


def crops(batch: int, size: int, seed: int = 0) -> Pair:
    generator = torch.Generator().manual_seed(seed)
    return Pair(*(torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator) for _ in "ab"))


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_model(load_config("transcmd", "debug")).eval()


def inputs(batch: int = 2):
    return crops(batch, 32, 1), crops(batch, 64, 2), torch.arange(batch) % len(MODALITIES)


@pytest.mark.parametrize(
    ("config", "count"), [("tiny", 6_542_597), ("small", 24_436_965), ("base", 92_520_901), ("demo", 1_222_693)]
)
def test_number_of_trainable_parameters_is_fixed(config, count):
    assert count_parameters(build_model(load_config("transcmd", config))) == count


def test_tiny_without_position_embeddings_has_the_published_size():
    model = build_model(load_config("transcmd", "tiny"))
    positions = sum(p.numel() for name, p in model.named_parameters() if name.endswith("position"))
    assert count_parameters(model) - positions == 6_481_157


def test_output_has_the_documented_shapes_and_ranges(student):
    output = student(*inputs(3))
    assert output.score_map.shape == (3, 1, 4, 4)
    assert output.size_map.shape == output.offset_map.shape == (3, 2, 4, 4)
    assert output.boxes.shape == (3, 4)
    assert output.paths == {}
    assert ((output.score_map > 0) & (output.score_map < 1)).all()
    assert output.features["block01/rgb"].shape == (3, 4 + 16, 64)
    assert output.features["fused"].shape == (3, 16, 64)
    assert set(output.features) == {f"block{n:02d}/{m}" for n in (0, 1, 2) for m in ("rgb", "aux")} | {"fused"}


def test_a_sample_does_not_depend_on_its_batch(student):
    template, search, modality = inputs(4)
    together = student(template, search, modality)
    for i in range(4):
        alone = student(
            *(Pair(*(image[i : i + 1] for image in pair)) for pair in (template, search)), modality[i : i + 1]
        )
        torch.testing.assert_close(alone.score_map, together.score_map[i : i + 1], atol=1e-5, rtol=1e-4)


def test_modalities_interact_only_in_interaction_layers(student):
    template, search, modality = inputs(1)
    changed = search._replace(aux=255 - search.aux)
    before, after = (student(template, s, modality).features for s in (search, changed))
    assert torch.equal(before["block01/rgb"], after["block01/rgb"])  # in block 1, modalities do not interact
    assert not torch.allclose(before["block02/rgb"], after["block02/rgb"])  # block 2 is joint


def test_the_modality_selects_only_the_embedding_of_the_auxiliary_stream(student):
    template, search, _ = inputs(1)
    thermal, depth = (student(template, search, torch.tensor([modality_index(m)])).features for m in ("rgbt", "rgbd"))
    assert torch.equal(thermal["block01/rgb"], depth["block01/rgb"])
    assert not torch.allclose(thermal["block01/aux"], depth["block01/aux"])


def marked(seed: int = 0):
    torch.manual_seed(seed)
    return build_model(load_config("transcmd", "debug", ["MODEL.TARGET_EMBED=true"])).eval()


def test_box_coverage_equals_counting_pixels():
    rng = np.random.default_rng(0)
    size, grid = 400, 4
    for _ in range(20):
        low, high = np.sort(rng.integers(-50, size + 50, (2, 2)), axis=0)
        picture = np.zeros((size, size))
        picture[max(low[1], 0) : max(high[1], 0), max(low[0], 0) : max(high[0], 0)] = 1
        cells = picture.reshape(grid, size // grid, grid, size // grid).mean(axis=(1, 3))
        box = torch.tensor(np.concatenate([(low + high) / 2, high - low])[None] / size, dtype=torch.float32)
        np.testing.assert_allclose(box_coverage(box, grid)[0].numpy(), cells.ravel(), atol=1e-6)


@pytest.mark.parametrize("config", ["debug", "teacher_nano"])
def test_target_embedding_marks_the_template_only_and_starts_without_effect(config):
    torch.manual_seed(0)
    model = build_model(load_config("transcmd", config, ["MODEL.TARGET_EMBED=true"])).eval()
    sizes = [model.streams[0].template_grid * 16, model.streams[0].grid * 16]
    args = crops(2, sizes[0], 1), crops(2, sizes[1], 2), torch.tensor([1, 2])
    tall, wide = (torch.tensor([[0.4, 0.5, w, h]]).expand(2, 4) for w, h in ((0.25, 1.0), (1.0, 0.25)))
    assert torch.equal(model(*args, tall).features["fused"], model(*args, wide).features["fused"])
    torch.nn.init.normal_(model.target_embed)
    first, second = (model(*args, box) for box in (tall, wide))
    changed = (first.features["block00/rgb"] - second.features["block00/rgb"]).abs().amax(dim=-1) > 0
    count = model.streams[0].template_tokens
    assert changed[:, :count].any() and not changed[:, count:].any()
    assert not torch.equal(first.features["fused"], second.features["fused"])


def test_a_network_that_needs_the_box_says_so():
    with pytest.raises(ValueError, match="MODEL.TARGET_EMBED: it needs the template's box"):
        marked()(*inputs())


def test_positions_of_our_own_weights_are_resampled_to_other_crop_sizes(student):
    sizes = (("DATA.TEMPLATE.SIZE", "TEST.TEMPLATE_SIZE"), 48), (("DATA.SEARCH.SIZE", "TEST.SEARCH_SIZE"), 96)
    larger = build_model(load_config("transcmd", "debug", [f"{part}={size}" for keys, size in sizes for part in keys]))
    net, converted = convert(student.state_dict(), larger, "debug")
    assert converted == {
        "encoder.template_position": "2x2 to 3x3 cells",
        "encoder.search_position": "4x4 to 6x6 cells",
    }
    load_exact(larger, net, "debug")
    assert convert(student.state_dict(), student, "debug")[1] == {}


def test_matching_weights_keep_their_sum_at_other_crop_sizes():
    keys = ["MODEL.FUSION.TYPE=match"]
    small, large = (
        build_model(load_config("transcmd", "debug", [*keys, *more]))
        for more in ([], ["DATA.TEMPLATE.SIZE=64", "TEST.TEMPLATE_SIZE=64"])
    )
    net, converted = convert(small.state_dict(), large, "debug")
    assert converted["fusion.match.weight"] == "2x2 to 4x4 cells"
    load_exact(large, net, "debug")
    was, now = (model.fusion.match.weight.unflatten(1, (2, -1)).sum(dim=2) for model in (small, large))
    torch.testing.assert_close(was, now)


def test_joint_attention_equals_attention_over_concatenated_tokens(student):
    """The reshape that makes a block joint is the same as concatenating the tokens of both modalities."""
    features = student(*inputs(2)).features
    first = torch.cat([features["block01/rgb"], features["block01/aux"]], dim=1)
    expected = student.encoder.blocks[1](first)
    torch.testing.assert_close(torch.cat([features["block02/rgb"], features["block02/aux"]], dim=1), expected)


@pytest.mark.parametrize("settings", [(), ("MODEL.BACKBONE.ATTENTION=asymmetric",)])
def test_separate_products_of_the_attention_change_nothing(settings):
    torch.manual_seed(0)
    model = build_model(load_config("transcmd", "debug", settings)).eval()
    before, parameters = list(model.modules()), [name for name, _ in model.named_parameters()]
    expected = model(*inputs(2)).features["fused"]
    with separate_attention(model):
        assert sum(isinstance(module, SeparateAttention) for module in model.modules()) == model.encoder.depth
        torch.testing.assert_close(model(*inputs(2)).features["fused"], expected, atol=1e-5, rtol=0)
        attention, tokens = model.encoder.blocks[0].attn, torch.randn(1, 5, model.encoder.width)
        mask = torch.tril(torch.ones(5, 5, dtype=torch.bool))
        seen = attention(tokens, attn_mask=mask)
    assert list(model.modules()) == before and [name for name, _ in model.named_parameters()] == parameters
    torch.testing.assert_close(seen, model.encoder.blocks[0].attn(tokens, attn_mask=mask), atol=1e-5, rtol=0)
    with pytest.raises(ZeroDivisionError), separate_attention(model):
        1 / 0  # noqa: B018
    assert list(model.modules()) == before


# asymmetric attention


def asymmetric(*more: str):
    torch.manual_seed(0)
    keys = ["MODEL.BACKBONE.ATTENTION=asymmetric", "MODEL.TARGET_EMBED=true", *more]
    model = build_model(load_config("transcmd", "debug", keys)).eval()
    torch.nn.init.normal_(model.target_embed)
    return model


BOXES = torch.tensor([[0.5, 0.5, 0.4, 0.9], [0.4, 0.6, 0.9, 0.4]])
BOXES3 = torch.cat([BOXES, BOXES[:1]])


@pytest.mark.parametrize("prefix", [0, 3])
def test_asymmetric_attention_equals_attention_with_a_mask(prefix):
    model = asymmetric(f"MODEL.BACKBONE.PREFIX_TOKENS={prefix}")
    template, search, modality = inputs(2)
    features = model(template, search, modality, BOXES).features
    encoder, length = model.encoder, model.encoder.tokens + prefix
    images = [model.normalize(torch.stack(pair, dim=1).flatten(0, 1)) for pair in (template, search)]
    rest = encoder.embed(*images).unflatten(0, (2, 2))[:, :, encoder.tokens :] + model.modality_embed[
        torch.stack([torch.zeros(2, dtype=torch.int64), modality], dim=1)
    ].unsqueeze(2)
    tokens = torch.stack([features["block00/rgb"], features["block00/aux"]], dim=1)
    tokens = torch.cat([tokens, rest], dim=2)
    is_template = torch.arange(length) < encoder.template_tokens
    for number, block in enumerate(encoder.blocks, start=1):
        joint = number in model.interaction_layers
        kind = is_template.repeat(2) if joint else is_template
        allowed = ~kind[:, None] | kind[None]  # templates see templates, the others see all
        items = tokens.reshape((2, 2 * length, -1) if joint else (4, length, -1))
        tokens = block(items, attn_mask=allowed).reshape(2, 2, length, -1)
        for index, name in enumerate(("rgb", "aux")):
            seen = features[f"block{number:02d}/{name}"]
            torch.testing.assert_close(seen, tokens[:, index, : encoder.tokens], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", ["simple", "match"])
@pytest.mark.parametrize("layers", ["[]", "[2]", "[1,2]"])
def test_a_template_that_is_computed_once_gives_the_same_maps(fusion, layers):
    model = asymmetric(
        f"MODEL.FUSION.TYPE={fusion}", f"MODEL.BACKBONE.INTERACTION_LAYERS={layers}", "MODEL.BACKBONE.PREFIX_TOKENS=1"
    )
    template, _, modality = inputs(2)
    with torch.no_grad():
        memory = model.remember(template, modality, BOXES)
        for seed in range(3):
            search = crops(2, 64, seed)
            once, whole = model.forward_search(memory, search, modality), model(template, search, modality, BOXES)
            for name in ("score_map", "size_map", "offset_map", "boxes"):
                torch.testing.assert_close(getattr(once, name), getattr(whole, name), atol=1e-5, rtol=0)
            # The maps of a head without training are almost flat; its input is not.
            torch.testing.assert_close(once.features["fused"], whole.features["fused"], atol=1e-5, rtol=0)
        alone = model.remember(Pair(*(image[1:] for image in template)), modality[1:], BOXES[1:])
        first = model.remember(Pair(*(image[:1] for image in template)), modality[:1], BOXES[:1])
        joined = [torch.cat(parts) for parts in zip(first, alone, strict=True)]
        once = model.forward_search(joined, search, modality)
        torch.testing.assert_close(once.features["fused"], whole.features["fused"], atol=1e-5, rtol=0)
        moved = model.forward_search(model.remember(template, modality, BOXES.flip(0)), search, modality)
        assert not torch.allclose(moved.features["fused"], once.features["fused"], atol=1e-4)


def test_in_asymmetric_attention_only_the_search_crop_depends_on_the_search_crop():
    model = asymmetric()
    template, search, modality = inputs(2)
    one, two = (model(template, s, modality, BOXES).features for s in (search, crops(2, 64, 9)))
    count = model.encoder.template_tokens
    for name in ("block02/rgb", "block02/aux"):
        torch.testing.assert_close(one[name][:, :count], two[name][:, :count])
        assert not torch.allclose(one[name][:, count:], two[name][:, count:])
    other = model(crops(2, 32, 8), search, modality, BOXES).features
    assert not torch.allclose(other["block01/rgb"][:, count:], one["block01/rgb"][:, count:])


def test_asymmetric_attention_trains_all_that_joint_attention_trains():
    model = asymmetric().train()
    output = model(*inputs(2), BOXES)
    (output.score_map.sum() + output.size_map.sum() + output.offset_map.sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    plain = build_model(load_config("transcmd", "debug", ["MODEL.TARGET_EMBED=true"]))
    assert set(plain.state_dict()) == set(model.state_dict())


def test_asymmetric_attention_is_refused_where_it_means_nothing():
    with pytest.raises(ConfigError, match="ATTENTION asymmetric is for students, MODEL.TYPE is teacher"):
        load_config("transcmd", "teacher_nano", ["MODEL.BACKBONE.ATTENTION=asymmetric"])
    with pytest.raises(ConfigError, match="ATTENTION asymmetric: TRAIN.STAGE pretrain needs"):
        load_config("transcmd", "debug_pretrain", ["MODEL.BACKBONE.ATTENTION=asymmetric"])
    encoder = asymmetric().encoder

    class Other(type(encoder)):
        can_split = False

    encoder.__class__ = Other
    with pytest.raises(ValueError, match="ATTENTION asymmetric: a Other cannot split its attention; set joint"):
        Student(encoder, [], torch.nn.Identity(), torch.nn.Identity(), torch.nn.Identity(), attention="asymmetric")


def test_tiny_fast_is_tiny_with_another_attention():
    fast, tiny = (load_config("transcmd", name) for name in ("tiny_fast", "tiny"))
    assert {
        key
        for (key, value), (_, other) in zip(flatten(to_plain(fast)), flatten(to_plain(tiny)), strict=True)
        if value != other
    } == {"MODEL.BACKBONE.ATTENTION"}
    assert build_model(fast).can_remember and count_parameters(build_model(fast)) == 6_542_597


def test_weights_for_joint_attention_are_refused_by_an_asymmetric_network(tmp_path):
    """Also those of older versions, whose configuration does not name the attention."""
    cfg, path = load_config("transcmd", "debug"), tmp_path / "old.pth"
    plain = to_plain(cfg)
    del plain["MODEL"]["BACKBONE"]["ATTENTION"]
    torch.save({"net": build_model(cfg).state_dict(), "config": plain}, path)
    load_trained_model(cfg, path)
    fast = load_config("transcmd", "debug", ["MODEL.BACKBONE.ATTENTION=asymmetric"])
    with pytest.raises(ValueError, match="trained with MODEL.BACKBONE.ATTENTION joint, the config has asymmetric"):
        load_trained_model(fast, path)


def eliminating(layers: str, keep: float, attention: str = "joint"):
    """A network of two blocks that drops some of its 4 x 4 search tokens."""
    removal = [f"MODEL.BACKBONE.ELIMINATION.LAYERS={layers}", f"MODEL.BACKBONE.ELIMINATION.KEEP={keep}"]
    torch.manual_seed(0)
    settings = [*removal, f"MODEL.BACKBONE.ATTENTION={attention}", "MODEL.TARGET_EMBED=true"]
    return build_model(load_config("transcmd", "debug", settings)).eval()


@pytest.mark.parametrize("attention", ["joint", "asymmetric"])
def test_an_elimination_that_keeps_all_tokens_changes_nothing(attention):
    """Whatever their order is after the ranking."""
    plain, model = eliminating("[]", 0.5, attention), eliminating("[1, 2]", 1.0, attention)
    one, two = (network(*inputs(3), BOXES3) for network in (plain, model))
    for name in ("score_map", "size_map", "offset_map"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-5, rtol=1e-4)
    for name, tokens in one.features.items():
        torch.testing.assert_close(tokens, two.features[name], atol=1e-5, rtol=1e-4)


def test_elimination_keeps_the_tokens_that_the_template_attends_to():
    model = eliminating("[1]", 0.5)
    template, search, modality = inputs(2)
    found = model(template, search, modality, BOXES).features
    plain = eliminating("[]", 0.5)(template, search, modality, BOXES).features
    received = [
        model.encoder.attention_received(1, found[f"block00/{name}"], [0, 1, 2, 3])[:, 4:] for name in ("rgb", "aux")
    ]
    best = torch.stack(received).mean(dim=0).topk(8, dim=1).indices  # 8 of 16
    for name in ("rgb", "aux"):
        first, second = (found[f"block{number:02d}/{name}"][:, 4:] for number in (1, 2))
        for sample in range(2):
            stayed = torch.zeros(16, dtype=torch.bool).index_fill(0, best[sample], True)
            assert torch.equal((first[sample] != second[sample]).any(dim=-1), stayed)  # the others are as they were
            torch.testing.assert_close(first[sample, stayed], plain[f"block01/{name}"][sample, 4:][stayed])


@pytest.mark.parametrize("attention", ["joint", "asymmetric"])
def test_elimination_costs_less_each_time(attention):
    """Blocks 1 and 2 leave ceil(0.7 * 16) = 12 and ceil(0.7 * 12) = 9 tokens."""
    model, seen = eliminating("[1, 2]", 0.7, attention), []
    finish = model.encoder.finish_block
    model.encoder.finish_block = lambda layer, tokens: seen.append(tokens.shape) or finish(layer, tokens)
    output = model(*inputs(1), BOXES[:1])
    templates = 4 if attention == "joint" else 0
    assert seen == [(2, templates + 12, 64), (1, 2 * (templates + 9), 64)]  # block 2 is joint
    assert output.score_map.shape == (1, 1, 4, 4)
    costs = [
        count_cost(eliminating(layers, 0.7, attention), CropSpec(32, 2.0), CropSpec(64, 4.0)).macs
        for layers in ("[2]", "[1]", "[1, 2]")
    ]
    whole = count_cost(eliminating("[]", 0.7, attention), CropSpec(32, 2.0), CropSpec(64, 4.0)).macs
    assert whole > costs[0] > costs[1] > costs[2]


def test_elimination_with_a_remembered_template_is_that_of_the_whole_network():
    model = eliminating("[1, 2]", 0.6, "asymmetric")
    template, search, modality = inputs(3)
    output = model(template, search, modality, BOXES3)
    memory = model.remember(template, modality, BOXES3)
    once = model.forward_search(memory, search, modality)
    for name in ("score_map", "size_map", "offset_map"):
        torch.testing.assert_close(getattr(once, name), getattr(output, name), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", ["joint", "asymmetric"])
def test_elimination_trains_all_parameters(attention):
    model = eliminating("[1]", 0.5, attention).train()
    output = model(*inputs(2), BOXES)
    (output.score_map.sum() + output.size_map.sum() + output.offset_map.sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(model(*inputs(2), BOXES).score_map).all()


def test_elimination_is_refused_where_it_means_nothing():
    key = "MODEL.BACKBONE.ELIMINATION"
    for config, settings, message in (
        ("teacher_nano", [f"{key}.LAYERS=[1]"], "LAYERS is for students, MODEL.TYPE is teacher"),
        ("debug", [f"{key}.LAYERS=[1]", f"{key}.KEEP=0"], "KEEP 0.0: no token would stay; expected a value above 0"),
        ("debug", [f"{key}.KEEP=1.5"], "KEEP: expected a value between 0 and 1, got 1.5"),
        ("debug", [f"{key}.LAYERS=[a]"], r"LAYERS\[0\]: expected int, got str 'a'"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config("transcmd", config, settings)
    with pytest.raises(ValueError, match=r"MODEL.BACKBONE.ELIMINATION.LAYERS \[3\]: expected numbers from 1 to 2"):
        eliminating("[1, 3]", 0.5)


def test_weights_trained_without_elimination_can_be_used_with_it(tmp_path):
    plain, path = load_config("transcmd", "debug"), tmp_path / "plain.pth"
    torch.save({"net": build_model(plain).state_dict(), "config": to_plain(plain)}, path)
    cfg = load_config("transcmd", "debug", ["MODEL.BACKBONE.ELIMINATION.LAYERS=[1]"])
    assert load_trained_model(cfg, path).elimination == {1: 0.7}
    assert network_settings(to_plain(cfg)) != network_settings(to_plain(plain))  # results are not mixed


def test_normalisation_is_part_of_the_model(student):
    assert not any("mean" in name or "std" in name for name in student.encoder.state_dict())
    white = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    normalised = student.normalize(white)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(normalised[0, :, 0, 0], expected)


def test_wrong_interaction_layer_is_refused():
    with pytest.raises(ValueError, match=r"\[3\].*1 to 2"):
        build_model(load_config("transcmd", "debug", ["MODEL.BACKBONE.INTERACTION_LAYERS=[2,3]"]))


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_have_gradients_with_a_blank_modality(name):
    fusion = FUSIONS[name].build(16, 4, 8)
    rgb = torch.randn(2, 20, 16, requires_grad=True)
    fused, _ = fusion(rgb, torch.zeros(2, 20, 16))
    assert fused.shape == (2, 16, 16)
    fused.square().sum().backward()
    assert torch.isfinite(rgb.grad).all() and rgb.grad[:, 4:].abs().sum() > 0
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in fusion.parameters())


def test_simple_fusion_starts_as_the_mean():
    fusion = FUSIONS["simple"].build(16, 4, 8)
    rgb, aux = torch.randn(2, 20, 16), torch.randn(2, 20, 16)
    torch.testing.assert_close(fusion(rgb, aux)[0], (rgb + aux)[:, 4:] / 2)


@pytest.mark.parametrize("name", HEADS)
def test_heads_stay_in_float32_under_autocast(name):
    head = HEADS[name](16, 16).eval()
    with torch.autocast("cpu", torch.bfloat16):
        maps = head(torch.randn(2, 16, 4, 4) * 100)
    assert all(m.dtype == torch.float32 for m in maps)
    assert maps[0].min() >= 1e-4 and maps[0].max() <= 1 - 1e-4  # bfloat16 would round the upper end to 1


@pytest.mark.parametrize("name", VARIANTS)
def test_heads_divide_the_width(name):
    assert VARIANTS[name].width % VARIANTS[name].heads == 0
    assert VARIANTS[name].width % 4 == 0  # sines and cosines of two axes


def test_decoding_inverts_encoding_of_boxes():
    boxes = torch.rand(64, 4, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    height, width = 5, 8
    grid = torch.tensor([width, height])
    corner = (boxes[:, :2] * grid).round().minimum(grid - 1)
    size_map = boxes[:, 2:, None, None].expand(-1, -1, height, width)
    offset_map = (boxes[:, :2] * grid - corner)[:, :, None, None].expand(-1, -1, height, width)
    torch.testing.assert_close(decode(encode_score(boxes, height, width), size_map, offset_map), boxes)


def test_numpy_and_torch_decode_to_equal_boxes():
    generator = torch.Generator().manual_seed(1)
    score, size, offset = (torch.rand(1, c, 6, 9, generator=generator) for c in (1, 2, 2))
    box, peak = decode_peak(score[0, 0].numpy(), size[0].numpy(), offset[0].numpy(), np.ones((6, 9)))
    np.testing.assert_allclose(box, decode(score, size, offset)[0].numpy(), atol=1e-6)
    assert peak == pytest.approx(score.max().item())


def test_window_prefers_the_middle_and_is_never_zero():
    window = hann_window(8, 8)
    assert window.min() > 0
    assert window.argmax() in (27, 28, 35, 36)
    np.testing.assert_allclose(window, window.T)
    np.testing.assert_allclose(window, window[::-1, ::-1])
    score = np.zeros((8, 8))
    score[0, 0], score[4, 4] = 0.6, 0.5
    _, peak = decode_peak(score, np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), window)
    assert peak == 0.5  # the score itself, without the window


def test_score_target_is_one_in_the_centre_cell_only():
    target = encode_score(torch.tensor([[0.5, 0.5, 0.6, 0.6], [0.03, 0.97, 0.1, 0.2]]), 16, 16)
    assert (target == 1).flatten(1).sum(1).tolist() == [1, 1]
    assert target[0, 0, 8, 8] == 1 and target[1, 0, 15, 0] == 1
    assert 0 < target[0, 0, 8, 9] < 1 and target[0, 0, 0, 0] == 0


@pytest.mark.parametrize(("w", "h"), [(1, 1), (2, 2), (4, 7), (16, 3), (16, 16)])
def test_gaussian_radius_equals_that_of_cornernet(w, h):
    def root(a, b, c):
        return (b + math.sqrt(b * b - 4 * a * c)) / 2  # as CornerNet's code has it, without division by a

    expected = min(
        root(1, w + h, w * h * 0.3 / 1.7), root(4, 2 * (w + h), 0.3 * w * h), root(2.8, -1.4 * (w + h), -0.3 * w * h)
    )
    assert gaussian_radius(torch.tensor([[w, h]], dtype=torch.float32)).item() == pytest.approx(expected, rel=1e-4)


def test_patch_embedding_is_a_linear_map_of_patches(student):
    image = torch.randn(1, 3, 32, 32)
    tokens = student.encoder.patch_embed(image)
    patches = functional.unfold(image, 16, stride=16).transpose(1, 2)
    expected = patches @ student.encoder.patch_embed.proj.weight.flatten(1).T + student.encoder.patch_embed.proj.bias
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


# weights


def test_report_names_every_key_that_does_not_fit(student):
    net = dict(student.state_dict())
    net["extra"] = torch.zeros(1)
    net["modality_embed"] = torch.zeros(2, 64)
    del net["encoder.norm.weight"]
    other = build_model(load_config("transcmd", "debug"))
    report = load_fitting(other, net, "file")
    assert report.missing == ["encoder.norm.weight"] and report.unused == ["extra"]
    assert report.mismatched == ["modality_embed (2, 64) in the file, (4, 64) in the model"]
    torch.testing.assert_close(other.encoder.norm.bias, student.encoder.norm.bias)
    assert torch.equal(other.encoder.blocks[0].attn.qkv.weight, student.encoder.blocks[0].attn.qkv.weight)
    with pytest.raises(ValueError, match="different architecture.*modality_embed"):
        load_exact(other, net, "file")


def test_weights_without_any_matching_key_are_an_error(student):
    with pytest.raises(ValueError, match="file: no tensor fits"):
        load_fitting(student, {"a": torch.zeros(1)}, "file")


class Settings:
    """Represents the settings that OSTrack stores in its checkpoints with pickle."""

    def __reduce__(self):
        return (print, ("this code must never run",))


def test_checkpoint_that_needs_code_is_refused_without_running_it(tmp_path, capsys):
    path = tmp_path / "ostrack.pth.tar"
    torch.save({"net": {"a": torch.zeros(1)}, "settings": Settings()}, path)
    with pytest.raises(ValueError, match=r"ostrack\.pth\.tar: refused.*would run code"):
        read_checkpoint(path)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -200, -1])
def test_truncated_checkpoint_is_named(tmp_path, student, keep):
    buffer = io.BytesIO()
    torch.save({"net": student.state_dict()}, buffer)
    path = tmp_path / "cut.pth.tar"
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(ValueError, match=r"cut\.pth\.tar: not a checkpoint, or cut off"):
        read_checkpoint(path)


def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path):
    path = tmp_path / "x.pth"
    path.write_text("hello")
    with pytest.raises(ValueError, match="x.pth"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="expected a dictionary"):
        read_checkpoint(path)
    torch.save({"net": {"a": 1}}, path)
    with pytest.raises(ValueError, match="contains no network"):
        read_net(path)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(ValueError, match="x.pth"):
        read_net(path)
    with pytest.raises(FileNotFoundError, match="absent.pth"):
        read_checkpoint(tmp_path / "absent.pth")


def test_equal_images_are_encoded_once_with_the_same_result_and_gradient(student):
    template, search = (Pair(pair.rgb, pair.rgb) for pair in inputs(3)[:2])
    modality = torch.full((3,), modality_index("rgb"))
    found, lengths = {}, []
    student.encoder.blocks[0].register_forward_pre_hook(lambda block, given: lengths.append(given[0].numel()))
    for one in (False, True):
        student.one_stream = one
        student.zero_grad()
        output = student(template, search, modality)
        (output.score_map.sum() + output.size_map.sum() + output.features["block02/aux"].square().sum()).backward()
        gradients = {name: p.grad for name, p in student.named_parameters()}
        found[one] = (output._asdict(), gradients)
    torch.testing.assert_close(found[True], found[False], rtol=1e-4, atol=1e-4)
    assert lengths == [lengths[0], lengths[0] // 2]
    for other in ((template, search._replace(aux=search.aux + 1), modality), (template, search, modality + 1)):
        student(*other)
        assert lengths.pop() == lengths[0]  # not the same images, not the modality rgb
    student.one_stream = False
