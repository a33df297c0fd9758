"""Cached outputs of a teacher equal its outputs, and are used only for the same input."""

import copy

import pytest
import torch
from torch import Tensor

from lib.config.loader import load_config
from lib.models.build import build_model
from lib.train.teacher_cache import CachedTeacher
from tests.samples import random_sample


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(1)
    return build_model(load_config("transcmd", "debug_teacher")).eval().requires_grad_(False)


def flat(output) -> dict[str, Tensor]:
    named = {name: getattr(output, name) for name in output._fields[:4]}
    named.update(output.features)
    for name, path in output.paths.items():
        named.update({f"{name}/{key}": value for key, value in flat(path).items()})
    return named


def answer(teacher, sample):
    return teacher(sample.template, sample.search, sample.modality)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_cached_outputs_equal_those_of_the_teacher_bit_for_bit(teacher, tmp_path, precision, monkeypatch):
    sample = random_sample()
    with torch.autocast("cpu", precision, enabled=precision is not None):
        expected = answer(teacher, sample)
        first = answer(CachedTeacher(teacher, tmp_path), sample)
        kept = CachedTeacher(teacher, tmp_path)
        monkeypatch.setattr(kept.net, "forward", None)  # the teacher must not be called again
        again = answer(kept, sample)
    assert len(list(tmp_path.iterdir())) == 1
    for got in (first, again):
        assert flat(got).keys() == flat(expected).keys()
        for name, value in flat(expected).items():
            assert flat(got)[name].dtype == value.dtype and torch.equal(flat(got)[name], value), name


def test_a_different_batch_teacher_or_precision_has_its_own_entry(teacher, tmp_path):
    sample, cached = random_sample(), CachedTeacher(teacher, tmp_path)
    answer(cached, sample)
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.head.size[-1].bias += 0.01
    changed = sample._replace(modality=sample.modality.flip(0))
    one_pixel = sample._replace(search=sample.search._replace(aux=sample.search.aux.clone()))
    one_pixel.search.aux[0, 0, 0, 0] += 1
    for net, batch in ((other, sample), (teacher, changed), (teacher, one_pixel)):
        got, expected = answer(CachedTeacher(net, tmp_path), batch), answer(net, batch)
        assert torch.equal(got.size_map, expected.size_map)
    with torch.autocast("cpu", torch.bfloat16):
        answer(cached, sample)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_broken_file_is_named(teacher, tmp_path):
    sample, cached = random_sample(), CachedTeacher(teacher, tmp_path)
    answer(cached, sample)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{path.name}: not a stored output of a teacher .*; remove it"):
        answer(cached, sample)
