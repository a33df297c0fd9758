"""How the samples of an epoch are divided among steps, processes and micro batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.batches import BatchPlan, MicroBatches, plan_batches


def order_of(plan: BatchPlan, start: int = 0, epoch: int = 4, repeat: bool = False) -> list[int]:
    """Numbers of the samples in the order in which steps take them, over all processes."""
    shares = []
    for rank in range(plan.processes):
        sampler = MicroBatches(plan.steps * plan.batch, plan.micro, rank, plan.processes, repeat, plan)
        sampler.set_epoch(epoch, start)
        shares.append(list(sampler))
        assert len(sampler) == len(shares[-1]) <= sampler.rounds
        assert all(key.epoch == (1 if repeat else epoch) for batch in shares[-1] for key in batch)
    return [key.index for together in zip(*shares, strict=True) for batch in together for key in batch]


@given(
    processes=st.integers(1, 5),
    micro=st.integers(1, 4),
    accumulation=st.integers(1, 3),
    steps=st.integers(1, 4),
    more=st.integers(0, 3),
    data=st.data(),
)
def test_any_division_takes_the_same_samples_in_the_same_order(processes, micro, accumulation, steps, more, data):
    batch = processes * micro * accumulation
    samples = steps * batch + min(more, batch - 1)
    plan = plan_batches(batch, micro, samples, processes)
    assert plan == BatchPlan(batch, micro, processes, steps) and plan.accumulation == accumulation
    start = data.draw(st.integers(0, steps)) * batch
    assert order_of(plan, start) == list(range(start, steps * batch))
    assert order_of(plan_batches(batch, 0, samples, 1), start) == order_of(plan, start)
    assert plan_batches(batch, 0, samples, processes).micro == batch // processes
    assert order_of(plan, repeat=True) == list(range(steps * batch))


@given(length=st.integers(1, 40), size=st.integers(1, 6), processes=st.integers(1, 7))
def test_every_sample_of_a_validation_is_in_one_process(length, size, processes):
    samplers = [MicroBatches(length, size, rank, processes) for rank in range(processes)]
    keys = [key.index for sampler in samplers for batch in sampler for key in batch]
    assert sorted(keys) == list(range(length))
    assert max(map(len, samplers)) == samplers[0].rounds
    assert {len(batch) for sampler in samplers for batch in sampler} <= {size, length % size}


@pytest.mark.parametrize(
    ("batch", "micro", "samples", "processes", "message"),
    [
        (32, 0, 100, 3, "TRAIN.BATCH_SIZE 32 cannot be shared by 3 processes; set a multiple of 3"),
        (32, 5, 100, 2, "TRAIN.MICRO_BATCH 5 does not divide the 16 samples .* 2 processes takes; set a divisor of 16"),
        (32, 0, 3, 4, "DATA.TRAIN.SAMPLE_PER_EPOCH 3: expected at least one for each of 4 processes"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused(batch, micro, samples, processes, message):
    with pytest.raises(ValueError, match=message):
        plan_batches(batch, micro, samples, processes)


def test_an_epoch_with_fewer_samples_than_a_batch_is_one_step_and_keeps_the_micro_batch_in_its_limit():
    assert plan_batches(100, 0, 17, 2) == BatchPlan(16, 8, 2, 1)
    assert plan_batches(100, 5, 17, 2) == BatchPlan(16, 4, 2, 1)
    assert plan_batches(4, 8, 16, 1).micro == 4
