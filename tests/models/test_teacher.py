"""The teacher: its size, its exchange, its fusion along several paths."""

from functools import partial

import pytest
import torch
from torch import Tensor

from lib.config.loader import load_config
from lib.losses.tracking import box_iou
from lib.models.box_coder import decode
from lib.models.build import build_model
from lib.models.fusion import PATHS, CrossBlock, MatchFusion, MatchPathFusion, MultiPathFusion, UnimodalPathFusion
from lib.models.network import network_inputs
from lib.structures import Pair
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer
from lib.utils.misc import count_parameters, seed_step
from tests.samples import random_sample, take


@pytest.fixture
def teacher():
    seed_step(0)
    return build_model(load_config("transcmd", "debug_teacher")).eval()


@pytest.fixture
def open_teacher(teacher):
    """A teacher with open gates, so that its streams exchange."""
    open_gates(teacher)
    return teacher


def open_gates(model) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.normal_()


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def cross_block(width: int, norms: int = 3) -> int:
    """Query, key and value, projection, feed-forward of ratio 2, norms."""
    feed_forward = linear(width, 2 * width) + linear(2 * width, width)
    return norms * 2 * width + linear(width, width) + linear(width, 2 * width) + linear(width, width) + feed_forward


def branch(width: int, channels: int, outputs: int) -> int:
    """Four 3x3 convolutions with batch norm, one 1x1."""
    sizes = [width, *(channels // divisor for divisor in (1, 2, 4, 8))]
    convolutions = sum(linear(9 * a, b) + 2 * b for a, b in zip(sizes, sizes[1:], strict=False))
    return convolutions + linear(sizes[-1], outputs)


def parts_of_teacher(width: int, channels: int, depth: int = 12, stages: int = 3, rank: int = 64) -> dict[str, int]:
    """The table of docs/method.md, The student, for the teacher of B.3."""
    block = 2 * 2 * width + linear(width, 3 * width) + linear(width, width)
    block += linear(width, 4 * width) + linear(4 * width, width)
    return {
        "streams": 2 * (depth * block + linear(768, width) + (64 + 256) * width + 2 * width),
        "exchanges": stages * 2 * (cross_block(width) + 2 * width),  # the last: gates of attention and feed-forward
        "modality_embed": 4 * width,
        "fusion": 4 * cross_block(width) + cross_block(width, norms=2) + linear(2 * width, rank) + linear(rank, 3),
        "head": branch(width, channels, 1) + 2 * branch(width, channels, 2),
    }


@pytest.mark.parametrize(
    ("config", "width", "channels", "total"),
    [("teacher_base", 768, 256, 230_382_472), ("teacher_small", 384, 192, 59_158_056)],
)
def test_number_of_trainable_parameters_is_the_sum_of_the_parts(monkeypatch, config, width, channels, total):
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))  # its values are read
    with torch.device("meta"):
        model = build_model(load_config("transcmd", config, ["MODEL.BACKBONE.PREFIX_TOKENS=0"]))
    parts = parts_of_teacher(width, channels)
    own = {name: count_parameters(part) for name, part in model.named_children()}
    own |= {"modality_embed": model.modality_embed.numel(), "streams": own.pop("rgb") + own.pop("aux")}
    assert {name: own[name] for name in parts} == parts
    assert count_parameters(model) == sum(parts.values()) == total


# exchange


def plain_streams(model, sample) -> dict[str, Tensor]:
    """Returns the features of the two streams without exchange."""
    rows = (torch.zeros_like(sample.modality), sample.modality)
    features = {}
    for m, name in enumerate(("rgb", "aux")):
        stream = model.streams[m]
        tokens = stream.embed(model.normalize(sample.template[m]), model.normalize(sample.search[m]))
        tokens = tokens + model.modality_embed[rows[m]][:, None]
        features[f"block00/{name}"] = tokens
        for number, block in enumerate(stream.blocks, start=1):
            features[f"block{number:02d}/{name}"] = tokens = block(tokens)
    return features


