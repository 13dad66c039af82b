"""Frequencies: whole numbers, all positive, by the rule that the format gives."""

import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.lm.code_frequencies import FrequencyTables, precision


def test_precision_grows_with_the_codebook():
    assert [precision(size) for size in (1, 2, 256, 257, 512, 513, 4096, 65536)] == [16, 16, 16, 17, 17, 18, 20, 24]


@pytest.mark.parametrize("size", [0, 65537])
def test_other_codebooks_are_refused(size):
    with pytest.raises(InputError, match=f"65536 symbols, got {size}"):
        precision(size)


@pytest.mark.parametrize("size", [1, 2, 3, 256, 512, 4096, 65536])
def test_frequencies_follow_the_rule(size):
    torch.manual_seed(size)
    rows = torch.softmax(torch.randn(3, size, dtype=torch.float64) * 5, 1)
    rows[0] = torch.arange(size) == size // 2  # one certain symbol, all others impossible
    tables = FrequencyTables.of(rows)
    total = 2 ** precision(size)
    assert tables.precision == precision(size)
    for row, starts in zip(rows.tolist(), tables.starts.tolist(), strict=True):
        expected = [math.floor(p * (total - size)) + 1 for p in row]
        expected[row.index(max(row))] += total - sum(expected)
        assert starts == [sum(expected[:place]) for place in range(size + 1)] if size < 600 else starts[-1] == total
    assert int(tables.starts.diff().min()) >= 1


def test_what_rounding_leaves_goes_to_the_first_of_the_likeliest():
    tables = FrequencyTables.of(torch.tensor([[0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]], dtype=torch.float64))
    whole = 65536 - 3
    small, large = int(0.2 * whole) + 1, int(0.4 * whole) + 1
    third = int(whole / 3) + 1
    assert tables.starts.diff().tolist() == [[small, 65536 - small - large, large], [65536 - 2 * third, third, third]]


def test_rounding_costs_little():
    torch.manual_seed(0)
    rows = torch.softmax(torch.randn(200, 512, dtype=torch.float64) * 3, 1)
    coded = FrequencyTables.of(rows).starts.diff().double() / 2**17
    excess = (rows * (rows / coded).log2()).sum(1)  # bits a symbol
    assert float(excess.max()) < 0.01 and float(excess.mean()) < 0.006


def test_symbols_have_their_place():
    tables = FrequencyTables.of(torch.full((2, 4), 0.25, dtype=torch.float64))
    starts, frequencies = tables.of_symbols(torch.tensor([0, 3]))
    assert starts.tolist() == [0, 49152] and frequencies.tolist() == [16384, 16384]


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([[0.5, 0.5]]),
        torch.tensor([[0.5, 0.4]], dtype=torch.float64),
        torch.tensor([[1.5, -0.5]], dtype=torch.float64),
        torch.tensor([[torch.nan, 1.0]], dtype=torch.float64),
    ],
)
def test_what_is_no_chances_is_refused(rows):
    with pytest.raises(InputError, match="rows that sum to 1"):
        FrequencyTables.of(rows)
