"""The supervised loss."""

import math

import pytest
import torch
from torchvision.ops import generalized_box_iou_loss

from lib.losses.tracking import TrackingLoss, focal_loss, giou_loss, visible_iou
from lib.models.box_coder import encode_score, gaussian_radius
from lib.structures import Sample, TrackOutput
from lib.train.tasks import box_iou
from lib.utils.boxes import cxcywh_to_xywh, iou_xywh
from tests import samples


def make_sample(boxes: torch.Tensor) -> Sample:
    pair = samples.random_pair(len(boxes), 8)
    return samples.make_sample(pair, pair, boxes, torch.ones(len(boxes), dtype=torch.int64))


def make_output(score_map, size_map, offset_map, boxes) -> TrackOutput:
    return TrackOutput(score_map, size_map, offset_map, boxes, {}, {})


def random_output(batch: int, requires_grad: bool = False) -> TrackOutput:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(batch, c, 8, 8, generator=generator).requires_grad_(requires_grad) for c in (1, 2, 2)]
    return make_output(maps[0].clamp(1e-4, 1 - 1e-4), *maps[1:], torch.rand(batch, 4, generator=generator) * 0.5 + 0.25)


BOXES = torch.tensor([[0.4, 0.6, 0.2, 0.3], [0.7, 0.2, 0.1, 0.1], [0.55, 0.5, 0.6, 0.5]])


def test_focal_loss_equals_a_plain_loop():
    output = random_output(3)
    target = encode_score(BOXES, 8, 8)
    losses = focal_loss(output.score_map, target)
    for b in range(3):
        expected = 0.0
        for p, t in zip(output.score_map[b].flatten().tolist(), target[b].flatten().tolist(), strict=True):
            expected -= (1 - p) ** 2 * math.log(p) if t == 1 else (1 - t) ** 4 * p**2 * math.log(1 - p)
        assert losses[b].item() == pytest.approx(expected, rel=1e-4)


def test_a_perfect_prediction_has_almost_no_loss():
    target = encode_score(BOXES, 8, 8).clamp(1e-4, 1 - 1e-4)
    score = torch.where(target > 0.99, target, torch.full_like(target, 1e-4))
    terms = TrackingLoss()(
        make_output(score, torch.rand(3, 2, 8, 8), torch.rand(3, 2, 8, 8), BOXES.clone()), make_sample(BOXES)
    )
    assert all(term.item() < 1e-3 for term in terms.values())


def test_the_batch_loss_is_the_mean_of_the_samples():
    """Gradient accumulation and several processes therefore give the same result as one large batch."""
    loss, output, sample = TrackingLoss(), random_output(3), make_sample(BOXES)
    whole = loss(output, sample)
    parts = []
    for i in range(3):
        one = make_output(*(field[i : i + 1] for field in output[:4]))
        parts.append(loss(one, make_sample(BOXES[i : i + 1])))
    for name, value in whole.items():
        torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean())


def test_an_absent_target_asks_for_low_scores_alone():
    sample = make_sample(BOXES)._replace(present=torch.tensor([True, False, True]))
    output = random_output(3, requires_grad=True)
    output.score_map.retain_grad()
    terms = TrackingLoss()(output, sample)
    kept = make_output(*(field[[0, 2]].detach() for field in output[:4]))
    positive = TrackingLoss()(kept, make_sample(BOXES[[0, 2]]))
    nothing = focal_loss(output.score_map[1:2], torch.zeros(1, 1, 8, 8))
    torch.testing.assert_close(terms["focal"], (2 * positive["focal"] + nothing[0]) / 3)
    for name in ("giou", "l1"):
        torch.testing.assert_close(terms[name], 2 * positive[name] / 3)
    sum(terms.values()).backward()
    assert (output.score_map.grad[1] > 0).all()  # descent lowers every score


