"""Distillation: its losses, balance and task; and properties of all stages, in one and in several processes."""

import copy
import functools
import math
import os
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.ops import generalized_box_iou_loss

from lib.config.loader import load_config
from lib.losses import DISTILL_LOSSES, scfd
from lib.losses.common import FeatureSpec, normalize, pair_layers, token_weights
from lib.losses.mpsd import MPSD, select_paths
from lib.losses.scfd import SCFD, spatial_divergence, split
from lib.losses.tracking import box_iou, to_xyxy
from lib.models.backbone import quarter_ends
from lib.models.box_coder import decode
from lib.models.build import build_model
from lib.models.fusion import PATHS
from lib.models.masking import Masks
from lib.structures import TrackOutput
from lib.train.balance import Balance, balanced, gradient_norms
from lib.train.build import RunInfo, build_task
from lib.train.optim import build_optimizer
from lib.utils.misc import seed_step
from tests.samples import DEGENERATE, random_output, random_sample, take

NETWORK = FeatureSpec(width=64, depth=2, template_tokens=4, matched_layers=(1, 2), paths=PATHS)
WIDE = FeatureSpec(
    width=32, depth=2, template_tokens=4, matched_layers=(1, 2), paths=PATHS
)  # with a different width than the student
MIXED = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of an untrained teacher whose score maps have clear peaks."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth.tar"
    seed_step(1)
    teacher = build_model(load_config("transcmd", "debug_teacher"))
    sharpen(teacher)
    torch.save({"net": teacher.state_dict()}, path)
    return path


def sharpen(model: nn.Module) -> None:
    """Makes the peak of the score map independent of rounding."""
    with torch.no_grad():
        model.head.score[-1].weight.mul_(100)


CONFIGS = {"track": "debug_teacher", "pretrain": "debug_pretrain", "distill": "debug_distill"}


def make_task(stage: str, checkpoint, *overrides: str, total_steps: int = 8):
    return copy.deepcopy(built_task(stage, checkpoint, overrides, total_steps))


@functools.cache
def built_task(stage: str, checkpoint, overrides: tuple[str, ...], total_steps: int):
    cfg = stage_config(stage, checkpoint, *overrides)
    seed_step(0)
    return build_task(cfg, RunInfo("transcmd", "output", total_steps))


def stage_config(stage: str, checkpoint, *overrides: str):
    more = [f"TRAIN.TEACHER.CHECKPOINT={checkpoint}"] if stage == "distill" else []
    return load_config("transcmd", CONFIGS[stage], ["MODEL.PRETRAIN_CONFIG=''", *more, *overrides])


def make_loss(name: str, teacher: FeatureSpec = NETWORK) -> nn.Module:
    torch.manual_seed(0)
    return DISTILL_LOSSES[name](NETWORK, teacher)


def identity(loss: nn.Module) -> nn.Module:
    with torch.no_grad():
        for layer in loss.modules():
            if isinstance(layer, nn.Linear):
                nn.init.eye_(layer.weight)
                nn.init.zeros_(layer.bias)
    return loss