def test_exchange_is_the_identity_at_the_start(teacher):
    sample = random_sample()
    features = teacher.encode(*inputs(sample))[2]
    expected = plain_streams(teacher, sample)
    assert features.keys() == expected.keys()
    for name, value in features.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def inputs(sample):
    return sample.template, sample.search, sample.modality


def test_streams_are_equal_copies_at_the_start(teacher):
    rgb, aux = (stream.state_dict() for stream in teacher.streams)
    assert rgb.keys() == aux.keys()
    for name in rgb:
        assert torch.equal(rgb[name], aux[name]) and rgb[name].data_ptr() != aux[name].data_ptr()


def test_gates_open_in_one_step_and_then_the_layers_behind_them_learn():
    cfg = load_config("transcmd", "debug_teacher", ["TRAIN.SCHEDULER.WARMUP_STEPS=0"])
    seed_step(0)
    task = build_task(cfg, RunInfo("transcmd", "output", 8)).train()
    optimizer = build_optimizer(cfg, task)
    gates = {name: p for name, p in task.model.exchanges.named_parameters() if name.endswith("_gate")}
    behind = {name: p for name, p in task.model.exchanges.named_parameters() if name not in gates}
    assert len(gates) == 4 and all((gate == 0).all() for gate in gates.values())

    def backward():
        optimizer.zero_grad()
        sum(task(random_sample(), 0.0)[0].values()).backward()

    backward()
    assert all((gate.grad != 0).any() for gate in gates.values())
    assert all((parameter.grad == 0).all() for parameter in behind.values())
    optimizer.step()
    assert all((gate != 0).all() for gate in gates.values())
    backward()
    for name, parameter in behind.items():
        assert parameter.grad.abs().sum() > 0, name
    assert task(random_sample(), 0.0)[1]["gates"] > 0


def attend(block: CrossBlock, tokens: Tensor, others: Tensor) -> Tensor:
    """Attention by its definition, head by head."""
    query, (key, value) = block.query(tokens), block.key_value(others).chunk(2, dim=-1)
    width = query.shape[-1] // block.heads
    heads = []
    for h in range(block.heads):
        q, k, v = (x[..., h * width : (h + 1) * width] for x in (query, key, value))
        heads.append((q @ k.mT / width**0.5).softmax(dim=-1) @ v)
    return block.project(torch.cat(heads, dim=-1))


def test_exchange_follows_its_formula_and_reads_both_states_before_it_changes_them(open_teacher):
    stage = open_teacher.exchanges["01"]
    rgb, aux = torch.randn(2, 3, 20, 64)
    for block, own, other, result in zip(
        (stage.to_rgb, stage.to_aux), (rgb, aux), (aux, rgb), stage(rgb, aux), strict=True
    ):
        attended = attend(block, block.norm_query(own), block.norm_key(other))
        between = own + block.attention_gate * attended
        expected = between + block.ffn_gate * block.ffn(block.norm_ffn(between))
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-4)


def test_modalities_interact_only_from_the_exchange_stage_on(open_teacher):
    sample = random_sample(2)
    changed = sample._replace(search=sample.search._replace(aux=255 - sample.search.aux))
    before, after = (open_teacher(*inputs(s)).features for s in (sample, changed))
    assert torch.equal(before["block00/rgb"], after["block00/rgb"])
    assert not torch.allclose(before["block01/rgb"], after["block01/rgb"])  # after block 1 the streams exchange
    assert open_teacher.joint_layers == frozenset()


def test_attention_of_wider_networks_has_several_heads():
    block = CrossBlock(256)
    assert block.heads == 4
    tokens, others = torch.randn(2, 5, 256), torch.randn(2, 7, 256)
    torch.testing.assert_close(block._attend(tokens, others), attend(block, tokens, others), atol=1e-5, rtol=1e-4)


# fusion


@pytest.fixture
def fusion():
    torch.manual_seed(0)
    return MultiPathFusion(width=64, template_tokens=4, rank=8)


def test_fused_tokens_are_the_weighted_sum_of_the_paths(fusion):
    rgb, aux = torch.randn(2, 3, 20, 64)
    weights = fusion.path_weights(rgb, aux)
    assert weights.shape == (3, 16, 3) and weights.std() > 0
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 16))
    fused, paths = fusion(rgb, aux)
    assert tuple(paths) == PATHS
    expected = sum(weights[..., k : k + 1] * paths[name] for k, name in enumerate(PATHS))
    torch.testing.assert_close(fused, expected)


