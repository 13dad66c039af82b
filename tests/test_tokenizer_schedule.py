import functools

import pytest
import torch

from pictogram.tokenizer.schedule import cosine, set_learning_rate, warmup_stable_decay


def test_cosine_rises_then_falls():
    values = [cosine(step, 100, 10) for step in range(100)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert values[10] == 1
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[55] == pytest.approx(0.5)
    assert 0 < values[-1] < 0.001


def test_cosine_to_a_final_share_and_without_warmup():
    assert cosine(0, 10, 0) == 1
    assert cosine(10, 10, 0, final=0.1) == pytest.approx(0.1)
    assert cosine(5, 10, 0, final=0.1) == pytest.approx(0.55)


def test_warmup_stable_decay():
    values = [warmup_stable_decay(step, 100, 10, 0.4) for step in range(100)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert values[10:61] == [1] * 51
    assert values[60:] == pytest.approx([1 - step / 40 for step in range(40)])


@pytest.mark.parametrize("schedule", [cosine, functools.partial(warmup_stable_decay, decay_share=0.4)])
@pytest.mark.parametrize(("num_steps", "warmup_steps"), [(1, 0), (1, 1), (3, 10), (5, 5), (7, 2)])
def test_factors_stay_in_range_on_short_runs(schedule, num_steps, warmup_steps):
    values = [schedule(step, num_steps, warmup_steps) for step in range(num_steps)]
    assert all(0 < value <= 1 for value in values)


def test_no_decay():
    assert warmup_stable_decay(9, 10, 2, 0.0) == 1


def test_set_learning_rate_reaches_every_group():
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:]}], lr=2.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
