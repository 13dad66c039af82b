"""What each mode of adaptation moves, and what it leaves bit by bit as it was."""

from dataclasses import replace

import pytest
import torch
from tiny_adaptation import asked, old_folder, pictures, pixels, prepared, trained
from tiny_model import SHAPES, ema_codebooks

from pictogram.hub.errors import InputError
from pictogram.tokenizer import adaptation
from pictogram.tokenizer.adaptation import adapt_tokenizer, adaptable, prepare_adaptation
from pictogram.tokenizer.adaptation_config import MODES
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.pixel_dataset import PixelDataset
from pictogram.tokenizer.training_config import TokenizerTrainingConfig


def changed(before: ImageTokenizer, after: ImageTokenizer) -> set[str]:
    """Names of tensors of which old entries are not what they were."""
    found = after.state_dict()
    return {
        name
        for name, tensor in before.state_dict().items()
        if not torch.equal(found[name][: len(tensor)] if tensor.ndim else found[name], tensor)
    }


@pytest.mark.parametrize("rate_weight", [0.0, 1e-3])
def test_grow_leaves_every_old_number_and_every_old_picture(rate_weight):
    settings = asked(mode="grow", own_share=0.0)
    start = prepared(settings, rate_weight=rate_weight)
    adapted = adapt_tokenizer(start, settings)
    assert not changed(start.model, adapted.model)
    assert adapted.model.config.codebook_sizes == [7, 9, 11]
    codes = start.model.encode(pixels(old_folder(), "test").pixels(range(16)))
    assert torch.equal(adapted.model.decode(codes), start.model.decode(codes))
    assert adapted.report.old_codes_decode_alike and adapted.report.ancestors == 1
    assert adapted.report.numbers_trained == 9 * 4
    moved = [
        not torch.equal(rows, book.embedding.weight[-len(rows) :])
        for rows, book in zip(start.rows, ema_codebooks(adapted.model), strict=True)
    ]
    assert any(moved), "new rows learn"


def test_symbols_moves_invoked_and_new_rows_only():
    settings = asked(mode="symbols")
    start = prepared(settings)
    adapted = adapt_tokenizer(start, settings)
    books = {f"codebooks.{level}.{name}" for level in range(3) for name in ("embedding.weight", "sums")}
    assert changed(start.model, adapted.model) <= books
    moved = 0
    for level, use in enumerate(start.uses):
        old, new = start.model.code_vectors(level), adapted.model.code_vectors(level)[: len(use.moved)]
        assert torch.equal(old[~use.moved], new[~use.moved])
        sums = [ema_codebooks(model)[level].sums[: len(old)] for model in (start.model, adapted.model)]
        assert torch.equal(sums[0][~use.moved], sums[1][~use.moved])
        moved += int((old != new).any(1).sum())
    assert moved == sum(level.moved for level in adapted.report.levels) > 0
    assert adapted.model.config.ancestors == [] and adapted.report.ancestors == 0


def test_full_changes_everything():
    settings = asked(mode="full")
    start = prepared(settings)
    adapted = adapt_tokenizer(start, settings)
    parts = {name.split(".")[0] for name in changed(start.model, adapted.model)}
    assert parts == {"encoder", "codebooks", "decoder"}
    assert adapted.model.config.codebook_sizes == [7, 9, 11], "as many codes as in the other modes"
    assert not adapted.report.old_codes_decode_alike


def test_lora_changes_matrices_of_the_decoder_and_no_code():
    settings = asked(mode="lora", lora_rank=1)
    start = prepared(settings)
    adapted = adapt_tokenizer(start, settings)
    names = changed(start.model, adapted.model)
    assert names and all(name.startswith("decoder.") and name.endswith(".weight") for name in names)
    assert [level.same_codes for level in adapted.report.levels] == [1, 1, 1]
    assert adapted.report.ancestors == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_gives_the_same_bytes(mode):
    settings = asked(mode=mode)
    first, second = (adapt_tokenizer(prepared(settings), settings) for _ in range(2))
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    assert first.report == second.report


@pytest.mark.parametrize("shape", SHAPES)
def test_it_works_for_any_levels(shape):
    settings = asked(mode="symbols", new_codes="0.5")
    start = prepared(settings, **shape)
    report = adapt_tokenizer(start, settings).report
    assert report.numbers_trained > 0 and not report.broken_promises()


def test_a_broken_promise_is_an_error(monkeypatch):
    def careless(model, *_):
        with torch.no_grad():
            ema_codebooks(model)[1].embedding.weight[0] += 1e-6
        return 0

    settings = asked(mode="grow")
    start = prepared(settings)
    monkeypatch.setattr(adaptation, "train_adaptation", careless)
    with pytest.raises(RuntimeError, match=r"mode grow must not change these, but did: .*kept rows of level 1"):
        adapt_tokenizer(start, settings)


@pytest.mark.parametrize("quantizer, sizes", [("fsq", [15, 15, 15]), ("lfq", [4, 8, 8]), ("l2", [5, 6, 7])])
def test_other_quantizers_are_refused(quantizer, sizes):
    model = ImageTokenizer(ImageTokenizerConfig(hidden_size=8, quantizer=quantizer, codebook_sizes=sizes))
    with pytest.raises(InputError, match=f"here has the quantizer '{quantizer}'; only codebooks"):
        adaptable(model, "here")


def test_only_our_own_tokenizer_is_adaptable():
    with pytest.raises(InputError, match="another system's tokenizer"):
        adaptable(torch.nn.Linear(1, 1), "there")  # pyright: ignore[reportArgumentType]


def test_pictures_of_other_channels_are_refused():
    grey = TokenizerTrainingConfig(image_size=16, num_channels=1).image_processor()
    sets = replace(pictures(), old=PixelDataset(pictures().old.source, grey))
    with pytest.raises(InputError, match=r"must be \(B, 3, H, W\), got"):
        prepare_adaptation(trained(), grey, sets, asked())
