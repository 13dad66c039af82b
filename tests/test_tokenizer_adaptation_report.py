"""What an adaptation says of itself."""

import json
from dataclasses import replace

import pytest
import torch
from tiny_adaptation import asked, old_folder, pixels, prepared, processor, trained
from tiny_model import ema_codebooks

from pictogram.tokenizer.adaptation import adapt_tokenizer
from pictogram.tokenizer.adaptation_report import decode_alike, measure, network_sha256, numbers_changed
from pictogram.tokenizer.evaluation import evaluate_tokenizer
from pictogram.tokenizer.growth import grow_codebooks


def test_levels_are_counted():
    settings = asked(mode="symbols")
    start = prepared(settings)
    report = adapt_tokenizer(start, settings).report
    for level, change in enumerate(report.levels):
        use = start.uses[level]
        assert (change.codes_before, change.grown) == (start.model.config.codebook_sizes[level], [2, 3, 4][level])
        assert change.codes_after == change.codes_before + change.grown
        assert change.invoked == int(use.invoked.sum()) and change.kept == int((~use.moved).sum())
        assert change.old_use_of_kept == pytest.approx(float(use.old[~use.moved].sum()))
        assert change.new_use_of_uninvoked == pytest.approx(float(use.new[~use.invoked].sum()))
        assert change.kept_sha256_before == change.kept_sha256_after
        assert 0 <= change.same_codes <= 1
        assert (change.mean_move is not None) == (change.moved > 0)
    assert json.loads(json.dumps(report.to_dict()))["share_changed"] == report.numbers_changed / report.numbers
    assert report.numbers_changed <= report.numbers_trained


def test_figures_are_those_of_the_evaluation():
    model, dataset = trained(), pixels(old_folder(), "test")
    measured, known = measure(model, dataset), evaluate_tokenizer(model, dataset)
    assert measured.psnr == known.distortion.psnr and measured.static_bits == known.static_bits
    assert [tuple(level.shape) for level in measured.codes] == [(16, 1, 1), (16, 2, 2), (16, 4, 4)]


@pytest.mark.parametrize(
    "mode, broken",
    [
        ("grow", ["encoder", "decoder", "pictures of old codes", "kept rows of level 0"]),
        ("symbols", ["encoder", "decoder", "kept rows of level 0"]),
        ("lora", ["encoder", "kept rows of level 0"]),
        ("full", []),
    ],
)
def test_promises_of_each_mode(mode, broken):
    settings = asked(mode="grow", num_steps=1)
    report = replace(adapt_tokenizer(prepared(settings), settings).report, mode=mode)
    assert report.broken_promises() == []
    other = replace(
        report,
        encoder_sha256_after="",
        decoder_sha256_after="",
        old_codes_decode_alike=False,
        levels=[replace(report.levels[0], kept_sha256_after=""), *report.levels[1:]],
    )
    assert other.broken_promises() == broken


def test_one_bit_shows_everywhere():
    before, after = trained(rate_weight=1.0), trained(rate_weight=1.0)
    sizes = before.config.codebook_sizes
    assert numbers_changed(before, after) == 0
    with torch.no_grad():
        after.encoder.to_latents[0].bias[0] += 1  # pyright: ignore
        ema_codebooks(after)[2].embedding.weight[:, 0] += 1
    assert numbers_changed(before, after) == 1 + sizes[2]
    assert network_sha256(before, "encoder", sizes) != network_sha256(after, "encoder", sizes)
    assert network_sha256(before, "decoder", sizes) == network_sha256(after, "decoder", sizes)
    codes = before.encode(pixels(old_folder(), "test").pixels(range(4)))
    assert decode_alike(before, before, codes) and not decode_alike(before, after, codes)


def test_what_belongs_to_new_codes_does_not_count_as_the_encoder():
    before = trained(rate_weight=1.0)
    sizes = before.config.codebook_sizes
    grown = grow_codebooks(before, processor(), [torch.zeros(1, 4)] * 3)
    assert network_sha256(before, "encoder", sizes) == network_sha256(grown, "encoder", sizes)
    added = sum(parameter.numel() for parameter in grown.parameters())
    added -= sum(parameter.numel() for parameter in before.parameters())
    assert numbers_changed(before, grown) == added > 3 * 4