def example(batch: int = 4, width: int = 64) -> tuple:
    """Student, teacher, sample; the teacher is right for the first sample, wrong for the last, else between."""
    sample = random_sample(batch)
    student, teacher = random_output(batch), random_output(batch, width, paths=PATHS)
    boxes = sample.search_box.clone()
    boxes[-1] = torch.tensor([0.1, 0.1, 0.05, 0.05])
    boxes[batch // 2 : -1, 2:] *= 0.9
    boxes[1:2, 2:] *= 0.6 if batch > 2 else 1  # an overlap of 0.36: above MIN_TEACHER_IOU, but low
    return student, teacher._replace(boxes=boxes), sample


def trusting(output: TrackOutput, sample) -> TrackOutput:
    """Returns the output with correct boxes."""
    return output._replace(boxes=sample.search_box)


# losses against their definitions


def test_split_is_orthogonal_token_by_token():
    torch.manual_seed(0)
    # With much smaller features, the epsilon of `normalize` would shorten some; orthogonality needs equal lengths.
    rgb, aux = (normalize(torch.randn(3, 20, 64) * scale + shift) for scale, shift in ((2, 0.3), (0.5, -5)))
    common, specific = split(rgb, aux)
    assert (common * specific).sum(dim=-1).abs().max() < 1e-4 * 64
    cosine = torch.cosine_similarity(common, specific, dim=-1)
    assert cosine.abs().max() < 1e-4
    torch.testing.assert_close(common + specific, rgb)
    torch.testing.assert_close(common - specific, aux)


def test_a_squared_error_does_not_separate_common_and_specific_parts():
    """Parseval: this is why both parts have losses of their own."""
    a, b = (split(*(normalize(torch.randn(2, 20, 64)) for _ in range(2))) for _ in range(2))
    whole = sum(((x[0] + s * x[1]) - (y[0] + s * y[1])).square().sum() for s in (1, -1) for x, y in [(a, b)])
    torch.testing.assert_close(whole, 2 * sum((x - y).square().sum() for x, y in zip(a, b, strict=True)))


def norm0(tokens: Tensor) -> Tensor:
    return (tokens - tokens.mean(dim=-1, keepdim=True)) / (tokens.var(dim=-1, correction=0, keepdim=True) + 1e-6).sqrt()


def cos(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def weights_by_hand(box: Tensor) -> Tensor:
    """Of 4 template and 4x4 search tokens."""
    x, y, w, h = box.tolist()
    cells = [((j + 0.5) / 4, (i + 0.5) / 4) for i in range(4) for j in range(4)]
    exponents = [((u - x) / max(w / 2, 0.125)) ** 2 + ((v - y) / max(h / 2, 0.125)) ** 2 for u, v in cells]
    return torch.tensor([1.0] * 4 + [1 + 4 * math.exp(-e / 2) for e in exponents], dtype=torch.float64)


def scfd_by_hand(loss: SCFD, student: TrackOutput, teacher: TrackOutput, box: Tensor, b: int) -> Tensor:
    """Of sample b, as docs/method.md, SCFD write it, in loops and float64."""
    weight, total = weights_by_hand(box), 0.0
    for k, layer in enumerate((1, 2)):
        raw = [student.features[f"block{layer:02d}/{m}"][b].double() for m in ("rgb", "aux")]
        matrix, bias = loss.project[k].weight.double(), loss.project[k].bias.double()
        s = [norm0(x @ matrix.T + bias) for x in raw]
        t = [norm0(teacher.features[f"block{layer:02d}/{m}"][b].double()) for m in ("rgb", "aux")]
        r = [norm0(x) for x in raw]
        s_c, t_c, r_c = ((x[0] + x[1]) / 2 for x in (s, t, r))
        s_d, t_d = ((x[0] - x[1]) / 2 for x in (s, t))
        common = sum(weight[i] * (1 - cos(s_c[i], t_c[i])) for i in range(20)) / weight.sum()
        relation = sum(abs(cos(r_c[i], r_c[j]) - cos(t_c[i], t_c[j])) for i in range(4, 20) for j in range(4)) / (
            16 * 4
        )
        place = 0.0
        for sign in (1, -1):
            p, q = ((sign * x[4:] / 0.2).softmax(dim=0) for x in (t_d, s_d))
            place += 0.5 * (p * (p / q).log()).sum() / t_d.shape[1] * 0.2**2
        energy = [(t_d[i] @ t_d[i]) / (t_c[i] @ t_c[i] + t_d[i] @ t_d[i]) for i in range(20)]
        shares = [weight[i] * energy[i] for i in range(20)]
        direction = sum(shares[i] * (1 - cos(s_d[i], t_d[i])) for i in range(20)) / sum(shares)
        total = total + common + 0.5 * relation + 0.5 * (place + 0.5 * direction)
    return total / 2


def test_scfd_equals_its_definition():
    student, teacher, sample = example(3, width=32)
    loss = make_loss("SCFD", WIDE)
    value, logs = loss(student, teacher, sample, 0.0)
    expected = [scfd_by_hand(loss, student, teacher, sample.search_box[b], b) for b in range(3)]
    assert value.shape == (2,)
    torch.testing.assert_close(value.sum().double(), torch.stack(expected).mean(), atol=1e-5, rtol=1e-4)
    assert {"scfd/specific_to_common01", "scfd/peakedness02"} <= logs.keys()


def mpsd_by_hand(loss: MPSD, student, teacher, sample, b: int) -> Tensor:
    """Of sample b, as docs/method.md, MPSD write it."""
    weight = weights_by_hand(sample.search_box[b])[4:]
    if box_iou(teacher.boxes, sample.search_box)[b] < 0.3:
        return torch.zeros((), dtype=torch.float64)

    def distance(name: str, target: Tensor) -> Tensor:
        layer = loss.project[name]
        own = norm0(student.features["fused"][b].double() @ layer.weight.double().T + layer.bias.double())
        return sum(weight[i] * (1 - cos(own[i], norm0(target[b].double())[i])) for i in range(16)) / weight.sum()

    outputs = [*(teacher.paths[name] for name in PATHS), teacher]
    distances = torch.stack([distance(k, o.features["fused"]) for k, o in zip(loss.paths, outputs, strict=True)])
    iou = torch.stack([box_iou(output.boxes, sample.search_box)[b] for output in outputs]).double()
    z_score = (iou - iou.mean()) / max(iou.std(correction=0), 0.02)
    pi = 0.95 * (z_score / 0.1).softmax(dim=0) + 0.05 / 4
    advantage = max(0.0, iou[-1] - box_iou(student.boxes, sample.search_box)[b].double())
    return (advantage + 0.1) * (pi * distances).sum()


def test_mpsd_equals_its_definition():
    student, teacher, sample = example(4, width=32)
    loss = make_loss("MPSD", WIDE)
    value, logs = loss(student, teacher, sample, 0.3)
    expected = [mpsd_by_hand(loss, student, teacher, sample, b) for b in range(4)]
    assert expected[-1] == 0 and expected[0] > 0
    torch.testing.assert_close(value.double(), torch.stack(expected).mean(), atol=1e-5, rtol=1e-4)
    assert logs["mpsd/trusted"] == 0.75
    assert 0 < logs["mpsd/entropy"] <= math.log(4) + 1e-6
    assert sum(logs[f"mpsd/pi_{name}"] for name in loss.paths).item() == pytest.approx(1)


def test_response_equals_its_definition():
    student, teacher, sample = example()
    student.boxes[1] = torch.tensor([0.05, 0.05, 0.1, 0.1])
    own, target = student.score_map.double().flatten(1), teacher.score_map.double().flatten(1)
    at_peak = decode(teacher.score_map, student.size_map, student.offset_map)
    reach = [box_iou(output.boxes, sample.search_box) for output in (teacher, student)]
    assert 0.5 > reach[0][1] > reach[1][1]  # better, but not good
    expected, better = 0.0, 0
    for b in range(4):
        p, t = own[b], target[b]
        hard = (p - t).abs() + 0.05
        entropy, cross = (-(t * q.log() + (1 - t) * (1 - q).log()) for q in (t, p))
        expected += (hard * (cross - entropy)).sum() / hard.sum() / 4
        if reach[0][b] > max(0.5, reach[1][b]):
            better += 1
            boxes = [to_xyxy(x[b : b + 1]) for x in (at_peak, teacher.boxes)]
            box = 2 * generalized_box_iou_loss(*boxes)[0] + 5 * (boxes[0] - boxes[1]).abs().mean()
            expected += 0.25 * box.double() / 4
    value, logs = make_loss("RESPONSE")(student, teacher, sample, 0.0)
    torch.testing.assert_close(value.double(), expected, atol=1e-5, rtol=1e-4)
    assert logs["response/teacher_better"] == better / 4 and 0 < better < 4


def test_no_gradient_flows_through_the_hardness_of_the_response():
    """The hardness weighs the cells; a student must not lower its loss by moving the weight."""
    student, teacher, sample = example()
    own = student.score_map.double().flatten(1).detach().requires_grad_()
    make_loss("RESPONSE")(
        student._replace(score_map=(leaf := student.score_map.clone().requires_grad_())), teacher, sample, 0.0
    )[0].backward()
    target = teacher.score_map.double().flatten(1)
    hard = ((own - target).abs() + 0.05).detach()
    cross = -(target * own.log() + (1 - target) * (1 - own).log())
    ((hard * cross).sum(dim=1) / hard.sum(dim=1)).mean().backward()
    torch.testing.assert_close(leaf.grad.double().flatten(1), own.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("stage", ["distill", "pretrain"])
def test_a_task_hands_its_progress_on(stage, checkpoint, monkeypatch):
    task, seen = make_task(stage, checkpoint), []
    if stage == "distill":
        for loss in task.losses.values():
            loss.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[3]))
    else:
        monkeypatch.setattr("lib.train.tasks.curriculum", lambda progress: seen.append(progress) or 0.0)
    task.train()(trusted_sample(task) if stage == "distill" else random_sample(), 0.37)
    assert seen and set(seen) == {0.37}


def test_token_weights_equal_their_definition():
    output = random_output(2)
    boxes = torch.tensor([[0.3, 0.6, 0.5, 0.2], [0.9, 0.1, 0.001, 0.001]])
    expected = torch.stack([weights_by_hand(box) for box in boxes]).float()
    torch.testing.assert_close(token_weights(boxes, output, 4), expected)


def test_spatial_divergence_differs_from_a_squared_error(monkeypatch):
    torch.manual_seed(0)
    own, target = (split(normalize(torch.randn(4, 256, 64)), normalize(torch.randn(4, 256, 64)))[1] for _ in "ab")
    difference = own - target
    squares = (difference - difference.mean(dim=1, keepdim=True)).square().mean(dim=(1, 2)) / 2
    assert (spatial_divergence(own, target) / squares - 1).abs().min() > 0.1
    monkeypatch.setattr(scfd, "SPATIAL_TEMPERATURE", 1.0)
    torch.testing.assert_close(spatial_divergence(own, target), squares, atol=0, rtol=0.05)


@pytest.mark.parametrize(
    ("student", "teacher", "pairs"),
    [
        (12, 12, [(3, 3), (6, 6), (9, 9), (12, 12)]),
        (8, 12, [(2, 3), (4, 6), (6, 9), (8, 12)]),
        (2, 2, [(1, 1), (2, 2)]),
    ],
)
def test_layers_are_paired_at_equal_relative_depth(student, teacher, pairs):
    specs = [FeatureSpec(8, depth, 4, quarter_ends(depth)) for depth in (student, teacher)]
    assert pair_layers(*specs) == pairs


def test_a_teacher_with_too_few_blocks_is_refused():
    student, teacher = (FeatureSpec(8, depth, 4, quarter_ends(depth)) for depth in (24, 2))
    with pytest.raises(ValueError, match="a teacher of 2 blocks has no block to match block 6 of a student of 24"):
        pair_layers(student, teacher)


# what the losses promise


@pytest.mark.parametrize("name", ["SCFD", "COSINE", "CONTENT_STYLE", "RESPONSE"])
def test_a_student_equal_to_its_teacher_has_no_loss(name):
    sample, output = random_sample(), random_output()
    assert identity(make_loss(name))(output, output, sample, 0.0)[0].abs().max() < 1e-6


@pytest.mark.parametrize("name", ["MPSD", "MPSD_UNIFORM", "FUSED"])
def test_a_student_equal_to_all_paths_has_no_loss(name):
    sample = random_sample()
    output = trusting(random_output(), sample)
    teacher = output._replace(paths=dict.fromkeys(PATHS, output))
    value, logs = identity(make_loss(name))(output, teacher, sample, 0.0)
    assert logs["mpsd/trusted"] == 1 and value.abs() < 1e-6


def test_a_real_student_and_teacher_with_the_same_output_have_no_loss():
    """With features of a network, and equal modalities, whose specific part is zero."""
    seed_step(0)
    model, sample = build_model(load_config("transcmd", "debug_teacher")).eval(), random_sample()
    with torch.no_grad():
        for aux in ("aux", "rgb"):
            pairs = [pair._replace(aux=getattr(pair, aux)) for pair in (sample.template, sample.search)]
            output = model(*pairs, sample.modality)
            for name in ("SCFD", "COSINE", "CONTENT_STYLE", "RESPONSE"):
                assert identity(make_loss(name))(output, output, sample, 0.0)[0].abs().max() < 1e-6, name


@pytest.mark.parametrize("name", DISTILL_LOSSES)
def test_a_batch_loss_is_the_mean_of_its_samples(name):
    student, teacher, sample = example()
    loss = make_loss(name)
    whole = loss(student, teacher, sample, 0.25)[0]
    alone = [loss(*(take(r, slice(i, i + 1)) for r in (student, teacher, sample)), 0.25)[0] for i in range(4)]
    torch.testing.assert_close(whole, torch.stack(alone).mean(dim=0), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", DISTILL_LOSSES)
def test_losses_give_gradients_to_the_student_and_all_projections(name):
    student, teacher, sample = example()
    loss = make_loss(name)
    leaves = [t.requires_grad_() for t in (student.score_map, student.size_map, *student.features.values())]
    loss(student, teacher, sample, 0.25)[0].sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DISTILL_LOSSES)
def test_losses_are_float32_under_autocast(name, dtype):
    arguments = (*example(), 0.25)
    loss = make_loss(name)
    with torch.autocast("cpu", dtype):
        inside = loss(*arguments)[0]
    assert inside.dtype == torch.float32 and torch.equal(inside, loss(*arguments)[0])


def swap(output: TrackOutput) -> TrackOutput:
    other = {"rgb": "aux", "aux": "rgb"}
    features = {
        f"{name.split('/')[0]}/{other[name.split('/')[1]]}" if "/" in name else name: value
        for name, value in output.features.items()
    }
    return output._replace(features=features)


def test_scfd_is_symmetric_in_the_modalities():
    student, teacher, sample = example()
    assert not torch.equal(swap(student).features["block01/rgb"], student.features["block01/rgb"])
    loss = make_loss("SCFD")
    expected, logs = loss(student, teacher, sample, 0.0)
    swapped, swapped_logs = loss(swap(student), swap(teacher), sample, 0.0)
    torch.testing.assert_close(swapped, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(logs["scfd/specific_to_common01"], swapped_logs["scfd/specific_to_common01"])
    torch.testing.assert_close(
        spatial_divergence(-torch.ones(1, 4, 2).cumsum(1), torch.eye(4, 2)[None]),
        spatial_divergence(torch.ones(1, 4, 2).cumsum(1), -torch.eye(4, 2)[None]),
    )
    one_sided = loss(swap(student), teacher, sample, 0.0)[0]
    assert (one_sided - expected).abs().min() > 1e-4  # the sign of the difference between the two matters


def test_scfd_also_matches_samples_that_the_teacher_gets_wrong():
    student, teacher, sample = example()
    wrong = teacher._replace(boxes=torch.zeros_like(teacher.boxes))
    loss = make_loss("SCFD")
    assert torch.equal(loss(student, wrong, sample, 0.0)[0], loss(student, teacher, sample, 0.0)[0])


def test_path_weights_sum_to_one_have_a_minimum_and_bite():
    iou = torch.rand(50, 4)
    iou[0], iou[1] = torch.tensor([0.9, 0.0, 0.0, 0.8]), 0.5
    iou[2] = torch.tensor([0.500, 0.501, 0.500, 0.500])
    pi = select_paths(iou)
    torch.testing.assert_close(pi.sum(dim=1), torch.ones(50))
    assert pi.min() >= 0.05 / 4 - 1e-7 and torch.equal(pi.argmax(dim=1)[3:], iou.argmax(dim=1)[3:])
    assert pi[0, 0] > 0.8  # a clear best path has nearly all of the weight
    torch.testing.assert_close(pi[1], torch.full((4,), 1 / 4))
    assert pi[2].max() < 0.4  # differences that are noise are not magnified
    torch.testing.assert_close(select_paths(iou + 0.05), pi, atol=1e-4, rtol=1e-3)  # relative within the sample


def test_samples_on_which_the_teacher_fails_do_not_count_in_mpsd():
    student, teacher, sample = example()
    fused = student.features["fused"].requires_grad_()
    loss = make_loss("MPSD")
    value = loss(student, teacher, sample, 0.0)[0]
    value.backward()
    assert (fused.grad[-1] == 0).all() and all((fused.grad[i] != 0).any() for i in range(3))
    trusted = loss(*(take(record, slice(0, 3)) for record in (student, teacher, sample)), 0.0)[0]
    torch.testing.assert_close(value, trusted * 3 / 4)  # divided by the whole batch
    nobody = teacher._replace(boxes=torch.zeros_like(teacher.boxes))
    assert loss(student, nobody, sample, 0.0)[0] == 0


def test_no_gradient_flows_through_the_path_selection():
    """The student must not change the weights of the paths: pi is a constant."""
    student, teacher, sample = example(1)
    teacher = trusting(teacher, sample)
    loss, own = make_loss("MPSD"), student.features["fused"].requires_grad_()
    gradient = torch.autograd.grad(loss(student, teacher, sample, 0.0)[0], own)[0]
    shares = {name: value.detach() for name, value in loss(student, teacher, sample, 0.0)[1].items()}
    weight = weights_by_hand(sample.search_box[0])[4:].float()[None]
    total, advantage = 0, (1 - box_iou(student.boxes, sample.search_box)).clamp(0, 1)
    for name in loss.paths:
        target = (teacher if name == "fused" else teacher.paths[name]).features["fused"]
        similarity = torch.cosine_similarity(normalize(loss.project[name](own)), normalize(target), dim=-1)
        share = (advantage + 0.1) * shares[f"mpsd/pi_{name}"]
        total = total + (share * ((1 - similarity) * weight).sum() / weight.sum()).sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(total, own)[0], atol=1e-6, rtol=1e-3)


def test_the_controls_use_equal_path_weights_or_the_fused_features_alone():
    student, teacher, sample = example()
    uniform = make_loss("MPSD_UNIFORM")(student, teacher, sample, 0.0)[1]
    assert [uniform[f"mpsd/pi_{name}"].item() for name in (*PATHS, "fused")] == pytest.approx([1 / 4] * 4)
    assert uniform["mpsd/entropy"].item() == pytest.approx(math.log(4))
    fused = make_loss("FUSED")
    assert list(fused.project) == ["fused"]
    assert fused(student, teacher._replace(paths={}), sample, 0.0)[0] > 0


# balance


NAN = float("nan")


@pytest.mark.parametrize(
    ("ratios", "factor"),
    [
        ([0.4] * 20, 1.0),
        ([0.3] * 20, 1.0),
        ([0.1] * 20, 3.0),
        ([2.0] * 20, 0.25),
        ([0.001] * 20, 100.0),  # limited
        ([100.0] * 20, 0.01),
        ([0.1] * 9 + [NAN] * 11, 3.0),
        ([0.1] * 11 + [1e9] * 9, 3.0),  # the median, not the mean
        ([NAN] * 20, 1.0),
    ],
)
def test_balance_scales_the_median_to_the_nearer_bound(ratios, factor):
    column = torch.tensor(ratios)
    others = torch.full((20,), 0.4)
    assert balanced(torch.stack([others, column], dim=1)).tolist() == pytest.approx([1.0, factor])


def observed(balance: Balance, ratio: float, steps: int) -> list[dict[str, Tensor]]:
    """Makes steps in which loss "a" has the given share of the tracking loss's gradient and "b" has no gradient."""
    parameter, seen = nn.Parameter(torch.tensor([3.0, 4.0])), []
    for _ in range(steps):
        losses = {"a": ratio * parameter.sum(), "b": torch.zeros(()) * parameter.sum()}
        seen.append(balance.observe(2 * parameter.sum(), losses, dict.fromkeys("ab", [parameter])))
        balance.after_step()
    assert parameter.grad is None
    return seen


@pytest.mark.parametrize(("total", "start", "end"), [(20_000, 480, 500), (1000, 30, 50), (200, 0, 10), (8, 0, 1)])
def test_balance_measures_the_last_steps_of_its_window(total, start, end):
    balance = Balance(("a", "b"), total)
    seen = observed(balance, 0.2, max(end + 5, 100))
    between = {i for i in range(99, len(seen), 100)}  # shares are logged in the complete training
    assert [i for i, values in enumerate(seen) if values] == sorted({*range(start, end), *between})
    assert seen[start]["a"].item() == pytest.approx(0.1)
    assert seen[99]["a"].item() == pytest.approx(0.3 if end <= 99 else 0.1)  # as scaled
    assert balance.factors.tolist() == pytest.approx([3.0, 1.0])
    scaled = balance.scale({"a": torch.tensor(2.0), "b": torch.tensor(5.0)})
    assert scaled["a"].item() == pytest.approx(6) and scaled["b"] == 5


def test_each_part_is_measured_where_it_acts():
    first, second = (nn.Parameter(torch.tensor([3.0, 4.0])) for _ in "ab")
    balance = Balance(("a/1", "a/2"), 40)
    tracking = 2 * first.sum() + 10 * second.sum()
    losses = {"a/1": 0.2 * first.sum(), "a/2": 100 * first.sum() + 0.5 * second.sum()}
    shares = balance.observe(tracking, losses, {"a/1": [first], "a/2": [second]})
    assert {name: share.item() for name, share in shares.items()} == pytest.approx({"a/1": 0.1, "a/2": 0.05})


def test_feature_losses_and_their_controls_get_the_same_share_at_every_block(checkpoint):
    for name in ("SCFD", "COSINE", "CONTENT_STYLE"):
        others = [f"TRAIN.DISTILL.{other}={int(other == name)}" for other in ("SCFD", "MPSD", "RESPONSE", name)]
        task = make_task("distill", checkpoint, *others, total_steps=40).train()  # a window of two steps
        sample = trusted_sample(task)
        for _ in range(2):
            task(sample, 0.0)
            task.after_step()
        task.balance.step = 99  # measure again, now scaled
        logs = task(sample, 0.0)[1]
        shares = [logs[f"share/{name}/block{number:02d}"].item() for number in (1, 2)]
        limited = [factor in (pytest.approx(0.01), pytest.approx(100.0)) for factor in task.balance.factors.tolist()]
        assert all(0.29 <= share <= 0.51 or limit for share, limit in zip(shares, limited, strict=True)), (name, shares)
        assert not all(limited)


def test_balance_does_not_change_after_its_window():
    balance = Balance(("a", "b"), 200)
    observed(balance, 0.2, 9)
    assert balance.factors.tolist() == [1, 1]
    observed(balance, 0.2, 1)
    assert balance.factors.tolist() == pytest.approx([3.0, 1.0])
    observed(balance, 20.0, 30)
    assert balance.factors.tolist() == pytest.approx([3.0, 1.0])


@pytest.mark.parametrize("stop", [4, 10, 15])
def test_balance_continues_after_a_restart(stop):
    first, second = Balance(("a", "b"), 200), Balance(("a", "b"), 200)
    observed(first, 0.2, stop)
    second.load_state_dict(first.state_dict())
    assert second.step == stop
    observed(second, 0.2 if stop < 10 else 7.0, 20)
    assert second.factors.tolist() == pytest.approx([3.0, 1.0])


def test_balance_measures_a_step_over_all_its_micro_batches():
    """The ratio of the sums of norms, as over several processes; the next step starts anew."""
    balance, parameter = Balance(("A",), total_steps=1000), nn.Parameter(torch.ones(1))
    balance.step = balance.start
    for row, sizes in enumerate((((1.0, 1.0), (3.0, 1.0)), ((2.0, 1.0), (2.0, 5.0)))):
        for tracking, loss in sizes:
            balance.observe((tracking * parameter).sum(), {"A": (loss * parameter).sum()}, {"A": [parameter]})
        expected = sum(loss for _, loss in sizes) / sum(tracking for tracking, _ in sizes)
        assert balance.ratios[row, 0].item() == pytest.approx(expected)
        balance.after_step()


def test_without_balance_the_weights_do_not_change():
    balance = Balance(("a", "b"), 200, enabled=False)
    seen = observed(balance, 0.2, 130)
    assert [i for i, values in enumerate(seen) if values] == [99] and balance.factors.tolist() == [1, 1]
    assert seen[99]["a"].item() == pytest.approx(0.1)
    assert balance.ratios.isnan().all()


@pytest.mark.parametrize("tracking", [0.0, float("inf"), NAN])
def test_balance_skips_steps_without_a_valid_ratio(tracking):
    balance, parameter = Balance(("a",), 40), nn.Parameter(torch.ones(2))  # a window of two steps
    balance.observe(tracking * parameter.sum(), {"a": parameter.sum()}, {"a": [parameter]})
    balance.after_step()
    balance.observe(2 * parameter.sum(), {"a": 0.2 * parameter.sum()}, {"a": [parameter]})
    balance.after_step()
    assert balance.factors.tolist() == pytest.approx([3.0])


def test_gradient_norm_changes_neither_gradients_nor_graph():
    parameters = [nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.ones(1))]
    loss = 3 * parameters[0].sum() + 4 * parameters[1]
    norm = gradient_norms(loss, [parameters])[0]
    assert norm.item() == pytest.approx(math.sqrt(9 + 9 + 16)) and not norm.requires_grad
    assert all(parameter.grad is None for parameter in parameters)
    loss.backward()  # the graph was not freed
    assert parameters[0].grad.tolist() == [3, 3]
    assert gradient_norms(torch.zeros(()), [parameters]).tolist() == [0]
    other = 3 * parameters[0].sum()
    assert gradient_norms(other, [parameters[2:], [], parameters[:1]]).tolist() == [0, 0, pytest.approx(math.sqrt(18))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shares_of_gradients_survive_mixed_precision(checkpoint, dtype):
    shares = []
    for enabled in (False, True):
        task = make_task("distill", checkpoint).train()
        sharpen(task.model)
        sample = trusted_sample(task)
        with torch.autocast("cpu", dtype, enabled=enabled):
            logs = task(sample, 0.0)[1]
        shares.append(
            torch.stack([logs[f"share/{name}"] for name in ("SCFD/block01", "SCFD/block02", "MPSD", "RESPONSE")])
        )
    assert (shares[0] > 0).all()
    torch.testing.assert_close(shares[1], shares[0], rtol=0.1, atol=0)


# the task


def trusted_sample(task, batch: int = 4):
    """A sample with targets at the teacher's predictions, except the last, so that MPSD has gradients."""
    sample = random_sample(batch)
    with torch.no_grad():
        boxes = task.teacher(sample.template, sample.search, sample.modality).boxes
    boxes = torch.cat([boxes[:, :2].clamp(0.1, 0.9), boxes[:, 2:]], dim=1)
    return sample._replace(search_box=torch.cat([boxes[:-1], sample.search_box[-1:]]))


def test_teacher_does_not_change(checkpoint):
    task = make_task("distill", checkpoint, "TRAIN.DROP_PATH_RATE=0.2").train()
    cfg = stage_config("distill", checkpoint)
    optimizer = build_optimizer(cfg, task)
    ids = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert not ids & {id(p) for p in task.teacher.parameters()}
    assert ids >= {id(p) for p in task.losses.parameters()}
    before = {name: value.clone() for name, value in task.state_dict().items()}
    for step in range(2):
        optimizer.zero_grad()
        sum(task(random_sample(seed=step), 0.0)[0].values()).backward()
        optimizer.step()
        task.after_step()
    for mode in (False, True):
        task.train(mode)
        assert not any(module.training for module in task.teacher.modules())
    assert task.model.training
    after = task.state_dict()
    teacher = [name for name in after if name.startswith("teacher.")]
    assert any("running_mean" in name for name in teacher)
    assert all(torch.equal(before[name], after[name]) for name in teacher)
    assert all(p.grad is None and not p.requires_grad for p in task.teacher.parameters())
    moved = [name for name in after if name.startswith("model.encoder.") and not torch.equal(before[name], after[name])]
    assert moved


def test_a_checkpoint_contains_the_projections_but_not_the_teacher(checkpoint):
    task = make_task("distill", checkpoint)
    names = set(task.own_state())
    assert not any(name.startswith(("teacher.", "model.")) for name in names)
    assert {"losses.SCFD.project.0.weight", "losses.MPSD.project.joint.bias", "balance.factors"} <= names
    other = make_task("distill", checkpoint)
    task.balance.factors.fill_(3)
    with torch.no_grad():
        task.losses["SCFD"].project[0].weight.add_(1)
        task.teacher.modality_embed.add_(1)  # not saved; loaded from its own checkpoint
    other.restore(task.model.state_dict(), task.own_state())
    assert (other.balance.factors == 3).all()
    assert torch.equal(other.losses["SCFD"].project[0].weight, task.losses["SCFD"].project[0].weight)
    assert not torch.equal(other.teacher.modality_embed, task.teacher.modality_embed)


def test_terms_are_weighted_and_balanced(checkpoint):
    task = make_task("distill", checkpoint, "TRAIN.DISTILL.COSINE=2", "TRAIN.DISTILL.RESPONSE=0").eval()
    sample = trusted_sample(task)
    plain = task(sample, 0.0)[0]
    assert set(plain) == {"focal", "giou", "l1", "SCFD", "MPSD", "COSINE"}
    output, teacher = (m(sample.template, sample.search, sample.modality) for m in (task.model, task.teacher))
    torch.testing.assert_close(plain["COSINE"], 2 * task.losses["COSINE"](output, teacher, sample, 0.0)[0].sum())
    with torch.no_grad():
        names = ("SCFD/block01", "SCFD/block02", "MPSD", "COSINE/block01", "COSINE/block02")
        assert task.balance.names == names
        task.balance.factors.copy_(torch.tensor([2.0, 2.0, 1.0, 0.5, 0.5]))
    scaled = task(sample, 0.0)[0]
    for name, factor in {"SCFD": 2.0, "MPSD": 1.0, "COSINE": 0.5, "focal": 1.0}.items():
        torch.testing.assert_close(scaled[name], factor * plain[name])
    assert set(task.losses) == {"SCFD", "MPSD", "COSINE"}  # a loss without a weight is not built


@pytest.mark.parametrize(
    ("freeze", "frozen"), [("encoder.blocks.1.", ["SCFD/block02"]), ("encoder.", ["SCFD/block01", "SCFD/block02"])]
)
def test_the_weight_of_a_part_that_acts_on_frozen_parameters_does_not_change(checkpoint, freeze, frozen):
    task = make_task("distill", checkpoint, f"TRAIN.FREEZE=['{freeze}']").train()
    terms, _ = task(trusted_sample(task), 0.0)
    task.after_step()
    factors = dict(zip(task.balance.names, task.balance.factors.tolist(), strict=True))
    assert [name for name, factor in factors.items() if factor == 1 and name != "RESPONSE"] == frozen
    assert factors["RESPONSE"] == 1 and all(torch.isfinite(term) for term in terms.values())


def test_distillation_measures_its_balance_and_keeps_it(checkpoint):
    task = make_task("distill", checkpoint, total_steps=40).train()  # a window of two steps
    sample = trusted_sample(task)
    for step in range(4):
        logs = task(sample, 0.0)[1]
        assert ("share/SCFD/block01" in logs) == (step < 2)
        task.after_step()
        if step == 1:
            factors = task.balance.factors.clone()
            assert (factors != 1).any()
    assert torch.equal(task.balance.factors, factors)
    assert all(p.grad is None for p in task.parameters())
    task.eval()
    assert not any(name.startswith("share/") for name in task(sample, 0.0)[1])


# every stage


@pytest.mark.parametrize("stage", CONFIGS)
def test_every_parameter_gets_a_gradient(stage, checkpoint):
    """DistributedDataParallel requires a gradient for every parameter."""
    task = make_task(stage, checkpoint).train()
    sum(task(random_sample(), 0.0)[0].values()).backward()
    assert [name for name, p in task.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("precision", MIXED)
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("stage", CONFIGS)
def test_degenerate_samples_give_finite_losses_and_gradients(stage, case, precision, checkpoint):
    more = ["TRAIN.DISTILL.COSINE=1", "TRAIN.DISTILL.CONTENT_STYLE=1"] if stage == "distill" else []
    task = make_task(stage, checkpoint, *more).train()
    sample = DEGENERATE[case](random_sample())
    dtype = MIXED[precision]
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        terms, logs = task(sample, 0.9)
        loss = torch.stack(list(terms.values())).sum()
    assert all(torch.isfinite(term) for term in terms.values()), terms
    shares = ("share/", "iou")  # the denominator of a share can be 0
    assert all(torch.isfinite(value) for name, value in logs.items() if not name.startswith(shares)), logs
    loss.backward()
    for name, parameter in task.named_parameters():
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), name
    task.after_step()
    task.eval()
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        values = task.evaluate(sample)
    assert all(v.shape == (len(sample.modality),) and torch.isfinite(v).all() for v in values.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("stage", CONFIGS)
def test_mixed_precision_gives_about_the_same_losses(stage, dtype, checkpoint):
    terms = []
    for enabled in (False, True):
        task = make_task(stage, checkpoint).train()
        sharpen(task.model)
        sample = trusted_sample(task) if stage == "distill" else random_sample()
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype, enabled=enabled):
            terms.append(task(sample, 0.0)[0])
    for name, value in terms[0].items():
        assert terms[1][name].dtype == torch.float32
        torch.testing.assert_close(terms[1][name], value, rtol=0.05, atol=0.01, msg=name)


def fixed_masks(scores: Tensor, template_tokens: int, *_, **__) -> Masks:
    """The same for every sample, whatever the process."""
    mask = torch.zeros(len(scores), 2, template_tokens + scores.shape[1], dtype=torch.bool)
    mask[:, 0, ::2], mask[:, 1, 5::8] = True, True
    return Masks(mask, torch.zeros(len(scores)))


def gradients_of(stage: str, checkpoint, rows: slice, parallel: bool) -> dict[str, Tensor]:
    """Of the second of two steps without an update, with batch norm in eval mode."""
    task = make_task(stage, checkpoint)
    sample = take(trusted_sample(task) if stage == "distill" else random_sample(), rows)
    task.train()
    for module in task.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    call = DistributedDataParallel(task) if parallel else task
    for _ in range(2):  # the wrapper detects parameters without gradient in the second step
        task.zero_grad()
        torch.stack(list(call(sample, 0.9)[0].values())).sum().backward()
    gradients = {name: p.grad for name, p in task.named_parameters() if p.requires_grad}
    if stage == "distill":
        task.after_step()
        gradients["factors"] = task.balance.factors.clone()
    return gradients


def run_process(rank: int, folder: str, checkpoint: str) -> None:
    torch.set_num_threads(1)
    timeout = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/join", rank=rank, world_size=2, timeout=timeout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lib.models.mae.choose_masks", fixed_masks)
        found = {stage: gradients_of(stage, checkpoint, slice(2 * rank, 2 * rank + 2), True) for stage in CONFIGS}
    torch.save(found, os.path.join(folder, f"gradients{rank}.pth"))
    dist.destroy_process_group()