def test_giou_equals_torchvisions():
    torch.manual_seed(0)
    a, b = (samples_xyxy(500) for _ in range(2))
    a.requires_grad_()
    reference = a.detach().clone().requires_grad_()
    ours, theirs = giou_loss(a, b), generalized_box_iou_loss(reference, b)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    for loss in (ours, theirs):
        loss.sum().backward()
    torch.testing.assert_close(a.grad, reference.grad, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(giou_loss(torch.zeros(2, 4), torch.zeros(2, 4))).all()


def samples_xyxy(count: int) -> torch.Tensor:
    corner, size = torch.rand(count, 2) * 0.8, torch.rand(count, 2) * 0.4 + 0.01
    return torch.cat([corner, corner + size], dim=1)


def test_reliability_is_measured_on_the_part_of_the_box_in_the_crop():
    """A target half outside: the network can only find the visible half, and finds it exactly."""
    sample = make_sample(torch.tensor([[0.0, 0.5, 0.4, 0.2]]))
    visible_half = torch.tensor([[0.1, 0.5, 0.2, 0.2]])
    assert visible_iou(visible_half, sample).item() == pytest.approx(1)
    assert box_iou(visible_half, sample.search_box).item() == pytest.approx(0.5)


def test_losses_are_finite_for_degenerate_predictions():
    zeros = torch.zeros(3, 2, 8, 8, requires_grad=True)
    score = torch.full((3, 1, 8, 8), 1e-4, requires_grad=True)
    boxes = torch.cat([zeros[:, :, 0, 0], zeros[:, :, 1, 1]], dim=1)  # no size, in a corner
    terms = TrackingLoss()(make_output(score, zeros, zeros, boxes), make_sample(BOXES))
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert torch.isfinite(score.grad).all() and torch.isfinite(zeros.grad).all()


def test_losses_are_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        inside = TrackingLoss()(random_output(3), make_sample(BOXES))
    outside = TrackingLoss()(random_output(3), make_sample(BOXES))
    for name, value in inside.items():
        assert value.dtype == torch.float32 and torch.equal(value, outside[name])


def test_torch_and_numpy_overlap_agree():
    a, b = torch.rand(200, 4) * 0.8 + 0.1, torch.rand(200, 4) * 0.8 + 0.1
    expected = iou_xywh(cxcywh_to_xywh(a.numpy()), cxcywh_to_xywh(b.numpy()))
    torch.testing.assert_close(box_iou(a, b).double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_the_target_is_a_gaussian_of_a_third_of_its_radius():
    """sigma = (2 r + 1) / 6, as in CornerNet and OSTrack: it ends where it is about 0.01."""
    box = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    target = encode_score(box, 32, 32)[0, 0]
    radius = math.floor(gaussian_radius(box[:, 2:] * 32).item())
    sigma = (2 * radius + 1) / 6
    assert radius >= 3
    for distance in range(radius + 1):
        expected = math.exp(-(distance**2) / (2 * sigma**2))
        assert target[16, 16 + distance].item() == target[16 - distance, 16].item() == pytest.approx(expected, rel=1e-4)
    assert target[16, 16 + radius + 1] == 0


def test_the_box_is_compared_with_the_part_of_the_truth_that_the_crop_shows():
    """A box that reaches out of the crop cannot be predicted; the visible part, predicted exactly, has no loss."""
    truth = torch.tensor([[0.9, 0.5, 0.4, 0.2]])  # from 0.7 to 1.1
    visible, whole = torch.tensor([[0.85, 0.5, 0.3, 0.2]]), truth.clone()
    output = random_output(1)
    exact, outside = (TrackingLoss()(output._replace(boxes=boxes), make_sample(truth)) for boxes in (visible, whole))
    assert exact["l1"].item() == pytest.approx(0, abs=1e-6) and exact["giou"].item() == pytest.approx(0, abs=1e-5)
    assert outside["l1"].item() == pytest.approx(0.1 / 4, rel=1e-4) and outside["giou"].item() > 0.2
