"""What validation measures: boxes, distractors, and how much the template matters."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.structures import TrackOutput
from lib.train.tasks import box_quality, is_inside, roll_within
from tests.samples import random_sample


@given(kinds=st.lists(st.integers(0, 3), min_size=1, max_size=20))
def test_rolling_stays_within_a_kind_and_moves_every_sample_that_has_another(kinds):
    rows = roll_within(torch.tensor(kinds)).tolist()
    assert sorted(rows) == list(range(len(kinds)))
    for index, row in enumerate(rows):
        assert kinds[row] == kinds[index]
        assert row != index or kinds.count(kinds[index]) == 1


def test_points_on_the_edge_are_inside_and_empty_boxes_hold_nothing():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.0, 0.0]])
    points = torch.tensor([[0.5, 0.7]])
    assert is_inside(points, boxes).tolist() == [True, False]
    assert not is_inside(torch.tensor([0.5, 0.5]), boxes[1])


class Finder(nn.Module):
    """Answers with a box: the one of the template's own sample, or always the same thing whatever the template is."""

    def __init__(self, boxes: torch.Tensor, uses_template: bool):
        super().__init__()
        self.boxes, self.uses_template = boxes, uses_template

    def forward(self, template, search, modality, template_box=None) -> TrackOutput:
        own = template.rgb[:, 0, 0, 0].long()  # each template's first pixel is the number of its sample
        shown = search.rgb[:, 0, 0, 0].long()
        boxes = self.boxes[own if self.uses_template else shown]
        score = torch.where(own == shown, 0.9, 0.2) if self.uses_template else torch.full((len(own),), 0.9)
        return TrackOutput(score.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), None, None, boxes, {}, {})


def numbered_sample():
    sample = random_sample(4)._replace(modality=torch.ones(4, dtype=torch.int64))
    for pair in (sample.template, sample.search):
        pair.rgb[:, 0, 0, 0] = torch.arange(4)
    boxes = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.4, 0.2, 0.1, 0.1], [0.6, 0.2, 0.1, 0.1], [0.8, 0.2, 0.1, 0.1]])
    return sample._replace(search_box=boxes)


@pytest.mark.parametrize("uses_template", [True, False])
def test_a_network_that_finds_any_thing_is_told_from_one_that_finds_this_thing(uses_template):
    sample = numbered_sample()
    found = box_quality(Finder(sample.search_box, uses_template), sample)
    assert torch.allclose(found["iou"], torch.ones(4)) and not found["on_distractor"].any()
    drop = (1.0, 0.7) if uses_template else (0.0, 0.0)
    assert [found[name].mean().item() for name in ("iou_drop", "score_drop")] == pytest.approx(drop, abs=1e-6)


def test_a_centre_on_another_thing_counts_unless_it_is_also_on_the_target():
    sample = numbered_sample()
    boxes = sample.search_box.roll(1, 0)  # every prediction lies on the place of another sample's target
    distractors = sample.distractors.clone()
    distractors[0, 3], distractors[1, 0] = boxes[0], torch.tensor([0.9, 0.9, 0.1, 0.1])
    distractors[2, 0] = boxes[2]
    overlapping = sample.search_box.clone()
    overlapping[2] = torch.tensor([0.5, 0.2, 0.3, 0.3])  # the target also covers that place
    sample = sample._replace(distractors=distractors, search_box=overlapping)
    assert box_quality(Finder(boxes, False), sample)["on_distractor"].tolist() == [1, 0, 0, 0]
