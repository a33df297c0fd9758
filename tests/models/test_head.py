"""The centre head: an overflow does not stay hidden."""

import pytest
import torch

from lib.models.head import CenterHead


@pytest.mark.parametrize("branch", ["score", "size", "offset"])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_an_overflow_in_the_head_gives_nan_and_not_a_saturated_score(branch, value):
    """The sigmoid of infinity is 1: without the check, training would go on with a wrong score."""
    head = CenterHead(16, 16).eval()
    with torch.no_grad():
        getattr(head, branch)[-1].bias[0] = value
        maps = dict(zip(("score", "size", "offset"), head(torch.randn(2, 16, 4, 4)), strict=True))
    assert not torch.isfinite(maps.pop(branch)).all()
    assert all(torch.isfinite(other).all() for other in maps.values())