def test_paths_follow_their_formula(fusion):
    rgb, aux = torch.randn(2, 3, 20, 64)
    templates, v, x = torch.cat([rgb[:, :4], aux[:, :4]], dim=1), rgb[:, 4:], aux[:, 4:]

    def cross(block, tokens, others):
        norm_key = block.norm_key or block.norm_query
        tokens = tokens + attend(block, block.norm_query(tokens), norm_key(others))
        return tokens + block.ffn(block.norm_ffn(tokens))

    joint = cross(fusion.joint, torch.cat([v, x], dim=1), torch.cat([v, x, templates], dim=1))
    expected = {
        "rgb": cross(fusion.rgb, v, torch.cat([x, templates], dim=1)),
        "aux": cross(fusion.aux, x, torch.cat([v, templates], dim=1)),
        "joint": (joint[:, :16] + joint[:, 16:]) / 2,
    }
    for name, path in fusion(rgb, aux)[1].items():
        torch.testing.assert_close(path, expected[name], atol=1e-5, rtol=1e-4, msg=name)


def test_unimodal_paths_see_one_modality_and_the_fused_tokens_both():
    torch.manual_seed(0)
    fusion = UnimodalPathFusion(width=64, template_tokens=4, rank=8)
    rgb, aux = torch.randn(2, 3, 20, 64)
    fused, paths = fusion(rgb, aux)
    assert tuple(paths) == PATHS and fused.shape == (3, 16, 64)
    for part in (slice(0, 4), slice(4, 20)):  # the template and the search tokens of the other modality
        changed = rgb.clone(), aux.clone()
        for tokens in changed:
            tokens[:, part] += torch.randn(1)
        with_rgb, with_aux = fusion(changed[0], aux), fusion(rgb, changed[1])
        assert torch.equal(with_rgb[1]["aux"], paths["aux"]) and torch.equal(with_aux[1]["rgb"], paths["rgb"])
        for other in (with_rgb, with_aux):
            assert not torch.equal(other[1]["joint"], paths["joint"]) and not torch.equal(other[0], fused)
        assert not torch.equal(with_rgb[1]["rgb"], paths["rgb"]) and not torch.equal(with_aux[1]["aux"], paths["aux"])


@torch.no_grad()
def test_match_paths_start_from_the_fused_tokens_of_a_student():
    """With the weights of `MatchFusion` and the same weight of all paths; those of the gate begin at random."""
    torch.manual_seed(0)
    student, teacher = MatchFusion(64, template_tokens=4, rank=8), MatchPathFusion(64, template_tokens=4, rank=8)
    teacher.load_state_dict({k: v for k, v in student.state_dict().items() if k.startswith("match")}, strict=False)
    for parameter in teacher.gate[2].parameters():
        parameter.zero_()
    rgb, aux = torch.randn(2, 3, 20, 64)
    fused, paths = teacher(rgb, aux)
    torch.testing.assert_close(fused, student(rgb, aux)[0])
    assert not torch.allclose(paths["rgb"], paths["aux"], atol=0.1)
    torch.testing.assert_close((paths["rgb"] + paths["aux"]) / 2, fused)
    gates = teacher.parameter_groups()["gates"]
    assert len(gates) == 10 and not torch.stack(gates).any()
    for gate in gates:
        gate.fill_(1.0)
    changed = rgb.clone()
    changed[:, 1] += 1.0  # a template token
    opened, others = teacher(rgb, aux), teacher(changed, aux)
    assert not torch.allclose(opened[0], fused, atol=0.1)
    assert torch.equal(opened[1]["aux"], others[1]["aux"]) and not torch.equal(opened[1]["rgb"], others[1]["rgb"])


