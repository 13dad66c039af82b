import math

import pytest
import torch

from pictogram.tokenizer.held_out_information import held_out_information


def draw(num_codes, num_classes, count, seed, follow):
    """Codes and classes; a class is that of its code with the chance `follow`, else any."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(num_codes, (count,), generator=generator)
    anything = torch.randint(num_classes, (count,), generator=generator)
    follows = torch.rand(count, generator=generator) < follow
    return codes, torch.where(follows, codes % num_classes, anything)


def test_codes_that_say_everything():
    found = held_out_information(draw(8, 4, 4000, 0, 1.0), draw(8, 4, 4000, 1, 1.0), 8, 4)
    assert found == pytest.approx(2, abs=0.01)


def test_random_codes_say_nothing_however_many_there_are():
    # The plug-in estimate of 1000 pictures under 64 codes and 300 classes is near 6 bits.
    found = held_out_information(draw(64, 300, 1000, 0, 0.0), draw(64, 300, 1000, 1, 0.0), 64, 300)
    assert abs(found) < 0.05


def test_many_classes_of_few_pictures_are_not_hidden_by_smoothing():
    # 2000 classes of two reference pictures on average, each under one of 64 codes: 6 bits.
    found = held_out_information(draw(64, 1920, 4000, 0, 0.0), draw(64, 1920, 1000, 1, 0.0), 64, 1920)
    generator = torch.Generator().manual_seed(2)
    code_of = torch.randint(64, (1920,), generator=generator)
    sets = [torch.randint(1920, (count,), generator=generator) for count in (4000, 1000)]
    told = held_out_information((code_of[sets[0]], sets[0]), (code_of[sets[1]], sets[1]), 64, 1920)
    assert told > 4 and abs(found) < 0.05


def test_a_noisy_channel_is_measured_as_it_is():
    # p(own class) = .7 + .3 / 4, any other .3 / 4.
    chances = [0.7 + 0.3 / 4] + 3 * [0.3 / 4]
    true = 2 + sum(chance * math.log2(chance) for chance in chances)
    found = held_out_information(draw(8, 4, 20000, 0, 0.7), draw(8, 4, 20000, 1, 0.7), 8, 4)
    assert found == pytest.approx(true, abs=0.02)


def test_codes_and_classes_that_only_the_measured_pictures_have():
    reference = (torch.zeros(10, dtype=torch.int64), torch.zeros(10, dtype=torch.int64))
    measured = (torch.tensor([1, 2]), torch.tensor([1, 2]))
    found = held_out_information(reference, measured, 3, 3)
    assert math.isfinite(found) and found < 0.1
