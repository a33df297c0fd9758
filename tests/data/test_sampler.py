"""Samples are a pure function of (seed, epoch, index) and follow the ratios, the interval and the frame order."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lib.config.loader import load_config
from lib.data.augment import Augmentation
from lib.data.batches import MicroBatches
from lib.data.crop import CropSpec, crop_pair
from lib.data.loader import build_loaders
from lib.data.processing import Processing
from lib.data.sampler import MAX_DRAWS, PairSampler, SampleKey
from lib.data.sequence import Sequence
from lib.data.synthetic import DATASETS
from lib.structures import MODALITIES, modality_index
from tests.helpers import MemoryStore, encode, pack, write_small

RNG = np.random.default_rng(0)
PICTURES = [encode(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8), ".png") for _ in range(6)]
DEPTH = encode(RNG.integers(1, 4000, (48, 64)).astype(np.uint16), ".png")
AUGMENTED = Augmentation(0.5, 0.2, 0.1, 0.1, 0.1)
PROCESSING = Processing(CropSpec(16, 2.0), CropSpec(32, 4.0, 2.0, 0.2), AUGMENTED)


def make_sequence(modality="rgbt", visible=(True,) * 6, name="a") -> Sequence:
    """A sequence of noise images. The auxiliary images have a different order."""
    frames = len(visible)
    files = {f"{name}/rgb{t}": PICTURES[t % 6] for t in range(frames)}
    files |= {f"{name}/aux{t}": DEPTH if modality == "rgbd" else PICTURES[-1 - t % 6] for t in range(frames)}
    keys = [tuple(f"{name}/{part}{t}" for t in range(frames)) for part in ("rgb", "aux")]
    boxes = np.array([[20.0 + t % 6, 15, 12, 14] for t in range(frames)])
    return Sequence(name, modality, MemoryStore(files), *keys, boxes, np.array(visible))


def make_sampler(datasets=None, ratios=None, processing=PROCESSING, length=64, interval=100, **options) -> PairSampler:
    datasets = datasets or [[make_sequence(modality)] for modality in ("rgbt", "rgbd", "rgbe")]
    return PairSampler(datasets, ratios or [1.0] * len(datasets), processing, length, interval, **options)


def tensors_of(sample) -> list[torch.Tensor]:
    return [*sample.template, *sample.search, *sample[2:]]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors_of(a), tensors_of(b), strict=True))


def photographs(count: int, seed: int, size: tuple[int, int] = (160, 120), suffix: str = ".jpg") -> list[bytes]:
    rng = np.random.default_rng(seed)
    smooth = [cv2.resize(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8), size) for _ in range(count)]
    noise = rng.integers(-20, 21, (count, size[1], size[0], 3))
    return [encode(np.clip(a + b, 0, 255).astype(np.uint8), suffix) for a, b in zip(smooth, noise, strict=True)]


KINDS = {
    "rgbt": photographs(6, 2),
    "other size": photographs(6, 2, (96, 72)),
    "png": photographs(6, 2, suffix=".png"),
    "rgbd": [encode(RNG.integers(1, 4000, (120, 160)).astype(np.uint16), ".png")] * 6,
}


@pytest.mark.parametrize("kind", ["rgb", "missing", *KINDS])
def test_samples_of_partly_decoded_images_are_bit_identical(kind, monkeypatch):
    keys = [tuple(f"{part}{t}" for t in range(6)) for part in ("rgb", "aux")]
    if kind == "rgb":
        keys[1] = keys[0]
    if kind == "missing":
        keys[1] = (None, *keys[1][1:3], None, None, None)
    images = [*photographs(6, 1), *KINDS.get(kind, KINDS["rgbt"])]
    files = dict(zip([f"rgb{t}" for t in range(6)] + [f"aux{t}" for t in range(6)], images, strict=True))
    boxes = np.array([[100.0 - 20 * t, 4 + 16 * t, 24, 20 + t] for t in range(6)])
    modality = kind if kind in MODALITIES else "rgbt"
    sequence = Sequence("a", modality, MemoryStore(files), *keys, boxes, np.ones(6, bool))
    processing = Processing(CropSpec(32, 2.0), CropSpec(64, 4.0, 2.0, 0.2), AUGMENTED)
    heights = []
    monkeypatch.setattr(
        "lib.data.sampler.crop_pair", lambda frame, *a: heights.append(len(frame.rgb)) or crop_pair(frame, *a)
    )
    whole, upper = (make_sampler([[sequence]], processing=processing, partial_decode=p) for p in (False, True))
    assert all(same(whole[SampleKey(1, index)], upper[SampleKey(1, index)]) for index in range(40))
    assert (kind == "other size" and set(heights) == {120}) or np.mean(heights) < 110


def test_the_sizes_of_partly_decoded_images_are_still_compared(caplog):
    pictures = photographs(5, 1) + photographs(1, 1, (160, 100))
    files = {f"rgb{t}": data for t, data in enumerate(pictures)}
    sequence = Sequence("a", "rgb", MemoryStore(files), tuple(files), tuple(files), np.ones((6, 4)), np.ones(6, bool))
    for index in range(6):
        assert len(sequence.upper_part(index, 10).rgb) < 20
    assert ["160x100 pixels, an image before it 160x120" in record.message for record in caplog.records] == [True]


# --- reproducibility ------------------------------------------------------------------------------------------------


def test_an_item_depends_only_on_seed_epoch_and_index():
    keys = [SampleKey(epoch, index) for epoch in (1, 2) for index in range(6)]
    first = {key: make_sampler(seed=7)[key] for key in keys}
    sampler = make_sampler(seed=7)
    np.random.seed(1)
    torch.manual_seed(1)
    for key in reversed(keys):  # different order, same object, different global random state
        assert same(sampler[key], first[key])
    assert not any(same(make_sampler(seed=8)[key], first[key]) for key in keys)


def test_all_items_of_all_epochs_differ():
    sampler = make_sampler()
    boxes = [tuple(sampler[SampleKey(epoch, index)].search_box.tolist()) for epoch in (0, 1) for index in range(30)]
    assert len(set(boxes)) == 60


def load(sampler, workers, epoch=3, start=0, rank=0, world_size=1):
    order = MicroBatches(len(sampler), 4, rank, world_size)
    order.set_epoch(epoch, start)
    batches = iter(DataLoader(sampler, batch_sampler=order, num_workers=workers))
    try:
        return list(batches)
    finally:
        if workers:
            batches._shutdown_workers()  # after an error, torch waits for the garbage collector, which takes 10 s


def test_workers_do_not_change_the_samples():
    sampler = make_sampler(length=16)
    alone, shared_out = load(sampler, 0), load(sampler, 2)
    assert len(alone) == len(shared_out) == 4
    assert all(same(a, b) for a, b in zip(alone, shared_out, strict=True))
    assert all(same(a, b) for a, b in zip(alone[2:], load(sampler, 2, start=8), strict=True))  # resumed
    assert not same(alone[0], load(sampler, 0, epoch=4)[0])


# --- frame sampling -------------------------------------------------------------------------------------------------


def draws(sampler, count=2000):
    rng = np.random.default_rng(0)
    return [sampler.draw(rng) for _ in range(count)]


@pytest.mark.parametrize("ratios", [[1, 1, 1], [2, 1, 5], [0.5, 0.0, 0.25], [1, 0, 0], [0, 0, 3]])
def test_data_sets_get_their_share_of_the_samples(ratios):
    found = [sequence.modality for sequence, _, _ in draws(make_sampler(ratios=ratios))]
    for modality, share in zip(("rgbt", "rgbd", "rgbe"), np.array(ratios) / sum(ratios), strict=True):
        assert abs(found.count(modality) - 2000 * share) <= 4 * np.sqrt(2000 * share * (1 - share))


def test_sequences_of_a_data_set_are_equally_likely_whatever_their_length():
    short, long = make_sequence(name="short"), make_sequence(name="long", visible=(True,) * 60)
    found = [sequence.name for sequence, _, _ in draws(make_sampler([[short, long]]))]
    assert abs(found.count("short") - 1000) < 4 * np.sqrt(500)


@settings(max_examples=30, deadline=None)
@given(
    visible=st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda flags: sum(flags) >= 2),
    interval=st.integers(1, 15),
    causal=st.booleans(),
)
def test_drawn_frames_are_visible_close_in_time_and_in_order(visible, interval, causal):
    sampler = make_sampler([[make_sequence(visible=visible)]], interval=interval, causal=causal)
    flags = np.flatnonzero(visible)
    for _, template, search in draws(sampler, 60):
        assert visible[template] and visible[search]
        assert abs(template - search) <= interval
        assert not causal or template <= search
        if template == search:  # only if no other visible frame is within the interval
            assert (np.abs(flags - template) <= interval).sum() == 1


def test_the_whole_interval_is_used_in_both_directions_unless_causal():
    steps = {}
    for causal in (False, True):
        sampler = make_sampler([[make_sequence(visible=(True,) * 30)]], interval=4, causal=causal)
        steps[causal] = {search - template for _, template, search in draws(sampler)}
    assert steps[False] == {-4, -3, -2, -1, 1, 2, 3, 4} and steps[True] == {1, 2, 3, 4}


def test_a_data_set_without_a_pair_of_visible_frames_is_refused_and_such_sequences_are_left_out():
    blind = make_sequence(visible=(False, True, False), name="blind")
    with pytest.raises(ValueError, match="^data set 2 of 2: none of 1 sequences has 2 visible frames$"):
        make_sampler([[make_sequence()], [blind]])
    assert {sequence.name for sequence, _, _ in draws(make_sampler([[make_sequence(), blind]]), 100)} == {"a"}


# --- error handling -------------------------------------------------------------------------------------------------


class LosesTheTarget(Processing):
    """A processing whose jitter always moves the target out of the crop."""

    def __call__(self, *_, **__):
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)


def test_fifty_draws_without_a_target_raise_an_error_that_names_the_sample():
    processing = LosesTheTarget(PROCESSING.template, PROCESSING.search, AUGMENTED)
    with pytest.raises(
        ValueError, match=r"^sample \(2, 5\): the target was outside the crops in all 50 draws, the last from a; "
    ):
        make_sampler(processing=processing)[SampleKey(2, 5)]
    assert processing.calls == MAX_DRAWS == 50


def test_a_negative_sample_has_the_template_of_another_sequence_of_the_same_modality():
    """Sequences differ in brightness, so that the template tells which one it shows."""
    levels = {"rgbt": (40, 120), "rgbd": (80, 200)}
    datasets = [[plain_sequence(kind, level) for level in pair] for kind, pair in levels.items()]
    processing = Processing(CropSpec(16, 1.0), CropSpec(32, 1.0), Augmentation())
    sampler = make_sampler(datasets, processing=processing, negatives=0.3, length=400)
    drawn = [sampler[SampleKey(1, index)] for index in range(400)]
    assert 0.22 < sum(not sample.present for sample in drawn) / 400 < 0.38
    for sample in drawn:
        template, search = (int(pair.rgb.float().mean().round()) for pair in (sample.template, sample.search))
        assert (template == search) == bool(sample.present)
        assert {template, search} <= set(levels[list(MODALITIES)[sample.modality]])


def test_without_another_sequence_of_its_modality_a_sample_stays_positive():
    sampler = make_sampler(negatives=1.0)
    assert all(sampler[SampleKey(1, index)].present for index in range(20))


def test_negatives_do_not_change_the_samples_of_a_run_without_them():
    plain = make_sampler(datasets=[[make_sequence(name="a"), make_sequence(name="b")]])
    explicit = make_sampler(datasets=[[make_sequence(name="a"), make_sequence(name="b")]], negatives=0.0)
    assert all(same(plain[SampleKey(1, index)], explicit[SampleKey(1, index)]) for index in range(10))


def plain_sequence(modality: str, level: int) -> Sequence:
    """A sequence of images with one grey level in RGB."""
    picture = encode(np.full((48, 64, 3), level, np.uint8), ".png")
    files = {"rgb": picture, "aux": DEPTH if modality == "rgbd" else picture}
    boxes = np.tile([20.0, 15, 12, 14], (4, 1))
    return Sequence(
        f"{modality}{level}", modality, MemoryStore(files), ("rgb",) * 4, ("aux",) * 4, boxes, np.ones(4, bool)
    )


def test_a_lost_target_is_drawn_again_and_the_result_is_still_reproducible():
    wild = Processing(CropSpec(16, 2.0), CropSpec(32, 2.0, center_jitter=4.0), AUGMENTED)
    sampler = make_sampler(processing=wild)
    for index in range(20):
        sample = sampler[SampleKey(0, index)]
        assert 0 < sample.search_box[:2].min() and sample.search_box[:2].max() < 1
        assert same(sample, sampler[SampleKey(0, index)])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("content", "error"), [(None, FileNotFoundError), (PICTURES[0][:500], ValueError)])
def test_an_image_that_is_missing_or_cut_off_stops_the_loader_and_is_named(workers, content, error):
    sequence = make_sequence()
    for t in range(6):  # every sample reads one of these images
        key = f"a/aux{t}"
        sequence.store.files.pop(key) if content is None else sequence.store.files.update({key: content})
    with pytest.raises(error, match="Memory.*a/aux"):
        load(make_sampler([[sequence]], length=8), workers)


def test_one_missing_image_is_not_skipped():
    sequence = make_sequence()
    del sequence.store.files["a/rgb3"]
    sampler, failed = make_sampler([[sequence]]), 0
    for index in range(60):
        try:
            sampler[SampleKey(0, index)]
        except FileNotFoundError:
            failed += 1
    assert failed >= 10  # a third of the pairs contain frame 3; no pair is replaced


# --- from the configuration -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for dataset in DATASETS:
        write_small(folder, dataset, "train", sequences=4)
        write_small(folder, dataset, "test", sequences=1)
    return folder


def configure(root, workers=0, *more):
    return load_config(
        "transcmd",
        "demo",
        [
            f"DATA.ROOT={root}",
            f"TRAIN.NUM_WORKER={workers}",
            "TRAIN.BATCH_SIZE=12",
            "DATA.TRAIN.SAMPLE_PER_EPOCH=30",
            "DATA.VAL.SAMPLE_PER_EPOCH=20",
            *more,
        ],
    )


def read_epoch(loader, epoch=1):
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def test_loaders_mix_modalities_in_a_batch_of_tensors(root):
    train, val = map(read_epoch, build_loaders(configure(root, 2)))
    assert [len(batch.modality) for batch in train] == [12, 12] and [len(b.modality) for b in val] == [12, 8]
    for batch in train + val:
        assert type(batch).__name__ == "Sample" and type(batch.template).__name__ == "Pair"
        count = len(batch.modality)
        assert batch.template.rgb.shape == batch.template.aux.shape == (count, 3, 64, 64)
        assert batch.search.rgb.shape == batch.search.aux.shape == (count, 3, 128, 128)
        assert batch.search_box.shape == batch.template_box.shape == (count, 4)
        assert {image.dtype for pair in batch[:2] for image in pair} == {torch.uint8}
    assert set(torch.cat([batch.modality for batch in train]).tolist()) == {modality_index(m) for m in MODALITIES} - {0}
    assert len(set(train[0].modality.tolist())) > 1


def test_template_and_search_crops_have_their_own_factor(root):
    """The side of a crop is FACTOR * sqrt(w * h): the box takes 1 / FACTOR^2 of its area."""
    cfg = configure(root, 0, "DATA.SEARCH.SCALE_JITTER=0", "DATA.SEARCH.CENTER_JITTER=0", "DATA.AUGMENT.FLIP=0")
    for batch in (batch for loader in build_loaders(cfg) for batch in read_epoch(loader)):
        for boxes, factor in ((batch.template_box, 2.0), (batch.search_box, 4.0)):
            areas = boxes[:, 2:].prod(dim=1)
            torch.testing.assert_close(areas, torch.full_like(areas, factor**-2), rtol=0.1, atol=0)


def test_a_packed_data_set_gives_the_same_batches_to_workers(root, tmp_path):
    """Training and validation read the same LMDB files, which are opened before the workers start."""
    for dataset in DATASETS:
        pack(root / dataset, tmp_path / f"{dataset}.lmdb")
    loaders = [build_loaders(configure(folder, workers)) for folder, workers in ((root, 0), (tmp_path, 2))]
    for part in (0, 1):
        expected, found = (read_epoch(pair[part]) for pair in loaders)
        assert all(same(a, b) for a, b in zip(expected, found, strict=True))


def test_validation_is_not_augmented_and_not_the_training_sequences(root):
    train, val = build_loaders(configure(root, 0, "DATA.AUGMENT.DROP_AUX=0.5", "DATA.AUGMENT.DROP_RGB=0.5"))
    held_out = {sequence.name for sequences in val.dataset.datasets for sequence in sequences}
    trained = {sequence.name for sequences in train.dataset.datasets for sequence in sequences}
    assert len(held_out) == 3 and len(trained) == 9 and not held_out & trained
    assert val.dataset.processing.augmentation == Augmentation()
    assert train.dataset.processing.augmentation == Augmentation(0.5, 0.2, 0.05, 0.5, 0.5)
    assert val.dataset.seed != train.dataset.seed


def test_without_validation_sets_there_is_no_loader_and_processes_share_an_epoch(root):
    names = ["DATA.VAL.DATASETS_NAME=[]", "DATA.VAL.DATASETS_RATIO=[]"]
    shares = [build_loaders(configure(root, 0, *names), rank, 2) for rank in (0, 1)]
    assert all(val is None for _, val in shares)
    keys = [{key for batch in train.batch_sampler for key in batch} for train, _ in shares]
    assert not keys[0] & keys[1] and len(keys[0] | keys[1]) == 24  # two steps of 12


@pytest.mark.parametrize("part", ["TRAIN", "VAL"])
def test_training_on_a_test_set_is_refused(root, part):
    cfg = configure(root, 0, f"DATA.{part}.DATASETS_NAME=[LasHeR]", f"DATA.{part}.DATASETS_RATIO=[1]")
    with pytest.raises(ValueError, match=f"^DATA.{part}.DATASETS_NAME: LasHeR is a test set; did you mean LasHeR_"):
        build_loaders(cfg)