def test_gates_of_a_fusion_have_the_learning_rate_of_gates():
    cfg = load_config("transcmd", "debug_teacher", ["MODEL.FUSION.TYPE=match_paths"])
    groups = build_model(cfg).parameter_groups()
    assert len(groups["gates"]) == 10 + 4 * len(cfg.MODEL.BACKBONE.INTERACTION_LAYERS)


def test_the_oracle_is_the_best_path_of_each_sample():
    seed_step(0)
    overrides = ["MODEL.FUSION.TYPE=unimodal_paths"]
    task = build_task(load_config("transcmd", "debug_teacher", overrides), RunInfo("transcmd", "output", 8)).eval()
    sample = random_sample(8)
    found, output = task.evaluate(sample), task.model(*network_inputs(sample))
    each = torch.stack([found[f"iou_{name}"] for name in PATHS])
    assert torch.equal(found["iou_best_path"], each.amax(dim=0)) and (found["iou_best_path"] > each.amin(dim=0)).any()
    tokens = sum(path.features["fused"] for path in output.paths.values()) / 3
    boxes = decode(*task.model.head(tokens.transpose(1, 2).unflatten(2, (4, 4))))
    torch.testing.assert_close(found["iou_mean_path"], box_iou(boxes, sample.search_box), atol=1e-5, rtol=1e-4)


def test_every_path_is_decoded_by_the_head(teacher):
    sample = random_sample(3)
    output = teacher(*inputs(sample))
    assert output.features["fused"].shape == (3, 16, 64) and tuple(output.paths) == PATHS
    for path in output.paths.values():
        assert path.score_map.shape == (3, 1, 4, 4) and path.boxes.shape == (3, 4) and path.paths == {}
        assert path.size_map.shape == path.offset_map.shape == (3, 2, 4, 4)
        tokens = path.features["fused"]
        maps = teacher.head(tokens.transpose(1, 2).unflatten(2, (4, 4)))
        for own, expected in zip(path, maps, strict=False):
            torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)
    readings = [output.boxes, *(path.boxes for path in output.paths.values())]
    assert all(not torch.equal(a, b) for i, a in enumerate(readings) for b in readings[:i])


def test_paths_are_trained_with_their_weight(teacher):
    sample = random_sample()
    seed_step(0)
    task = build_task(load_config("transcmd", "debug_teacher"), RunInfo("transcmd", "output", 8)).eval()
    terms, logs = task(sample, 0.0)
    output = task.model(*inputs(sample))
    weights = {"focal": 1.0, "giou": 2.0, "l1": 5.0}
    expected = sum(weights[k] * value for path in output.paths.values() for k, value in task.loss(path, sample).items())
    torch.testing.assert_close(terms["paths"], 0.3 * expected)
    assert set(terms) == {"focal", "giou", "l1", "paths"}
    assert {f"iou_{name}" for name in PATHS} <= logs.keys()
    assert {f"iou_{name}" for name in PATHS} <= task.evaluate(sample).keys()


def test_a_sample_does_not_depend_on_its_batch(open_teacher):
    sample = random_sample(4)
    together = open_teacher(*inputs(sample))
    for i in range(4):
        rows = slice(i, i + 1)
        alone = open_teacher(*inputs(take(sample, rows)))
        torch.testing.assert_close(alone.score_map, together.score_map[rows], atol=1e-5, rtol=1e-4)
        for name in PATHS:
            torch.testing.assert_close(alone.paths[name].boxes, together.paths[name].boxes[rows], atol=1e-5, rtol=1e-4)


def test_equal_modalities_differ_only_by_their_embedding(teacher):
    """Both streams start with equal weights, so that differences do not come from the initialisation."""
    sample = random_sample(1)
    same = [Pair(pair.rgb, pair.rgb) for pair in (sample.template, sample.search)]
    features = teacher(*same, torch.tensor([0])).features
    assert torch.equal(features["block02/rgb"], features["block02/aux"])
    features = teacher(*same, torch.tensor([1])).features
    assert not torch.allclose(features["block02/rgb"], features["block02/aux"])


def test_wrong_interaction_layer_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 3\].*1 to 2"):
        build_model(load_config("transcmd", "debug_teacher", ["MODEL.BACKBONE.INTERACTION_LAYERS=[0,2,3]"]))
