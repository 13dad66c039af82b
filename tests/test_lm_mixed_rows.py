"""Two datasets of codes as one."""

from dataclasses import replace

import pytest
import torch
from tiny_chain import codes_folder
from tiny_grown import SIZES, grown_codes_folder

from pictogram import load_codes
from pictogram.hub.errors import InputError
from pictogram.lm.mixed_rows import mix_rows
from pictogram.lm.static_chances import count_rows


def test_rows_come_from_both_in_any_order():
    new, old = load_codes(grown_codes_folder()), load_codes(codes_folder())
    mixed = mix_rows(new, old, 0.5)
    assert mixed.shard_sizes == (32,) and mixed.codebook_sizes == SIZES
    indices = [20, 3, 31, 0, 16, 3]
    expected = [(old, 4), (new, 3), (old, 15), (new, 0), (old, 0), (new, 3)]
    codes = mixed.codes(indices)
    for place, (source, row) in enumerate(expected):
        assert all(torch.equal(a[place], b[0]) for a, b in zip(codes, source.codes([row]), strict=True))
    assert mixed.captions_of(indices) == [source.captions(row) for source, row in expected]
    assert mixed.codes([5])[0].shape == (1, 1, 1)


@pytest.mark.parametrize(("share", "counts"), [(0.5, (16, 16)), (0.75, (16, 48)), (0.2, (64, 16)), (0.01, (1584, 16))])
def test_the_smaller_one_is_repeated_until_both_have_their_share(share, counts):
    new, old = load_codes(grown_codes_folder()), load_codes(codes_folder())
    mixed = mix_rows(new, old, share)
    assert mixed.counts == counts
    last = mixed.codes([sum(counts) - 1])
    assert all(torch.equal(a, b) for a, b in zip(last, old.codes([15]), strict=True))


def test_tables_are_of_all_rows_and_all_codes():
    mixed = mix_rows(load_codes(grown_codes_folder()), load_codes(codes_folder()), 0.5)
    assert tuple(table.shape[1] for table in count_rows(mixed, "level").frequencies) == SIZES


def test_what_cannot_be_mixed():
    new, old = load_codes(grown_codes_folder()), load_codes(codes_folder())
    for share in (0, 1, float("nan")):
        with pytest.raises(InputError, match="must be above 0 and below 1"):
            mix_rows(new, old, share)
    other = replace(old, manifest=replace(old.manifest, grids=[[1, 1], [4, 4]]))
    with pytest.raises(InputError, match="pictures of one size are mixed"):
        mix_rows(new, other, 0.5)
