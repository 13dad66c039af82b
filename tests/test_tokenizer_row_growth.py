"""Where rows are missing, and which are invoked."""

import pytest
import torch
from tiny_adaptation import asked, new_folder, old_folder, pixels, processor, trained

from pictogram.tokenizer.growth import grow_codebooks
from pictogram.tokenizer.level_latents import LevelLatents
from pictogram.tokenizer.row_growth import latent_errors, level_uses, missing_rows, reserved_rows, survey


def found(*codes: int) -> LevelLatents:
    return LevelLatents(torch.zeros(len(codes), 1), torch.tensor(codes), torch.zeros(len(codes)))


def test_invoked_rows_are_used_and_move_only_if_the_use_is_the_new_pictures_own():
    old, new = found(0, 0, 0, 1), found(1, 1, 1, 1, 2, 2, 0, 1)
    (use,) = level_uses([old], [new], [4], asked(invoked_share=0.4, own_share=0.7))
    assert use.old.tolist() == [0.75, 0.25, 0, 0]
    assert use.invoked.tolist() == [True, True, True, False]
    assert use.moved.tolist() == [False, True, True, False]  # 0.125 of 0.875, 0.625 of 0.875, all of 0.25


@pytest.mark.parametrize("quantile", [0.0, 0.9])
def test_new_rows_bring_badly_quantized_latents_nearer(quantile):
    model, new = trained(), pixels(new_folder(), "train")
    old = survey(model, pixels(old_folder(), "train"), 0)
    rows = missing_rows(model, processor(), old, new, [1, 0, 6], asked(quantile=quantile))
    assert [len(each) for each in rows] == [1, 0, 6]
    before = latent_errors(survey(model, new, 0)[2], model.code_vectors(2))
    grown = grow_codebooks(model, processor(), rows)
    after = latent_errors(survey(grown, new, 0)[2], grown.code_vectors(2))
    assert after.mean() < 0.9 * before.mean()


def test_nothing_grows_where_nothing_is_missing():
    model, old = trained(), pixels(old_folder(), "train")
    rows = missing_rows(model, processor(), survey(model, old, 0), old, [2, 3, 4], asked(quantile=1.0))
    assert [len(each) for each in rows] == [0, 0, 0]


def test_reserved_rows_leave_old_codes_alone():
    model, sets = trained(), [pixels(folder, "train") for folder in (old_folder(), new_folder())]
    old = survey(model, sets[0], 0)
    rows = missing_rows(model, processor(), old, sets[1], [0, 4, 6], asked(quantile=0.0))
    # Besides, rows at latents of the old pictures, which would take codes from them.
    rows = [torch.cat([new, at.latents[:3]]) if len(new) else new for new, at in zip(rows, old, strict=True)]
    kept = reserved_rows(model, processor(), sets[0], sets[1], rows, asked(own_share=0.8))
    assert not len(kept[0]) and all(len(some) < len(each) for some, each in zip(kept[1:], rows[1:], strict=True))
    grown, sizes = grow_codebooks(model, processor(), kept), model.config.codebook_sizes
    old_use, new_use = ([level.codes for level in survey(grown, pictures, 0)] for pictures in sets)
    for size, ours, theirs in zip(sizes, old_use, new_use, strict=True):
        assert (ours >= size).double().mean() <= 0.25 * (theirs >= size).double().mean()


def test_reserved_rows_are_none_where_old_pictures_need_them_as_much():
    model, old = trained(), pixels(old_folder(), "train")
    rows = [survey(model, old, 0)[level].latents[:4] for level in range(3)]
    kept = reserved_rows(model, processor(), old, old, rows, asked(own_share=0.6))
    assert [len(each) for each in kept] == [0, 0, 0]