def test_two_processes_give_the_same_gradients_as_one(tmp_path, checkpoint, monkeypatch):
    processes = torch.multiprocessing.start_processes(
        run_process, (str(tmp_path), str(checkpoint)), nprocs=2, join=False, start_method="spawn"
    )
    monkeypatch.setattr("lib.models.mae.choose_masks", fixed_masks)
    expected = {stage: gradients_of(stage, checkpoint, slice(0, 4), False) for stage in CONFIGS}
    try:
        deadline = time.monotonic() + 150
        while not processes.join(timeout=1):  # raises what a process raised
            assert time.monotonic() < deadline, "a process hangs"
    finally:
        for process in processes.processes:
            process.kill()
    found = [torch.load(tmp_path / f"gradients{rank}.pth", weights_only=True) for rank in range(2)]
    factors = [each["distill"].pop("factors") for each in (*found, expected)]
    assert torch.equal(factors[0], factors[1])
    torch.testing.assert_close(factors[0], factors[2], rtol=0.5, atol=0)  # a mean of norms is not the norm of the mean
    for stage, gradients in expected.items():
        for each in found:
            assert each[stage].keys() == gradients.keys()
            for name, value in gradients.items():
                torch.testing.assert_close(each[stage][name], value, atol=1e-5, rtol=1e-4, msg=f"{stage} {name}")
