"""Samples read from a cache equal the samples that a sampler draws."""

import json

import pytest
import torch

from lib.config.loader import load_config
from lib.data.loader import build_loaders, fill_cache
from lib.data.sampler import SampleKey


@pytest.fixture
def cfg(demo_data, tmp_path):
    return load_config("transcmd", "debug", [f"DATA.ROOT={demo_data}", f"DATA.CACHE={tmp_path / 'cache'}"])


def batches(cfg, epoch: int):
    train, val = build_loaders(cfg)
    train.batch_sampler.set_epoch(epoch)
    return [*train, *val]


def tensors(sample):
    return [*sample.template, *sample.search, *sample[2:]]


def test_cached_samples_equal_those_drawn_during_training(cfg):
    fill_cache(cfg, workers=2)
    cached = batches(cfg, 2)
    cfg.DATA.CACHE = ""
    drawn = batches(cfg, 2)
    assert len(cached) == len(drawn) > 4
    for a, b in zip(cached, drawn, strict=True):
        for x, y in zip(tensors(a), tensors(b), strict=True):
            assert x.dtype == y.dtype and torch.equal(x, y)


def test_a_cache_of_other_samples_is_refused(cfg):
    fill_cache(cfg, workers=1)
    cfg.TRAIN.SEED, cfg.DATA.SEARCH.FACTOR = 7, 5.0
    with pytest.raises(ValueError, match=r"drawn with different settings \(SEARCH, SEED\); remove this folder"):
        build_loaders(cfg)


@pytest.mark.parametrize("finished", [True, False])
def test_samples_with_other_settings_are_not_added(cfg, tmp_path, finished):
    fill_cache(cfg, workers=1)
    if not finished:
        (tmp_path / "cache/TRAIN/cache.json").unlink()
    cfg.DATA.AUGMENT.FLIP = 0.25
    with pytest.raises(ValueError, match=r"TRAIN: the cached samples were drawn with different settings \(AUGMENT\)"):
        fill_cache(cfg, workers=1)


def test_more_epochs_are_added_and_fewer_remove_none(cfg, tmp_path):
    record = tmp_path / "cache/TRAIN/cache.json"
    for epochs, kept in ((1, [1]), (3, [1, 2, 3]), (2, [1, 2, 3])):
        cfg.TRAIN.EPOCH = epochs
        fill_cache(cfg, workers=1)
        assert json.loads(record.read_text())["epochs"] == kept


def test_an_unfinished_cache_is_refused_and_can_be_completed(cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished cache"):
        build_loaders(cfg)
    fill_cache(cfg, workers=1)
    record = tmp_path / "cache/TRAIN/cache.json"
    (tmp_path / "cache/TRAIN/epoch0002").rename(tmp_path / "cache/TRAIN/.epoch0002.part")
    before = (tmp_path / "cache/TRAIN/epoch0001").stat().st_mtime
    record.unlink()
    fill_cache(cfg, workers=1)
    assert json.loads(record.read_text())["epochs"] == [1, 2]
    assert (tmp_path / "cache/TRAIN/epoch0001").stat().st_mtime == before
    assert (tmp_path / "cache/TRAIN/epoch0002").is_dir()


def test_an_epoch_that_is_not_cached_is_an_error(cfg):
    fill_cache(cfg, workers=1)
    with pytest.raises(IndexError, match=r"the cache has no epoch 3, only \[1, 2\]"):
        build_loaders(cfg)[0].dataset[SampleKey(3, 0)]
